//! One function a promise. Each begins with an empty store.

use super::{BOOT, DAY, MINUTE, OTHER_BOOT, Store, ask, at, claim, end, failed, id, open, person, reserve, token};
use crate::Ledger;
use crate::records::{
    Claim, CloseBegun, Event, Filter, LedgerError, RefusalCount, ReportBy, ReportQuery, Reserved, RunningClaim,
    Session, What,
};
use jiff::Timestamp;
use kmsgate_core::decide::{Decision, decide};
use kmsgate_core::grant::{State, Totals};
use kmsgate_core::name::{Name, ServiceName};
use kmsgate_core::quota::Counts;
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::{Cause, Reason};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

async fn begin<S: Store>() -> (S, S::Engine) {
    let store = S::empty();
    let ledger = store.open().await;
    assert_eq!(ledger.recover(BOOT, at(0)).await.unwrap(), crate::records::Swept::default());
    (store, ledger)
}

async fn events(ledger: &impl Ledger) -> Vec<Event> {
    ledger.events_after(0, 10_000).await.unwrap()
}

/// A grant from the sign-in to its close, and everything that is said of it on the way.
pub(crate) async fn a_grant_lives_once<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let alice = ask("alice", "198.51.100.7");
    let Reserved::New { grant, replaced: None } = reserve(&ledger, &alice, 1, at(0)).await.unwrap() else { panic!() };
    assert_eq!((grant.state, grant.voucher.as_str(), grant.shared), (State::Opening, "mail", false));
    assert_eq!(ledger.grant(grant.id).await.unwrap().as_ref(), Some(&grant));
    assert!(ledger.claim(claim(grant.id, 1), at(1)).await.unwrap_err().to_string().contains("opening"));

    let opened = ledger.opened(grant.id, None, at(1)).await.unwrap();
    assert_eq!(opened.state, State::Open);
    assert_eq!(opened.window, grant.window);
    assert!(matches!(ledger.opened(grant.id, None, at(1)).await, Err(LedgerError::State(_))));

    ledger.claim(claim(grant.id, 1), at(2)).await.unwrap();
    ledger.answered(grant.id, 1).await.unwrap();
    ledger.claim_ended(end(grant.id, 1), at(3)).await.unwrap();
    let CloseBegun::Begun(closing) = ledger.closing(grant.id, Cause::Used, at(4)).await.unwrap() else { panic!() };
    assert_eq!(closing.state, State::Closing(Cause::Used));
    let CloseBegun::AlreadyBegun(again) = ledger.closing(grant.id, Cause::Revoked, at(4)).await.unwrap() else {
        panic!()
    };
    assert_eq!(again.state, State::Closing(Cause::Used), "the first cause stays");
    assert!(matches!(ledger.claim(claim(grant.id, 2), at(4)).await, Err(LedgerError::State(_))));
    let in_kernel = Claim { relayed: false, ..claim(grant.id, 2) };
    assert_eq!(ledger.claim(in_kernel, at(4)).await, Err(LedgerError::Spent), "let in before, but one too many");

    let totals = Totals { claims: 1, given_back: 0, bytes_in: 300, bytes_out: 260, milliseconds: 0 };
    let closed = ledger.closed(grant.id, totals, at(5)).await.unwrap();
    let known = Totals { milliseconds: 3100, ..totals };
    assert_eq!(
        (closed.state, closed.totals, closed.closed_at),
        (State::Closed(Cause::Used, known), known, Some(at(5).utc))
    );
    let late = Totals { bytes_in: 301, ..Totals::default() };
    assert_eq!(ledger.closed(grant.id, late, at(6)).await.unwrap().closed_at, closed.closed_at, "closed stays closed");
    let CloseBegun::AlreadyBegun(_) = ledger.closing(grant.id, Cause::Revoked, at(7)).await.unwrap() else { panic!() };
    assert_eq!(ledger.opened(id(9, at(0)), None, at(9)).await.unwrap_err(), LedgerError::Missing);

    let said: Vec<String> = events(&ledger)
        .await
        .iter()
        .map(|event| match &event.what {
            What::Granted(g) => format!("granted {} {}", g.state.as_str(), g.claims),
            What::Claimed(g, c) => format!("claimed {} {}", g.claims, c.number),
            What::Ended(g, e) => format!("ended {} {}", g.alive, e.bytes_in),
            What::Closed(g) => format!("closed {:?} {}", g.state, g.totals.bytes_in),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(said[..3], ["granted open 0", "claimed 1 1", "ended 0 268"]);
    assert_eq!(events(&ledger).await[3].what, What::Closed(closed), "as it was then, not as it is now");
    assert_eq!(said.len(), 4);
}

/// The same person again: the same grant with another token. Somebody else: busy, without a name (P4, F12, F17).
pub(crate) async fn p4_one_grant_a_key_and_service<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let alice = ask("alice", "198.51.100.7");
    let first = open(&ledger, &alice, 1, at(0)).await;
    let Reserved::Same(same) = reserve(&ledger, &alice, 2, at(5)).await.unwrap() else { panic!() };
    assert_eq!((same.id, same.window), (first.id, first.window));
    assert_eq!(ledger.grant_by_token(token(1), at(5)).await.unwrap(), None);
    assert_eq!(ledger.grant_by_token(token(2), at(5)).await.unwrap().map(|g| g.id), Some(first.id));

    let bob = ask("bob", "198.51.100.7");
    let Reserved::Refused(refusal) = reserve(&ledger, &bob, 3, at(6)).await.unwrap() else { panic!() };
    assert_eq!(refusal.reason, Reason::SourceBusy);
    assert!(!format!("{refusal:?}").contains("alice"));
    let mut files = bob.clone();
    files.service = "files";
    assert!(open(&ledger, &files, 4, at(7)).await.shared, "alice was here within a day");
    assert_eq!(ledger.count_open(ServiceName::new("kms")).await.unwrap(), 1);

    let kinds = events(&ledger).await;
    assert!(matches!(&kinds[1].what, What::Renewed(g) if g.id == first.id));
    assert!(matches!(&kinds[2].what, What::Refused(r) if r.reason == Reason::SourceBusy && r.person == person("bob")));

    // Past its end a grant stands in nobody's way, even if nobody closed it; its record says when it ended.
    let later = at(200_000);
    assert_eq!(ledger.facts(bob.request(5, later), later).await.unwrap().standing, None);
    let Reserved::New { grant, replaced: None } = reserve(&ledger, &bob, 5, later).await.unwrap() else { panic!() };
    assert!(grant.shared);
    let ended = ledger.grant(first.id).await.unwrap().unwrap();
    assert_eq!(ended.state, State::Closed(Cause::Expired, Totals::default()));
    assert_eq!(ended.closed_at, Some(first.window.ends_at));
    assert!(matches!(&events(&ledger).await[4].what, What::Closed(g) if g.id == first.id));
    assert_eq!(ledger.count_open(ServiceName::new("kms")).await.unwrap(), 1);
    let after_a_day = at(200_000 + DAY + 1);
    let carol = ask("carol", "198.51.100.7");
    assert!(!open(&ledger, &carol, 6, after_a_day).await.shared);
}

