//! What the portal may ask of the gate, and nothing beyond. What must never happen here: a way to the kernel, to another
//! person's records, or to a password after it was handed over.

use crate::answer::{Answer, Visit};
use crate::config;
use crate::portal::fault::Fault;
use kmsgate_core::address::Source;
use kmsgate_core::grant::GrantId;
use kmsgate_core::name::{Person, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::sign_in::SignIn;
use kmsgate_core::time::Now;
use kmsgate_ledger::records::{GrantRecord, LedgerError, Session};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

/// An answer on its way.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The gate as the portal sees it.
pub trait Desk: Send + Sync + 'static {
    /// Both clocks.
    fn now(&self) -> Now;

    /// The configuration in force, as the portal needs it.
    fn site(&self) -> Arc<Site>;

    /// The whole pipeline. Dropped before the reservation, it ends as `abandoned`.
    fn admit(&self, sign_in: SignIn, visit: Visit) -> Work<'_, Answer>;

    /// The one door through which a grant ends.
    fn close(&self, id: GrantId, cause: Cause) -> Work<'_, Result<GrantRecord, LedgerError>>;

    /// A grant by its name.
    fn grant(&self, id: GrantId) -> Work<'_, Result<Option<GrantRecord>, LedgerError>>;

    /// The grant that a bearer token opens, until 24 h after its close.
    fn grant_by_token(&self, token: SecretHash) -> Work<'_, Result<Option<GrantRecord>, LedgerError>>;

    /// A person's last grants, newest first, at most `limit`.
    fn history(&self, person: Person, limit: usize) -> Work<'_, Result<Vec<GrantRecord>, LedgerError>>;

    /// A live session; touches it.
    fn session(&self, cookie: SecretHash) -> Work<'_, Result<Option<Session>, LedgerError>>;

    /// Ends a session.
    fn session_end(&self, cookie: SecretHash) -> Work<'_, Result<(), LedgerError>>;

    /// Rings when any grant has changed, from now on.
    fn news(&self) -> watch::Receiver<u64>;

    /// Whether this address needs no sign-in for this service.
    fn bypasses(&self, source: Source, service: &ServiceName) -> bool;

    /// A request was turned away before there was a sign-in: to be counted, and said to the operator where
    /// [`Fault::for_operator`] has a line.
    fn turned_away(&self, peer: IpAddr, fault: &Fault);
}

/// The configuration as the portal needs it; made anew at every reload.
#[derive(Debug, Clone)]
pub struct Site {
    /// `[portal]`.
    pub portal: config::Portal,
    /// The services, in the order of the file, with the ports at which they really listen.
    pub services: Vec<config::Service>,
    /// Our own addresses: those of `[portal] listen` and `[forward] addresses` that name one.
    pub own: Vec<IpAddr>,
    /// The providers' addresses.
    pub providers: Vec<IpAddr>,
}

impl Site {
    /// Puts together what the portal needs. `services` have the ports at which they really listen.
    #[must_use]
    pub fn new(portal: config::Portal, services: Vec<config::Service>, forward_addresses: &[IpAddr]) -> Self {
        let listens = portal.listen.iter().map(SocketAddr::ip);
        let own = listens
            .chain(forward_addresses.iter().copied())
            .map(|address| address.to_canonical())
            .filter(|address| !address.is_unspecified() && !address.is_loopback())
            .collect();
        let providers = services
            .iter()
            .flat_map(|service| service.providers.iter().map(|provider| provider.address.ip().to_canonical()));
        let providers = providers.filter(|address| !address.is_loopback()).collect();
        Self { portal, services, own, providers }
    }

    /// A service by its name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&config::Service> {
        self.services.iter().find(|service| service.terms.service.as_str() == name)
    }
}
