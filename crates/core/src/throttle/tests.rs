//! The throttle, by cases and against a reference that has all the room it wants.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn throttle(capacity: usize) -> Throttle {
    Throttle::new(Limits::default(), capacity, [7; 16])
}

/// Milliseconds from the start on both clocks.
fn at(milliseconds: u64) -> Now {
    let utc = Timestamp::UNIX_EPOCH + Duration::from_millis(milliseconds);
    Now { utc, boot: BootTime(milliseconds) }
}

fn sign_in(name: &str, address: impl Into<IpAddr>) -> SignIn {
    SignIn {
        login: Login::parse(name).expect("a login"),
        password: Password::new("guess".to_owned()).expect("a password"),
        service: ServiceName::new("kms"),
        source: Source::new(address.into()),
    }
}

fn v4(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An attempt up to its ticket, or how long to wait.
fn pass(throttle: &mut Throttle, name: &str, address: IpAddr, now: Now) -> Result<Ticket, Duration> {
    match throttle.pass(sign_in(name, address), now) {
        Ok(asked) => Ok(asked.into_parts().1),
        Err(refusal) => {
            assert_eq!((refusal.reason, &refusal.rule), (Reason::TooManyAttempts, &None));
            Err(refusal.retry_after.expect("waiting helps"))
        }
    }
}

/// A wrong password, answered at once.
fn guess(throttle: &mut Throttle, name: &str, address: IpAddr, now: Now) -> Result<(), Duration> {
    let ticket = pass(throttle, name, address, now)?;
    throttle.failed(ticket, Failure::Rejected, now);
    Ok(())
}

/// The right password, answered at once.
fn enter(throttle: &mut Throttle, name: &str, address: IpAddr, now: Now) -> Result<(), Duration> {
    let ticket = pass(throttle, name, address, now)?;
    throttle.succeeded(ticket, now);
    Ok(())
}

fn attacker(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn waits(milliseconds: u64) -> Result<(), Duration> {
    Err(Duration::from_millis(milliseconds))
}

#[test]
fn ten_failures_a_minute_from_an_address_and_the_wait_is_exact() {
    let mut throttle = throttle(64);
    for number in 0..10 {
        assert_eq!(guess(&mut throttle, &format!("user{number}"), attacker(1), at(number * SECOND)), Ok(()));
    }
    assert_eq!(guess(&mut throttle, "eleventh", attacker(1), at(10 * SECOND)), waits(50 * SECOND));
    assert_eq!(guess(&mut throttle, "eleventh", attacker(1), at(MINUTE - 1)), waits(1));
    assert_eq!(guess(&mut throttle, "eleventh", attacker(1), at(MINUTE)), Ok(()));
    assert_eq!(guess(&mut throttle, "twelfth", attacker(1), at(MINUTE)), waits(SECOND));
}

#[test]
fn twenty_failures_an_hour_for_a_name_wherever_they_come_from() {
    let mut throttle = throttle(64);
    for number in 0..20 {
        assert_eq!(guess(&mut throttle, "alice", attacker(number), at(0)), Ok(()));
    }
    assert_eq!(guess(&mut throttle, "alice", attacker(99), at(MINUTE)), waits(HOUR - MINUTE));
    assert_eq!(guess(&mut throttle, "alice", attacker(99), at(HOUR)), Ok(()));
}

#[test]
fn f03_a_refused_attempt_prolongs_nothing() {
    let mut throttle = throttle(64);
    for _ in 0..10 {
        assert_eq!(guess(&mut throttle, "alice", attacker(1), at(0)), Ok(()));
    }
    for second in 1..60 {
        assert_eq!(guess(&mut throttle, "alice", attacker(1), at(second * SECOND)), waits(MINUTE - second * SECOND));
    }
    assert_eq!(guess(&mut throttle, "alice", attacker(1), at(MINUTE)), Ok(()));
}

#[test]
fn only_failures_count() {
    let mut throttle = throttle(64);
    for number in 0..10_000 {
        assert_eq!(enter(&mut throttle, "alice", attacker(1), at(number)), Ok(()));
    }
    assert_eq!(throttle.in_flight(), 0);
    assert_eq!((throttle.v4.len(), throttle.name.len(), throttle.name_here.len()), (0, 0, 0));
}

#[test]
fn f15_ten_thousand_wrong_passwords_bind_nobody_else() {
    let mut throttle = throttle(1024);
    let home = v4("198.51.100.7");
    assert_eq!(enter(&mut throttle, "alice", home, at(0)), Ok(()));
    let mut asked = 0;
    for number in 0..10_000 {
        let now = at(1 + number * 10);
        asked += u32::from(guess(&mut throttle, "alice", attacker(1), now).is_ok());
        assert_eq!(enter(&mut throttle, "bob", v4("198.51.100.8"), now), Ok(()), "another name, another address");
    }
    assert_eq!(asked, 20, "what the account servers saw of it in 100 seconds");
    let now = at(100 * SECOND);
    assert_eq!(enter(&mut throttle, "alice", home, now), Ok(()), "the owner where the owner was");
    assert!(enter(&mut throttle, "alice", v4("203.0.113.1"), now).is_err(), "a stranger elsewhere");
    assert_eq!(enter(&mut throttle, "carol", v4("203.0.113.1"), now), Ok(()));
}

#[test]
fn f15_the_owners_address_is_bound_by_what_fails_there() {
    let mut throttle = throttle(1024);
    assert_eq!(enter(&mut throttle, "alice", attacker(1), at(0)), Ok(()));
    let asked = (0..120).filter(|n| guess(&mut throttle, "alice", attacker(1), at(n * 30 * SECOND)).is_ok()).count();
    assert_eq!(asked, 20, "of one guess every 30 seconds for an hour");
}

#[test]
fn f15_thousand_guesses_at_once_are_no_more_than_one_after_another() {
    let mut throttle = throttle(4096);
    let tickets: Vec<_> = (0..1000).filter_map(|n| pass(&mut throttle, "alice", attacker(n), at(0)).ok()).collect();
    assert_eq!(tickets.len(), 20);
    assert_eq!(pass(&mut throttle, "alice", attacker(1), at(0)), Err(Duration::from_secs(1)));
    for ticket in tickets {
        throttle.failed(ticket, Failure::Rejected, at(500));
    }
    assert_eq!(pass(&mut throttle, "alice", attacker(1), at(500)), Err(Duration::from_secs(3600)));
}

#[test]
fn f15_names_tried_at_once_from_one_address_are_paid_off_at_its_rate() {
    let mut throttle = throttle(4096);
    let at_once = |throttle: &mut Throttle, round: u64, now: Now| {
        let name = |n| format!("user{round}x{n}");
        let passed = (0..1000).filter_map(|n| pass(throttle, &name(n), attacker(1), now).ok());
        let tickets: Vec<Ticket> = passed.collect();
        let count = tickets.len();
        for ticket in tickets {
            throttle.failed(ticket, Failure::Rejected, now);
        }
        count
    };
    assert_eq!(at_once(&mut throttle, 0, at(0)), 64);
    let asked: usize = (1..=60).map(|minute| at_once(&mut throttle, minute, at(minute * MINUTE))).sum();
    assert!(asked + 64 <= 61 * 10 + 64, "{asked} in an hour after 64 at once");
    assert_eq!(pass(&mut throttle, "bob", attacker(2), at(HOUR)).map(|_| ()), Ok(()));
}

#[test]
fn a_class_behind_one_address_signs_in_at_once() {
    let mut throttle = throttle(4096);
    let tickets: Vec<_> = (0..40).map(|n| pass(&mut throttle, &format!("user{n}"), attacker(1), at(0))).collect();
    for ticket in tickets {
        throttle.succeeded(ticket.expect("nothing has failed"), at(SECOND));
    }
}

#[test]
fn an_ipv6_site_has_sixteen_times_the_budget_of_a_network() {
    let mut throttle = throttle(4096);
    let address =
        |site: u16, network: u16, host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, host));
    let mut asked = 0;
    for n in 0..1000_u16 {
        asked += u32::from(guess(&mut throttle, &format!("user{n}"), address(1, 1, n), at(0)).is_ok());
    }
    assert_eq!(asked, 10, "one network, a thousand hosts");
    for n in 0..1000_u16 {
        asked += u32::from(guess(&mut throttle, &format!("user{n}"), address(1, 100 + n, 1), at(0)).is_ok());
    }
    assert_eq!(asked, 160, "one site, a thousand networks");
    assert_eq!(guess(&mut throttle, "bob", address(2, 1, 1), at(0)), Ok(()), "the neighbour's site");
}

