//! The life of a grant. What must never happen here: a way back. Each state holds exactly the facts that are true in it;
//! each transition takes the state by value, the moment and the cause, so that no grant can be closed twice or opened
//! after it was closed.

use crate::random::Entropy;
use crate::reason::Cause;
use crate::time::{BootTime, Now};
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;

/// The name of a grant: a ULID, 26 characters of Crockford's base 32, ordered by time of making.
///
/// Kept as bytes, most significant first: a 128-bit number would make every pair of a name and a moment a third larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId([u8; 16]);

impl GrantId {
    /// A new name from a moment and 80 random bits.
    #[must_use]
    pub fn new(at: Timestamp, entropy: Entropy) -> Self {
        let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let random = entropy.0.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        Self(ulid::Ulid::from_parts(milliseconds, random).to_bytes())
    }

    /// As the ledger stores it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// From the ledger.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ulid::Ulid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

impl FromStr for GrantId {
    type Err = NotAGrantId;
    fn from_str(text: &str) -> Result<Self, NotAGrantId> {
        ulid::Ulid::from_string(text).map(|id| Self(id.to_bytes())).map_err(|_| NotAGrantId)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOTALS: Totals = Totals { claims: 1, given_back: 0, bytes_in: 268, bytes_out: 260, milliseconds: 3100 };
    const STATES: [State; 4] =
        [State::Opening, State::Open, State::Closing(Cause::Used), State::Closed(Cause::Used, TOTALS)];

    /// What a state becomes by each of the transitions; a dash where it has none.
    fn becomes(from: State) -> [&'static str; 3] {
        let name = |after: Result<State, NoSuchTransition>| after.map_or("-", State::as_str);
        [name(from.opened()), name(from.closing(Cause::Revoked)), name(from.closed(TOTALS))]
    }

    #[test]
    fn a_grant_goes_one_way_only() {
        let [opening, open, closing, closed] = STATES.map(becomes);
        assert_eq!(opening, ["open", "closing", "-"]);
        assert_eq!(open, ["-", "closing", "-"]);
        assert_eq!(closing, ["-", "-", "closed"]);
        assert_eq!(closed, ["-", "-", "-"]);
    }

    #[test]
    fn a_refused_transition_says_from_what_to_what() {
        let why = State::Closing(Cause::Used).opened().map_err(|why| why.to_string());
        assert_eq!(why, Err("a grant that is closing cannot become open".to_owned()));
        let why = State::Opening.closed(TOTALS).map_err(|why| why.to_string());
        assert_eq!(why, Err("a grant that is opening cannot become closed".to_owned()));
    }

    #[test]
    fn only_a_closed_grant_is_finished() {
        assert_eq!(STATES.map(State::unfinished), [true, true, true, false]);
    }

    #[test]
    fn a_window_ends_on_both_clocks_and_neither_overflows() {
        let now = Now { utc: Timestamp::UNIX_EPOCH, boot: BootTime(5) };
        let window = Window::from(now, std::time::Duration::from_secs(200));
        assert_eq!(window.opened_at, now.utc);
        assert_eq!(window.ends_at, Timestamp::from_second(200).expect("a moment"));
        assert_eq!(window.deadline, BootTime(200_005));
        let last = Now { utc: Timestamp::MAX, boot: BootTime(u64::MAX) };
        let window = Window::from(last, std::time::Duration::from_secs(200));
        assert_eq!((window.ends_at, window.deadline), (last.utc, last.boot));
    }

    #[test]
    fn a_grant_has_one_name_in_bytes_and_in_text() {
        let at = Timestamp::from_millisecond(1_700_000_000_000).expect("a moment");
        let id = GrantId::new(at, Entropy([0xff; 10]));
        assert_eq!(GrantId::from_bytes(id.to_bytes()), id);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 26);
        assert!(id < GrantId::new(at + std::time::Duration::from_millis(1), Entropy([0; 10])), "ordered by time");
        assert_eq!("no grant".parse::<GrantId>(), Err(NotAGrantId));
    }

    #[derive(Debug, Clone, Copy)]
    enum Try {
        Open,
        Close(Cause),
        Closed(u32),
    }

    fn tries() -> impl Strategy<Value = Vec<Try>> {
        let one = prop_oneof![
            Just(Try::Open),
            proptest::sample::select(Cause::ALL).prop_map(Try::Close),
            any::<u32>().prop_map(Try::Closed),
        ];
        proptest::collection::vec(one, 0..24)
    }

    proptest! {
        #[test]
        fn a_closed_grant_stays_closed_with_its_first_cause_and_totals(tries in tries()) {
            let mut state = State::Opening;
            let mut first: Option<Cause> = None;
            let mut end: Option<State> = None;
            for one in tries {
                let after = match one {
                    Try::Open => state.opened(),
                    Try::Close(cause) => state.closing(cause),
                    Try::Closed(claims) => state.closed(Totals { claims, ..Totals::default() }),
                };
                if let Ok(after) = after {
                    prop_assert!(end.is_none(), "{end:?} became {after:?}");
                    if let (Try::Close(cause), None) = (one, first) {
                        first = Some(cause);
                    }
                    state = after;
                }
                if let State::Closing(cause) | State::Closed(cause, _) = state {
                    prop_assert_eq!(Some(cause), first);
                }
                if !state.unfinished() {
                    prop_assert_eq!(*end.get_or_insert(state), state);
                }
            }
        }
    }
}