/// The person's own grant whose connections are used up makes room for a new one in the same step.
pub(crate) async fn a_spent_grant_is_replaced<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let alice = ask("alice", "198.51.100.7");
    let first = open(&ledger, &alice, 1, at(0)).await;
    ledger.claim(claim(first.id, 1), at(1)).await.unwrap();
    let Reserved::Same(_) = reserve(&ledger, &alice, 2, at(2)).await.unwrap() else { panic!("one is alive") };
    ledger.claim_ended(end(first.id, 1), at(3)).await.unwrap();
    let Reserved::New { grant, replaced } = reserve(&ledger, &alice, 3, at(4)).await.unwrap() else { panic!() };
    assert_eq!(replaced, Some(first.id));
    assert_ne!(grant.id, first.id);
    let spent = ledger.grant(first.id).await.unwrap().unwrap();
    assert!(matches!(spent.state, State::Closed(Cause::Used, totals) if totals.claims == 1));
    assert_eq!(spent.closed_at, Some(at(4).utc));
}

/// A decision that does not fit what stands there changes nothing, and a job that fails spoils no other.
pub(crate) async fn a_refused_job_leaves_nothing<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let alice = ask("alice", "198.51.100.7");
    let first = open(&ledger, &alice, 1, at(0)).await;
    let request = ask("bob", "198.51.100.7").request(2, at(1));
    let wrong = ledger.reserve(request, at(1), |_, _, _| Decision::Open).await;
    assert!(matches!(wrong, Err(LedgerError::State(_))), "{wrong:?}");
    let request = ask("bob", "198.51.100.8").request(2, at(1));
    assert!(matches!(ledger.reserve(request, at(1), |r, _, _| Decision::Same(r.id)).await, Err(LedgerError::State(_))));
    // A name that was given before.
    let request = ask("bob", "198.51.100.9").request(1, at(0));
    assert!(matches!(ledger.reserve(request, at(0), decide).await, Err(LedgerError::State(_))));
    assert_eq!(ledger.grant(first.id).await.unwrap().unwrap(), first);
    assert_eq!(events(&ledger).await.len(), 1);
    assert_eq!(ledger.count_open(ServiceName::new("kms")).await.unwrap(), 1);
    // Both at once, the second bad: the first stands.
    let good = ask("carol", "198.51.100.10").request(5, at(2));
    let bad = ask("dave", "198.51.100.11").request(1, at(0));
    let (good, bad) = tokio::join!(ledger.reserve(good, at(2), decide), ledger.reserve(bad, at(2), decide));
    assert!(good.is_ok() && bad.is_err());
}

