//! One claimed connection, from its first byte to its last. What must never happen here: a byte past a limit, an end that
//! one side is not told of (F09).

use super::msrpc::{Calls, Scan};
use super::passage::{Filter, Side, Step, first, rest, step};
use super::slots::Wire;
use kmsgate_ledger::records::LedgerError;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// How far a connection may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The end of its window.
    pub until: Instant,
    /// The end of `max_connection`.
    pub longest: Option<Instant>,
    /// The longest silence in both directions.
    pub idle: Duration,
    /// Most bytes from the person.
    pub bytes_in: Option<u64>,
    /// Most request PDUs.
    pub calls: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// How it ended.
    pub verdict: Verdict,
    /// Whether both sides said that nothing more comes. Where they did not, both are to be reset (F09).
    pub clean: bool,
    /// Whether the provider's first byte came.
    pub answered: bool,
    /// Bytes from the person that the provider's socket took.
    pub bytes_in: u64,
    /// Bytes to the person that the person's socket took.
    pub bytes_out: u64,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answered, or ended by the person.
    Served,
    /// Unanswered, and the provider reset, closed first or kept silent to the end: the claim is to be given back (F07).
    Unserved,
    /// It broke a limit.
    Limit,
    /// Its grant was closed, or its window ended.
    Cut,
}

/// What both directions know of each other.
#[derive(Debug)]
struct Shared<'a> {
    began: Instant,
    wire: &'a Wire,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// The provider's first byte came. Said before the ledger is told, so that an answer is never taken for none (P1).
    answered: AtomicBool,
    /// The person said that nothing more comes.
    person_done: AtomicBool,
    /// One direction is done.
    one_ended: AtomicBool,
    /// Milliseconds after the beginning at which a byte last passed.
    last: AtomicU64,
}

/// Why a direction broke off.
enum Broken {
    Person,
    Provider,
    Limit,
    /// The ledger could not note the answer: it must not pass (P1).
    Ledger,
}

/// Carries bytes both ways until both sides are done, a side breaks off, or something ends it: `cut` is the end of its
/// grant. `answered` is called before the provider's first byte passes on. The sockets stay with the caller, who tells both
/// sides of an end that is not clean.
pub async fn carry<F>(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    limits: &Limits,
    wire: &Wire,
    cut: impl Future<Output = ()>,
    answered: impl Fn() -> F + Send + Sync,
) -> Carried
where
    F: Future<Output = Result<(), LedgerError>> + Send,
{
    let shared = Shared::new(wire);
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let both = async {
        tokio::try_join!(
            inward(from_client, to_upstream, limits, &shared),
            outward(from_upstream, to_client, &shared, answered)
        )
    };
    // What ends a window is looked at before every step, whatever the traffic (P2).
    let (clean, verdict) = tokio::select! {
        biased;
        () = cut => (false, at_the_cut(limits, &shared)),
        over = over(limits, &shared) => (false, shared.hung_or(over)),
        both = both => (both.is_ok(), verdict(both.map(drop), &shared)),
    };
    Carried {
        verdict,
        clean,
        answered: shared.answered(),
        bytes_in: shared.bytes_in.load(Ordering::Relaxed),
        bytes_out: shared.bytes_out.load(Ordering::Relaxed),
    }
}

/// From the person to the provider, within the limits.
async fn inward(mut from: ReadHalf<'_>, to: WriteHalf<'_>, limits: &Limits, shared: &Shared<'_>) -> Result<(), Broken> {
    let broken = |side| match side {
        Side::From => Broken::Person,
        Side::To => Broken::Provider,
    };
    let count = |bytes| shared.passed_in(bytes);
    let mut filter = Inward { calls: limits.calls.map(Calls::at_most), left: limits.bytes_in, stopped: false };
    let mut held = Vec::new();
    while let Step::Passed = step(&mut from, &to, &mut held, &mut filter, count).await.map_err(broken)? {
        if filter.stopped {
            return Err(Broken::Limit);
        }
    }
    shared.person_done.store(true, Ordering::Relaxed);
    // Held for more of a header that does not come: there is no call in it, and it counts as all the others do.
    if filter.left.is_some_and(|left| left < u64::try_from(held.len()).unwrap_or(u64::MAX)) {
        return Err(Broken::Limit);
    }
    rest(&to, &held, count).await.map_err(broken)?;
    shared.end_of(to.as_ref()).map_err(|_| Broken::Provider)
}

