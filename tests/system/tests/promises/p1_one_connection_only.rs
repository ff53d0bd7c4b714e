//! Never more connections than the grant has, however many race (P1, F01).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::sync::Barrier;

/// Attempts at the same moment on each grant.
const AT_ONCE: usize = 300;

/// Of `AT_ONCE` attempts on each of so many grants, how many get through.
fn race(connections: usize, grants: u8) {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("connections", &connections.to_string()).start();
    for grant in 1..=grants {
        let source = at(1, grant);
        let _granted = gateway.granted(source, "alice");
        let barrier = Barrier::new(AT_ONCE);
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let attempt = || {
                barrier.wait();
                gateway.connect(source)
            };
            let attempts: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(attempt)).collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
        });
        let through = outcomes.iter().filter(|outcome| outcome.is_through()).count();
        assert_eq!(through, connections, "grant {grant}");
        let reset = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Reset)).count();
        assert_eq!(reset, AT_ONCE - connections, "grant {grant}: {outcomes:?}");
        assert_eq!(provider.accepted(), usize::from(grant) * connections, "what reached the provider");
    }
    let expected = u16::try_from(connections).unwrap();
    assert!(gateway.grants().iter().all(|grant| grant.claims == expected), "{:?}", gateway.grants());
}

#[test]
fn p1_f01_of_300_at_once_exactly_one_100_times() {
    race(1, 100);
}

#[test]
fn p1_with_three_connections_exactly_three() {
    race(3, 10);
}

#[test]
fn p1_a_connection_does_not_live_on_under_a_later_grant() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).without_limits().start();
    let first = gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    assert_eq!(gateway.cancel(at(1, 1), &first).status, 200);
    assert_eq!(kmsgate_system_tests::net::end_of(&mut held), kmsgate_system_tests::net::End::Reset);
    gateway.granted(at(1, 1), "alice");
    assert!(gateway.connect(at(1, 1)).is_through(), "the later grant has its whole budget");
}

#[test]
fn p1_an_address_without_a_grant_reaches_nothing() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    assert!(matches!(gateway.connect(at(1, 2)), Outcome::Reset));
    assert_eq!(provider.accepted(), 0);
}
