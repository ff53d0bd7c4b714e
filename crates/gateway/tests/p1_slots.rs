//! The budgets of the relay against a reference (P1, F01, F07): whatever happens in whatever order, no grant has more
//! connections out than it may, nothing given back is given back a fourth time, and nothing is forgotten.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use kmsgate::forward::slots::{Claimed, Held, Place, Slots, Spent, Turned};
use kmsgate_core::address::Source;
use kmsgate_core::grant::{GIVEN_BACK_AT_MOST, GrantId, State, Totals, Window};
use kmsgate_core::name::{Domain, Name, Person, RuleName, ServiceName};
use kmsgate_core::random::Entropy;
use kmsgate_core::time::BootTime;
use kmsgate_ledger::records::GrantRecord;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const DEADLINE: u64 = 1000;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody connects at this moment.
    Enter(u64),
    /// This place becomes a claim.
    Claim(usize),
    /// This place's provider was not reached.
    Leave(usize),
    /// This claim ends; whether it is to be given back, and whether the ledger writes that.
    End(usize, bool, bool),
    /// A stranger tries.
    Stranger,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..DEADLINE + 100).prop_map(Step::Enter),
        4 => (0..8_usize).prop_map(Step::Claim),
        1 => (0..8_usize).prop_map(Step::Leave),
        3 => (0..8_usize, any::<bool>(), any::<bool>()).prop_map(|(which, back, written)| Step::End(which, back, written)),
        1 => Just(Step::Stranger),
    ]
}

fn grant(connections: u16, claims: u16, given_back: u16) -> GrantRecord {
    let opened_at = "2026-08-13T12:00:00Z".parse().unwrap();
    let source = Source::new(Ipv4Addr::new(198, 51, 100, 7).into());
    GrantRecord {
        id: GrantId::new(opened_at, Entropy([1; 10])),
        person: Person { domain: Domain::new("campus"), name: Name::canonical("alice").unwrap() },
        voucher: "mail".to_owned(),
        note: None,
        source,
        key: source.key(128),
        service: ServiceName::new("kms"),
        rule: RuleName::new("students"),
        window: Window { opened_at, ends_at: opened_at, deadline: BootTime(DEADLINE) },
        state: State::Open,
        closed_at: None,
        connections,
        claims,
        given_back,
        alive: 0,
        last_claim: u32::from(claims + given_back),
        close_when_used: true,
        provider: None,
        totals: Totals::default(),
        shared: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn p1_no_order_of_events_lets_out_more_than_there_are(
        connections in 1_u16..5,
        used_before in 0_u16..3,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let grant = grant(connections, used_before.min(connections), 0);
        let slots = Arc::new(Slots::new(10));
        slots.insert(0, &grant).unwrap();
        let mut expected = Held { connections, claims: grant.claims, ..Held::default() };
        let (mut places, mut claims): (Vec<Place>, Vec<Claimed>) = (Vec::new(), Vec::new());
        let mut numbers = Vec::new();
        for step in steps {
            match step {
                Step::Enter(now) => {
                    let free = expected.claims + expected.provisional < connections;
                    match slots.enter(0, grant.key, BootTime(now)) {
                        Ok(place) => {
                            prop_assert!(free && now < DEADLINE);
                            expected.provisional += 1;
                            places.push(place);
                        }
                        Err(Turned::Taken) => prop_assert!(!free && now < DEADLINE),
                        Err(Turned::NoGrant) => prop_assert!(now >= DEADLINE),
                    }
                }
                Step::Claim(which) if which < places.len() => {
                    let place = places.remove(which);
                    let number = place.number();
                    prop_assert!(number > grant.last_claim && !numbers.contains(&number), "{} again", number);
                    numbers.push(number);
                    claims.push(place.claim());
                    expected.provisional -= 1;
                    expected.claims += 1;
                    expected.alive += 1;
                }
                Step::Leave(which) if which < places.len() => {
                    drop(places.remove(which));
                    expected.provisional -= 1;
                }
                Step::End(which, back, written) if which < claims.len() => {
                    let mut claimed = claims.remove(which);
                    if back {
                        let may = claimed.give_back();
                        prop_assert_eq!(may, expected.given_back < GIVEN_BACK_AT_MOST);
                        if may && written {
                            expected.given_back += 1;
                            expected.claims -= 1;
                        }
                        if !written {
                            claimed.keep();
                        }
                    }
                    claimed.end(Spent { lasted: Duration::from_millis(5) });
                    expected.alive -= 1;
                }
                Step::Stranger => {
                    let elsewhere = Source::new(Ipv4Addr::new(198, 51, 100, 8).into()).key(128);
                    prop_assert_eq!(slots.enter(0, elsewhere, BootTime(0)).err(), Some(Turned::NoGrant));
                    prop_assert_eq!(slots.enter(1, grant.key, BootTime(0)).err(), Some(Turned::NoGrant));
                }
                Step::Claim(_) | Step::Leave(_) | Step::End(..) => {}
            }
            prop_assert_eq!(slots.held(grant.id), Some(expected));
            prop_assert!(expected.claims + expected.provisional <= connections, "P1");
            prop_assert_eq!(slots.used(grant.id), expected.claims >= connections && expected.alive == 0);
        }
        drop((places, claims));
        prop_assert_eq!(slots.held(grant.id).map(|held| (held.provisional, held.alive)), Some((0, 0)));
    }
}
