//! A grant as it is told to its owner. What must never happen here: more than the ledger and the forwarder said (P9, F20).

use crate::config::Protocol;
use crate::portal::desk::Site;
use jiff::Timestamp;
use kmsgate_core::grant::State;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::Now;
use kmsgate_ledger::records::GrantRecord;
use serde::Serialize;

/// A grant in the API.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'a> {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<&'a str>,
    pub(crate) sources: Vec<String>,
    pub(crate) service: String,
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    pub(crate) opened_at: String,
    pub(crate) expires_at: String,
    pub(crate) connections: u16,
    pub(crate) connections_left: u16,
    pub(crate) gateway: String,
}

/// A change of a grant, as the event stream tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    pub(crate) connections: u16,
    pub(crate) connections_left: u16,
    pub(crate) alive: u16,
    pub(crate) given_back: u16,
    pub(crate) expires_at: String,
}

impl<'a> Told<'a> {
    pub(crate) fn new(grant: &GrantRecord, token: Option<&'a str>, site: &Site, host: &str, now: Now) -> Self {
        let (state, cause) = state(grant, now);
        Self {
            id: grant.id.to_string(),
            token,
            sources: vec![source(grant, site)],
            service: grant.service.to_string(),
            state,
            cause: cause.map(Cause::as_str),
            opened_at: rfc3339(grant.window.opened_at),
            expires_at: rfc3339(grant.window.ends_at),
            connections: grant.connections,
            connections_left: left(grant, now),
            gateway: format!("{host}:{}", port(grant, site)),
        }
    }
}

impl Change {
    pub(crate) fn new(grant: &GrantRecord, now: Now) -> Self {
        let (state, cause) = state(grant, now);
        Self {
            state,
            cause: cause.map(Cause::as_str),
            connections: grant.connections,
            connections_left: left(grant, now),
            alive: grant.alive,
            given_back: grant.given_back,
            expires_at: rfc3339(grant.window.ends_at),
        }
    }
}

/// A moment as RFC 3339 writes it, UTC, to the millisecond.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The state, and the cause of its end. Past its end a grant is over, whether or not the closer has run.
pub(crate) fn state(grant: &GrantRecord, now: Now) -> (&'static str, Option<Cause>) {
    match grant.state {
        State::Opening | State::Open if is_past(grant, now) => ("closing", Some(Cause::Expired)),
        State::Opening | State::Open => (grant.state.as_str(), None),
        State::Closing(cause) | State::Closed(cause, _) => (grant.state.as_str(), Some(cause)),
    }
}

/// Claims that can still be taken.
pub(crate) fn left(grant: &GrantRecord, now: Now) -> u16 {
    match grant.state {
        State::Open if !is_past(grant, now) => grant.connections.saturating_sub(grant.claims),
        _ => 0,
    }
}

fn is_past(grant: &GrantRecord, now: Now) -> bool {
    grant.window.deadline <= now.boot
}

/// The address or network for which it is open.
pub(crate) fn source(grant: &GrantRecord, site: &Site) -> String {
    let prefix = site.service(grant.service.as_str()).map_or(128, |service| service.terms.ipv6_prefix);
    if grant.key.ip().is_ipv6() && prefix < 128 { format!("{}/{prefix}", grant.key) } else { grant.key.to_string() }
}

/// The port at which its service listens; 0 if the service was taken out of the configuration.
pub(crate) fn port(grant: &GrantRecord, site: &Site) -> u16 {
    site.service(grant.service.as_str()).map_or(0, |service| service.port)
}

/// Whether the commands for Windows and Office are of use.
pub(crate) fn is_kms(grant: &GrantRecord, site: &Site) -> bool {
    site.service(grant.service.as_str()).is_some_and(|service| service.protocol == Protocol::Msrpc)
}

/// How a grant stands, in one of the words that the page knows: `phase-WORD-title` and `phase-WORD-detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The forwarder has not confirmed.
    Opening,
    /// Waiting for its first connection.
    Open,
    /// A connection is alive.
    Connected,
    /// Some connections are used, none is alive, some are left.
    PartlyUsed,
    /// All are used, none is alive, the window has not ended yet.
    AllUsed,
    /// Over.
    Over(Cause, Came),
}

/// Whether anything came of a grant that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was used.
    Used,
    /// No connection came.
    Nothing,
    /// Connections came, and no provider answered them.
    Unanswered,
}

impl Phase {
    /// Every one, for the test of the texts.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Opening, Self::Open, Self::Connected, Self::PartlyUsed, Self::AllUsed];
        for came in [Came::Used, Came::Nothing, Came::Unanswered] {
            all.extend(Cause::ALL.iter().map(|cause| Self::Over(*cause, came)));
        }
        all
    }

    pub(crate) fn of(grant: &GrantRecord, now: Now) -> Self {
        if let Some(cause) = state(grant, now).1 {
            let came = match (grant.claims, grant.given_back) {
                (0, 0) => Came::Nothing,
                (0, _) => Came::Unanswered,
                _ => Came::Used,
            };
            return Self::Over(cause, came);
        }
        match (grant.state, left(grant, now), grant.alive) {
            (State::Opening, ..) => Self::Opening,
            (_, _, alive) if alive > 0 => Self::Connected,
            (_, 0, _) => Self::AllUsed,
            (_, left, _) if left < grant.connections => Self::PartlyUsed,
            _ => Self::Open,
        }
    }

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Connected => "connected",
            Self::PartlyUsed => "partly-used",
            Self::AllUsed => "all-used",
            Self::Over(Cause::Expired, Came::Used) => "expired-used",
            Self::Over(Cause::Expired, Came::Nothing) => "expired-unused",
            Self::Over(Cause::Expired, Came::Unanswered) => "expired-unanswered",
            Self::Over(cause, _) => cause.as_str(),
        }
    }

    /// How it looks: the style sheet knows these names.
    pub(crate) fn tone(self) -> &'static str {
        match self {
            Self::Open | Self::PartlyUsed => "open",
            Self::Opening | Self::Connected => "busy",
            Self::AllUsed | Self::Over(Cause::Used, _) | Self::Over(Cause::Expired, Came::Used) => "done",
            Self::Over(..) => "over",
        }
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Over(..))
    }
}
