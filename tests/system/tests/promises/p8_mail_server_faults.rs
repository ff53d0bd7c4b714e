//! However a mail server misbehaves, it is an outage and never a wrong password (P8).

use kmsgate_system_tests::certificates::Validity;
use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::mail::{Habit, Mail};
use kmsgate_system_tests::provider::{Manner, Provider};

#[test]
fn p8_garbage_endless_lines_and_ends_in_the_middle_are_outages() {
    let provider = Provider::start(Manner::Echo);
    for habit in [
        Habit::Garbage,
        Habit::EndlessLine,
        Habit::ClosesAfterGreeting,
        Habit::ClosesAtPassword,
        Habit::GarbageAtPassword,
    ] {
        let mail = Mail::start(habit);
        let gateway = Setup::new(provider.address).server("mail", &mail.keys()).start();
        let answer = gateway.sign_in(at(1, 1), "dave", "whatever");
        assert_eq!(answer.verdict(), "503 account_server_unavailable", "{habit:?}");
        assert_eq!(gateway.sign_in(at(1, 1), "alice", PASSWORD).verdict(), "201 granted", "{habit:?}");
    }
    let mail = Mail::start(Habit::Rejects);
    let gateway = Setup::new(provider.address).server("mail", &mail.keys()).start();
    assert_eq!(gateway.sign_in(at(1, 1), "dave", "whatever").verdict(), "401 invalid_credentials");
    assert_eq!(mail.passwords(), 1);
}

#[test]
fn p8_a_certificate_of_another_name_or_time_gets_no_password() {
    let provider = Provider::start(Manner::Echo);
    let expired = Wanted { validity: Validity::Expired, ..Wanted::default() };
    let foreign = Wanted { names: vec!["elsewhere.example".to_owned()], ..Wanted::default() };
    for wanted in [expired, foreign] {
        let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
        let keys = format!(
            "kind = \"pop3\"\nurl = \"pop3s://localhost:{}\"\nca = {:?}",
            dovecot.pop3s,
            dovecot.ca().display().to_string()
        );
        let gateway = Setup::new(provider.address).only_server("mail", &keys).start();
        assert_eq!(gateway.sign_in(at(1, 1), "alice", "secret").verdict(), "503 account_server_unavailable");
        assert!(!dovecot.log().contains("Login: user=<alice>"), "{}", dovecot.log());
    }
}
