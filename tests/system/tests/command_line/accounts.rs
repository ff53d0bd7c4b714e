//! `kmsgate account`: passwords come from standard input, one line.

use kmsgate_system_tests::gateway::{Setup, at, command};
use kmsgate_system_tests::provider::{Manner, Provider};

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
