//! Window, budget and sign-in are one object: nothing opens after the end, nothing is shut before it (F05).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Manner, Provider};

#[test]
fn f05_after_the_end_nothing_opens_and_a_new_sign_in_does_at_once() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("window", "\"1s\"").start();
    for round in 1..=3 {
        let granted = gateway.granted(at(1, 1), "alice");
        assert_eq!(granted.status, 201, "round {round}");
        gateway.until("its end", |grants| grants.len() == round && grants.iter().all(|grant| grant.state == "closed"));
        assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    }
    assert_eq!(provider.accepted(), 0);
}

#[test]
fn f05_a_used_grant_ends_and_the_next_one_is_whole() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    for round in 1..=5 {
        gateway.granted(at(1, 1), "alice");
        drop(gateway.connect(at(1, 1)).through());
        let grants = gateway
            .until("its end", |grants| grants.len() == round && grants.iter().all(|grant| grant.state == "closed"));
        assert!(grants.iter().all(|grant| grant.cause.as_deref() == Some("used") && grant.claims == 1), "{grants:?}");
        assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    }
}
