//! The pure decision of a reservation. What must never happen here: a grant over an exhausted quota or in another person's
//! window. The ledger reads the [`Facts`] and writes the [`Decision`] in one transaction, so neither a quota nor an address
//! can be raced (P4, F12, F13).

use crate::address::AddressKey;
use crate::grant::GrantId;
use crate::name::{Person, RuleName};
use crate::permit::Permit;
use crate::quota::{Quota, Since, Use};
use crate::random::SecretHash;
use crate::reason::Reason;
use crate::time::{BootTime, Now};
use std::time::Duration;

/// A permit about to be bound to its source and recorded.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of the grant, should there be one.
    pub id: GrantId,
    /// What is allowed.
    pub permit: Permit,
    /// The hash of the bearer token handed out with the answer.
    pub token: SecretHash,
}

impl Request {
    /// The key under which the grant stands.
    #[must_use]
    pub fn key(&self) -> AddressKey {
        self.permit.source().key(self.permit.terms().ipv6_prefix)
    }

    /// What the ledger must count for this request now.
    #[must_use]
    pub fn to_count(&self, now: Now) -> Vec<Since> {
        self.permit.quota().since(now.utc)
    }
}

/// An unfinished grant on the same key and service. A grant past its end counts as closed and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The grant.
    pub id: GrantId,
    /// Whose.
    pub person: Person,
    /// Whether it reached Open and no close has begun.
    pub open: bool,
    /// When it ends.
    pub deadline: BootTime,
    /// Claims it may have.
    pub connections: u16,
    /// Claims not given back.
    pub claims: u16,
    /// Claimed connections that have not ended.
    pub alive: u16,
}

/// What the ledger knows, read inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The unfinished grant in the way, if any.
    pub standing: Option<Standing>,
    /// One row for each of [`Request::to_count`], in that order.
    pub uses: Vec<Use>,
}

/// What is to be written.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A new grant, Opening.
    Open,
    /// The grant that this identity has here already: a fresh token, the same end, no quota.
    Same(GrantId),
    /// That grant is spent: close it (`used`) and open a new one, in the same step.
    Replace(GrantId),
    /// Nothing; say why.
    Refuse(Refusal),
}

/// A refusal with what the person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// After how long another try can succeed, where waiting helps.
    pub retry_after: Option<Duration>,
    /// The rule that refused, where one did.
    pub rule: Option<RuleName>,
    /// The site's own words for the person, where the rule has some.
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal for which waiting does not help and no rule stands.
    #[must_use]
    pub fn plain(reason: Reason) -> Self {
        Self { reason, retry_after: None, rule: None, message: None }
    }
}

/// The type under which [`decide`] is handed to a ledger engine.
pub type Decide = fn(&Request, &Facts, Now) -> Decision;

/// How long a grant of the person's own takes at most to be open or gone.
const SETTLING: Duration = Duration::from_secs(1);

/// Whether this request gets a grant: first the address, then the quota.
///
/// A grant past its deadline is none, whether or not the closer has run. A grant of another person is in the way until
/// its deadline and is never named. The person's own is the answer and costs no quota, unless it is spent. Nothing opens
/// over an exhausted limit.
pub fn decide(request: &Request, facts: &Facts, now: Now) -> Decision {
    let standing = facts.standing.as_ref().filter(|standing| standing.deadline > now.boot);
    let replaced = match standing {
        None => None,
        Some(other) if other.person != *request.permit.identity().person() => {
            return Decision::Refuse(busy(now.boot.until(other.deadline)));
        }
        Some(own) if !own.open => return Decision::Refuse(busy(SETTLING)),
        Some(own) if !own.spent() => return Decision::Same(own.id),
        Some(own) => Some(own.id),
    };
    if let Some(refusal) = exhausted(request, facts, now) {
        return Decision::Refuse(refusal);
    }
    replaced.map_or(Decision::Open, Decision::Replace)
}

impl Standing {
    /// Whether its connections are all used and none is alive, so that nothing can come of it any more.
    fn spent(&self) -> bool {
        self.claims >= self.connections && self.alive == 0
    }
}

fn busy(retry_after: Duration) -> Refusal {
    Refusal { retry_after: Some(retry_after), ..Refusal::plain(Reason::SourceBusy) }
}

