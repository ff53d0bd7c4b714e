//! Carries the bytes of an open grant. What must never happen here: a byte for an address without an open grant, a
//! connection that outlives its window, more claims than the grant has.
//!
//! * [`slots`]: budgets: who may connect, how often, until when.
//! * [`relay`]: accepts, joins to a provider, claims.
//! * [`carry`]: carries one claimed connection to its end; [`passage`] moves its bytes; [`ends`] has its end written.
//! * [`nft`]: the kernel's ruleset as text.
//! * [`pool`], [`health`], [`msrpc`]: which provider, and whether it is up.

pub mod carry;
mod ends;
pub mod health;
pub mod msrpc;
pub mod nft;
mod passage;
pub mod pool;
pub mod relay;
pub mod slots;

use crate::clock::Clock;
use crate::config::{Forward, Service};
use crate::event::news::News;
use crate::event::notice::Notices;
use crate::gate::Engine;
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::name::ServiceName;
use kmsgate_core::reason::Cause;
use kmsgate_ledger::records::GrantRecord;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4096;

/// What carries the bytes. A closed list: the kernel's packet path is the other kind.
pub enum Forwarder {
    /// In user space, without any privilege.
    Relay(relay::Relay),
}

/// What a forwarder needs of the rest of the gateway.
#[derive(Clone)]
pub struct Around {
    /// Claims are written there before their first byte.
    pub ledger: Arc<Engine>,
    /// Reads the clocks.
    pub clock: Clock,
    /// Where it asks the one door for an end; at most once for each connection.
    pub wishes: mpsc::UnboundedSender<Wish>,
    /// Rung when a claim is written or ended.
    pub news: Arc<News>,
    /// What the program says of itself.
    pub notices: Notices,
}

/// The forwarder asks for a grant to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Which.
    pub grant: GrantId,
    /// Why: `used` or `limit`.
    pub cause: Cause,
}

/// Proof that the forwarder confirmed: the way is open for this grant. Made by forwarders alone.
#[must_use]
#[derive(Debug)]
pub struct Confirmed(GrantId);

impl Confirmed {
    /// The grant that is open.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.0
    }
}

/// Binds a service's port on every address on which services are offered.
///
/// # Errors
/// [`StartError`] names the address that is taken or not ours.
pub fn bind(service: &Service, settings: &Forward) -> Result<Vec<TcpListener>, StartError> {
    let mut port = service.port;
    let mut listeners = Vec::new();
    for address in &settings.addresses {
        let address = SocketAddr::new(*address, port);
        let listener = crate::listen::tcp(address, BACKLOG).map_err(|error| StartError { address, error })?;
        // Any free port is one port, the same on every address.
        port = listener.local_addr().map_or(port, |bound| bound.port());
        listeners.push(listener);
    }
    Ok(listeners)
}

/// How an open grant stands in the forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Connections that may still come.
    pub left: u16,
    /// Connections that run.
    pub alive: u16,
    /// Claims not given back.
    pub claims: u16,
    /// Bytes from the person so far.
    pub bytes_in: u64,
    /// Bytes to the person so far.
    pub bytes_out: u64,
}

/// How a provider stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderState {
    /// Of which service.
    pub service: ServiceName,
    /// Where.
    pub address: SocketAddr,
    /// Whether its last health check succeeded.
    pub up: bool,
}

impl Forwarder {
    /// Asks each provider once whether it is up. `listeners` are those of [`bind`], service by service; nothing is accepted
    /// before [`Forwarder::listen`].
    ///
    /// # Errors
    /// If a listener cannot be used.
    pub async fn start(
        services: &[Service],
        listeners: Vec<Vec<TcpListener>>,
        settings: &Forward,
        around: Around,
    ) -> Result<Self, StartError> {
        relay::Relay::start(services, listeners, settings, around).await.map(Self::Relay)
    }

    /// Begins to accept connections.
    pub fn listen(&self) {
        match self {
            Self::Relay(relay) => relay.listen(),
        }
    }

    /// Where services are offered.
    #[must_use]
    pub fn bound(&self) -> Vec<(ServiceName, SocketAddr)> {
        match self {
            Self::Relay(relay) => relay.bound(),
        }
    }

    /// So many grants are about to be adopted.
    pub fn expect(&self, grants: usize) {
        match self {
            Self::Relay(relay) => relay.expect(grants),
        }
    }

    /// Opens the way for a recorded grant.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is open then.
    pub async fn open(&self, grant: &GrantRecord) -> Result<Confirmed, OpenError> {
        match self {
            Self::Relay(relay) => relay.open(grant, relay::NoProviderIs::Refused).await,
        }
    }

    /// Opens the way again for a grant found open at start, with what is left of its budget; providers may be down.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn adopt(&self, grant: &GrantRecord) -> Result<Confirmed, OpenError> {
        match self {
            Self::Relay(relay) => relay.open(grant, relay::NoProviderIs::Accepted).await,
        }
    }

    /// Whether the way is open for a grant that was opened before.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`] if it is not; nothing is opened.
    pub fn confirm(&self, id: GrantId) -> Result<Confirmed, OpenError> {
        match self.live(id) {
            Some(_) => Ok(Confirmed(id)),
            None => Err(OpenError::Unavailable("the grant was closed at this moment".to_owned())),
        }
    }

    /// Shuts the way, resets live connections, and returns when they have ended: what came of them in all. A grant that has
    /// no way open has nothing in all.
    pub async fn close(&self, id: GrantId) -> Option<Totals> {
        match self {
            Self::Relay(relay) => relay.close(id).await,
        }
    }

    /// How a grant stands; none if no way is open for it.
    #[must_use]
    pub fn live(&self, id: GrantId) -> Option<Live> {
        match self {
            Self::Relay(relay) => relay.live(id),
        }
    }

    /// How many grants have a way open.
    #[must_use]
    pub fn open_grants(&self) -> usize {
        match self {
            Self::Relay(relay) => relay.open_grants(),
        }
    }

    /// Every provider of every service.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderState> {
        match self {
            Self::Relay(relay) => relay.providers(),
        }
    }

    /// Ends every connection and task. Grants stay as the ledger has them.
    pub async fn stop(&self) {
        match self {
            Self::Relay(relay) => relay.stop().await,
        }
    }
}

/// Why a grant was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// No provider of the service is up.
    NoProvider,
    /// The forwarder can hold no more grants.
    Full,
    /// The forwarder cannot open now; why.
    Unavailable(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str("no provider of the service is up"),
            Self::Full => f.write_str("the forwarder can hold no more grants; see [forward] grants"),
            Self::Unavailable(why) => write!(f, "the forwarder cannot open: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why the forwarder did not start.
#[derive(Debug)]
pub struct StartError {
    /// The address that could not be bound.
    pub address: SocketAddr,
    /// Why.
    pub error: std::io::Error,
}

impl StartError {
    /// The fault of a listener of this service.
    fn of(service: &Service) -> impl Fn(std::io::Error) -> Self {
        let address = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), service.port);
        move |error| Self { address, error }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.error)
    }
}

impl std::error::Error for StartError {}
