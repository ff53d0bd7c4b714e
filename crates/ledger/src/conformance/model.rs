//! Random histories, step by step against a reference that keeps lists and counts by looking at all of them.
//!
//! After every step the whole ledger must be what the reference is, and P1 and P4 must hold.

use super::{Ask, BOOT, OTHER_BOOT, Store, ask, claim, end, id, person, token};
use crate::Ledger;
use crate::records::{CloseBegun, Filter, LedgerError, Reserved};
use jiff::Timestamp;
use kmsgate_core::address::AddressKey;
use kmsgate_core::decide::{Decision, Facts, Request, Standing, decide};
use kmsgate_core::grant::GrantId;
use kmsgate_core::grant::{GIVEN_BACK_AT_MOST, State, Totals, Window};
use kmsgate_core::quota::{Counts, Since, Use};
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, BootTime, Now};
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

/// One step of a history. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Reserve {
        who: usize,
        from: usize,
        limit: Option<u32>,
        logins: bool,
        connections: u16,
    },
    Opened(usize),
    Claim {
        grant: usize,
        relayed: bool,
    },
    Answered {
        grant: usize,
        claim: usize,
    },
    Ended {
        grant: usize,
        claim: usize,
        failed: bool,
    },
    Closing {
        grant: usize,
        cause: Cause,
    },
    Closed(usize),
    QuotaReset(usize),
    /// The process dies and is started again.
    Cut,
    /// So does the machine.
    Reboot,
    /// Both clocks go on.
    Pass(u64),
    /// Somebody sets the wall clock.
    Set(i64),
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let cause = prop_oneof![
        Just(Cause::Expired),
        Just(Cause::Used),
        Just(Cause::Cancelled),
        Just(Cause::Revoked),
        Just(Cause::Failed)
    ];
    let step = prop_oneof![
        8 => (0..3_usize, 0..3_usize, prop::option::weighted(0.7, 0..4_u32), any::<bool>(), 1..3_u16).prop_map(
            |(who, from, limit, logins, connections)| Step::Reserve { who, from, limit, logins, connections }
        ),
        10 => (0..2_usize).prop_map(Step::Opened),
        12 => (0..2_usize, any::<bool>()).prop_map(|(grant, relayed)| Step::Claim { grant, relayed }),
        2 => (0..4_usize, 0..3_usize).prop_map(|(grant, claim)| Step::Answered { grant, claim }),
        6 => (0..4_usize, 0..3_usize, any::<bool>())
            .prop_map(|(grant, claim, failed)| Step::Ended { grant, claim, failed }),
        2 => (0..4_usize, cause).prop_map(|(grant, cause)| Step::Closing { grant, cause }),
        3 => (0..4_usize).prop_map(Step::Closed),
        1 => (0..3_usize).prop_map(Step::QuotaReset),
        2 => Just(Step::Cut),
        1 => Just(Step::Reboot),
        2 => (0..120_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Pass(24 * 3600 * 1000)),
        1 => (-90_000_000..90_000_000_i64).prop_map(Step::Set),
    ];
    prop::collection::vec(step, 30..100)
}

