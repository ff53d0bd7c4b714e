//! IMAP at the mail server that most sites have.

use crate::common::{Page, ask, ask_from, hostile_names, is, is_outage, is_wrong};
use kmsgate_core::password::Password;
use kmsgate_system_tests::certificates::{Authority, Validity};
use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::proxy::{Fault, Proxy};
use std::time::Duration;

/// The manual's configuration, for this server.
fn page(dovecot: &Dovecot, port: u16) -> Page {
    Page::read("imap")
        .with("mail.example.edu", &format!("localhost:{port}"))
        .with("/etc/kmsgate/campus-ca.pem", &dovecot.ca().display().to_string())
}

/// The three ways to it.
fn ways(dovecot: &Dovecot) -> [Page; 3] {
    [
        page(dovecot, dovecot.imaps),
        page(dovecot, dovecot.imap).with("imaps://", "imap://"),
        page(dovecot, dovecot.imap).with("imaps://", "imap://").with("ca = ", "tls = \"none\" #"),
    ]
}

#[tokio::test]
async fn right_f19_the_manuals_configuration_lets_in_over_every_kind_of_connection() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    for page in ways(&dovecot) {
        let accounts = page.accounts();
        is(ask(&accounts, "alice", "secret").await, "mail/alice");
        is(ask(&accounts, "BOB", "pässwörd 2").await, "mail/bob");
        let found = accounts.probe().await.remove(0).1.unwrap();
        assert!(found.contains("SASL PLAIN") && found.contains("is told the person's address"), "{found}");
    }
}

#[tokio::test]
async fn wrong_and_unknown_are_wrong_and_not_told_apart() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    for (number, page) in ways(&dovecot).into_iter().enumerate() {
        let accounts = page.accounts();
        let wrong = [("alice", "Secret"), ("bob", "secret"), ("mallory", "secret"), ("alice", "secret ")];
        for (n, (name, password)) in wrong.into_iter().enumerate() {
            // Each from an address of its own: Dovecot makes the same one wait longer and longer.
            let from = format!("203.0.113.{}", 10 * n + number);
            is_wrong(ask_from(&accounts, name, password, &from).await);
        }
    }
}

#[tokio::test]
async fn rate_f15_dovecot_sees_the_persons_address_and_penalises_nobody_else() {
    let wanted = Wanted { failure_delay: Duration::from_secs(2), ..Wanted::default() };
    let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.imaps).and("timeout = \"30s\"").accounts();
    for _ in 0..2 {
        is_wrong(ask_from(&accounts, "alice", "wrong", "203.0.113.66").await);
    }
    is(ask_from(&accounts, "alice", "secret", "2001:db8::7").await, "mail/alice");
    assert_eq!(accounts.snapshot().remove(0).delaying, None, "nobody else is kept waiting");
    dovecot.wait_for(&["Login: user=<alice>", "rip=2001:db8::7,"]).unwrap();
}

#[tokio::test]
async fn tls_a_certificate_that_is_not_good_is_an_outage_and_no_password_is_sent() {
    let other = tempfile::tempdir().unwrap();
    let other_ca = other.path().join("ca.pem").display().to_string();
    std::fs::write(&other_ca, Authority::new().unwrap().pem()).unwrap();
    let good = Wanted::default;
    let expired = Wanted { validity: Validity::Expired, ..good() };
    let misnamed = Wanted { names: vec!["mail.example.edu".into()], ..good() };
    for (wanted, ca, says) in [
        (good(), Some(&other_ca), "invalid peer certificate"),
        (expired, None, "expired"),
        (misnamed, None, "mail.example.edu"),
    ] {
        let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
        let [tls, start_tls, _] = ways(&dovecot);
        for page in [tls, start_tls] {
            let own = dovecot.ca().display().to_string();
            let accounts = page.with(&own, ca.unwrap_or(&own)).accounts();
            is_outage(ask(&accounts, "alice", "secret").await, says);
            assert!(accounts.probe().await.remove(0).1.unwrap_err().contains(says));
        }
        assert!(!dovecot.log().contains("user=<alice>"), "{}", dovecot.log());
    }
}

#[tokio::test]
async fn outage_p8_whatever_goes_wrong_on_the_way_is_no_wrong_password() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let proxy = Proxy::to(dovecot.imap);
    let page = page(&dovecot, proxy.address.port()).with("imaps://", "imap://").with("ca = ", "tls = \"none\" #");
    let accounts = page.and("timeout = \"500ms\"\nfailures = 1000").accounts();
    is(ask(&accounts, "alice", "secret").await, "mail/alice");
    for bytes in (0..proxy.answered()).step_by(41) {
        for fault in
            [Fault::HangsAfter(bytes), Fault::EndsAfter(bytes), Fault::GarbageAfter(bytes), Fault::EndlessAfter(bytes)]
        {
            proxy.set(fault);
            let answer = ask(&accounts, "alice", "secret").await;
            // What comes behind the answer to the password changes nothing.
            if answer.is_err() {
                is_outage(answer, "");
            }
        }
    }
    proxy.set(Fault::Slow);
    is_outage(ask(&accounts, "alice", "secret").await, "no answer within 500ms");
    proxy.set(Fault::None);
    is(ask(&accounts, "alice", "secret").await, "mail/alice");
}

#[tokio::test]
async fn restarted_p8_a_dovecot_that_ends_is_an_outage_until_it_is_there_again() {
    let Some(mut dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.imaps).accounts();
    is(ask(&accounts, "alice", "secret").await, "mail/alice");
    dovecot.stop();
    is_outage(ask(&accounts, "alice", "secret").await, "cannot be reached");
    dovecot.start_again().unwrap();
    is(ask(&accounts, "alice", "secret").await, "mail/alice");
}

#[tokio::test]
async fn empty_password_is_never_sent() {
    assert!(Password::new(String::new()).is_err());
}

#[tokio::test]
async fn failover_two_hosts_are_down_and_the_third_answers() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("\"imaps://localhost:{}\"", dovecot.imaps);
    let three = format!("[\"imaps://localhost:{}\", \"imaps://localhost:{}\", {url}]", nobody(), nobody());
    let accounts = page(&dovecot, dovecot.imaps).with(&url, &three).accounts();
    for _ in 0..3 {
        is(ask(&accounts, "alice", "secret").await, "mail/alice");
    }
    assert!(accounts.probe().await.remove(0).1.unwrap_err().contains("cannot be reached"), "each is looked at");
}

#[tokio::test]
async fn hostile_f11_names_and_passwords_stay_what_they_are() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let accounts = page(&dovecot, dovecot.imaps).accounts();
    for (n, name) in hostile_names().iter().enumerate() {
        is_wrong(ask_from(&accounts, name, "secret\" {7}", &format!("203.0.113.{n}")).await);
    }
    is(ask(&accounts, "alice", "secret").await, "mail/alice");
}
