//! A client that tries again and again is never shut out for it (F03).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Manner, Provider};

#[test]
fn f03_retries_before_the_grant_do_not_shut_it() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    for _ in 0..200 {
        assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    }
    gateway.granted(at(1, 1), "alice");
    assert!(gateway.connect(at(1, 1)).is_through());
}

#[test]
fn f03_retries_after_it_is_used_prolong_nothing() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("close_when_used", "false").start();
    gateway.granted(at(1, 1), "alice");
    let held = gateway.connect(at(1, 1)).through();
    let before = gateway.only_grant();
    for _ in 0..200 {
        assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    }
    assert_eq!(gateway.only_grant(), before);
    drop(held);
}