/// The refusal if a limit is reached; waiting helps only once the last of the reached limits leaves room.
fn exhausted(request: &Request, facts: &Facts, now: Now) -> Option<Refusal> {
    let quota = request.permit.quota();
    let mut reached = facts.uses.iter().filter(|usage| Quota::exhausted(usage)).peekable();
    reached.peek()?;
    let waits: Option<Vec<Duration>> = reached.map(|usage| quota.retry_after(usage, now.utc)).collect();
    Some(Refusal {
        retry_after: waits.and_then(|waits| waits.into_iter().max()),
        rule: Some(request.permit.rule().clone()),
        ..Refusal::plain(Reason::QuotaExhausted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Source;
    use crate::identity::Identity;
    use crate::name::{Domain, Name, ServerName, ServiceName};
    use crate::permit::Terms;
    use crate::quota::Span;
    use crate::random::Entropy;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn person(domain: &str, name: &str) -> Person {
        Person { domain: Domain::new(domain), name: Name::canonical(name).expect("a name") }
    }

    fn id(last: u8) -> GrantId {
        GrantId::new(Timestamp::UNIX_EPOCH, Entropy([0, 0, 0, 0, 0, 0, 0, 0, 0, last]))
    }

    fn now() -> Now {
        Now { utc: "2026-08-13T12:00:00Z".parse().expect("a moment"), boot: BootTime(1_000_000) }
    }

    /// campus/alice, week 2, month 4.
    fn request() -> Request {
        let service = ServiceName::new("kms");
        let terms = Terms {
            service: service.clone(),
            window: Duration::from_secs(200),
            connections: 1,
            close_when_used: true,
            ipv6_prefix: 128,
        };
        let identity = Identity::accepted(person("campus", "alice"), Vec::new(), ServerName::new("mail"));
        let source = Source::new([198, 51, 100, 7].into());
        let rule = RuleName::new("students");
        let counted = Arc::from([service]);
        let permit = Permit::new(identity, source, Arc::new(terms), rule, Quota::default(), counted);
        Request { id: id(1), permit, token: SecretHash([0; 32]) }
    }

    fn standing(domain: &str, name: &str, open: bool, seconds: i64, claims: (u16, u16, u16)) -> Option<Standing> {
        let deadline = BootTime(now().boot.0.checked_add_signed(seconds * 1000).expect("a moment"));
        let (connections, claims, alive) = claims;
        Some(Standing { id: id(2), person: person(domain, name), open, deadline, connections, claims, alive })
    }

    /// Used and unused grants of the week and the month; the limiting ones are 6 and 20 days old.
    fn uses(week: (u32, u32), month: (u32, u32)) -> Vec<Use> {
        let ago = |days: u64| now().utc - Duration::from_secs(days * 86400);
        request()
            .to_count(now())
            .into_iter()
            .map(|since| match since.span {
                Span::Day | Span::Week => (since, week, ago(6)),
                Span::Month => (since, month, ago(20)),
            })
            .map(|(since, (used, unused), at)| Use {
                since,
                used,
                limiting: (used >= since.limit).then_some(at),
                unused,
            })
            .collect()
    }

    const FREE: ((u32, u32), (u32, u32)) = ((0, 0), (0, 0));
    const DAYS: u64 = 86_400_000;

    fn refused(reason: Reason, milliseconds: Option<u64>) -> Decision {
        let rule = (reason == Reason::QuotaExhausted).then(|| RuleName::new("students"));
        let retry_after = milliseconds.map(Duration::from_millis);
        Decision::Refuse(Refusal { reason, retry_after, rule, message: None })
    }

    /// what stands in the way, ((used, unused) in the week, (used, unused) in the month) => what is written.
    macro_rules! decides {
        ($($name:ident: $standing:expr, $uses:expr => $decision:expr;)+) => {
            $(#[test]
            fn $name() {
                let (week, month) = $uses;
                let facts = Facts { standing: $standing, uses: uses(week, month) };
                assert_eq!(decide(&request(), &facts, now()), $decision);
            })+
        };
    }

    decides! {
        nothing_in_the_way: None, FREE => Decision::Open;
        room_in_week_and_month: None, ((1, 0), (3, 0)) => Decision::Open;
        the_same_person_gets_the_same_grant: standing("campus", "alice", true, 100, (1, 0, 0)), FREE => Decision::Same(id(2));
        the_same_grant_costs_no_quota: standing("campus", "alice", true, 100, (1, 0, 0)), ((2, 0), (4, 0)) => Decision::Same(id(2));
        the_same_while_its_connection_is_alive: standing("campus", "alice", true, 100, (1, 1, 1)), FREE => Decision::Same(id(2));
        the_same_while_a_connection_is_left: standing("campus", "alice", true, 100, (3, 2, 0)), FREE => Decision::Same(id(2));
        a_spent_grant_is_replaced: standing("campus", "alice", true, 100, (1, 1, 0)), ((1, 0), (1, 0)) => Decision::Replace(id(2));
        a_spent_grant_is_replaced_within_the_quota_only: standing("campus", "alice", true, 100, (1, 1, 0)), ((2, 0), (2, 0)) => refused(Reason::QuotaExhausted, Some(DAYS + 1));
        f17_another_person_waits_until_its_end: standing("campus", "bob", true, 100, (1, 0, 0)), FREE => refused(Reason::SourceBusy, Some(100_000));
        f17_another_domain_is_another_person: standing("guests", "alice", true, 100, (1, 0, 0)), FREE => refused(Reason::SourceBusy, Some(100_000));
        another_persons_spent_grant_is_in_the_way: standing("campus", "bob", true, 100, (1, 1, 0)), FREE => refused(Reason::SourceBusy, Some(100_000));
        another_persons_opening_grant_is_in_the_way: standing("campus", "bob", false, 200, (1, 0, 0)), FREE => refused(Reason::SourceBusy, Some(200_000));
        busy_is_said_before_quota: standing("campus", "bob", true, 100, (1, 0, 0)), ((2, 0), (4, 0)) => refused(Reason::SourceBusy, Some(100_000));
        ones_own_opening_or_closing_grant_settles_soon: standing("campus", "alice", false, 100, (1, 0, 0)), FREE => refused(Reason::SourceBusy, Some(1000));
        a_grant_past_its_end_is_none: standing("campus", "bob", true, -1, (1, 0, 0)), FREE => Decision::Open;
        a_grant_at_its_end_is_none: standing("campus", "bob", false, 0, (1, 0, 0)), FREE => Decision::Open;
        ones_own_past_its_end_is_none: standing("campus", "alice", true, -1, (1, 1, 0)), FREE => Decision::Open;
        past_its_end_the_quota_still_holds: standing("campus", "alice", true, -1, (1, 1, 0)), ((2, 0), (2, 0)) => refused(Reason::QuotaExhausted, Some(DAYS + 1));
        the_week_is_used_up: None, ((2, 0), (2, 0)) => refused(Reason::QuotaExhausted, Some(DAYS + 1));
        the_month_is_used_up: None, ((1, 0), (4, 0)) => refused(Reason::QuotaExhausted, Some(10 * DAYS + 1));
        the_longest_of_two_waits: None, ((3, 0), (5, 0)) => refused(Reason::QuotaExhausted, Some(10 * DAYS + 1));
        ten_times_as_many_unused_windows: None, ((0, 20), (0, 20)) => refused(Reason::QuotaExhausted, Some(7 * DAYS + 1));
        nineteen_unused_windows_are_not_yet_too_many: None, ((0, 19), (0, 39)) => Decision::Open;
    }

    #[test]
    fn a_limit_that_never_leaves_room_makes_waiting_useless() {
        let mut uses = uses((2, 0), (4, 0));
        uses[0].since.limit = 0;
        let decision = decide(&request(), &Facts { standing: None, uses }, now());
        assert_eq!(decision, refused(Reason::QuotaExhausted, None));
    }

    fn any_standing() -> impl Strategy<Value = Option<Standing>> {
        let who = proptest::sample::select(&[("campus", "alice"), ("campus", "bob"), ("guests", "alice")][..]);
        proptest::option::of((who, any::<bool>(), -3_i64..4, (1_u16..4, 0_u16..5, 0_u16..3))).prop_map(|one| {
            one.and_then(|((domain, name), open, end, claims)| standing(domain, name, open, end, claims))
        })
    }

    fn any_uses() -> impl Strategy<Value = Vec<Use>> {
        let span = proptest::sample::select(&[Span::Day, Span::Week, Span::Month][..]);
        let one =
            (span, 0_u32..4, 0_u32..5, 0_u32..50, 0_u64..40 * 86400).prop_map(|(span, limit, used, unused, age)| {
                let at = now().utc - Duration::from_secs(age);
                let since = crate::quota::Since { span, limit, from: now().utc - span.length() };
                Use { since, used, limiting: (used >= limit && limit > 0).then_some(at), unused }
            });
        proptest::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn p4_nothing_opens_over_an_exhausted_quota_or_in_anothers_window(standing in any_standing(), uses in any_uses()) {
            let facts = Facts { standing, uses };
            let alice = person("campus", "alice");
            let in_the_way = facts.standing.as_ref().filter(|standing| standing.deadline > now().boot);
            let exhausted = facts.uses.iter().any(|u| u.used >= u.since.limit || u.unused >= 10 * u.since.limit);
            match decide(&request(), &facts, now()) {
                Decision::Open => prop_assert!(!exhausted && in_the_way.is_none()),
                Decision::Replace(id) => {
                    let spent = in_the_way.expect("something to replace");
                    prop_assert!(!exhausted && spent.id == id && spent.person == alice && spent.open);
                    prop_assert!(spent.claims >= spent.connections && spent.alive == 0);
                }
                Decision::Same(id) => {
                    let own = in_the_way.expect("something that is the same");
                    prop_assert!(own.id == id && own.person == alice && own.open);
                }
                Decision::Refuse(refusal) => match refusal.reason {
                    Reason::SourceBusy => {
                        prop_assert!(in_the_way.is_some_and(|other| other.person != alice || !other.open));
                        prop_assert!(refusal.retry_after.is_some_and(|wait| !wait.is_zero()));
                        prop_assert_eq!(refusal.rule, None);
                    }
                    Reason::QuotaExhausted => {
                        prop_assert!(exhausted && refusal.rule.is_some());
                        prop_assert!(refusal.retry_after.is_none_or(|wait| !wait.is_zero()));
                    }
                    other => prop_assert!(false, "{other} is not decided here"),
                },
            }
        }
    }
}
