//! `kmsgate account`: passwords come from standard input, one line.

use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::gateway::{Said, Setup, at, command};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::time::Duration;

#[test]
fn an_account_is_added_and_known_at_once_listed_and_removed() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let file = gateway.path().join("accounts").display().to_string();
    let run = |arguments: &[&str], input: &str| gateway.command(arguments, input);

    let added = run(&["account", "add", "Dave", "--file", &file, "--group", "staff"], "a pass phrase\n");
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("a pass phrase"));
    let listed = run(&["account", "list", "--file", &file], "");
    assert!(listed.out.lines().any(|line| line.contains("dave") && line.contains("staff")), "{listed:?}");
    assert_eq!(gateway.sign_in(at(1, 1), "dave", "a pass phrase").verdict(), "201 granted");

    let removed = run(&["account", "remove", "dave", "--file", &file], "");
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(gateway.sign_in(at(1, 2), "dave", "a pass phrase").verdict(), "401 invalid_credentials");
    let again = run(&["account", "remove", "dave", "--file", &file], "");
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("dave"), "{again:?}");
}

#[test]
fn a_bad_name_or_password_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("accounts");
    let shown = file.display().to_string();
    for (name, input) in [("dave", ""), ("dave", "\n"), ("", "secret\n"), ("da\nve", "secret\n"), ("da:ve", "secret\n")]
    {
        let said = command(&file, &["account", "add", name, "--file", &shown], input);
        assert_eq!(said.code, Some(1), "{name:?} {input:?}: {said:?}");
        assert!(said.err.starts_with("kmsgate: "), "{said:?}");
        assert!(!file.exists(), "{name:?} {input:?}");
    }
    let as_argument = command(&file, &["account", "add", "dave", "secret", "--file", &shown], "");
    assert_eq!(as_argument.code, Some(2), "a password is never an argument");
}

#[test]
fn f15_check_times_what_wrong_passwords_cost_everybody_and_names_the_remedy() {
    let penalising = Wanted { failure_delay: Duration::from_secs(1), xclient: false, ..Wanted::default() };
    let quick = Wanted::default();
    for (wanted, code, says) in
        [(penalising, 1, "people wait for the mistakes of others"), (quick, 0, "none after 3 wrong")]
    {
        let Some(dovecot) = Dovecot::start(&wanted).unwrap() else { return };
        let provider = Provider::start(Manner::Echo);
        let ca = dovecot.ca().display().to_string();
        let url = format!("pop3s://localhost:{}", dovecot.pop3s);
        let keys = format!("kind = \"pop3\"\nurl = {url:?}\nca = {ca:?}\ntimeout = \"20s\"");
        let gateway = Setup::new(provider.address).only_server("mail", &keys).start();
        let Said { code: ended, out, err } = gateway.command(&["check"], "");
        let line = out.lines().find(|line| line.contains("penalty at mail")).unwrap_or_else(|| panic!("{out}{err}"));
        assert!(line.contains(says), "{line}");
        assert_eq!(line.contains("login_trusted_networks"), code == 1, "{line}");
        assert_eq!(ended, Some(code), "{out}");
    }
}

#[test]
fn one_sign_in_is_tried_at_one_account_server_and_nothing_is_opened() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let run = |server: &str, user: &str, input: &str| {
        gateway.command(&["check", "--account-server", server, "--user", user], input)
    };
    let file = gateway.path().join("accounts").display().to_string();
    let added = gateway.command(&["account", "add", "dave", "--file", &file, "--group", "staff"], "a pass phrase\n");
    assert_eq!(added.code, Some(0), "{added:?}");
    let right = run("people", "Dave", "a pass phrase\n");
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(right.out.starts_with("accepted: campus/dave; groups: staff; "), "{right:?}");
    let wrong = run("people", "dave", "a pass phrase?\n");
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.out.starts_with("refused (invalid_credentials): people: rejected; "), "{wrong:?}");
    let unknown = run("people", "mallory", "a pass phrase\n");
    assert!(unknown.out.contains("unknown name"), "{unknown:?}");
    let nowhere = run("nowhere", "dave", "a pass phrase\n");
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.err.contains("there is no account server \"nowhere\"; there are people"), "{nowhere:?}");
    for said in [right, wrong, unknown, nowhere] {
        assert!(!said.out.contains("pass phrase") && !said.err.contains("pass phrase"));
    }
    assert!(gateway.grants().is_empty());
    let alone = gateway.command(&["check", "--user", "dave"], "");
    assert_eq!(alone.code, Some(2), "{alone:?}");
}
