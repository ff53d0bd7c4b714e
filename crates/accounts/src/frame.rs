//! What all kinds of account server share: connections, queue, time-out, breaker, counters. What must never happen here:
//! a question without an end, or one server's trouble felt at another (P8).

use crate::breaker::{Breaker, BreakerState};
use crate::queue::Queue;
use crate::verdict::{Outage, OutageKind, Progress, Rejection, Verdict};
use kmsgate_core::address::Source;
use kmsgate_core::name::{Domain, Name, ServerName};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// From here on an answer to a right password is slow by the server's choice: authentication itself takes milliseconds,
/// and the usual penalties are whole seconds (Dovecot: 2 s and doubling).
const PENALTY: Duration = Duration::from_secs(1);

/// What the configuration says of a server whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSettings {
    /// Its own name.
    pub name: ServerName,
    /// Whose people it holds; the configuration's default is its own name.
    pub domain: Domain,
    /// The realm of its people, if it has one: `user@realm` is asked here.
    pub realm: Option<Name>,
    /// How it is asked for somebody with a realm.
    pub realm_form: RealmForm,
    /// For how long a question may wait for its turn, and then how long the asking may take. Default 5 s.
    pub timeout: Duration,
    /// Most questions at once, 1 or more. Default 16.
    pub connections: usize,
    /// Most questions that wait. Default 256.
    pub queue: usize,
    /// After so many outages of the server in a row it is left alone. Default 5.
    pub failures: u32,
    /// For so long; then one question at a time tries again. Default 10 s.
    pub rest: Duration,
}

/// How a server is asked for `user@realm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RealmForm {
    /// For `user`.
    #[default]
    Strip,
    /// For `user@realm`, also when somebody signs in as `user` and the server has a realm of its own.
    Keep,
}

impl FrameSettings {
    /// The defaults for a server of this name, which is its domain too.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: ServerName::new(name),
            domain: Domain::new(name),
            realm: None,
            realm_form: RealmForm::Strip,
            timeout: Duration::from_secs(5),
            connections: 16,
            queue: 256,
            failures: 5,
            rest: Duration::from_secs(10),
        }
    }
}

/// How often a server said what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Password right.
    pub accepted: u64,
    /// Password wrong, or name unknown at a server that cannot tell.
    pub rejected: u64,
    /// Password right, account not usable.
    pub unusable: u64,
    /// Name unknown.
    pub not_mine: u64,
    /// Something more was asked.
    pub challenged: u64,
    /// The server did not answer.
    pub server_outages: u64,
    /// It did not answer for one account.
    pub account_outages: u64,
    /// It took the password and did not answer in time.
    pub delayed: u64,
    /// Not asked: the line was full, or the breaker open.
    pub busy: u64,
}

/// How a server stands; a copy that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub server: ServerName,
    /// Its domain.
    pub domain: Domain,
    /// Its kind.
    pub kind: &'static str,
    /// Verdicts so far.
    pub counts: Counts,
    /// Questions at work.
    pub running: usize,
    /// Questions waiting.
    pub waiting: usize,
    /// The breaker.
    pub breaker: BreakerState,
    /// How long the server kept the last right password waiting, if that was a second or more: it may be penalising our
    /// address for other people's wrong passwords (F15). Goes away with the next quick answer.
    pub delaying: Option<Duration>,
    /// The last outage in the server's words, for operators.
    pub last_outage: Option<String>,
    /// A fault beside its answers, such as a file that was changed and cannot be read.
    pub fault: Option<String>,
}

/// The bounds around one server.
#[derive(Debug)]
pub struct Frame {
    settings: FrameSettings,
    queue: Queue,
    breaker: Breaker,
    tally: [AtomicU64; 9],
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    delaying: Option<Duration>,
    last_outage: Option<String>,
}

impl Frame {
    /// Bounds as configured.
    #[must_use]
    pub fn new(settings: FrameSettings) -> Self {
        Self {
            queue: Queue::new(settings.connections, settings.queue),
            breaker: Breaker::new(settings.failures, settings.rest),
            tally: Default::default(),
            noted: Mutex::default(),
            settings,
        }
    }

