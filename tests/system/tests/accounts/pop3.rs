//! POP3 at the mail server that most sites have.

use crate::common::{self, Page, ask_from, hostile_names, is, is_outage, is_wrong};
use kmsgate_accounts::TlsMode;
use kmsgate_accounts::chain::RefusedBy;
use kmsgate_accounts::tls::TlsSettings;
use kmsgate_accounts::{Accounts, ChainAnswer, FrameSettings, Host, Pop3Server, Server, Way};
use kmsgate_core::address::Source;
use kmsgate_core::name::{Login, ServerName};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use kmsgate_system_tests::certificates::{Authority, Validity};
use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::proxy::{Fault, Proxy};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

fn accounts(dovecot: &Dovecot, tls: TlsMode, trust: TlsSettings) -> Accounts {
    let port = if tls == TlsMode::Implicit { dovecot.pop3s } else { dovecot.pop3 };
    let way = Way { hosts: vec![Host { name: "localhost".into(), port }], tls, trust };
    let server = Server::Pop3(Pop3Server::new(&way).unwrap());
    let frame = FrameSettings { timeout: Duration::from_secs(30), ..FrameSettings::new("mail") };
    Accounts::new(vec![(frame, server)], &[ServerName::new("mail")], &BTreeMap::new()).unwrap()
}

fn trusting(ca: PathBuf) -> TlsSettings {
    TlsSettings { ca: Some(ca), ..TlsSettings::default() }
}

async fn ask(accounts: &Accounts, login: &str, password: &str, from: &str) -> Result<String, RefusedBy> {
    let login = Login::parse(login).unwrap();
    let password = Password::new(password.to_owned()).unwrap();
    match accounts.ask_for(&login, &password, Source::new(from.parse().unwrap())).await {
        ChainAnswer::Accepted(identity) => Ok(identity.person().to_string()),
        ChainAnswer::Refused(by) => Err(by),
        ChainAnswer::Challenge(asked) => panic!("asked {asked:?}"),
    }
}

fn reason(answer: Result<String, RefusedBy>) -> (Reason, bool) {
    let by = answer.unwrap_err();
    (by.reason, by.definite)
}

#[tokio::test]
async fn right_wrong_and_unknown_over_every_kind_of_connection() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    for tls in [TlsMode::Implicit, TlsMode::StartTls, TlsMode::Clear] {
        let accounts = accounts(&dovecot, tls, trusting(dovecot.ca()));
        assert_eq!(ask(&accounts, "alice", "secret", "198.51.100.7").await, Ok("mail/alice".into()), "{tls:?}");
        assert_eq!(ask(&accounts, "BOB", "pässwörd 2", "198.51.100.7").await, Ok("mail/bob".into()), "{tls:?}");
        // Each from an address of its own: Dovecot makes the same one wait longer and longer.
        let wrong = [("alice", "Secret"), ("bob", "secret"), ("mallory", "secret"), ("alice", "secret ")];
        for (n, (name, password)) in wrong.into_iter().enumerate() {
            let from = format!("203.0.113.{}", 10 * n + tls as usize);
            let answer = reason(ask(&accounts, name, password, &from).await);
            assert_eq!(answer, (Reason::InvalidCredentials, true), "{tls:?} {name} {password}");
        }
        let found = accounts.probe().await.remove(0).1.unwrap();
        assert!(found.contains("XCLIENT"), "{found}");
        assert_eq!(found.contains("no TLS"), tls == TlsMode::Clear, "{found}");
    }
}

#[tokio::test]
async fn f15_dovecot_sees_the_persons_address_where_ours_is_trusted() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    for (tls, from) in [(TlsMode::Implicit, "198.51.100.7"), (TlsMode::StartTls, "2001:db8::7")] {
        let accounts = accounts(&dovecot, tls, trusting(dovecot.ca()));
        ask(&accounts, "alice", "secret", from).await.unwrap();
        dovecot.wait_for(&["Login: user=<alice>", &format!("rip={from},")]).unwrap();
    }
    let untrusting = Wanted { xclient: false, ..Wanted::default() };
    let Some(dovecot) = Dovecot::start(&untrusting).unwrap() else { return };
    let accounts = accounts(&dovecot, TlsMode::Implicit, trusting(dovecot.ca()));
    assert!(accounts.probe().await.remove(0).1.unwrap().contains("must not penalise"));
    ask(&accounts, "alice", "secret", "198.51.100.7").await.unwrap();
    let line = dovecot.wait_for(&["Login: user=<alice>"]).unwrap();
    assert!(!line.contains("198.51.100.7"), "{line}");
}

#[tokio::test]
async fn rate_f15_the_penalty_for_wrong_passwords_is_the_guessers_own() {
    let wanted = Wanted { failure_delay: Duration::from_secs(2), ..Wanted::default() };
    let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
    let accounts = accounts(&dovecot, TlsMode::Clear, TlsSettings::default());
    for _ in 0..2 {
        let answer = reason(ask(&accounts, "alice", "wrong", "203.0.113.66").await);
        assert_eq!(answer, (Reason::InvalidCredentials, true));
    }
    ask(&accounts, "alice", "secret", "198.51.100.7").await.unwrap();
    assert_eq!(accounts.snapshot().remove(0).delaying, None, "nobody else is kept waiting");
}

