//! One open grant per address and service; no quota is beaten by speed or by spelling (P4).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::sync::Barrier;

const TWO_A_WEEK: &str = "[[rule]]\nname = \"students\"\nusers = [\"*\"]\nquota = { week = 2 }\n";

#[test]
fn p4_of_50_at_once_with_a_quota_of_two_exactly_two() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).rules(TWO_A_WEEK).start();
    let barrier = Barrier::new(50);
    let verdicts: Vec<String> = std::thread::scope(|scope| {
        let (gateway, barrier) = (&gateway, &barrier);
        let attempt = |low| {
            move || {
                barrier.wait();
                gateway.sign_in(at(1, low), "alice", PASSWORD)
            }
        };
        let attempts: Vec<_> = (1..=50).map(|low| scope.spawn(attempt(low))).collect();
        attempts.into_iter().map(|attempt| attempt.join().unwrap().verdict()).collect()
    });
    let count = |verdict: &str| verdicts.iter().filter(|found| *found == verdict).count();
    assert_eq!((count("201 granted"), count("429 quota_exhausted")), (2, 48), "{verdicts:?}");
    assert_eq!(gateway.grants().len(), 2);
    assert_eq!(gateway.sign_in(at(2, 1), "bob", PASSWORD).verdict(), "201 granted", "bob has a quota of his own");
}

#[test]
fn p4_ten_spellings_of_one_name_have_one_quota() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).rules(TWO_A_WEEK).account("zoé", PASSWORD).start();
    let spellings = ["zoé", "ZOÉ", "Zoé", "zoe\u{301}", "ZOE\u{301}", "ｚｏé", "ＺＯÉ", " zoé", "zoé ", "zOé"];
    let verdicts: Vec<String> =
        (1..).zip(spellings).map(|(low, name)| gateway.sign_in(at(1, low), name, PASSWORD).verdict()).collect();
    assert!(verdicts.iter().take(2).all(|verdict| verdict == "201 granted"), "{verdicts:?}");
    assert!(verdicts.iter().skip(2).all(|verdict| verdict == "429 quota_exhausted"), "{verdicts:?}");
    assert!(gateway.grants().iter().all(|grant| grant.person == "campus/zoé"));
}

#[test]
fn p4_who_must_wait_is_told_how_long() {
    let provider = Provider::start(Manner::Echo);
    let rules = "[[rule]]\nname = \"students\"\nusers = [\"*\"]\nquota = { week = 1 }\n";
    let gateway = Setup::new(provider.address).rules(rules).start();
    gateway.granted(at(1, 1), "alice");
    let refused = gateway.sign_in(at(1, 2), "alice", PASSWORD);
    assert_eq!(refused.verdict(), "429 quota_exhausted");
    let wait: u64 = refused.header("Retry-After").first().unwrap().parse().unwrap();
    let week = 7 * 24 * 3600;
    assert!((week - 3600..=week).contains(&wait), "{wait}");
}

#[test]
fn p4_the_same_person_again_gets_the_same_grant() {
    let provider = Provider::start(Manner::Echo);
    let rules = "[[rule]]\nname = \"students\"\nusers = [\"*\"]\nquota = { week = 1 }\n";
    let gateway = Setup::new(provider.address).rules(rules).start();
    let first = gateway.granted(at(1, 1), "alice");
    let again = gateway.sign_in(at(1, 1), "Alice", PASSWORD);
    assert_eq!(again.status, 200);
    assert_eq!(again.text("id"), first.text("id"));
    assert_eq!(again.text("expires_at"), first.text("expires_at"));
    assert_ne!(again.text("token"), first.text("token"));
    assert_eq!(gateway.show(at(1, 1), &again).status, 200);
    assert_eq!(gateway.show(at(1, 1), &first).status, 401, "the former token opens nothing");
}
