//! A directory, at the server that most sites without Windows have.

use crate::common::{Page, Somebody, ask, hostile_names, is, is_outage, is_wrong};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use kmsgate_system_tests::certificates::{Authority, Validity};
use kmsgate_system_tests::proxy::{Fault, Proxy};
use kmsgate_system_tests::slapd::{SERVICE_PASSWORD, Slapd, Wanted};

/// Bytes of slapd's empty answer about the password's policy.
const CONTROL: usize = 35;

/// A block of the manual, for this server.
fn page(slapd: &Slapd, number: usize, port: u16) -> Page {
    let page = Page::nth("ldap", number)
        .with("ldap.example.edu", &format!("localhost:{port}"))
        .with("/etc/kmsgate/campus-ca.pem", &slapd.ca().display().to_string());
    if number == 0 { page.with("/etc/kmsgate/ldap-secret", &slapd.secret_file().display().to_string()) } else { page }
}

fn usual(slapd: &Slapd) -> Page {
    page(slapd, 0, slapd.ldaps)
}

/// The three ways to it.
fn ways(slapd: &Slapd, number: usize) -> [Page; 3] {
    [
        page(slapd, number, slapd.ldaps),
        page(slapd, number, slapd.ldap).with("ldaps://", "ldap://"),
        page(slapd, number, slapd.ldap).with("ldaps://", "ldap://").with("ca = ", "tls = \"none\" #"),
    ]
}

async fn is_unusable(page: &Page, name: &str, why: &str) {
    let accounts = page.accounts();
    is_wrong(ask(&accounts, name, "wrong").await);
    let by = ask(&accounts, name, "secret").await.expect_err("let in");
    assert_eq!(by.reason, Reason::AccountUnusable, "{}", by.log);
    assert!(by.log.contains(why), "{}", by.log);
}

#[tokio::test]
async fn right_wrong_and_unknown_f19_with_each_configuration_of_the_manual_over_each_way() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    for number in [0, 1] {
        for page in ways(&slapd, number) {
            let accounts = page.accounts();
            is(ask(&accounts, "alice", "secret").await, "directory/alice");
            is(ask(&accounts, "BOB", "pässwörd 2").await, "directory/bob");
            for (name, password) in [("alice", "Secret"), ("mallory", "secret"), ("alice", "secret ")] {
                is_wrong(ask(&accounts, name, password).await);
            }
            is(ask(&accounts, "alice", "secret").await, "directory/alice");
            let found = accounts.probe().await.remove(0).1.unwrap();
            assert!(
                found.contains(if number == 0 { "sees where accounts are" } else { "bind as themselves" }),
                "{found}"
            );
        }
    }
}

#[tokio::test]
async fn right_p4_a_person_of_several_names_is_one() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let accounts = usual(&slapd).accounts();
    is(ask(&accounts, "robert", "pässwörd 2").await, "directory/bob");
    let filter = "(|(uid={user})(mail={user}@example.edu))";
    let by_mail = usual(&slapd).with("(uid={user})", filter).accounts();
    for name in ["alice", "alice.a", "ALICE"] {
        is(ask(&by_mail, name, "secret").await, "directory/alice");
    }
}

#[tokio::test]
async fn outage_two_entries_of_one_name_are_not_guessed_between() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let page = usual(&slapd).with("(uid={user})", "(mail={user}@example.edu)").and("user_attribute = \"uid\"");
    let accounts = page.accounts();
    is(ask(&accounts, "alice", "secret").await, "directory/alice");
    is_outage(ask(&accounts, "shared", "secret").await, "more than one entry");
}

#[tokio::test]
async fn disabled_expired_and_to_be_changed_are_told_after_the_right_password_alone() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    for number in [0, 1] {
        let page = page(&slapd, number, slapd.ldaps);
        is_unusable(&page, "carol", "passwordExpired").await;
        is_unusable(&page, "dave", "changeAfterReset").await;
    }
    // Locked, its password is not looked at: whether it was right is told to nobody.
    for password in ["secret", "wrong"] {
        is_outage(ask(&usual(&slapd).accounts(), "erin", password).await, "locked");
    }
}