/// However many race: never more claims outstanding than connections; three are given back and no more (P1, F01, F07).
pub(crate) async fn p1_claims_are_exact<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let mut alice = ask("alice", "198.51.100.7");
    alice.connections = 3;
    let grant = open(&ledger, &alice, 1, at(0)).await.id;
    let ledger = Arc::new(ledger);
    let racing: Vec<_> = (1..=50)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.claim(claim(grant, number), at(1)).await })
        })
        .collect();
    let mut taken = vec![];
    for (number, racer) in (1..).zip(racing) {
        match racer.await.unwrap() {
            Ok(()) => taken.push(number),
            Err(error) => assert_eq!(error, LedgerError::Spent),
        }
    }
    assert_eq!(taken.len(), 3);
    assert!(matches!(ledger.claim(claim(grant, taken[0]), at(2)).await, Err(LedgerError::Spent)));

    // Three are given back, one after the other; the fourth failure counts as used.
    for (n, number) in [(0, taken[0]), (1, 100), (2, 101), (3, 102)] {
        ledger.claim_ended(failed(grant, number), at(3)).await.unwrap();
        let record = ledger.grant(grant).await.unwrap().unwrap();
        assert_eq!((record.given_back, record.claims), if n < 3 { (n + 1, 2) } else { (3, 3) });
        if n < 3 {
            ledger.claim(claim(grant, 100 + u32::from(n)), at(3)).await.unwrap();
        } else {
            assert_eq!(ledger.claim(claim(grant, 103), at(3)).await, Err(LedgerError::Spent));
        }
    }
    // A connection ends once; what was answered is not given back.
    assert_eq!(ledger.claim_ended(failed(grant, 100), at(4)).await, Err(LedgerError::Missing));
    assert_eq!(ledger.claim_ended(failed(grant, 999), at(4)).await, Err(LedgerError::Missing));
    assert_eq!(ledger.answered(grant, 999).await, Err(LedgerError::Missing));
    ledger.claim_ended(end(grant, taken[1]), at(5)).await.unwrap();
    let record = ledger.grant(grant).await.unwrap().unwrap();
    assert_eq!((record.alive, record.last_claim), (1, 102), "the next number is above every one that was taken");

    let bob = ask("bob", "198.51.100.8");
    let other = open(&*ledger, &bob, 2, at(0)).await.id;
    ledger.claim(claim(other, 1), at(1)).await.unwrap();
    ledger.answered(other, 1).await.unwrap();
    ledger.claim_ended(failed(other, 1), at(2)).await.unwrap();
    assert_eq!(ledger.grant(other).await.unwrap().unwrap().claims, 1, "it was answered");
    let late = at(200_000);
    let third = open(&*ledger, &ask("carol", "198.51.100.9"), 3, at(0)).await.id;
    assert_eq!(ledger.claim(claim(third, 1), late).await, Err(LedgerError::Spent), "the window is over");
}

/// 50 sign-ins of one person at once from different addresses with quota 2: exactly 2 (P4, F13).
pub(crate) async fn p4_a_quota_cannot_be_raced<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let ledger = Arc::new(ledger);
    for (round, counts) in [Counts::Used, Counts::Logins].into_iter().enumerate() {
        let racing: Vec<_> = (0..50_u8)
            .map(|n| {
                let ledger = Arc::clone(&ledger);
                let mut alice = ask(["alice", "bob"][round], &format!("198.51.{round}.{n}"));
                (alice.week, alice.counts) = (Some(2), counts);
                tokio::spawn(async move { reserve(&*ledger, &alice, u64::from(n) + 100 * round as u64, at(1)).await })
            })
            .collect();
        let (mut new, mut refused) = (0, 0);
        for racer in racing {
            match racer.await.unwrap().unwrap() {
                Reserved::New { .. } => new += 1,
                Reserved::Refused(why) if why.reason == Reason::QuotaExhausted => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((new, refused), (2, 48), "{counts:?}");
    }
}

/// Two people at once from one address, 100 rounds: exactly one grant each time (P4, F12).
pub(crate) async fn p4_two_people_at_once_from_one_address<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    for round in 0..100_u64 {
        let source = format!("198.51.100.{round}");
        let (alice, bob) = (ask("alice", &source), ask("bob", &source));
        let (a, b) = tokio::join!(
            reserve(&ledger, &alice, 2 * round, at(round)),
            reserve(&ledger, &bob, 2 * round + 1, at(round))
        );
        let new = [a.unwrap(), b.unwrap()].into_iter().filter(|r| matches!(r, Reserved::New { .. })).count();
        assert_eq!(new, 1, "round {round}");
    }
    assert_eq!(ledger.count_open(ServiceName::new("kms")).await.unwrap(), 100);
}

