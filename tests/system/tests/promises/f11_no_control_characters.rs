//! No control character of a person's reaches an account server, a log or a terminal (F11).

use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::provider::{Manner, Provider};

const NAMES: &[&str] =
    &["bob\r\nUSER bob", "bob\nPASS x", "bob\r", "bob\0", "bob\u{7f}", "bob\u{85}", "bob\t", "bob\u{1b}[2J", "\r\n"];

#[test]
fn f11_a_name_or_password_with_a_control_character_asks_nobody() {
    let provider = Provider::start(Manner::Echo);
    let mail = Provider::start(Manner::Hang);
    let keys = format!("kind = \"pop3\"\nurl = \"pop3://{}\"\ntls = \"none\"", mail.address);
    let gateway = Setup::new(provider.address).only_server("mail", &keys).start();
    for name in NAMES {
        assert_eq!(gateway.sign_in(at(1, 1), name, "secret").verdict(), "400 bad_request", "{name:?}");
        assert_eq!(gateway.sign_in(at(1, 1), "bob", name).verdict(), "400 bad_request", "{name:?}");
    }
    assert_eq!(mail.accepted(), 0, "the account server was not asked");
    assert!(gateway.grants().is_empty());
    let controls = |c: &char| c.is_control() && *c != '\n';
    assert_eq!(gateway.log.text().chars().find(controls), None, "{}", gateway.log.text());
}

#[test]
fn f11_a_second_command_in_the_name_is_no_sign_in_at_a_real_mail_server() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let provider = Provider::start(Manner::Echo);
    let keys = format!("kind = \"pop3\"\nurl = \"pop3://127.0.0.1:{}\"\ntls = \"none\"", dovecot.pop3);
    let gateway = Setup::new(provider.address).only_server("mail", &keys).start();
    assert_eq!(gateway.sign_in(at(1, 1), "bob\r\nUSER bob", "x").verdict(), "400 bad_request");
    assert_eq!(gateway.sign_in(at(1, 2), "alice", "secret").verdict(), "201 granted", "it is asked about others");
    dovecot.wait_for(&["Login", "alice"]).unwrap();
    assert!(!dovecot.log().contains("bob"), "{}", dovecot.log());
}

#[test]
fn f11_what_is_too_long_or_no_text_is_refused() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let long = "a".repeat(4096);
    for (name, password) in [("", "x"), ("   ", "x"), ("alice", ""), (long.as_str(), "x"), ("alice", long.as_str())] {
        assert_eq!(gateway.sign_in(at(1, 1), name, password).verdict(), "400 bad_request", "{name:.9} {password:.9}");
    }
    let headers = [("Content-Type", "application/json")];
    let body = b"{\"username\":\"al\xffice\",\"password\":\"x\"}";
    let request =
        kmsgate_system_tests::http::Request { method: "POST", path: "/api/v1/grants", headers: &headers, body };
    assert_eq!(gateway.ask(at(1, 1), &request).verdict(), "400 bad_request");
}
