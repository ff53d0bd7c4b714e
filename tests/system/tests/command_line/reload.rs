//! A changed configuration comes into force without touching open grants; a bad one does not.

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::provider::{Manner, Provider};
use rustix::process::Signal;

const NOBODY: &str = "[[deny]]\nname = \"exam-week\"\nusers = [\"*\"]\n";

#[test]
fn a_reload_changes_the_rules_and_no_open_grant() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    let granted = gateway.granted(at(1, 1), "alice");
    gateway.rewrite(|setup| setup.rules(NOBODY));
    assert_eq!(gateway.sign_in(at(1, 2), "bob", PASSWORD).verdict(), "201 granted", "not yet");

    let said = gateway.command(&["reload"], "");
    assert_eq!(said.code, Some(0), "{said:?}");
    let refused = gateway.sign_in(at(1, 3), "bob", PASSWORD);
    assert_eq!(refused.verdict(), "403 not_permitted");
    assert_eq!(gateway.show(at(1, 1), &granted).text("state"), "open");
    assert!(gateway.connect(at(1, 1)).is_through());
}

#[test]
fn sighup_is_a_reload() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    gateway.rewrite(|setup| setup.rules(NOBODY));
    gateway.signal(Signal::HUP);
    gateway.log.line(&["kmsgate: reloaded"]);
    assert_eq!(gateway.sign_in(at(1, 1), "bob", PASSWORD).verdict(), "403 not_permitted");
}

#[test]
fn a_bad_file_leaves_the_old_one_in_force() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    gateway.rewrite(|setup| setup.rules("[[rule]]\nname = \"x\"\nuser = [\"*\"]\n"));
    let said = gateway.command(&["reload"], "");
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.err.contains("kmsgate.toml:") && said.err.contains("users"), "place and nearest key: {said:?}");
    gateway.signal(Signal::HUP);
    gateway.log.line(&["kmsgate: not_reloaded"]);
    assert_eq!(gateway.sign_in(at(1, 1), "bob", PASSWORD).verdict(), "201 granted");
}

#[test]
fn what_needs_a_restart_is_said() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    // The prefix stands among policy's terms, but the forwarder looks for grants by it.
    for (key, value) in [("port", "1"), ("ipv6_prefix", "64")] {
        gateway.rewrite(|setup| setup.service(key, value));
        let said = gateway.command(&["reload"], "");
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("that needs a restart"), "{key}: {said:?}");
    }
}
