//! What the program says of itself: one line each on standard error. What must never happen here: a line that an outsider
//! can write at will without bound.

use super::line::Line;
use super::typed_name::TypedName;
use crate::forward::OpenError;
use kmsgate_core::address::Source;
use kmsgate_core::name::ServiceName;
use kmsgate_core::reason::Reason;
use kmsgate_ledger::records::LedgerError;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Something that the operator should know.
#[derive(Debug)]
pub enum Notice {
    /// Everything is up.
    Serving {
        /// Where the portal listens.
        portal: Vec<SocketAddr>,
        /// Where services are offered.
        services: Vec<(ServiceName, SocketAddr)>,
        /// Where the operator's listener is.
        operator: Option<SocketAddr>,
    },
    /// A provider answers its health check, or no longer does.
    Provider {
        /// Of which service.
        service: ServiceName,
        /// Which.
        provider: SocketAddr,
        /// Whether it is up now.
        up: bool,
        /// What the check saw.
        detail: String,
    },
    /// No account server accepted a sign-in.
    SignInRefused {
        /// Whose, as far as it may be written.
        name: TypedName,
        /// From where.
        source: Source,
        /// Why.
        reason: Reason,
        /// What each server said.
        log: String,
    },
    /// A trusted proxy sent a request whose client cannot be told.
    Proxy {
        /// The proxy.
        peer: IpAddr,
        /// What was wrong.
        detail: String,
    },
    /// The forwarder did not open a grant.
    NotOpened {
        /// Why.
        error: OpenError,
    },
    /// The session with the enforcer ended.
    EnforcerLost {
        /// How.
        detail: String,
    },
    /// There is a session with the enforcer again.
    EnforcerBack,
    /// Another program removed the kernel's ruleset; it was loaded again, and what is open is restored.
    RulesetRemoved,
    /// A setting of the machine is not as the kernel's forwarder needs it.
    Setting {
        /// Its name, as sysctl(8) has it.
        key: &'static str,
        /// What hangs on it, and what to do.
        detail: String,
    },
    /// The kernel had elements of grants that the ledger does not know.
    Swept {
        /// How many.
        grants: usize,
    },
    /// So many grants are open that nobody looked for elements of unknown ones: they end by themselves.
    NotSwept {
        /// How many.
        grants: usize,
    },
    /// The ledger did not do something.
    Ledger {
        /// Why.
        error: LedgerError,
    },
    /// The receiver of the log is away, or there again.
    LogReceiver {
        /// What happened.
        detail: String,
    },
    /// A listener or connection of ours failed.
    Accept {
        /// Which listener.
        listener: SocketAddr,
        /// Why.
        error: String,
    },
    /// The control socket failed.
    Control {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The configuration was read again.
    Reloaded {
        /// Keys whose change needs a restart.
        restart: Vec<&'static str>,
    },
    /// The configuration was read again and is not accepted; the old one stays in force.
    NotReloaded {
        /// Why.
        errors: String,
    },
    /// The portal has ended.
    Portal {
        /// Why.
        error: String,
    },
    /// The service manager could not be told.
    Systemd {
        /// Why.
        error: String,
    },
    /// Answers under way were cut by the stop.
    StoppedInTheMiddle,
    /// The end.
    Stopped,
}

/// Lines that outsiders can cause, per [`PERIOD`]; the rest are counted and said as one.
const MOST: u64 = 20;
/// See [`MOST`].
const PERIOD: Duration = Duration::from_secs(60);

/// The way out for notices. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices {
    outside: Arc<Mutex<Budget>>,
    unwritten: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    said: u64,
}

impl Default for Notices {
    fn default() -> Self {
        let budget = Budget { since: Instant::now(), said: 0 };
        Self { outside: Arc::new(Mutex::new(budget)), unwritten: Arc::new(AtomicU64::new(0)) }
    }
}

