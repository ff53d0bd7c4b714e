//! Cut at any point, the next start finds what the table of cut points says (P2, P3, P5). Each row's ledger is made by the
//! program itself; where the program is too quick to be cut there, its last step is taken back in the file.

use kmsgate_system_tests::gateway::{Gateway, PASSWORD, Setup, at};
use kmsgate_system_tests::ledger::{change, number};
use kmsgate_system_tests::net::{End, Outcome, connect_from, end_of};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const ONE_A_WEEK: &str = "[[rule]]\nname = \"one\"\nusers = [\"*\"]\nquota = { week = 1 }\n";

/// A grant of alice's, and then the end of the program.
fn granted_and_killed(provider: &Provider) -> Gateway {
    let mut gateway = Setup::new(provider.address).rules(ONE_A_WEEK).start();
    gateway.granted(at(1, 1), "alice");
    gateway.kill9();
    gateway
}

#[track_caller]
fn swept_and_uncounted(gateway: &Gateway) {
    let grant = gateway.only_grant();
    assert_eq!((grant.state, grant.cause.as_deref()), ("closed", Some("swept")));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset), "nothing is open");
    gateway.log.line(&["closed user=campus/alice", "cause=swept"]);
    gateway.granted(at(1, 1), "alice");
}

#[test]
fn cut_after_reserve_is_swept_and_not_counted() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = granted_and_killed(&provider);
    change(&gateway.ledger(), "UPDATE grants SET state = 0, reached_open = 0");
    gateway.start_again();
    swept_and_uncounted(&gateway);
}

#[test]
fn cut_after_open_is_written_is_adopted() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = granted_and_killed(&provider);
    let before = gateway.only_grant();
    gateway.start_again();
    assert_eq!(gateway.only_grant(), before);
    assert!(gateway.connect(at(1, 1)).is_through());
}

#[test]
fn cut_in_another_boot_nothing_is_armed_again() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = granted_and_killed(&provider);
    change(&gateway.ledger(), "UPDATE grants SET boot = zeroblob(16)");
    gateway.start_again();
    let grant = gateway.only_grant();
    assert_eq!((grant.state, grant.cause.as_deref()), ("closed", Some("swept")));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
}

#[test]
fn cut_after_a_claim_it_stays_spent_if_it_was_answered() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).service("close_when_used", "false").start();
    gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    gateway.kill9();
    assert_ne!(end_of(&mut held), End::None, "a relayed connection ends with the process");
    gateway.start_again();
    let grant = gateway.only_grant();
    assert_eq!((grant.state, grant.claims, grant.given_back, grant.alive), ("open", 1, 0, 0));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
}

#[test]
fn cut_after_a_claim_it_is_given_back_if_it_was_not_answered() {
    let provider = Provider::start(Manner::Hang);
    let mut gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let held = connect_from(at(1, 1), gateway.service).unwrap();
    gateway.until("the claim", |grants| grants[0].claims == 1);
    gateway.kill9();
    drop(held);
    gateway.start_again();
    let grant = gateway.only_grant();
    assert_eq!((grant.state, grant.claims, grant.given_back, grant.alive), ("open", 0, 1, 0));
}

#[test]
fn cut_after_closing_it_is_finished_with_its_cause() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = granted_and_killed(&provider);
    change(&gateway.ledger(), "UPDATE grants SET state = 2, cause = 'cancelled'");
    gateway.start_again();
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("cancelled"));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    gateway.log.line(&["closed user=campus/alice", "cause=cancelled"]);
}

#[test]
fn cut_and_past_its_end_it_is_closed_as_of_its_end() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = granted_and_killed(&provider);
    // The end comes while the program is away; the clock that counts is CLOCK_BOOTTIME.
    change(&gateway.ledger(), "UPDATE grants SET deadline = 1, ends_at = opened_at + 1");
    gateway.start_again();
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("expired"));
    assert_eq!(number(&gateway.ledger(), "SELECT closed_at - ends_at FROM grants"), 0);
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
}

/// What people saw of one run.
#[derive(Default)]
struct Seen {
    /// Grants that were answered with 201, by their address.
    granted: Mutex<BTreeMap<IpAddr, String>>,
    /// Addresses whose connection came through.
    through: Mutex<Vec<IpAddr>>,
    events: AtomicUsize,
}

/// Kill -9 while people sign in and connect, after so many of them had their answers; then nothing is promised that does not
/// stand, and nothing stands that was not promised.
#[test]
fn cut_at_any_moment_under_load() {
    const ROUNDS: u8 = 12;
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).service("close_when_used", "false").start();
    let seen = Seen::default();
    for round in 1..=ROUNDS {
        let enough = seen.events.load(Ordering::SeqCst) + 3 * usize::from(round) + 1;
        std::thread::scope(|scope| {
            for worker in 0..8_u8 {
                let (gateway, seen) = (&gateway, &seen);
                scope.spawn(move || visit(gateway, seen, round, worker));
            }
            gateway.log.until("so many answers", || (seen.events.load(Ordering::SeqCst) >= enough).then_some(()));
            gateway.signal(rustix::process::Signal::KILL);
        });
        gateway.kill9();
        gateway.start_again();
        check(&gateway, &seen);
    }
}

/// Signs in from one address after the other and connects from each, until the program is gone.
fn visit(gateway: &Gateway, seen: &Seen, round: u8, worker: u8) {
    for low in 1..=200 {
        let source = at(round * 8 + worker, low);
        let Some(answer) = gateway.try_sign_in(source, "alice", PASSWORD) else { return };
        assert_eq!(answer.verdict(), "201 granted");
        seen.granted.lock().unwrap().insert(source, answer.text("id"));
        seen.events.fetch_add(1, Ordering::SeqCst);
        if gateway.connect(source).is_through() {
            seen.through.lock().unwrap().push(source);
            seen.events.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[track_caller]
fn check(gateway: &Gateway, seen: &Seen) {
    let grants = gateway.until("nothing half done", |grants| {
        grants.iter().all(|grant| matches!(grant.state, "open" | "closed") && grant.alive == 0)
    });
    let by_source: BTreeMap<Vec<u8>, _> = grants.iter().map(|grant| (grant.source.clone(), grant)).collect();
    assert_eq!(by_source.len(), grants.len(), "nobody has two");
    let octets = |source: &IpAddr| match source {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    for source in seen.granted.lock().unwrap().keys() {
        let grant = by_source[&octets(source)];
        assert_eq!(grant.state, "open", "P3, P5: what was answered stands: {source} {grant:?}");
    }
    for source in seen.through.lock().unwrap().iter() {
        let grant = by_source[&octets(source)];
        assert_eq!(grant.claims, 1, "P1, P3: what passed was claimed and stays spent: {source} {grant:?}");
        assert!(matches!(gateway.connect(*source), Outcome::Reset), "P1: {source}");
    }
    for grant in grants.iter().filter(|grant| grant.state == "closed") {
        assert_eq!(grant.cause.as_deref(), Some("swept"), "cut before it was open: {grant:?}");
    }
}