/// What counts: unfinished and used ones; with `logins` every one that was open. Failed and unused swept ones never.
pub(crate) async fn a_quota_counts_what_came_of_it<S: Store>() {
    let (store, ledger) = begin::<S>().await;
    let mut alice = ask("alice", "198.51.100.1");
    alice.week = Some(9);
    let source = |n: u8| -> std::net::IpAddr { [198, 51, 100, n].into() };
    let cases = [
        // (name of the close, was it open, did it claim)
        (Cause::Failed, false, false),
        (Cause::Expired, true, false),
        (Cause::Used, true, true),
        (Cause::Cancelled, true, false),
    ];
    for (n, (cause, opens, claims)) in (1..).zip(cases) {
        alice.source = source(n);
        let Reserved::New { grant, .. } = reserve(&ledger, &alice, n.into(), at(n.into())).await.unwrap() else {
            panic!()
        };
        if opens {
            drop(ledger.opened(grant.id, None, at(n.into())).await.unwrap());
        }
        if claims {
            ledger.claim(claim(grant.id, 1), at(n.into())).await.unwrap();
            ledger.claim_ended(end(grant.id, 1), at(n.into())).await.unwrap();
        }
        let CloseBegun::Begun(_) = ledger.closing(grant.id, cause, at(n.into())).await.unwrap() else { panic!() };
        ledger.closed(grant.id, Totals::default(), at(n.into())).await.unwrap();
    }
    alice.source = source(5);
    let swept_later = open(&ledger, &alice, 5, at(5)).await;
    let count = async |ledger: &S::Engine, counts, now| {
        let mut asked = alice.clone();
        (asked.counts, asked.week, asked.day, asked.source) = (counts, Some(2), Some(1), source(99));
        let uses = ledger.facts(asked.request(50, now), now).await.unwrap().uses;
        uses.iter().map(|u| (u.used, u.unused, u.limiting)).collect::<Vec<_>>()
    };
    let opened = |ms: u64| Some(at(ms).utc);
    // Used: the used and the open one; unused: the expired and the cancelled one. The failed one is nothing.
    assert_eq!(count(&ledger, Counts::Used, at(6)).await, [(2, 2, opened(5)), (2, 2, opened(3))]);
    assert_eq!(count(&ledger, Counts::Logins, at(6)).await, [(4, 0, opened(5)), (4, 0, opened(4))]);
    // Past its end an open one counts as closed, whether or not the closer has run.
    assert_eq!(count(&ledger, Counts::Used, at(300_000)).await, [(1, 3, opened(3)), (1, 3, None)]);
    drop(ledger);
    let ledger = store.open().await;
    let swept = ledger.recover(OTHER_BOOT, at(7)).await.unwrap().swept;
    assert_eq!(swept, [swept_later.id]);
    assert_eq!(count(&ledger, Counts::Logins, at(8)).await, [(3, 1, opened(4)), (3, 1, opened(3))]);
    // The period: a grant counts to the last moment of its span.
    assert_eq!(count(&ledger, Counts::Used, at(3 + DAY)).await, [(1, 2, opened(3)), (1, 3, None)]);
    assert_eq!(count(&ledger, Counts::Used, at(4 + DAY)).await, [(0, 2, None), (1, 3, None)]);
    assert_eq!(count(&ledger, Counts::Used, at(4 + 7 * DAY)).await, [(0, 0, None), (0, 2, None)]);
    // A clock set back forgives nothing.
    assert_eq!(count(&ledger, Counts::Used, at(0)).await, [(1, 3, opened(3)), (1, 3, None)]);
    // An operator does, whatever the clock says.
    ledger.quota_reset(person("alice"), "oscar".into(), at(0)).await.unwrap();
    assert_eq!(count(&ledger, Counts::Used, at(9)).await, [(0, 0, None), (0, 0, None)]);
    let last = events(&ledger).await.pop().unwrap().what;
    assert_eq!(last, What::QuotaReset { person: person("alice"), operator: "oscar".into() });
}