impl Notices {
    /// Says it, unless too many of its kind were said this minute.
    pub fn say(&self, notice: Notice) {
        let take = if notice.outsiders_can_cause() { self.take() } else { Take::Say(0) };
        let Take::Say(swallowed) = take else { return };
        let mut text = format!("kmsgate: {}\n", notice.line());
        if swallowed > 0 {
            text.push_str(&format!("kmsgate: {}\n", Line::new("not_said").field("lines", swallowed)));
        }
        if std::io::stderr().lock().write_all(text.as_bytes()).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that standard error did not take.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    fn take(&self) -> Take {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

enum Take {
    /// Say it, and that so many were not said before.
    Say(u64),
    Swallow,
}

impl Budget {
    fn take(&mut self, now: Instant) -> Take {
        if now.duration_since(self.since) >= PERIOD {
            let swallowed = self.said.saturating_sub(MOST);
            *self = Self { since: now, said: 1 };
            return Take::Say(swallowed);
        }
        self.said += 1;
        if self.said > MOST { Take::Swallow } else { Take::Say(0) }
    }
}

impl Notice {
    /// Whether somebody without any account can cause it.
    fn outsiders_can_cause(&self) -> bool {
        matches!(self, Self::SignInRefused { .. } | Self::Proxy { .. } | Self::Accept { .. } | Self::NotOpened { .. })
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::Serving { portal, services, operator } => {
                let line = portal.iter().fold(Line::new("serving"), |line, at| line.field("portal", at));
                let line = services.iter().fold(line, |line, (name, at)| line.field("service", format!("{name}@{at}")));
                line.maybe("operator", operator.as_ref())
            }
            Self::Provider { service, provider, up, detail } => {
                Line::new(if *up { "provider_up" } else { "provider_down" })
                    .field("service", service)
                    .field("provider", provider)
                    .field("detail", detail)
            }
            Self::SignInRefused { name, source, reason, log } => {
                let line = match name {
                    TypedName::Known(name) => Line::new("not_accepted").field("user", name),
                    TypedName::Hash(hash) => Line::new("not_accepted").field("name_hash", hash),
                };
                line.field("source", source).field("reason", reason).field("detail", log)
            }
            Self::Proxy { peer, detail } => Line::new("proxy").field("peer", peer).field("detail", detail),
            Self::NotOpened { error } => Line::new("not_opened").field("detail", error),
            Self::EnforcerLost { detail } => Line::new("enforcer_lost").field("detail", detail),
            Self::EnforcerBack => Line::new("enforcer_back"),
            Self::RulesetRemoved => Line::new("ruleset_removed").field(
                "detail",
                "another program removed the kernel's ruleset; it is loaded again, open grants are restored",
            ),
            Self::Setting { key, detail } => Line::new("setting").field("key", key).field("detail", detail),
            Self::NotSwept { grants } => Line::new("not_swept").field("open_grants", grants).field(
                "detail",
                "too many to list: what the kernel has of grants that the ledger does not know ends with its windows",
            ),
            Self::Swept { grants } => Line::new("swept").field("elements_of_unknown_grants", grants),
            Self::Ledger { error } => Line::new("ledger").field("detail", error),
            Self::LogReceiver { detail } => Line::new("log_receiver").field("detail", detail),
            Self::Accept { listener, error } => Line::new("accept").field("listener", listener).field("detail", error),
            Self::Control { path, error } => {
                Line::new("control").field("socket", path.display()).field("detail", error)
            }
            Self::Reloaded { restart } => {
                restart.iter().fold(Line::new("reloaded"), |line, key| line.field("needs_restart", key))
            }
            Self::NotReloaded { errors } => Line::new("not_reloaded").field("detail", errors),
            Self::Portal { error } => Line::new("portal").field("detail", error),
            Self::Systemd { error } => Line::new("systemd").field("detail", error),
            Self::StoppedInTheMiddle => Line::new("stopped_in_the_middle"),
            Self::Stopped => Line::new("stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outsider_cannot_fill_the_log() {
        let start = Instant::now();
        let mut budget = Budget { since: start, said: 0 };
        let said = (0..10_000).filter(|_| matches!(budget.take(start), Take::Say(_))).count();
        assert_eq!(said as u64, MOST);
        assert!(matches!(budget.take(start + PERIOD), Take::Say(9_980)));
    }
}