/// Runs a history.
pub(crate) async fn run<S: Store>(steps: Vec<Step>) {
    let store = S::empty();
    let mut ledger = store.open().await;
    let mut model = Model { grants: vec![], utc: 1_767_225_600_000, boot: 1_000_000, boot_id: BOOT, next: 0 };
    ledger.recover(BOOT, model.now()).await.unwrap();
    for step in steps {
        model.utc += 1;
        model.boot += 1;
        let now = model.now();
        match step {
            Step::Reserve { who, from, limit, logins, connections } => {
                model.next += 1;
                let n = model.next;
                let asked = Ask {
                    week: limit,
                    day: limit.map(|limit| limit / 2 + 1),
                    counts: if logins { Counts::Logins } else { Counts::Used },
                    connections,
                    ..ask(["alice", "bob", "carol"][who], ["198.51.100.1", "198.51.100.2", "2001:db8::1"][from])
                };
                let request = asked.request(n, now);
                assert_eq!(ledger.facts(request.clone(), now).await.unwrap(), model.facts(&request, now));
                let expected = model.reserve(&request, n, now);
                let got = ledger.reserve(request, now, decide).await.unwrap();
                let got = match got {
                    Reserved::New { grant, replaced } => format!("new {} {replaced:?}", grant.id),
                    Reserved::Same(grant) => format!("same {}", grant.id),
                    Reserved::Refused(refusal) => format!("{refusal:?}"),
                };
                assert_eq!(got, expected);
            }
            Step::Opened(grant) => {
                let Some(g) = model.recent(grant) else { continue };
                let fits = g.state == State::Opening;
                if fits {
                    (g.state, g.reached_open) = (State::Open, true);
                }
                let id = g.id();
                assert_eq!(ledger.opened(id, None, now).await.is_ok(), fits);
            }
            Step::Claim { grant, relayed } => {
                let (boot_id, boot) = (model.boot_id, now.boot);
                let Some(g) = model.recent(grant) else { continue };
                let let_in = g.state == State::Open || !relayed && g.state.unfinished();
                let expected = if !let_in {
                    Err("state")
                } else if g.over(boot_id, boot) || g.claims() >= g.connections {
                    Err("spent")
                } else {
                    Ok(())
                };
                let number = u32::try_from(g.claims.len()).unwrap() + 1;
                if expected.is_ok() {
                    g.reached_open = true;
                    g.claims.push(Taken { relayed, answered: false, ended: false, given_back: false });
                }
                let mut taken = claim(g.id(), number);
                taken.relayed = relayed;
                let got = ledger.claim(taken, now).await;
                assert_eq!(got.map_err(|e| if e == LedgerError::Spent { "spent" } else { "state" }), expected);
            }
            Step::Answered { grant, claim } => {
                let Some(g) = model.recent(grant) else { continue };
                let running = g.claims.get_mut(claim).filter(|taken| !taken.ended);
                let known = running.map(|taken| taken.answered = true);
                let number = u32::try_from(claim).unwrap() + 1;
                assert_eq!(ledger.answered(g.id(), number).await.ok(), known);
            }
            Step::Ended { grant, claim, failed } => {
                let Some(g) = model.recent(grant) else { continue };
                let number = u32::try_from(claim).unwrap() + 1;
                let mut ended = end(g.id(), number);
                (ended.given_back, ended.answered) = (failed, !failed);
                let done = g.end(claim, failed, !failed);
                if done {
                    g.bytes_in += ended.bytes_in;
                }
                assert_eq!(ledger.claim_ended(ended, now).await.is_ok(), done);
            }
            Step::Closing { grant, cause } => {
                let Some(g) = model.recent(grant) else { continue };
                let first = matches!(g.state, State::Opening | State::Open);
                if first {
                    g.state = State::Closing(cause);
                }
                let begun = ledger.closing(g.id(), cause, now).await.unwrap();
                assert_eq!(matches!(begun, CloseBegun::Begun(_)), first);
            }
            Step::Closed(grant) => {
                let Some(g) = model.recent(grant) else { continue };
                let id = g.id();
                match g.state {
                    State::Opening | State::Open => {
                        let early = ledger.closed(id, Totals::default(), now).await;
                        assert!(matches!(early, Err(LedgerError::State(_))));
                    }
                    State::Closing(cause) => {
                        g.close(cause, now.utc);
                        drop(ledger.closed(id, Totals::default(), now).await.unwrap());
                    }
                    State::Closed(..) => drop(ledger.closed(id, Totals::default(), now).await.unwrap()),
                }
            }
            Step::QuotaReset(who) => {
                let who = person(["alice", "bob", "carol"][who]);
                for g in model.grants.iter_mut().filter(|g| g.request.permit.identity().person() == &who) {
                    g.forgiven = true;
                }
                ledger.quota_reset(who, "oscar".into(), now).await.unwrap();
            }
            Step::Cut | Step::Reboot => {
                if matches!(step, Step::Reboot) {
                    model.boot_id = if model.boot_id == BOOT { OTHER_BOOT } else { BOOT };
                    model.boot = 5_000;
                }
                drop(ledger);
                ledger = store.open().await;
                let now = model.now();
                let expected = model.recover(now);
                let found = ledger.recover(model.boot_id, now).await.unwrap();
                let ids = |grants: &[GrantId]| grants.iter().copied().collect::<HashSet<_>>();
                let got = [ids(&found.swept), ids(&found.adopt), ids(&found.expired), ids(&found.finish)];
                assert_eq!(got, expected);
            }
            Step::Pass(ms) => {
                model.utc += i64::try_from(ms).unwrap();
                model.boot += ms;
            }
            Step::Set(by) => model.utc += by,
        }
        model.compare(&ledger).await;
    }
}