/// The kernel lets in before its confirmation is written, and until it has shut the way: whoever came in then counts (P1, P4).
pub(crate) async fn p4_a_connection_that_the_kernel_let_in_counts<S: Store>() {
    let (store, ledger) = begin::<S>().await;
    let mut alice = ask("alice", "198.51.100.7");
    alice.week = Some(9);
    let used_in = async |ledger: &S::Engine, now| ledger.facts(alice.request(50, now), now).await.unwrap().uses[0].used;
    let used = async |now| used_in(&ledger, now).await;
    let in_kernel = |grant, number| Claim { relayed: false, ..claim(grant, number) };
    // The last came before `Open`, and that was never written.
    for (n, before) in [(1, State::Open), (2, State::Closing(Cause::Failed)), (3, State::Opening)] {
        let Reserved::New { grant, .. } = reserve(&ledger, &alice, n, at(n)).await.unwrap() else { panic!() };
        if before == State::Open {
            drop(ledger.opened(grant.id, None, at(n)).await.unwrap());
        }
        if let State::Closing(cause) = before {
            drop(ledger.closing(grant.id, cause, at(n)).await.unwrap());
        }
        let relayed = ledger.claim(claim(grant.id, 1), at(n)).await;
        assert_eq!(relayed.is_ok(), before == State::Open, "the relay asks first: {before:?}");
        if before != State::Open {
            ledger.claim(in_kernel(grant.id, 1), at(n)).await.unwrap();
        }
        ledger.claim_ended(end(grant.id, 1), at(n)).await.unwrap();
        drop(ledger.closing(grant.id, Cause::Failed, at(n)).await.unwrap());
        ledger.closed(grant.id, Totals::default(), at(n)).await.unwrap();
        assert_eq!(used(at(n)).await, u32::try_from(n).unwrap(), "{before:?}");
        let late = ledger.claim(in_kernel(grant.id, 2), at(n)).await;
        assert!(matches!(late, Err(LedgerError::State(_))), "{late:?}");
    }
    // One that nobody told of, and that the kernel counted at the close.
    let Reserved::New { grant, .. } = reserve(&ledger, &alice, 4, at(4)).await.unwrap() else { panic!() };
    drop(ledger.closing(grant.id, Cause::Failed, at(4)).await.unwrap());
    ledger.closed(grant.id, Totals { claims: 1, ..Totals::default() }, at(4)).await.unwrap();
    assert_eq!(used(at(4)).await, 4);
    // One of which we died before `Open` was written: swept, and nobody says what came of it.
    let Reserved::New { grant, .. } = reserve(&ledger, &alice, 5, at(5)).await.unwrap() else { panic!() };
    ledger.claim(in_kernel(grant.id, 1), at(5)).await.unwrap();
    drop(ledger);
    let ledger = store.open().await;
    assert_eq!(ledger.recover(BOOT, at(6)).await.unwrap().swept, [grant.id]);
    assert_eq!(used_in(&ledger, at(6)).await, 5);
}

