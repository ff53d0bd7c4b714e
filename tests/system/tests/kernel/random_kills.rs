//! Serve, the enforcer or both killed at random moments under load: nothing is open past its end, nothing is called open that
//! the kernel has not, nothing passes twice (P1, P2, P3, P5, P9).

use kmsgate_system_tests::gateway::PASSWORD;
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::ledger::Grant;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::middle::Trap;
use kmsgate_system_tests::pair::{Pair, Victim};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rounds, unless `KMSGATE_KILLS` says another number; `KMSGATE_SEED` repeats a run's choices.
const ROUNDS: u16 = 50;
/// People who come at once.
const WORKERS: u16 = 6;
/// Addresses that a worker has for one round, at most.
const VISITS: u16 = 8;
/// Frames that may pass in a round before one is stopped. A visit makes about eight.
const FRAMES: u64 = 120;

/// A small generator whose choices a seed repeats: SplitMix64 (Steele, Lea, Flood 2014).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What people saw, by their address.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Answered with 201.
    granted: bool,
    /// Connections that passed.
    through: u16,
    /// Told that their grant is closed.
    cancelled: bool,
}

type Everybody = Mutex<BTreeMap<IpAddr, Seen>>;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn cut_at_random_points() {
    kernel_needs!();
    let seed = number("KMSGATE_SEED", u64::from(std::process::id()));
    eprintln!("KMSGATE_SEED={seed}");
    let mut choices = Choices(seed);
    // Windows end within the test, some of them while everybody is dead.
    let mut pair = Pair::start(|setup| setup.service("window", "\"10s\"").service("close_when_used", "false"));
    let _providers = pair.site.echoing();
    let everybody = Everybody::default();
    let rounds = u16::try_from(number("KMSGATE_KILLS", ROUNDS.into())).expect("not so many");
    for round in 0..rounds {
        let (victim, _) = Victim::ALL[choices.below(3) as usize];
        pair.middle.set(Trap::After(choices.below(FRAMES) as u32));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (pair, everybody, over) = (&pair, &everybody, &over);
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let first = (round * WORKERS + worker) * VISITS;
                    scope.spawn(move || pair.site.person.within(|| visit(pair, everybody, over, first)))
                })
                .collect();
            Log::default().until("a frame to be stopped, or everybody to be through", || {
                let through = workers.iter().all(std::thread::ScopedJoinHandle::is_finished);
                (through || pair.middle.is_sprung()).then_some(())
            });
            over.store(true, Ordering::SeqCst);
            pair.kill(victim);
            pair.enforcer_again();
        });
        pair.start_again(victim);
        eprintln!("round {round}: {victim:?}, {} addresses", everybody.lock().unwrap().len());
        check(&pair, &everybody);
    }
    // P2: in the end nothing is open, in the ledger or in the kernel.
    pair.gateway.until("every end", |grants| grants.iter().all(|grant| grant.state == "closed"));
    for address in everybody.lock().unwrap().keys() {
        assert_eq!(pair.standing(*address), None, "{address}");
    }
}

/// Signs in from one address after the other, connects twice from it, and cancels now and then, until the gateway is gone.
fn visit(pair: &Pair, everybody: &Everybody, over: &AtomicBool, first: u16) {
    for number in first..first + VISITS {
        let family = if number % 2 == 0 { Family::V4 } else { Family::V6 };
        let address = family.person(number);
        if over.load(Ordering::SeqCst) {
            return;
        }
        let note = |change: fn(&mut Seen)| change(everybody.lock().unwrap().entry(address).or_default());
        note(|_| ());
        let Some(answer) = pair.gateway.try_sign_in(address, "alice", PASSWORD) else { return };
        if answer.status != 201 {
            // The enforcer is the victim.
            assert_eq!(answer.verdict(), "503 forwarder_unavailable", "{answer:?}");
            continue;
        }
        note(|seen| seen.granted = true);
        for _ in 0..2 {
            if pair.site.connect(address).is_through() {
                note(|seen| seen.through += 1);
            }
        }
        if number % 3 == 0 && pair.gateway.try_cancel(address, &answer).is_some_and(|told| told.status == 200) {
            note(|seen| seen.cancelled = true);
        }
    }
}

#[track_caller]
fn check(pair: &Pair, everybody: &Everybody) {
    let is_done = |grant: &Grant| matches!(grant.state, "open" | "closed") && grant.alive == 0;
    let grants = pair.gateway.until("nothing half done", |grants| grants.iter().all(is_done));
    let of = |address: &IpAddr| -> Vec<&Grant> {
        let octets = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        grants.iter().filter(|grant| grant.source == octets).collect()
    };
    for (address, seen) in everybody.lock().unwrap().iter() {
        let [grant] = of(address)[..] else {
            assert!(of(address).is_empty() && !seen.granted, "P3: {address} {seen:?} {:?}", of(address));
            continue;
        };
        let grant = as_in_the_kernel(pair, *address, grant);
        assert!(seen.through <= 1 && grant.claims <= 1, "P1: {address} {seen:?} {grant:?}");
        assert!(seen.through <= grant.claims, "P3: what passed is recorded: {address} {seen:?} {grant:?}");
        if seen.cancelled {
            assert_eq!(grant.state, "closed", "{address} {seen:?} {grant:?}");
        }
        if seen.granted {
            let cause = grant.cause.as_deref();
            assert!(matches!(cause, None | Some("cancelled" | "expired")), "P5: {address} {seen:?} {grant:?}");
        }
        if grant.state == "closed" || grant.claims == 1 {
            let outcome = pair.site.connect(*address);
            assert!(!outcome.is_through(), "P1, P2: {address} {grant:?} {outcome:?}");
        }
    }
}

/// P9, P2: the ledger and the kernel agree about what is open, by name, end and count.
#[track_caller]
fn as_in_the_kernel(pair: &Pair, address: IpAddr, before: &Grant) -> Grant {
    // It may end while we look, and counts are compared a moment after a start.
    pair.gateway.log.until("the ledger and the kernel to agree", || {
        let there = pair.standing(address);
        let now = pair.gateway.grants().into_iter().find(|grant| grant.id == before.id)?;
        let agree = match there {
            None => now.state == "closed",
            Some(there) => {
                assert_eq!(there.grant.as_slice(), now.id, "{address}: another grant's element");
                assert!(there.remaining <= 10_000, "{there:?}");
                now.state == "open" && (there.claimed, there.left) == (now.claims, 1 - now.claims)
            }
        };
        agree.then_some(now)
    })
}

#[test]
fn a_choice_is_repeated_by_its_seed() {
    let ten = |seed| {
        let mut choices = Choices(seed);
        [0; 10].map(|_| choices.below(FRAMES))
    };
    assert_eq!(ten(7), ten(7));
    assert_ne!(ten(7), ten(8));
}