struct Model {
    grants: Vec<Grant>,
    utc: i64,
    boot: u64,
    boot_id: BootId,
    next: u64,
}

struct Grant {
    request: Request,
    token: u64,
    window: Window,
    boot_id: BootId,
    state: State,
    closed_at: Option<Timestamp>,
    connections: u16,
    claims: Vec<Taken>,
    bytes_in: u64,
    reached_open: bool,
    forgiven: bool,
    shared: bool,
}

struct Taken {
    relayed: bool,
    answered: bool,
    ended: bool,
    given_back: bool,
}

impl Model {
    fn now(&self) -> Now {
        Now { utc: Timestamp::from_millisecond(self.utc).unwrap(), boot: BootTime(self.boot) }
    }

    /// The `n`-th from the newest.
    fn recent(&mut self, n: usize) -> Option<&mut Grant> {
        self.grants.iter_mut().rev().nth(n)
    }

    fn standing(&self, key: AddressKey, now: Now) -> Option<usize> {
        self.grants
            .iter()
            .position(|g| g.request.key() == key && g.state.unfinished() && !g.over(self.boot_id, now.boot))
    }

    fn facts(&self, request: &Request, now: Now) -> Facts {
        let standing = self.standing(request.key(), now).map(|at| {
            let g = &self.grants[at];
            Standing {
                id: g.id(),
                person: g.request.permit.identity().person().clone(),
                open: g.state == State::Open,
                deadline: g.window.deadline,
                connections: g.connections,
                claims: g.claims(),
                alive: g.alive(),
            }
        });
        Facts {
            standing,
            uses: request.to_count(now).into_iter().map(|since| self.count(request, since, now)).collect(),
        }
    }

    fn count(&self, request: &Request, since: Since, now: Now) -> Use {
        let person = request.permit.identity().person();
        let mut mine: Vec<&Grant> = self
            .grants
            .iter()
            .filter(|g| {
                g.request.permit.identity().person() == person && !g.forgiven && g.window.opened_at >= since.from
            })
            .collect();
        mine.sort_by_key(|g| std::cmp::Reverse(g.window.opened_at));
        let logins = request.permit.quota().counts == Counts::Logins;
        let (counted, rest): (Vec<&Grant>, Vec<&Grant>) = mine.into_iter().partition(|g| {
            let unfinished = g.state.unfinished() && !g.over(self.boot_id, now.boot);
            let swept = matches!(g.state, State::Closed(Cause::Swept, _));
            unfinished || g.claims() > 0 || (logins && g.reached_open && !swept)
        });
        let limit = usize::try_from(since.limit).unwrap();
        Use {
            since,
            used: u32::try_from(counted.len()).unwrap(),
            limiting: limit.checked_sub(1).and_then(|last| counted.get(last)).map(|g| g.window.opened_at),
            unused: u32::try_from(rest.iter().filter(|g| g.reached_open).count()).unwrap(),
        }
    }

    fn reserve(&mut self, request: &Request, n: u64, now: Now) -> String {
        let key = request.key();
        let boot_id = self.boot_id;
        for g in self.grants.iter_mut().filter(|g| g.request.key() == key && g.state.unfinished()) {
            if g.over(boot_id, now.boot) {
                let cause = if let State::Closing(cause) = g.state { cause } else { Cause::Expired };
                g.close(cause, now.utc);
            }
        }
        let standing = self.standing(key, now);
        let replaced = match decide(request, &self.facts(request, now), now) {
            Decision::Refuse(refusal) => return format!("{refusal:?}"),
            Decision::Same(id) => {
                self.grants[standing.unwrap()].token = n;
                return format!("same {id}");
            }
            Decision::Replace(id) => {
                self.grants[standing.unwrap()].close(Cause::Used, now.utc);
                Some(id)
            }
            Decision::Open => None,
        };
        let since = now.utc.checked_sub(Duration::from_hours(24)).unwrap();
        let person = request.permit.identity().person();
        let shared = self.grants.iter().any(|g| {
            g.request.key() == key && g.request.permit.identity().person() != person && g.window.opened_at >= since
        });
        self.grants.push(Grant {
            request: request.clone(),
            token: n,
            window: Window::from(now, Duration::from_secs(200)),
            boot_id: self.boot_id,
            state: State::Opening,
            closed_at: None,
            connections: request.permit.terms().connections,
            claims: vec![],
            bytes_in: 0,
            reached_open: false,
            forgiven: false,
            shared,
        });
        assert_eq!(request.id, id(n, now));
        format!("new {} {replaced:?}", request.id)
    }

