//! One account from sixty addresses at once has one quota (F13).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::sync::Barrier;

#[test]
fn f13_sixty_addresses_at_once_have_one_quota() {
    let provider = Provider::start(Manner::Echo);
    let rules = "[[rule]]\nname = \"students\"\nusers = [\"*\"]\nquota = { day = 5 }\n";
    let gateway = Setup::new(provider.address).rules(rules).start();
    let barrier = Barrier::new(60);
    let granted = std::thread::scope(|scope| {
        let (gateway, barrier) = (&gateway, &barrier);
        let attempts: Vec<_> = (1..=60)
            .map(|low| {
                scope.spawn(move || {
                    barrier.wait();
                    gateway.sign_in(at(1, low), "alice", PASSWORD).status
                })
            })
            .collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).filter(|status| *status == 201).count()
    });
    assert_eq!(granted, 5);
    assert_eq!(gateway.grants().len(), 5);
    let through = (1..=60).filter(|low| gateway.connect(at(1, *low)).is_through()).count();
    assert_eq!(through, 5);
}
