//! What goes into the ledger and comes out of it.

use jiff::Timestamp;
use kmsgate_core::address::{AddressKey, Source};
use kmsgate_core::decide::Refusal;
use kmsgate_core::grant::{GrantId, State, Totals, Window};
use kmsgate_core::name::{Person, RuleName, ServerName, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Reason;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A grant as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its name.
    pub id: GrantId,
    /// Whose.
    pub person: Person,
    /// The account server that vouched, or the operator (`operator:NAME`).
    pub voucher: String,
    /// The operator's reason, if one opened it.
    pub note: Option<String>,
    /// The address that asked.
    pub source: Source,
    /// The key to which it is bound.
    pub key: AddressKey,
    /// The service.
    pub service: ServiceName,
    /// The rule that allowed it.
    pub rule: RuleName,
    /// From when to when.
    pub window: Window,
    /// Its state.
    pub state: State,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Claims it may have.
    pub connections: u16,
    /// Claims not given back.
    pub claims: u16,
    /// Claims given back.
    pub given_back: u16,
    /// Claimed connections that have not ended.
    pub alive: u16,
    /// The highest number of a claim so far, 0 if there was none. The next claim takes one above it.
    pub last_claim: u32,
    /// Whether the window ends with its last connection.
    pub close_when_used: bool,
    /// The provider of the last claim.
    pub provider: Option<SocketAddr>,
    /// What came of its connections so far.
    pub totals: Totals,
    /// Whether another identity had a grant on the same key within the last 24 h (F17).
    pub shared: bool,
}

impl GrantRecord {
    /// Whether its connections are all used and none runs, where that ends its window.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.close_when_used && self.claims >= self.connections && self.alive == 0
    }
}

/// The answer to a reservation.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// A new grant, Opening; `replaced` was closed (`used`) in the same step.
    New {
        /// The new grant.
        grant: GrantRecord,
        /// The spent one.
        replaced: Option<GrantId>,
    },
    /// The grant that was there, with the request's token in place of its former one.
    Same(GrantRecord),
    /// Nothing but the refusal, recorded.
    Refused(Refusal),
}

/// A claim being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The grant.
    pub grant: GrantId,
    /// The connection's number within the grant, from 1, never used twice.
    pub number: u32,
    /// The person's end.
    pub client: SocketAddr,
    /// The provider joined to.
    pub provider: SocketAddr,
    /// Whether this process carries the bytes, so that the connection ends with it. The kernel's go on.
    pub relayed: bool,
}

/// A claim whose connection the kernel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningClaim {
    /// The grant.
    pub grant: GrantId,
    /// The connection's number within the grant.
    pub number: u32,
    /// The port at the person's end.
    pub port: u16,
}

/// How a claimed connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimEnd {
    /// The grant.
    pub grant: GrantId,
    /// The connection's number within the grant.
    pub number: u32,
    /// Whether the claim is given back.
    pub given_back: bool,
    /// Whether the provider's first byte passed.
    pub answered: bool,
    /// Bytes from the person.
    pub bytes_in: u64,
    /// Bytes to the person.
    pub bytes_out: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

/// The answer to a close.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseBegun {
    /// This door was first; the forwarder is to act now.
    Begun(GrantRecord),
    /// Another was; its record.
    AlreadyBegun(GrantRecord),
}

/// What a start found: names only, in order, since there may be a million.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Grants closed as `swept` by this call.
    pub swept: Vec<GrantId>,
    /// Open grants whose end is in the future: adopt.
    pub adopt: Vec<GrantId>,
    /// Open grants past their end: close (`expired`).
    pub expired: Vec<GrantId>,
    /// Closing grants: finish.
    pub finish: Vec<GrantId>,
}

/// A browser's session. The cookie itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Hash of the cookie.
    pub hash: SecretHash,
    /// Who signed in.
    pub person: Person,
    /// The grant that the page shows.
    pub grant: GrantId,
    /// When it began.
    pub since: Timestamp,
}

/// A refusal after an identity was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Who.
    pub person: Person,
    /// By which account server.
    pub server: Option<ServerName>,
    /// From where.
    pub source: Source,
    /// For which service.
    pub service: ServiceName,
    /// Why.
    pub reason: Reason,
    /// By which rule.
    pub rule: Option<RuleName>,
}

/// A row of counted refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalCount {
    /// Start of the minute.
    pub minute: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Address prefix: IPv4 /24, IPv6 /64, as its first address.
    pub prefix: IpAddr,
    /// How many.
    pub count: u64,
}

/// One event of the ledger. Append-only; numbers grow and are never used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A grant reached Open.
    Granted(GrantRecord),
    /// The same identity asked again and got the same grant.
    Renewed(GrantRecord),
    /// A claim was taken.
    Claimed(GrantRecord, Claim),
    /// A claimed connection ended.
    Ended(GrantRecord, ClaimEnd),
    /// A grant was closed.
    Closed(GrantRecord),
    /// A sign-in was refused after an identity was proved.
    Refused(Refused),
    /// An operator forgave what was used of a quota.
    QuotaReset {
        /// Whose.
        person: Person,
        /// By whom.
        operator: String,
    },
}

/// Which grants to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only unfinished ones.
    pub unfinished: bool,
    /// Only this person's.
    pub person: Option<Person>,
    /// Only from this address.
    pub source: Option<IpAddr>,
    /// Only older than this one (paging).
    pub before: Option<GrantId>,
    /// At most so many.
    pub limit: usize,
}

/// By what a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportBy {
    /// A line a person.
    User,
    /// A line a day (UTC).
    Day,
    /// A line an address.
    Source,
    /// A line a service.
    Service,
    /// A line a reason or cause.
    Reason,
}

/// A report's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportQuery {
    /// By what.
    pub by: ReportBy,
    /// From this moment.
    pub from: Timestamp,
    /// Before this moment.
    pub to: Timestamp,
}

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct ReportLine {
    /// Whose line.
    pub key: String,
    /// Grants that reached Open.
    pub grants: u64,
    /// Of those, used.
    pub used: u64,
    /// Connections claimed and not given back.
    pub connections: u64,
    /// Sign-ins refused.
    pub refused: u64,
    /// Bytes from people.
    pub bytes_in: u64,
    /// Bytes to people.
    pub bytes_out: u64,
}

/// Why the ledger did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// It cannot be written or read now: full disk, lost file, writer gone. Nothing was changed.
    Unavailable(String),
    /// The file is no ledger, is damaged, or was written by a newer kmsgate. The file is untouched.
    Unreadable(String),
    /// The grant is not in a state in which this can happen.
    State(String),
    /// No claim is left, or the window is over.
    Spent,
    /// There is no such grant.
    Missing,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the ledger cannot be used: {why}"),
            Self::Unreadable(why) => write!(f, "the ledger's file was left as it is: {why}"),
            Self::State(why) => f.write_str(why),
            Self::Spent => f.write_str("no claim of the grant is left"),
            Self::Missing => f.write_str("no such grant"),
        }
    }
}

impl std::error::Error for LedgerError {}