/// From the provider to the person. The first byte is an answer, and is noted before it passes.
async fn outward<F>(
    mut from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    shared: &Shared<'_>,
    answered: impl Fn() -> F,
) -> Result<(), Broken>
where
    F: Future<Output = Result<(), LedgerError>>,
{
    let broken = |side| match side {
        Side::From => Broken::Provider,
        Side::To => Broken::Person,
    };
    let count = |bytes| shared.passed_out(bytes);
    let answer = first(&mut from).await.map_err(broken)?;
    if !answer.is_empty() {
        shared.answered.store(true, Ordering::Relaxed);
        answered().await.map_err(|_| Broken::Ledger)?;
        rest(&to, &answer, count).await.map_err(broken)?;
        drop(answer);
        while let Step::Passed = step(&mut from, &to, &mut Vec::new(), &mut All, count).await.map_err(broken)? {}
    } else if !shared.person_done.load(Ordering::Relaxed) {
        return Err(Broken::Provider);
    }
    shared.end_of(to.as_ref()).map_err(|_| Broken::Person)
}

/// Lets pass what the limits of a service allow.
struct Inward {
    calls: Option<Calls>,
    left: Option<u64>,
    stopped: bool,
}

impl Filter for Inward {
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let pass = match self.calls.as_mut().map(|calls| calls.scan(bytes)) {
            None => bytes.len(),
            Some(Scan::Pass(pass)) => pass,
            Some(Scan::TooMany(pass) | Scan::Malformed(pass)) => {
                self.stopped = true;
                pass
            }
        };
        let Some(left) = self.left else { return pass };
        match left.checked_sub(number(pass)) {
            Some(left) => {
                self.left = Some(left);
                pass
            }
            None => {
                self.stopped = true;
                0
            }
        }
    }
}

/// Lets everything pass.
struct All;

impl Filter for All {
    fn judge(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

/// What the end of both directions means.
fn verdict(ended: Result<(), Broken>, shared: &Shared<'_>) -> Verdict {
    match ended {
        Err(Broken::Limit) => Verdict::Limit,
        Err(Broken::Ledger) => Verdict::Cut,
        Err(Broken::Provider) if !shared.answered() => Verdict::Unserved,
        Err(Broken::Provider | Broken::Person) | Ok(()) => Verdict::Served,
    }
}

/// The grant was closed. Whoever closes it when its window ends may come before this connection's own timer.
fn at_the_cut(limits: &Limits, shared: &Shared<'_>) -> Verdict {
    if Instant::now() >= limits.until { shared.hung_or(Verdict::Cut) } else { Verdict::Cut }
}

/// Waits for whichever end comes first, with one timer, and says what it means.
async fn over(limits: &Limits, shared: &Shared<'_>) -> Verdict {
    let longest = limits.longest.filter(|longest| *longest < limits.until);
    let (end, meaning) = longest.map_or((limits.until, Verdict::Cut), |longest| (longest, Verdict::Limit));
    loop {
        let silent = shared.last_passed() + limits.idle;
        tokio::time::sleep_until(end.min(silent)).await;
        if Instant::now() >= end {
            return meaning;
        }
        // What passed meanwhile has moved the end of patience.
        if shared.last_passed() + limits.idle <= silent {
            return Verdict::Cut;
        }
    }
}

impl<'a> Shared<'a> {
    fn new(wire: &'a Wire) -> Self {
        Self {
            began: Instant::now(),
            wire,
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            person_done: AtomicBool::new(false),
            one_ended: AtomicBool::new(false),
            last: AtomicU64::new(0),
        }
    }

    fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Time is over. If the person asked and was not answered, the provider hangs.
    fn hung_or(&self, otherwise: Verdict) -> Verdict {
        let asked = self.bytes_in.load(Ordering::Relaxed) > 0;
        if asked && !self.answered() { Verdict::Unserved } else { otherwise }
    }

    fn passed_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(number(bytes), Ordering::Relaxed);
        self.wire.passed_in(number(bytes));
        self.passed_now();
    }

    fn passed_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(number(bytes), Ordering::Relaxed);
        self.wire.passed_out(number(bytes));
        self.passed_now();
    }

    fn last_passed(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Tells a side that nothing more comes. For the second direction to end, the close that follows at once says it.
    fn end_of(&self, to: &TcpStream) -> Result<(), Errno> {
        if self.one_ended.swap(true, Ordering::Relaxed) { Ok(()) } else { shutdown(to, Shutdown::Write) }
    }

    fn passed_now(&self) {
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(milliseconds, Ordering::Relaxed);
    }
}

fn number(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
