//! Guesses are stopped before the account server is asked, and cost nobody else anything (F15).

use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::gateway::{PASSWORD, Setup, at, throttle};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::time::Duration;

#[test]
fn f15_past_its_budget_an_address_reaches_no_account_server() {
    let provider = Provider::start(Manner::Echo);
    // Accepts and closes: every question is a new connection here.
    let mail = Provider::start(Manner::Close);
    let keys = format!("kind = \"pop3\"\nurl = \"pop3://{}\"\ntls = \"none\"", mail.address);
    let gateway = Setup::new(provider.address).server("mail", &keys).section("throttle", &throttle(5, 1000)).start();
    for _ in 0..5 {
        assert_eq!(gateway.sign_in(at(1, 1), "alice", "wrong").verdict(), "401 invalid_credentials");
    }
    let asked = mail.accepted();
    for guess in 0..100 {
        let refused = gateway.sign_in(at(1, 1), &format!("nobody{guess}"), "wrong");
        assert_eq!(refused.verdict(), "429 too_many_attempts");
        assert_eq!(refused.header("Retry-After").len(), 1);
    }
    assert_eq!(mail.accepted(), asked, "the account server was asked");
    assert_eq!(gateway.sign_in(at(1, 2), "alice", PASSWORD).verdict(), "201 granted", "others sign in");
}

#[test]
fn f15_a_name_has_a_budget_that_does_not_bind_where_it_was_accepted() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).section("throttle", &throttle(1000, 5)).start();
    gateway.granted(at(1, 1), "alice");
    for low in 1..=5 {
        assert_eq!(gateway.sign_in(at(2, low), "alice", "wrong").verdict(), "401 invalid_credentials");
    }
    for low in 6..=20 {
        assert_eq!(gateway.sign_in(at(2, low), "ALICE", "wrong").verdict(), "429 too_many_attempts");
    }
    assert_eq!(gateway.sign_in(at(1, 1), "alice", PASSWORD).verdict(), "200 granted", "her own address is not bound");
    assert_eq!(gateway.sign_in(at(2, 1), "bob", PASSWORD).verdict(), "201 granted", "nor is another name");
}

#[test]
fn f15_a_name_that_nobody_bears_is_treated_alike() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).section("throttle", &throttle(1000, 3)).start();
    let verdicts = |name: &str, high: u8| -> Vec<String> {
        (1..=6).map(|low| gateway.sign_in(at(high, low), name, "wrong").verdict()).collect()
    };
    assert_eq!(verdicts("alice", 1), verdicts("nobody", 2));
}

#[test]
fn f15_strangers_guesses_do_not_slow_a_real_mail_server_for_others() {
    let wanted = Wanted { failure_delay: Duration::from_secs(15), ..Wanted::default() };
    let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
    let provider = Provider::start(Manner::Echo);
    let keys =
        format!("kind = \"pop3\"\nurl = \"pop3://127.0.0.1:{}\"\ntls = \"none\"\ntimeout = \"60s\"", dovecot.pop3);
    let gateway = Setup::new(provider.address).only_server("mail", &keys).section("portal", PATIENT).start();
    std::thread::scope(|scope| {
        let gateway = &gateway;
        let guesses: Vec<_> =
            (0..4).map(|_| scope.spawn(move || gateway.sign_in(at(9, 9), "alice", "wrong").verdict())).collect();
        dovecot.wait_for(&["rip=127.0.9.9"]).unwrap_or_default();
        assert_eq!(gateway.sign_in(at(1, 1), "bob", "pässwörd 2").verdict(), "201 granted");
        assert!(guesses.iter().any(|guess| !guess.is_finished()), "bob did not wait for the guesses");
        for guess in guesses {
            assert_eq!(guess.join().unwrap(), "401 invalid_credentials");
        }
    });
}

/// Answers may take as long as this Dovecot makes a wrong password wait.
const PATIENT: &str = "listen = [\"127.0.0.1:0\"]\nrequest_timeout = \"120s\"";