#[tokio::test]
async fn rate_f15_the_directory_locks_after_its_own_count_and_that_is_no_wrong_password() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let accounts = usual(&slapd).accounts();
    for _ in 0..3 {
        is_wrong(ask(&accounts, "alice", "wrong").await);
    }
    is_outage(ask(&accounts, "alice", "secret").await, "locked");
    is(ask(&accounts, "bob", "pässwörd 2").await, "directory/bob");
}

#[tokio::test]
async fn groups_of_an_attribute_and_of_entries_by_their_whole_names_and_their_first_parts() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let names = |lab: &str| {
        let mut names = ["cn=staff,ou=groups,dc=example,dc=edu", lab, "staff", "lab, 2"].map(str::to_owned).to_vec();
        names.sort_unstable();
        names
    };
    let of = |groups| Ok(Somebody { person: "directory/alice".into(), groups });
    let by_attribute = usual(&slapd).accounts();
    assert_eq!(ask(&by_attribute, "alice", "secret").await, of(names("cn=lab\\2C 2,ou=groups,dc=example,dc=edu")));
    let entries = "group_base = \"ou=groups,dc=example,dc=edu\"\ngroup_filter = \"(member={dn})\"";
    let by_entries = usual(&slapd).with("groups = \"memberOf\"", entries).accounts();
    assert_eq!(ask(&by_entries, "alice", "secret").await, of(names("cn=lab\\2C 2,ou=groups,dc=example,dc=edu")));
    let bob = ask(&by_entries, "bob", "pässwörd 2").await.unwrap();
    assert!(bob.groups.is_empty(), "{bob:?}");

    // Groups that cannot be read let nobody in: a rule could deny one of them.
    let elsewhere = usual(&slapd).with("groups = \"memberOf\"", &entries.replace("ou=groups", "ou=nowhere")).accounts();
    is_outage(ask(&elsewhere, "alice", "secret").await, "search for groups");
    assert!(elsewhere.probe().await.remove(0).1.unwrap_err().contains("does not see group_base"));
}

#[tokio::test]
async fn service_password_p8_a_wrong_one_or_a_wrong_base_is_an_outage_that_says_so() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let file = format!("{{ file = \"{}\" }}", slapd.secret_file().display());
    let wrong = usual(&slapd).with(&file, "\"another\"").and("failures = 1000").accounts();
    is_outage(ask(&wrong, "alice", "secret").await, "mend bind_dn or bind_password");
    assert!(wrong.probe().await.remove(0).1.unwrap_err().contains("mend bind_dn or bind_password"));
    let nowhere = usual(&slapd).with("ou=people", "ou=nowhere").accounts();
    is_outage(ask(&nowhere, "alice", "secret").await, "noSuchObject");
    assert!(nowhere.probe().await.remove(0).1.unwrap_err().contains("does not see base"));
    let right = usual(&slapd).with(&file, &format!("\"{SERVICE_PASSWORD}\"")).accounts();
    is(ask(&right, "alice", "secret").await, "directory/alice");
}

#[tokio::test]
async fn outage_a_referral_is_not_followed() {
    let wanted = Wanted { more: "referral ldap://elsewhere.example.edu\n".to_owned(), ..Wanted::default() };
    let Some(slapd) = Slapd::start(&wanted).unwrap() else { return };
    let elsewhere = usual(&slapd).with("ou=people,dc=example,dc=edu", "ou=people,dc=other,dc=edu").accounts();
    is_outage(ask(&elsewhere, "alice", "secret").await, "is not followed");
}