    fn recover(&mut self, now: Now) -> [HashSet<kmsgate_core::grant::GrantId>; 4] {
        let mut found: [HashSet<_>; 4] = Default::default();
        for g in &mut self.grants {
            for n in 0..g.claims.len() {
                if g.claims[n].relayed || g.boot_id != self.boot_id {
                    g.end(n, true, false);
                }
            }
            let place = match g.state {
                State::Closed(..) => continue,
                State::Closing(cause) if g.boot_id != self.boot_id => {
                    g.close(cause, now.utc);
                    0
                }
                State::Opening => {
                    g.close(Cause::Swept, now.utc);
                    0
                }
                _ if g.boot_id != self.boot_id => {
                    g.close(Cause::Swept, now.utc);
                    0
                }
                State::Closing(_) => 3,
                State::Open if g.over(self.boot_id, now.boot) => 2,
                State::Open => 1,
            };
            found[place].insert(g.id());
        }
        found
    }

    async fn compare(&self, ledger: &impl Ledger) {
        let filter = Filter { limit: 1000, ..Filter::default() };
        let mut records = ledger.grants(filter).await.unwrap();
        records.sort_by_key(|record| self.grants.iter().position(|g| g.id() == record.id));
        assert_eq!(records.len(), self.grants.len());
        for (record, g) in records.iter().zip(&self.grants) {
            assert!(record.claims <= record.connections, "P1: {record:?}");
            assert!(record.given_back <= GIVEN_BACK_AT_MOST, "F07: {record:?}");
            let state = |state: State| match state {
                State::Closed(cause, _) => State::Closed(cause, Totals::default()),
                other => other,
            };
            assert_eq!(
                (record.id, state(record.state), record.closed_at, record.window, record.shared),
                (g.id(), state(g.state), g.closed_at, g.window, g.shared)
            );
            assert_eq!(
                (record.claims, record.alive, record.given_back, record.totals.bytes_in),
                (g.claims(), g.alive(), g.given_back(), g.bytes_in),
                "{record:?}"
            );
        }
        let unfinished: Vec<_> =
            records.iter().filter(|r| r.state.unfinished()).map(|r| (r.key, r.service.clone())).collect();
        assert_eq!(unfinished.iter().collect::<HashSet<_>>().len(), unfinished.len(), "P4: {records:?}");
        let open = ledger.count_open(kmsgate_core::name::ServiceName::new("kms")).await.unwrap();
        assert_eq!(usize::try_from(open).unwrap(), unfinished.len());
        if let Some(g) = self.grants.last() {
            let long_ago = Now { utc: Timestamp::MIN, ..self.now() };
            let found = ledger.grant_by_token(token(g.token), long_ago).await.unwrap();
            assert_eq!(found.map(|record| record.id), Some(g.id()));
        }
    }
}

impl Grant {
    fn id(&self) -> kmsgate_core::grant::GrantId {
        self.request.id
    }

    fn over(&self, boot_id: BootId, boot: BootTime) -> bool {
        self.boot_id != boot_id || self.window.deadline <= boot
    }

    fn claims(&self) -> u16 {
        u16::try_from(self.claims.iter().filter(|taken| !taken.given_back).count()).unwrap()
    }

    fn alive(&self) -> u16 {
        u16::try_from(self.claims.iter().filter(|taken| !taken.ended).count()).unwrap()
    }

    fn given_back(&self) -> u16 {
        u16::try_from(self.claims.iter().filter(|taken| taken.given_back).count()).unwrap()
    }

    fn end(&mut self, n: usize, wanted: bool, answered: bool) -> bool {
        let room = self.given_back() < GIVEN_BACK_AT_MOST;
        let Some(taken) = self.claims.get_mut(n).filter(|taken| !taken.ended) else { return false };
        taken.ended = true;
        taken.given_back = wanted && !answered && !taken.answered && room;
        true
    }

    fn close(&mut self, cause: Cause, now: Timestamp) {
        self.state = State::Closed(cause, Totals::default());
        self.closed_at = Some(match cause {
            Cause::Expired => self.window.ends_at,
            Cause::Swept => now.min(self.window.ends_at),
            _ => now,
        });
    }
}
