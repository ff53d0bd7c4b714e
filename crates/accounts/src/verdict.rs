//! What an account server can say to a question.

use kmsgate_core::address::Source;
use kmsgate_core::name::{Group, Login};
use kmsgate_core::password::Password;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A question: is this password right for this login? Borrowed by the one server that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who they say they are.
    pub login: &'a Login,
    /// Their proof.
    pub password: &'a Password,
    /// The person's own address: passed on where the server takes it (P8, F15), and the key of fairness in the queue.
    pub source: Source,
    /// Where the server says how far it is, so that a time-out can be told from a penalty.
    pub progress: &'a Progress,
}

/// How far a question got. The server writes it; the frame reads it when the time is up.
#[derive(Debug, Default)]
pub struct Progress(Mutex<(Option<&'static str>, Option<Instant>)>);

impl Progress {
    /// The server is at this step now, such as "waiting for the greeting".
    pub fn at(&self, step: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(step);
    }

    /// The whole question is with the server. Slowness after this is the server's choice (a penalty), not a sign that it
    /// is dead.
    pub fn handed_over(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = (Some("waiting for the answer to the password"), Some(Instant::now()));
    }

    /// The last step that was told.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.unwrap_or("starting")
    }

    /// For how long the server has had the whole question; None if it has not got it yet.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.map(|since| since.elapsed())
    }
}

/// What came back to a challenge.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    /// What the person typed.
    Typed(&'a Password),
    /// The query with which another site sent the person's browser back (OpenID Connect Core 1.0 section 3.1.2.5).
    Returned(&'a str),
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
    /// This account alone (RFC 3206 SYS/TEMP and SYS/PERM, RFC 2449 LOGIN-DELAY): never feeds the breaker.
    Account,
    /// The server has the password and takes its time. It may be delaying everything that comes from our address (F15):
    /// never feeds the breaker.
    Delayed,
    /// Our own queue is full, or the breaker is open.
    Busy,
}

impl Outage {
    /// The server could not be reached or spoke nonsense.
    #[must_use]
    pub fn server(detail: impl Into<String>) -> Self {
        Self { kind: OutageKind::Server, detail: detail.into() }
    }

    /// The server answers, but not for this account now.
    #[must_use]
    pub fn account(detail: impl Into<String>) -> Self {
        Self { kind: OutageKind::Account, detail: detail.into() }
    }

    /// We ourselves have no room for the question.
    #[must_use]
    pub fn busy(detail: impl Into<String>) -> Self {
        Self { kind: OutageKind::Busy, detail: detail.into() }
    }
}

/// Something more that the server asks. Lives at most 2 minutes.
#[derive(Debug)]
pub struct Challenge {
    /// What the person is asked; for a server whose front door is a redirect, the address to go to.
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
