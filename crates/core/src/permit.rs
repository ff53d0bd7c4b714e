//! What policy allows an identity now. A decision that carries its terms; nothing after it reads the rules again.

use crate::address::Source;
use crate::identity::Identity;
use crate::name::{RuleName, ServiceName};
use crate::quota::Quota;
use std::sync::Arc;
use std::time::Duration;

/// The terms of a service, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The service.
    pub service: ServiceName,
    /// How long the window is: 1 s to 12 h.
    pub window: Duration,
    /// How many claims a grant has: 1 to 1000.
    pub connections: u16,
    /// Whether the window ends when no connection is left and the last one has ended.
    pub close_when_used: bool,
    /// The IPv6 prefix that is the grant's key: 64 to 128.
    pub ipv6_prefix: u8,
}

/// Proof that policy allows this identity this service from this address. Made by [`crate::policy`] alone.
#[must_use]
#[derive(Debug, Clone)]
pub struct Permit {
    identity: Identity,
    source: Source,
    terms: Arc<Terms>,
    rule: RuleName,
    quota: Quota,
    /// The services whose grants the quota counts together: those of the matching rule.
    counted: Arc<[ServiceName]>,
}

impl Permit {
    pub(crate) fn new(
        identity: Identity,
        source: Source,
        terms: Arc<Terms>,
        rule: RuleName,
        quota: Quota,
        counted: Arc<[ServiceName]>,
    ) -> Self {
        Self { identity, source, terms, rule, quota, counted }
    }

    /// Who.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From where.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// On what terms.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// By which rule; logs, pages and reports read it from here.
    #[must_use]
    pub fn rule(&self) -> &RuleName {
        &self.rule
    }

    /// Within which quota.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Counted over which services.
    #[must_use]
    pub fn counted(&self) -> &Arc<[ServiceName]> {
        &self.counted
    }
}