/// The table of cut points: what a start finds after each (P3, P5).
pub(crate) async fn p5_the_cut_points<S: Store>() {
    let (store, ledger) = begin::<S>().await;
    let source = |n: u8| format!("198.51.100.{n}");
    let Reserved::New { grant: reserved, .. } = reserve(&ledger, &ask("alice", &source(1)), 1, at(0)).await.unwrap()
    else {
        panic!()
    };
    let opened = open(&ledger, &ask("bob", &source(2)), 2, at(0)).await;
    let claimed = open(&ledger, &ask("carol", &source(3)), 3, at(0)).await;
    ledger.claim(claim(claimed.id, 1), at(1)).await.unwrap();
    let answered = open(&ledger, &ask("dave", &source(4)), 4, at(0)).await;
    ledger.claim(claim(answered.id, 1), at(1)).await.unwrap();
    ledger.answered(answered.id, 1).await.unwrap();
    let in_kernel = open(&ledger, &ask("erin", &source(5)), 5, at(0)).await;
    let mut kernels = claim(in_kernel.id, 1);
    kernels.relayed = false;
    ledger.claim(kernels, at(1)).await.unwrap();
    let closing = open(&ledger, &ask("frank", &source(6)), 6, at(0)).await;
    let CloseBegun::Begun(closing) = ledger.closing(closing.id, Cause::Cancelled, at(2)).await.unwrap() else {
        panic!()
    };
    drop(ledger);

    let ledger = store.open().await;
    assert!(matches!(reserve(&ledger, &ask("bob", "198.51.100.99"), 90, at(3)).await, Err(LedgerError::State(_))));
    let found = ledger.recover(BOOT, at(10)).await.unwrap();
    let now = async |id| ledger.grant(id).await.unwrap().unwrap();
    assert_eq!(found.swept, [reserved.id]);
    assert_eq!(now(reserved.id).await.state, State::Closed(Cause::Swept, Totals::default()));
    assert_eq!(found.finish, [closing.id]);
    assert_eq!(now(closing.id).await, closing);
    assert_eq!(found.expired, []);
    assert_eq!(found.adopt, [opened.id, claimed.id, answered.id, in_kernel.id]);
    assert_eq!(ledger.running().await.unwrap(), [RunningClaim { grant: in_kernel.id, number: 1, port: 50000 }]);
    for (id, left) in found.adopt.iter().zip([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 1)]) {
        let grant = now(*id).await;
        assert_eq!(grant.window, opened.window, "its end is its end");
        assert_eq!((grant.claims, grant.given_back, grant.alive), left);
    }
    drop(ledger);

    // Dead while the end passed: to be closed as of its end.
    let ledger = store.open().await;
    let found = ledger.recover(BOOT, at(300_000)).await.unwrap();
    assert_eq!((found.swept.len(), found.adopt.len(), found.expired.len(), found.finish.len()), (0, 0, 4, 1));
    let CloseBegun::Begun(_) = ledger.closing(opened.id, Cause::Expired, at(300_000)).await.unwrap() else { panic!() };
    let closed = ledger.closed(opened.id, Totals::default(), at(300_001)).await.unwrap();
    assert_eq!(closed.closed_at, Some(opened.window.ends_at));
    drop(ledger);

    // Another boot: nothing is adopted, whatever the boot clock says.
    let ledger = store.open().await;
    let found = ledger.recover(OTHER_BOOT, at(50)).await.unwrap();
    assert_eq!((found.swept.len(), found.adopt.len(), found.expired.len(), found.finish.len()), (4, 0, 0, 0));
    let mut causes = HashSet::new();
    for id in found.swept {
        let grant = ledger.grant(id).await.unwrap().unwrap();
        assert_eq!(grant.alive, 0);
        match grant.state {
            State::Closed(cause, _) => causes.insert(cause),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(causes, [Cause::Swept, Cause::Cancelled].into(), "a close that had begun keeps its cause");
    assert_eq!(ledger.count_open(ServiceName::new("kms")).await.unwrap(), 0);
}

/// An operator's grant carries their name and reason, and does not make the name an accepted one.
pub(crate) async fn an_operators_grant_says_so<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let mut alice = ask("alice", "198.51.100.7");
    alice.operator = Some("campus/oscar");
    let grant = open(&ledger, &alice, 1, at(0)).await;
    assert_eq!(grant.voucher, "operator:campus/oscar");
    assert_eq!(grant.note.as_deref(), Some("a machine without a browser"));
    assert!(!ledger.ever_accepted(Name::canonical("alice").unwrap()).await.unwrap());
    open(&ledger, &ask("bob", "2001:db8:1:2:3::4"), 2, at(5)).await;
    assert!(ledger.ever_accepted(Name::canonical("bob").unwrap()).await.unwrap());
    let bob = (Name::canonical("bob").unwrap(), "2001:db8:1:2::".parse().unwrap(), at(5).utc);
    assert_eq!(ledger.accepted_since(at(5).utc, None, 9).await.unwrap(), vec![bob]);
    assert_eq!(ledger.accepted_since(at(6).utc, None, 9).await.unwrap(), []);
    open(&ledger, &ask("bob", "203.0.113.9"), 3, at(7)).await;
    open(&ledger, &ask("carol", "203.0.113.10"), 4, at(8)).await;
    let (mut seen, mut after) = (vec![], None);
    while let [(name, source, when)] = ledger.accepted_since(at(0).utc, after, 1).await.unwrap().as_slice() {
        seen.push((name.as_str().to_owned(), source.to_string(), *when));
        after = Some((name.clone(), *source));
    }
    let line = |name: &str, source: &str, ms| (name.to_owned(), source.to_owned(), at(ms).utc);
    seen.sort_by_key(|(_, _, when)| *when);
    let expected = [line("bob", "2001:db8:1:2::", 5), line("bob", "203.0.113.9", 7), line("carol", "203.0.113.10", 8)];
    assert_eq!(seen, expected, "a page at a time, none twice");
}