#[test]
fn an_outage_counts_for_the_address_and_never_for_the_name() {
    let mut throttle = throttle(1024);
    for number in 0..100 {
        let ticket = pass(&mut throttle, "alice", attacker(number), at(0)).expect("the name has not failed");
        throttle.outage(ticket, at(0));
        let ticket = pass(&mut throttle, "alice", attacker(number), at(0)).expect("the name has not failed");
        throttle.failed(ticket, Failure::NotAccepted, at(0));
    }
    for _ in 0..8 {
        let ticket = pass(&mut throttle, "alice", attacker(1), at(0)).expect("not ten yet");
        throttle.outage(ticket, at(0));
    }
    assert_eq!(guess(&mut throttle, "bob", attacker(1), at(0)), waits(MINUTE));
}

#[test]
fn p4_a_realm_makes_no_other_name() {
    let mut throttle = throttle(1024);
    for number in 0..20 {
        assert_eq!(guess(&mut throttle, &format!("alice@r{number}.example"), attacker(number), at(0)), Ok(()));
    }
    assert_eq!(guess(&mut throttle, "ALICE", attacker(99), at(0)), waits(HOUR));
}

#[test]
fn a_lost_attempt_does_not_hold_its_place_for_ever() {
    let mut throttle = throttle(1024);
    for number in 0..20 {
        drop(pass(&mut throttle, "alice", attacker(number), at(0)).expect("room"));
    }
    assert_eq!(guess(&mut throttle, "alice", attacker(99), at(5 * MINUTE - 1)), waits(SECOND));
    assert_eq!(guess(&mut throttle, "alice", attacker(99), at(5 * MINUTE)), Ok(()));
    assert_eq!(throttle.in_flight(), 0);
}