#[tokio::test]
async fn tls_a_certificate_that_is_not_good_is_an_outage_that_says_why_and_no_password_is_sent() {
    let other = tempfile::tempdir().unwrap();
    let other_ca = other.path().join("ca.pem");
    std::fs::write(&other_ca, Authority::new().unwrap().pem()).unwrap();
    let good = Wanted::default;
    let expired = Wanted { validity: Validity::Expired, ..good() };
    let misnamed = Wanted { names: vec!["mail.example.edu".into()], ..good() };
    for (wanted, ca, says) in [
        (good(), Some(Some(other_ca)), "invalid peer certificate"),
        (good(), None, "invalid peer certificate"),
        (expired, Some(None), "expired"),
        (misnamed.clone(), Some(None), "mail.example.edu"),
    ] {
        let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
        for tls in [TlsMode::Implicit, TlsMode::StartTls] {
            // The test's own authority, another one, or the system's.
            let ca = ca.clone().map(|other| other.unwrap_or_else(|| dovecot.ca()));
            let accounts = accounts(&dovecot, tls, TlsSettings { ca, ..TlsSettings::default() });
            let by = ask(&accounts, "alice", "secret", "198.51.100.7").await.unwrap_err();
            assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false), "{says}");
            assert!(by.log.contains(says), "{says}: {}", by.log);
            assert!(accounts.probe().await.remove(0).1.unwrap_err().contains(says));
        }
        assert!(!dovecot.log().contains("user=<alice>"), "{}", dovecot.log());
    }
    // `server_name` says under which name it is known.
    let Some(dovecot) = Dovecot::start(&misnamed).unwrap() else { return };
    let trust = TlsSettings { server_name: Some("mail.example.edu".into()), ..trusting(dovecot.ca()) };
    ask(&accounts(&dovecot, TlsMode::Implicit, trust), "alice", "secret", "198.51.100.7").await.unwrap();
}

#[tokio::test]
async fn restarted_p8_a_dovecot_that_ends_is_an_outage_until_it_is_there_again() {
    let Some(mut dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.pop3s).accounts();
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
    dovecot.stop();
    is_outage(common::ask(&accounts, "alice", "secret").await, "cannot be reached");
    dovecot.start_again().unwrap();
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
}

#[tokio::test]
async fn failover_two_hosts_are_down_and_the_third_answers() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("\"pop3s://localhost:{}\"", dovecot.pop3s);
    let three = format!("[\"pop3s://localhost:{}\", \"pop3s://localhost:{}\", {url}]", nobody(), nobody());
    let accounts = page(&dovecot, dovecot.pop3s).with(&url, &three).accounts();
    for _ in 0..3 {
        is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
    }
}

#[tokio::test]
async fn hostile_f11_names_and_passwords_stay_what_they_are() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.pop3s).accounts();
    for (n, name) in hostile_names().iter().enumerate() {
        is_wrong(ask_from(&accounts, name, "secret\" {7}", &format!("203.0.113.{n}")).await);
    }
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
}

#[tokio::test]
async fn empty_password_is_never_sent() {
    assert!(Password::new(String::new()).is_err());
}

/// The manual's configuration, for this server.
fn page(dovecot: &Dovecot, port: u16) -> Page {
    Page::read("pop3")
        .with("mail.example.edu", &format!("localhost:{port}"))
        .with("/etc/kmsgate/campus-ca.pem", &dovecot.ca().display().to_string())
}

#[tokio::test]
async fn right_f19_the_manuals_configuration_works_as_it_stands() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.pop3s).accounts();
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
    is_wrong(ask_from(&accounts, "alice", "Secret", "203.0.113.201").await);
    is_wrong(ask_from(&accounts, "mallory", "secret", "203.0.113.202").await);
}

#[tokio::test]
async fn outage_p8_whatever_goes_wrong_on_the_way_is_no_wrong_password() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let proxy = Proxy::to(dovecot.pop3);
    let page = page(&dovecot, proxy.address.port()).with("pop3s://", "pop3://").with("ca = ", "tls = \"none\" #");
    let accounts = page.clone().and("timeout = \"500ms\"\nfailures = 1000").accounts();
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
    let whole = proxy.answered();
    for bytes in (0..whole).step_by(23) {
        for fault in
            [Fault::HangsAfter(bytes), Fault::EndsAfter(bytes), Fault::GarbageAfter(bytes), Fault::EndlessAfter(bytes)]
        {
            proxy.set(fault);
            let answer = common::ask(&accounts, "alice", "secret").await;
            // What comes behind the answer to the password changes nothing.
            if answer.is_err() {
                is_outage(answer, "");
            }
        }
    }
    proxy.set(Fault::Slow);
    is_outage(common::ask(&accounts, "alice", "secret").await, "no answer within 500ms");
    proxy.set(Fault::None);
    is(common::ask(&accounts, "alice", "secret").await, "mail/alice");
}