/// A session ends when idle for 30 minutes or 8 hours old; a token a day after its grant.
pub(crate) async fn sessions_and_tokens_end<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let alice = ask("alice", "198.51.100.7");
    let Reserved::New { grant, .. } = reserve(&ledger, &alice, 1, at(0)).await.unwrap() else { panic!() };
    let session = |n: u8, now: u64| Session {
        hash: SecretHash([n; 32]),
        person: person("alice"),
        grant: grant.id,
        since: at(now).utc,
    };
    ledger.opened(grant.id, Some(session(1, 0)), at(0)).await.unwrap();
    ledger.session_begin(session(2, MINUTE), at(MINUTE)).await.unwrap();
    let live = async |n: u8, now: u64| ledger.session(SecretHash([n; 32]), at(now)).await.unwrap();
    assert_eq!(live(1, 29 * MINUTE).await, Some(session(1, 0)));
    assert_eq!(live(2, 31 * MINUTE).await, None);
    let mut now = 29 * MINUTE;
    while now + 25 * MINUTE < 8 * 60 * MINUTE {
        now += 25 * MINUTE;
        assert!(live(1, now).await.is_some(), "used {now} ms after it began");
    }
    assert_eq!(live(1, 8 * 60 * MINUTE).await, None);
    ledger.session_end(SecretHash([2; 32])).await.unwrap();
    assert_eq!(live(2, MINUTE).await, None);

    let CloseBegun::Begun(_) = ledger.closing(grant.id, Cause::Cancelled, at(10)).await.unwrap() else { panic!() };
    ledger.closed(grant.id, Totals::default(), at(10)).await.unwrap();
    assert!(ledger.grant_by_token(token(1), at(9 + DAY)).await.unwrap().is_some());
    assert_eq!(ledger.grant_by_token(token(1), at(10 + DAY)).await.unwrap(), None);
    assert_eq!(ledger.grant_by_token(token(2), at(10)).await.unwrap(), None);
}

/// Listings: newest first, filtered, a page at a time.
pub(crate) async fn grants_are_listed<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let mut ids = vec![];
    for n in 0..6_u64 {
        let mut who = ask(["alice", "bob"][n as usize % 2], &format!("2001:db8::{n}:1"));
        who.ipv6_prefix = 112;
        ids.push(open(&ledger, &who, n, at(n)).await.id);
    }
    let CloseBegun::Begun(_) = ledger.closing(ids[5], Cause::Cancelled, at(9)).await.unwrap() else { panic!() };
    ledger.closed(ids[5], Totals::default(), at(9)).await.unwrap();
    let list = async |filter: Filter| {
        let found = ledger.grants(filter).await.unwrap();
        found.iter().map(|g| ids.iter().position(|id| *id == g.id).unwrap()).collect::<Vec<_>>()
    };
    let all = Filter { limit: 100, ..Filter::default() };
    assert_eq!(list(all.clone()).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(list(Filter { limit: 2, before: Some(ids[4]), ..all.clone() }).await, [3, 2]);
    assert_eq!(list(Filter { unfinished: true, ..all.clone() }).await, [4, 3, 2, 1, 0]);
    assert_eq!(list(Filter { person: Some(person("alice")), ..all.clone() }).await, [4, 2, 0]);
    assert_eq!(list(Filter { source: Some("2001:db8::3:1".parse().unwrap()), ..all.clone() }).await, [3]);
    assert!(list(Filter { source: Some("2001:db8::3:2".parse().unwrap()), ..all.clone() }).await.is_empty());
    let narrow = Filter { unfinished: true, person: Some(person("bob")), limit: 1, ..Filter::default() };
    assert_eq!(list(narrow).await, [3]);
}

