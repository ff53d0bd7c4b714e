//! When a server is dead, nobody waits for it. What must never happen here: an outage of one account, or a server that
//! delays its answers, opening the breaker (F15).

use crate::verdict::{Outage, OutageKind, Verdict};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Opens after so many outages of the server in a row; then one question at a time tries whether it is back.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    rest: Duration,
    inner: Mutex<Inner>,
}

/// What the breaker lets through now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing, until the rest is over.
    Open,
    /// One question, which is on its way or comes next.
    HalfOpen,
}

#[derive(Debug)]
struct Inner {
    state: State,
    last: String,
}

#[derive(Debug)]
enum State {
    Closed { in_a_row: u32 },
    Open { until: Instant },
    Probing,
}

/// The right to ask. Settled with the verdict; dropped unsettled (the person went away), it says nothing of the server.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    settled: bool,
}

impl Breaker {
    /// Opens after `failures` (1 or more) in a row, for `rest`.
    #[must_use]
    pub fn new(failures: u32, rest: Duration) -> Self {
        let inner = Inner { state: State::Closed { in_a_row: 0 }, last: String::new() };
        Self { failures: failures.max(1), rest, inner: Mutex::new(inner) }
    }

    /// May a question go out now?
    ///
    /// # Errors
    /// The outage to answer with, if not.
    pub fn enter(&self) -> Result<Pass<'_>, Outage> {
        let mut inner = self.inner();
        inner.refuse()?;
        let probe = matches!(inner.state, State::Open { .. });
        if probe {
            inner.state = State::Probing;
        }
        Ok(Pass { breaker: self, probe, settled: false })
    }

    /// Would a question go out now? For one that is not to wait for its turn in vain.
    ///
    /// # Errors
    /// As [`Breaker::enter`].
    pub fn look(&self) -> Result<(), Outage> {
        self.inner().refuse()
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.inner().state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if Instant::now() < until => BreakerState::Open,
            State::Open { .. } | State::Probing => BreakerState::HalfOpen,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn refuse(&self) -> Result<(), Outage> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until } if Instant::now() >= until => Ok(()),
            State::Open { .. } | State::Probing => {
                Err(Outage::busy(format!("not asked, since it did not answer before: {}", self.last)))
            }
        }
    }

    fn probe_again(&mut self) {
        if matches!(self.state, State::Probing) {
            self.state = State::Open { until: Instant::now() };
        }
    }
}

impl Pass<'_> {
    /// Takes note of what became of the question.
    pub fn settle(mut self, verdict: &Verdict) {
        self.settled = true;
        let mut inner = self.breaker.inner();
        match verdict {
            Verdict::Unavailable(Outage { kind: OutageKind::Server, detail }) => {
                inner.last.clone_from(detail);
                let rest = State::Open { until: Instant::now() + self.breaker.rest };
                inner.state = match inner.state {
                    State::Closed { in_a_row } if in_a_row + 1 < self.breaker.failures => {
                        State::Closed { in_a_row: in_a_row + 1 }
                    }
                    State::Closed { .. } => rest,
                    State::Probing if self.probe => rest,
                    // One that set out before the breaker opened adds nothing.
                    State::Open { until } => State::Open { until },
                    State::Probing => State::Probing,
                };
            }
            // Our own lack of room says nothing of the server; only a probe has to be made again.
            Verdict::Unavailable(Outage { kind: OutageKind::Busy, .. }) => {
                if self.probe {
                    inner.probe_again();
                }
            }
            // It took the password: not dead, but no proof either that the row of failures has ended.
            Verdict::Unavailable(Outage { kind: OutageKind::Delayed, .. }) => {
                if self.probe {
                    inner.state = State::Closed { in_a_row: 0 };
                }
            }
            _ => inner.state = State::Closed { in_a_row: 0 },
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.breaker.inner().probe_again();
        }
    }
}
