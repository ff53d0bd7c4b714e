//! The pure decision of a reservation. The ledger reads the [`Facts`] and writes the [`Decision`] in one transaction, so
//! neither a quota nor an address can be raced (P4, F12, F13).

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
