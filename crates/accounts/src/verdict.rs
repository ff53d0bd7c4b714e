//! What an account server can say to a question.

use kmsgate_core::address::Source;
use kmsgate_core::name::{Group, Login};
use kmsgate_core::password::Password;
use std::time::Duration;

/// A question: is this password right for this login? Borrowed by the one server that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who they say they are.
    pub login: &'a Login,
    /// Their proof.
    pub password: &'a Password,
    /// The person's own address: passed on where the server takes it (P8, F15), and the key of fairness in the queue.
    pub source: Source,
}

/// What a server says.
#[must_use]
#[derive(Debug)]
pub enum Verdict {
    /// The password is right.
    Accepted(Account),
    /// It is not, or the account cannot be used.
    Rejected(Rejection),
    /// The server knows that it does not hold this name.
    NotMine,
    /// No answer to the question. Never a wrong password.
    Unavailable(Outage),
    /// The server asks something more first (RADIUS Access-Challenge, RFC 2865 section 2.1).
    Challenge(Challenge),
}

/// An account as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The server's own spelling of the name, where it returns one.
    pub name: Option<String>,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// Why an account was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Wrong password, or for servers that cannot tell, an unknown name.
    Credentials,
    /// Right password, but disabled, expired or to be changed first; the text is for the log.
    Unusable(String),
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// What kind: decides whether the breaker counts it.
    pub kind: OutageKind,
    /// For the log and for `check`: what happened and at which step.
    pub detail: String,
}

/// Kinds of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutageKind {
    /// Not reached, closed in the middle, TLS failure, time-out, nonsense: counts towards the breaker.
    Server,
    /// This account alone (RFC 3206 SYS/TEMP, RFC 2449 LOGIN-DELAY): never feeds the breaker.
    Account,
    /// Our own queue is full, or the breaker is open.
    Busy,
}

/// Something more that the server asks. Lives at most 2 minutes.
#[derive(Debug)]
pub struct Challenge {
    /// What the person is asked.
    pub prompt: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
    /// What the server needs to go on.
    pub continuation: Continuation,
    /// How long the answer may take.
    pub lasts: Duration,
}

/// The server's state between a challenge and its answer; opaque to everybody else.
pub struct Continuation(pub Vec<u8>);

impl std::fmt::Debug for Continuation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Continuation(..)")
    }
}
