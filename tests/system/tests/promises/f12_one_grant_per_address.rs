//! Two people at once from one address: one grant, whatever the race (F12).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::http::Answer;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::sync::Barrier;

#[test]
fn f12_two_people_at_once_100_times_exactly_one_grant_each() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    for round in 1..=100 {
        let barrier = Barrier::new(2);
        let mut verdicts: Vec<String> = std::thread::scope(|scope| {
            let (gateway, barrier) = (&gateway, &barrier);
            let people = ["alice", "bob"].map(|name| {
                scope.spawn(move || {
                    barrier.wait();
                    gateway.sign_in(at(1, round), name, PASSWORD).verdict()
                })
            });
            people.into_iter().map(|person| person.join().unwrap()).collect()
        });
        verdicts.sort();
        assert_eq!(verdicts, ["201 granted", "409 source_busy"], "round {round}");
    }
    assert_eq!(gateway.grants().len(), 100);
}

#[test]
fn f12_one_person_twice_at_once_has_one_grant() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    for round in 1..=50 {
        let barrier = Barrier::new(4);
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let again = || {
                barrier.wait();
                gateway.sign_in(at(1, round), "alice", PASSWORD)
            };
            let attempts: Vec<_> = (0..4).map(|_| scope.spawn(again)).collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "round {round}: {answers:?}");
        // Who comes while it opens is told to come again in a second.
        let waits = |answer: &Answer| answer.status == 409 && answer.header("Retry-After") == ["1"];
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201) || waits(answer)), "{answers:?}");
        assert_eq!(gateway.granted(at(1, round), "alice").status, 200, "round {round}");
    }
    assert_eq!(gateway.grants().len(), 50);
}
