//! The life of a grant. Each state holds exactly the facts that are true in it; each transition takes the state by
//! value, the moment and the cause, so that no grant can be closed twice or opened after it was closed.

use crate::random::Entropy;
use crate::reason::Cause;
use crate::time::{BootTime, Now};
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;

/// The name of a grant: a ULID, 26 characters of Crockford's base 32, ordered by time of making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(ulid::Ulid);

impl GrantId {
    /// A new name from a moment and 80 random bits.
    #[must_use]
    pub fn new(at: Timestamp, entropy: Entropy) -> Self {
        let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let random = entropy.0.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        Self(ulid::Ulid::from_parts(milliseconds, random))
    }

    /// As the ledger stores it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// From the ledger.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(ulid::Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GrantId {
    type Err = NotAGrantId;
    fn from_str(text: &str) -> Result<Self, NotAGrantId> {
        ulid::Ulid::from_string(text).map(Self).map_err(|_| NotAGrantId)
    }
}

/// A text that names no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAGrantId;

impl fmt::Display for NotAGrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a grant's name is 26 characters, such as 01JD4Y0V7Q8ZK3M5N9RXWATB2C")
    }
}

impl std::error::Error for NotAGrantId {}

/// When a window began and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it was reserved; quotas count by it.
    pub opened_at: Timestamp,
    /// When it ends, for people and records.
    pub ends_at: Timestamp,
    /// When it ends, for the machine.
    pub deadline: BootTime,
}

/// What came of a grant's connections in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Claims not given back.
    pub claims: u32,
    /// Claims given back.
    pub given_back: u32,
    /// Bytes from the person to the provider.
    pub bytes_in: u64,
    /// Bytes from the provider to the person.
    pub bytes_out: u64,
    /// Milliseconds for which connections lasted, added up.
    pub milliseconds: u64,
}

/// So many claims of a grant may be given back; the next one that fails counts as used, so that nobody probes a
/// provider for a whole window (F07).
pub const GIVEN_BACK_AT_MOST: u16 = 3;

/// Whether a claim that ended is given back: never if the provider answered on it, and at most
/// [`GIVEN_BACK_AT_MOST`] times a grant. `wanted` is what the forwarder saw: the provider refused, reset, timed
/// out or closed first.
#[must_use]
pub fn gives_back(wanted: bool, answered: bool, given_back: u16) -> bool {
    wanted && !answered && given_back < GIVEN_BACK_AT_MOST
}

/// The state of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Recorded; the forwarder has not confirmed.
    Opening,
    /// The forwarder confirmed.
    Open,
    /// A close is written; the forwarder has not confirmed.
    Closing(Cause),
    /// The end.
    Closed(Cause, Totals),
}

/// A transition that a state does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchTransition {
    /// The state it was in.
    pub from: &'static str,
    /// What was tried.
    pub to: &'static str,
}

impl State {
    /// The forwarder confirmed.
    ///
    /// # Errors
    /// From any state but Opening.
    pub fn opened(self) -> Result<Self, NoSuchTransition> {
        match self {
            Self::Opening => Ok(Self::Open),
            other => Err(NoSuchTransition { from: other.as_str(), to: "open" }),
        }
    }

    /// A close begins. The first cause stays: a second door finds the grant closing already.
    ///
    /// # Errors
    /// From Closing and Closed.
    pub fn closing(self, cause: Cause) -> Result<Self, NoSuchTransition> {
        match self {
            Self::Opening | Self::Open => Ok(Self::Closing(cause)),
            other => Err(NoSuchTransition { from: other.as_str(), to: "closing" }),
        }
    }

    /// The forwarder confirmed that nothing is open.
    ///
    /// # Errors
    /// From any state but Closing.
    pub fn closed(self, totals: Totals) -> Result<Self, NoSuchTransition> {
        match self {
            Self::Closing(cause) => Ok(Self::Closed(cause, totals)),
            other => Err(NoSuchTransition { from: other.as_str(), to: "closed" }),
        }
    }

    /// The stable name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing(_) => "closing",
            Self::Closed(..) => "closed",
        }
    }

    /// Whether the grant still stands in the way of another one, its end aside.
    #[must_use]
    pub fn unfinished(self) -> bool {
        !matches!(self, Self::Closed(..))
    }
}

impl Window {
    /// A window of this length from now.
    #[must_use]
    pub fn from(now: Now, length: std::time::Duration) -> Self {
        Self { opened_at: now.utc, ends_at: now.utc_plus(length), deadline: now.boot.plus(length) }
    }
}

impl fmt::Display for NoSuchTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a grant that is {} cannot become {}", self.from, self.to)
    }
}

impl std::error::Error for NoSuchTransition {}
