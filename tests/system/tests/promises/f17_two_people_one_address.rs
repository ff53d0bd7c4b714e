//! Whoever comes second to an address is told why and for how long, and not who was first (F17).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::provider::{Manner, Provider};

#[test]
fn f17_the_second_is_told_why_and_for_how_long_but_not_who() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("window", "\"90s\"").start();
    let first = gateway.granted(at(1, 1), "alice");
    let refused = gateway.sign_in(at(1, 1), "bob", PASSWORD);
    assert_eq!(refused.verdict(), "409 source_busy");
    let wait: u64 = refused.header("Retry-After").first().unwrap().parse().unwrap();
    assert!((1..=90).contains(&wait), "{wait}");
    for told in ["alice", &first.text("id"), &first.text("token")] {
        assert!(!refused.body.contains(told) && !refused.head.contains(told), "{refused:?}");
    }
    assert!(refused.text("detail").contains("127.0.1.1"), "{refused:?}");
    assert_eq!(
        gateway.sign_in(at(1, 1), "bob", "wrong").verdict(),
        "401 invalid_credentials",
        "only after the password"
    );
}

#[test]
fn f17_the_record_marks_an_address_that_several_share() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let first = gateway.granted(at(1, 1), "alice");
    assert_eq!(gateway.cancel(at(1, 1), &first).status, 200);
    gateway.granted(at(1, 1), "bob");
    gateway.granted(at(1, 2), "carol");
    let shared = "SELECT count(*) FROM grants WHERE shared = 1";
    assert_eq!(kmsgate_system_tests::ledger::number(&gateway.ledger(), shared), 1);
}