#[tokio::test]
async fn tls_a_certificate_that_is_not_good_is_an_outage_and_no_password_is_sent() {
    let other = tempfile::tempdir().unwrap();
    let other_ca = other.path().join("ca.pem").display().to_string();
    std::fs::write(&other_ca, Authority::new().unwrap().pem()).unwrap();
    let good = Wanted::default;
    let expired = Wanted { validity: Validity::Expired, ..good() };
    let misnamed = Wanted { names: vec!["ldap.example.edu".into()], ..good() };
    for (wanted, ca, says) in [
        (good(), Some(&other_ca), "invalid peer certificate"),
        (expired, None, "expired"),
        (misnamed, None, "ldap.example.edu"),
    ] {
        let Some(slapd) = Slapd::start(&wanted).unwrap() else { return };
        let [tls, start_tls, _] = ways(&slapd, 0);
        for page in [tls, start_tls] {
            let own = slapd.ca().display().to_string();
            let accounts = page.with(&own, ca.unwrap_or(&own)).accounts();
            is_outage(ask(&accounts, "alice", "secret").await, says);
            assert!(accounts.probe().await.remove(0).1.unwrap_err().contains(says));
        }
        assert!(slapd.log.with(&["BIND"]).is_empty(), "{}", slapd.log.text());
    }
}

#[tokio::test]
async fn outage_p8_refused_hanging_at_each_stage_slow_garbage_endless() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    for number in [0, 1] {
        let proxy = Proxy::to(slapd.ldap);
        let page = page(&slapd, number, proxy.address.port()).with("ldaps://", "ldap://");
        let accounts = page.with("ca = ", "tls = \"none\" #").and("timeout = \"500ms\"\nfailures = 1000").accounts();
        is(ask(&accounts, "alice", "secret").await, "directory/alice");
        // Behind the result stands the policy's control: nonsense there is a control that nobody knows.
        for bytes in (0..proxy.answered() - CONTROL).step_by(17) {
            for fault in [
                Fault::HangsAfter(bytes),
                Fault::EndsAfter(bytes),
                Fault::GarbageAfter(bytes),
                Fault::EndlessAfter(bytes),
            ] {
                proxy.set(fault);
                let answer = ask(&accounts, "alice", "secret").await;
                assert!(answer.is_err(), "{number} {fault:?}");
                is_outage(answer, "");
            }
        }
        proxy.set(Fault::Slow);
        is_outage(ask(&accounts, "alice", "secret").await, "within 500ms");
        proxy.set(Fault::None);
        is(ask(&accounts, "alice", "secret").await, "directory/alice");
    }
}

#[tokio::test]
async fn restarted_between_two_questions() {
    let Some(mut slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let accounts = usual(&slapd).accounts();
    is(ask(&accounts, "alice", "secret").await, "directory/alice");
    slapd.stop();
    is_outage(ask(&accounts, "alice", "secret").await, "cannot be reached");
    slapd.start_again().unwrap();
    is(ask(&accounts, "alice", "secret").await, "directory/alice");
}

#[tokio::test]
async fn failover_two_hosts_down_the_third_up() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("\"ldaps://localhost:{}\"", slapd.ldaps);
    let three = format!("[\"ldaps://localhost:{}\", \"ldaps://localhost:{}\", {url}]", nobody(), nobody());
    let accounts = usual(&slapd).with(&url, &three).accounts();
    for _ in 0..3 {
        is(ask(&accounts, "alice", "secret").await, "directory/alice");
    }
}

#[tokio::test]
async fn hostile_names_change_no_question() {
    let Some(slapd) = Slapd::start(&Wanted::default()).unwrap() else { return };
    for number in [0, 1] {
        let accounts = page(&slapd, number, slapd.ldaps).accounts();
        for name in hostile_names() {
            is_wrong(ask(&accounts, &name, "secret").await);
        }
        for name in ["alice,ou=people", "*", "a*", "alice)(cn=*", "alice+cn=alice", "#alice", "{dn}", "{user}"] {
            is_wrong(ask(&accounts, name, "secret").await);
        }
        is(ask(&accounts, "alice", "secret").await, "directory/alice");
    }
}

#[tokio::test]
async fn empty_password_is_never_sent() {
    assert!(Password::new(String::new()).is_err());
}