#[test]
fn what_the_ledger_remembers_is_known_for_thirty_days() {
    const DAY: u64 = 24 * HOUR;
    let home = v4("198.51.100.7");
    for (age, known) in [(0, true), (30 * DAY - HOUR, true), (30 * DAY, false)] {
        let mut throttle = throttle(1024);
        let name = Name::canonical("alice").expect("a name");
        throttle.learn(&name, Source::new(home), at(0).utc);
        for number in 0..20 {
            assert_eq!(guess(&mut throttle, "alice", attacker(number), at(age)), Ok(()));
        }
        assert_eq!(enter(&mut throttle, "alice", home, at(age)).is_ok(), known, "{age}");
    }
}

#[test]
fn known_places_are_bounded_for_each_name_and_in_all() {
    let mut throttle = throttle(100);
    assert_eq!(enter(&mut throttle, "alice", v4("198.51.100.7"), at(0)), Ok(()));
    for number in 0..1000 {
        assert_eq!(enter(&mut throttle, "mallory", attacker(number), at(u64::from(number))), Ok(()));
    }
    for number in 0..20 {
        assert_eq!(guess(&mut throttle, "alice", attacker(5000 + number), at(1000)), Ok(()));
    }
    assert_eq!(enter(&mut throttle, "alice", v4("198.51.100.7"), at(1000)), Ok(()), "not pushed out by mallory");
    for number in 0..1000 {
        let now = at(2000 + number);
        assert_eq!(enter(&mut throttle, &format!("user{number}"), v4("198.51.100.9"), now), Ok(()));
        assert!(throttle.known.len() <= 100);
    }
}

#[test]
fn other_limits_hold_at_once_and_forget_nothing() {
    let mut throttle = throttle(64);
    let limits =
        |attempts| Limits { per_address: Rate { attempts, every: Duration::from_secs(60) }, ..Limits::default() };
    for _ in 0..5 {
        assert_eq!(guess(&mut throttle, "alice", attacker(1), at(0)), Ok(()));
    }
    throttle.set_limits(limits(3));
    assert_eq!(guess(&mut throttle, "alice", attacker(1), at(SECOND)), waits(MINUTE - SECOND));
    throttle.set_limits(limits(4));
    assert_eq!(guess(&mut throttle, "alice", attacker(1), at(SECOND)), Ok(()));
    assert!(guess(&mut throttle, "alice", attacker(1), at(SECOND)).is_err());
}

#[test]
fn a_full_table_merges_and_what_is_idle_parts_again() {
    let mut throttle = throttle(64);
    for number in 0..10_000_u32 {
        guess(&mut throttle, &format!("user{number}"), attacker(number * 257), at(0)).ok();
        throttle.v4.check();
        throttle.name.check();
        throttle.name_here.check();
    }
    assert_eq!(guess(&mut throttle, "alice", v4("198.51.100.7"), at(2 * HOUR)), Ok(()));
    assert_eq!(guess(&mut throttle, "alice", v4("198.51.100.7"), at(2 * HOUR)), Ok(()));
    for _ in 0..10 {
        guess(&mut throttle, "mallory", attacker(1), at(2 * HOUR)).ok();
    }
    assert_eq!(
        enter(&mut throttle, "bob", attacker(2), at(2 * HOUR)),
        Ok(()),
        "its neighbour's failures are not its own"
    );
}

