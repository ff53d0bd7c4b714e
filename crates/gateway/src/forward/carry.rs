//! One claimed connection, from its first byte to its last. What must never happen here: a byte past a limit, an end that
//! one side is not told of (F09).

use super::msrpc::{Calls, Scan};
use super::relay::reset;
use super::slots::Wire;
use kmsgate_ledger::records::LedgerError;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Memory of one direction.
const BUFFER: usize = 16 * 1024;

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
    /// Whether the provider's first byte passed.
    pub answered: bool,
    /// Bytes from the person.
    pub bytes_in: u64,
    /// Bytes to the person.
    pub bytes_out: u64,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answered, or ended by the person.
    Served,
    /// Unanswered, and the provider reset, closed first or kept silent: the claim is to be given back (F07).
    Unserved,
    /// It broke a limit.
    Limit,
    /// Its grant was closed, or its window ended.
    Cut,
}

/// What both directions know of each other.
#[derive(Debug, Default)]
struct Shared {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// The person said that nothing more comes.
    person_done: AtomicBool,
    /// The provider said so before the person did.
    provider_first: AtomicBool,
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

/// Carries bytes both ways until both sides are done, a side breaks off, or something ends it. `answered` is called before
/// the provider's first byte passes on.
pub async fn carry<F>(
    mut client: TcpStream,
    mut upstream: TcpStream,
    limits: &Limits,
    wire: &Wire,
    cut: &CancellationToken,
    answered: impl Fn() -> F + Send + Sync,
) -> Carried
where
    F: Future<Output = Result<(), LedgerError>> + Send,
{
    prompt(&client);
    prompt(&upstream);
    let shared = Shared::default();
    let began = Instant::now();
    let ended = {
        let (mut from_person, mut to_person) = client.split();
        let (mut from_provider, mut to_provider) = upstream.split();
        let inward = inward(&mut from_person, &mut to_provider, limits, wire, &shared, began);
        let outward = outward(&mut from_provider, &mut to_person, wire, &shared, began, answered);
        tokio::select! {
            both = async { tokio::try_join!(inward, outward) } => verdict(both.map(drop), &shared),
            () = cut.cancelled() => Verdict::Cut,
            () = tokio::time::sleep_until(limits.until) => Verdict::Cut,
            () = longest(limits.longest) => Verdict::Limit,
            () = idle(limits.idle, began, &shared) => silent(&shared),
        }
    };
    if ended != Verdict::Served || shared.provider_first.load(Ordering::Relaxed) && !shared.answered() {
        reset(&client);
        reset(&upstream);
    }
    Carried {
        verdict: ended,
        answered: shared.answered(),
        bytes_in: shared.bytes_in.load(Ordering::Relaxed),
        bytes_out: shared.bytes_out.load(Ordering::Relaxed),
    }
}

/// From the person to the provider, within the limits.
async fn inward(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    limits: &Limits,
    wire: &Wire,
    shared: &Shared,
    began: Instant,
) -> Result<(), Broken> {
    let mut calls = limits.calls.map(Calls::at_most);
    let mut buffer = vec![0; BUFFER];
    let mut held = 0;
    loop {
        let room = buffer.get_mut(held..).unwrap_or_default();
        let read = from.read(room).await.map_err(|_| Broken::Person)?;
        shared.passed_at(began);
        if read == 0 {
            break;
        }
        held += read;
        let ready = buffer.get(..held).unwrap_or_default();
        let (pass, stop) = match calls.as_mut().map(|calls| calls.scan(ready)) {
            None => (held, false),
            Some(Scan::Pass(pass)) => (pass, false),
            Some(Scan::TooMany(pass) | Scan::Malformed(pass)) => (pass, true),
        };
        let total = shared.bytes_in.load(Ordering::Relaxed).saturating_add(u64::try_from(pass).unwrap_or(u64::MAX));
        if limits.bytes_in.is_some_and(|most| total > most) {
            return Err(Broken::Limit);
        }
        wire.passed_in(u64::try_from(pass).unwrap_or(u64::MAX));
        shared.bytes_in.store(total, Ordering::Relaxed);
        to.write_all(buffer.get(..pass).unwrap_or_default()).await.map_err(|_| Broken::Provider)?;
        if stop {
            return Err(Broken::Limit);
        }
        buffer.copy_within(pass..held, 0);
        held -= pass;
    }
    shared.person_done.store(true, Ordering::Relaxed);
    to.write_all(buffer.get(..held).unwrap_or_default()).await.map_err(|_| Broken::Provider)?;
    to.shutdown().await.map_err(|_| Broken::Provider)
}

/// From the provider to the person. The first byte is an answer, and is noted before it passes.
async fn outward<F>(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    wire: &Wire,
    shared: &Shared,
    began: Instant,
    answered: impl Fn() -> F,
) -> Result<(), Broken>
where
    F: Future<Output = Result<(), LedgerError>>,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken::Provider)?;
        shared.passed_at(began);
        if read == 0 {
            break;
        }
        if !shared.answered() {
            answered().await.map_err(|_| Broken::Ledger)?;
        }
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        wire.passed_out(bytes);
        shared.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        to.write_all(buffer.get(..read).unwrap_or_default()).await.map_err(|_| Broken::Person)?;
    }
    if !shared.person_done.load(Ordering::Relaxed) {
        shared.provider_first.store(true, Ordering::Relaxed);
        if !shared.answered() {
            return Err(Broken::Provider);
        }
    }
    to.shutdown().await.map_err(|_| Broken::Person)
}

/// What the end of both directions means.
fn verdict(ended: Result<(), Broken>, shared: &Shared) -> Verdict {
    match ended {
        Err(Broken::Limit) => Verdict::Limit,
        Err(Broken::Ledger) => Verdict::Cut,
        Err(Broken::Provider) if !shared.answered() => Verdict::Unserved,
        Err(Broken::Provider | Broken::Person) => Verdict::Served,
        Ok(()) => Verdict::Served,
    }
}

/// Nobody spoke for too long. If the person did and was not answered, the provider hangs.
fn silent(shared: &Shared) -> Verdict {
    let asked = shared.bytes_in.load(Ordering::Relaxed) > 0;
    if asked && !shared.answered() { Verdict::Unserved } else { Verdict::Cut }
}

async fn longest(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn idle(most: Duration, began: Instant, shared: &Shared) {
    loop {
        let silent_since = began + Duration::from_millis(shared.last.load(Ordering::Relaxed));
        if silent_since.elapsed() >= most {
            return;
        }
        tokio::time::sleep_until(silent_since + most).await;
    }
}

impl Shared {
    fn answered(&self) -> bool {
        self.bytes_out.load(Ordering::Relaxed) > 0
    }

    fn passed_at(&self, began: Instant) {
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(milliseconds, Ordering::Relaxed);
    }
}

/// Small answers are not held back for more to come (TCP_NODELAY).
fn prompt(stream: &TcpStream) {
    // Without it the connection is slower and not wrong.
    let slower: io::Result<()> = stream.set_nodelay(true);
    drop(slower);
}