    /// What was configured.
    #[must_use]
    pub fn settings(&self) -> &FrameSettings {
        &self.settings
    }

    /// Asks, within the bounds. `work` is not begun before its turn; `progress` is the one that `work` writes.
    pub async fn run(&self, source: Source, progress: &Progress, work: impl Future<Output = Verdict>) -> Verdict {
        let verdict = match self.bounded(source, progress, work).await {
            Ok(verdict) => verdict,
            Err(outage) => Verdict::Unavailable(outage),
        };
        self.note(&verdict, progress);
        verdict
    }

    /// How it stands; kind and fault are the server's to add.
    #[must_use]
    pub fn snapshot(&self, kind: &'static str, fault: Option<String>) -> Snapshot {
        let (running, waiting) = self.queue.load();
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            server: self.settings.name.clone(),
            domain: self.settings.domain.clone(),
            kind,
            counts: self.counts(),
            running,
            waiting,
            breaker: self.breaker.state(),
            delaying: noted.delaying,
            last_outage: noted.last_outage.clone(),
            fault,
        }
    }

    /// Whether the breaker lets questions through.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.breaker.state() != BreakerState::Open
    }

    async fn bounded(
        &self,
        source: Source,
        progress: &Progress,
        work: impl Future<Output = Verdict>,
    ) -> Result<Verdict, Outage> {
        // Once before the line, so that nobody waits in front of a dead server; once after it, for those who did.
        self.breaker.look()?;
        let limit = self.settings.timeout;
        let turn = match tokio::time::timeout(limit, self.queue.turn(source)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(Outage::busy("too many questions are waiting for this server")),
            Err(_) => {
                return Err(Outage::busy(format!("no turn within {limit:?}: the server is slow or asked too much")));
            }
        };
        let pass = self.breaker.enter()?;
        let verdict = match tokio::time::timeout(limit, work).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Unavailable(out_of_time(limit, progress)),
        };
        pass.settle(&verdict);
        drop(turn);
        Ok(verdict)
    }

    fn note(&self, verdict: &Verdict, progress: &Progress) {
        let [accepted, rejected, unusable, not_mine, challenged, server, account, delayed, busy] = &self.tally;
        let counter = match verdict {
            Verdict::Accepted(_) => accepted,
            Verdict::Rejected(Rejection::Credentials) => rejected,
            Verdict::Rejected(Rejection::Unusable(_)) => unusable,
            Verdict::NotMine => not_mine,
            Verdict::Challenge(_) => challenged,
            Verdict::Unavailable(outage) => match outage.kind {
                OutageKind::Server => server,
                OutageKind::Account => account,
                OutageKind::Delayed => delayed,
                OutageKind::Busy => busy,
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict {
            // Every server may take its time over a wrong password; over a right one only a penalty does.
            Verdict::Accepted(_) => noted.delaying = progress.waited().filter(|waited| *waited >= PENALTY),
            Verdict::Unavailable(outage) => {
                if outage.kind == OutageKind::Delayed {
                    noted.delaying = progress.waited().or(Some(self.settings.timeout));
                }
                if outage.kind != OutageKind::Busy {
                    noted.last_outage = Some(outage.detail.clone());
                }
            }
            _ => {}
        }
    }

    fn counts(&self) -> Counts {
        let [accepted, rejected, unusable, not_mine, challenged, server, account, delayed, busy] =
            self.tally.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        Counts {
            accepted,
            rejected,
            unusable,
            not_mine,
            challenged,
            server_outages: server,
            account_outages: account,
            delayed,
            busy,
        }
    }
}

fn out_of_time(limit: Duration, progress: &Progress) -> Outage {
    if progress.waited().is_some() {
        let detail = format!(
            "took the password and did not answer within {limit:?}; it may be delaying our address for other people's \
             wrong passwords: let it know the person's address (XCLIENT) or take our address out of its penalties"
        );
        Outage { kind: OutageKind::Delayed, detail }
    } else {
        Outage::server(format!("no answer within {limit:?}, {}", progress.step()))
    }
}