#[test]
fn f15_whoever_is_shut_out_stays_so_when_the_table_is_flooded() {
    let mut throttle = throttle(8);
    for (number, second) in [(1, 0), (2, 20), (3, 10)] {
        for n in 0..10 {
            assert_eq!(
                guess(&mut throttle, &format!("user{number}x{n}"), attacker(number), at(second * SECOND)),
                Ok(())
            );
        }
    }
    for number in 1..7 {
        assert_eq!(guess(&mut throttle, &format!("flood{number}"), attacker(number << 20), at(30 * SECOND)), Ok(()));
    }
    assert!(throttle.v4.len() <= 8);
    for (number, milliseconds) in [(1, 30 * SECOND), (2, 50 * SECOND), (3, 40 * SECOND)] {
        let wait = guess(&mut throttle, "alice", attacker(number), at(30 * SECOND)).expect_err("shut out");
        assert!(wait >= Duration::from_millis(milliseconds), "{number} waits only {wait:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Wrong,
    Outage,
    Right,
    Later,
}

fn attempts() -> impl Strategy<Value = Vec<(u32, bool, u8, Answer, u64)>> {
    let answer = prop_oneof![
        5 => Just(Answer::Wrong),
        1 => Just(Answer::Outage),
        1 => Just(Answer::Right),
        2 => Just(Answer::Later),
    ];
    let step = prop_oneof![5 => 0_u64..2000, 1 => 0_u64..HOUR];
    proptest::collection::vec((0_u32..60, any::<bool>(), 0_u8..30, answer, step), 1..250)
}

proptest! {
    /// A throttle with little room refuses whatever one with all the room refuses, and for at least as long.
    #[test]
    fn f15_little_room_forgets_nothing(attempts in attempts(), capacity in 2_usize..12) {
        let limits = Limits {
            per_address: Rate { attempts: 3, every: Duration::from_secs(60) },
            per_user: Rate { attempts: 4, every: Duration::from_secs(600) },
        };
        let mut small = Throttle::new(limits, capacity, [1; 16]);
        let mut large = Throttle::new(limits, 1 << 20, [1; 16]);
        // Both are to know the same places, for forgetting one is allowed: nothing is ever accepted in the comparison.
        let (mut later, mut now) = (Vec::new(), 0);
        for (place, six, name, answer, step) in attempts {
            now += step;
            let address: IpAddr = if six {
                Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | ((u128::from(place) * 0x1234_5678_9abc) << 64)).into()
            } else {
                Ipv4Addr::from_bits(place.wrapping_mul(0x0345_6789)).into()
            };
            let name = format!("user{name}");
            let asked = pass(&mut small, &name, address, at(now));
            // The large one is asked even when the small one refused; an attempt that the small one refused is undone.
            match (asked, pass(&mut large, &name, address, at(now))) {
                (Ok(ticket), Ok(other)) => match answer {
                    Answer::Wrong => {
                        small.failed(ticket, Failure::Rejected, at(now));
                        large.failed(other, Failure::Rejected, at(now));
                    }
                    Answer::Outage | Answer::Right => {
                        small.outage(ticket, at(now));
                        large.outage(other, at(now));
                    }
                    Answer::Later => later.push((ticket, other)),
                },
                (Err(_), Ok(other)) => {
                    let Flight { keys, .. } = large.flights.remove(&other.0).expect("in flight");
                    for (table, key) in large.tables(keys) {
                        table.release(key, BootTime(now));
                    }
                }
                (Err(wait), Err(other)) => prop_assert!(wait >= other, "{wait:?} is shorter than {other:?}"),
                (Ok(_), Err(other)) => prop_assert!(false, "room where there is none for {other:?}"),
            }
            if later.len() > 2 {
                let (ticket, other) = later.remove(0);
                small.failed(ticket, Failure::Rejected, at(now));
                large.failed(other, Failure::Rejected, at(now));
            }
            for table in [&small.v4, &small.v6, &small.v6_site, &small.name, &small.name_here] {
                table.check();
            }
        }
    }

    /// Nothing is left of attempts that were all accepted, and never more than the room of attempts that were not.
    #[test]
    fn the_room_is_bounded(attempts in attempts(), capacity in 2_usize..12) {
        let mut throttle = throttle(capacity);
        let mut now = 0;
        for (place, _, name, answer, step) in attempts {
            now += step;
            let Ok(ticket) = pass(&mut throttle, &format!("user{name}"), attacker(place), at(now)) else { continue };
            match answer {
                Answer::Wrong => throttle.failed(ticket, Failure::Rejected, at(now)),
                Answer::Outage => throttle.outage(ticket, at(now)),
                Answer::Right => throttle.succeeded(ticket, at(now)),
                Answer::Later => drop(ticket),
            }
            for table in [&throttle.v4, &throttle.name, &throttle.name_here] {
                table.check();
            }
            prop_assert!(throttle.known.len() <= capacity);
        }
    }
}