/// Events come in order, from where a reader stands; a report agrees with them, by whole days and otherwise.
pub(crate) async fn events_and_reports_agree<S: Store>() {
    let (store, ledger) = begin::<S>().await;
    let grant = open(&ledger, &ask("alice", "198.51.100.7"), 1, at(0)).await.id;
    ledger.claim(claim(grant, 1), at(1)).await.unwrap();
    let CloseBegun::Begun(_) = ledger.closing(grant, Cause::Used, at(2)).await.unwrap() else { panic!() };
    ledger.closed(grant, Totals::default(), at(2)).await.unwrap();
    // The connection's end is reported after the close, and counts.
    ledger.claim_ended(end(grant, 1), at(3)).await.unwrap();
    open(&ledger, &ask("bob", "198.51.100.8"), 2, at(DAY)).await;
    let Reserved::Refused(_) = reserve(&ledger, &ask("carol", "198.51.100.8"), 3, at(DAY + 1)).await.unwrap() else {
        panic!()
    };
    let count =
        |reason, count| RefusalCount { minute: at(DAY).utc, reason, prefix: "203.0.113.0".parse().unwrap(), count };
    let counted = vec![count(Reason::InvalidCredentials, 5), count(Reason::TooManyAttempts, 2)];
    ledger.refusals_counted(counted.clone()).await.unwrap();
    ledger.refusals_counted(counted).await.unwrap();
    for (from, to) in [(at(0).utc, at(2 * DAY).utc), (at(0).utc, at(2 * DAY - 5).utc)] {
        let report = async |by| {
            let lines = ledger.report(ReportQuery { by, from, to }).await.unwrap();
            lines
                .into_iter()
                .map(|l| (l.key, [l.grants, l.used, l.connections, l.refused, l.bytes_in, l.bytes_out]))
                .collect::<Vec<_>>()
        };
        let line = |key: &str, numbers: [u64; 6]| (key.to_owned(), numbers);
        let (alice, bob, carol) = ([1, 1, 1, 0, 268, 260], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]);
        assert_eq!(
            report(ReportBy::User).await,
            [line("campus/alice", alice), line("campus/bob", bob), line("campus/carol", carol)]
        );
        assert_eq!(
            report(ReportBy::Source).await,
            [
                line("198.51.100.7", alice),
                line("198.51.100.8", [1, 0, 0, 1, 0, 0]),
                line("203.0.113.0/24", [0, 0, 0, 14, 0, 0])
            ]
        );
        assert_eq!(report(ReportBy::Day).await, [line("2026-01-01", alice), line("2026-01-02", [1, 0, 0, 15, 0, 0])]);
        assert_eq!(report(ReportBy::Service).await, [line("kms", [2, 1, 1, 1, 268, 260])]);
        assert_eq!(
            report(ReportBy::Reason).await,
            [
                line("invalid_credentials", [0, 0, 0, 10, 0, 0]),
                line("source_busy", [0, 0, 0, 1, 0, 0]),
                line("too_many_attempts", [0, 0, 0, 4, 0, 0]),
                line("used", alice)
            ]
        );
    }
    let all = events(&ledger).await;
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|a, b| a.number < b.number));
    assert_eq!(ledger.cursor("syslog").await.unwrap(), 0);
    ledger.set_cursor("syslog", all[3].number).await.unwrap();
    drop(ledger);
    let ledger = store.open().await;
    let cursor = ledger.cursor("syslog").await.unwrap();
    assert_eq!(ledger.events_after(cursor, 1).await.unwrap(), all[4..5]);
    assert_eq!(ledger.events_after(cursor, 10).await.unwrap(), all[4..]);
}

/// What is old and finished goes; what is unfinished stays, and no event's number comes again.
pub(crate) async fn prune_takes_the_old_only<S: Store>() {
    let (_store, ledger) = begin::<S>().await;
    let mut olds = vec![];
    for n in 0..450_u64 {
        let who = ask("alice", &format!("10.0.{}.{}", n / 250, n % 250));
        let grant = open(&ledger, &who, n, at(n)).await;
        ledger.claim(claim(grant.id, 1), at(n)).await.unwrap();
        if n != 7 {
            let CloseBegun::Begun(_) = ledger.closing(grant.id, Cause::Used, at(n)).await.unwrap() else { panic!() };
            ledger.closed(grant.id, Totals::default(), at(n)).await.unwrap();
        }
        olds.push(grant.id);
    }
    let last = events(&ledger).await.pop().unwrap().number;
    assert_eq!(ledger.prune(at(100).utc).await.unwrap(), 99);
    assert_eq!(ledger.prune(at(100).utc).await.unwrap(), 0);
    for (n, id) in olds.iter().enumerate() {
        assert_eq!(ledger.grant(*id).await.unwrap().is_some(), n == 7 || n >= 100, "{n}");
    }
    assert!(events(&ledger).await.iter().all(|event| event.at >= at(100).utc));
    assert_eq!(ledger.prune(at(DAY).utc).await.unwrap(), 350);
    assert_eq!(events(&ledger).await.len(), 1, "the newest event keeps its number");
    open(&ledger, &ask("bob", "198.51.100.7"), 1000, at(DAY)).await;
    assert_eq!(events(&ledger).await.pop().unwrap().number, last + 1);
    assert_eq!(ledger.prune(Timestamp::MIN).await.unwrap(), 0);
    ledger.ready().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), ledger.ready()).await.unwrap().unwrap();
}
