//! Ten thousand wrong passwords: others sign in as ever, and the account server is asked no more than the budgets allow
//! (F15, P8). Counted, never timed.

use kmsgate_system_tests::gateway::{Gateway, PASSWORD, Setup, at};
use kmsgate_system_tests::mail::{Habit, Mail};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

const GUESSES: usize = 10_000;
const GUESSERS: usize = 8;

/// So little comes back while the test runs that it is none.
fn budgets(address: u32, name: u32) -> String {
    format!(
        "per_address = {{ attempts = {address}, every = \"12h\" }}\nper_user = {{ attempts = {name}, every = \"12h\" }}"
    )
}

/// Guesses dave's password while alice, bob and carol sign in; tells how often each answer was given.
fn guess(gateway: &Gateway, from: impl Fn(usize) -> IpAddr + Sync) -> BTreeMap<String, usize> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut verdicts = BTreeMap::<String, usize>::new();
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= GUESSES {
                    return verdicts;
                }
                let verdict = gateway.sign_in(from(number), "dave", &format!("guess {number}")).verdict();
                *verdicts.entry(verdict).or_default() += 1;
            }
        };
        let guessers: Vec<_> = (0..GUESSERS).map(|_| scope.spawn(work)).collect();
        for low in 1..=60 {
            let name = ["alice", "bob", "carol"][usize::from(low) % 3];
            assert_eq!(gateway.sign_in(at(1, low), name, PASSWORD).verdict(), "201 granted", "{name}");
        }
        assert!(next.load(Ordering::SeqCst) < GUESSES, "all of it while somebody guessed");
        let mut all = BTreeMap::new();
        for guesser in guessers {
            for (verdict, count) in guesser.join().unwrap() {
                *all.entry(verdict).or_default() += count;
            }
        }
        all
    })
}

fn answers(wrong: usize) -> BTreeMap<String, usize> {
    [("401 invalid_credentials".to_owned(), wrong), ("429 too_many_attempts".to_owned(), GUESSES - wrong)].into()
}

#[test]
fn f15_p8_ten_thousand_guesses_from_one_address() {
    let (provider, mail) = (Provider::start(Manner::Echo), Mail::start(Habit::Rejects));
    let gateway =
        Setup::new(provider.address).server("mail", &mail.keys()).section("throttle", &budgets(5, 1000)).start();
    let said = guess(&gateway, |_| at(9, 9));
    let asked = mail.passwords();
    // What is under way when the budget is used up ends; it is owed to the budget.
    assert!((5..5 + GUESSERS).contains(&asked), "what the account server was asked: {asked}, {said:?}");
    assert_eq!(said, answers(asked));
}

#[test]
fn f15_p8_ten_thousand_guesses_of_one_name_from_250_addresses() {
    let (provider, mail) = (Provider::start(Manner::Echo), Mail::start(Habit::Rejects));
    let gateway =
        Setup::new(provider.address).server("mail", &mail.keys()).section("throttle", &budgets(1000, 20)).start();
    let from = |number: usize| at(9, u8::try_from(number % 250).unwrap());
    assert_eq!(guess(&gateway, from), answers(20));
    assert_eq!(mail.passwords(), 20, "what the account server was asked");
}
