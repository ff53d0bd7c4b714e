//! Carries the bytes of an open grant. What must never happen here: a byte for an address without an open grant, a
//! connection that outlives its window, more claims than the grant has.
//!
//! * [`slots`]: budgets: who may connect, how often, until when.
//! * [`relay`]: accepts, joins to a provider, claims.
//! * [`carry`]: carries one claimed connection to its end; [`passage`] moves its bytes; [`ends`] has its end written.
//! * [`kernel`]: the kernel's packet path; [`nft`]: its ruleset as text.
//! * [`providers`], [`pool`], [`health`], [`msrpc`]: which provider, and whether it is up.

pub mod carry;
mod ends;
pub mod health;
pub mod kernel;
pub mod msrpc;
pub mod nft;
mod passage;
pub mod pool;
pub mod providers;
pub mod relay;
pub mod slots;

use crate::clock::Clock;
use crate::config::{Config, Forward, Service};
use crate::event::news::News;
use crate::event::notice::Notices;
use crate::gate::Engine;
use kernel::{Enforcer, Kernel};
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::name::ServiceName;
use kmsgate_core::reason::Cause;
use kmsgate_ledger::records::{GrantRecord, RunningClaim};
use kmsgate_orders::order::Carrier;
use providers::Providers;
use relay::{NoProviderIs, Relay};
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that the kernel holds for us.
const BACKLOG: i32 = 4096;

/// What carries the bytes: the relay, and beside it the kernel's packet path if the configuration says so. A grant is
/// carried by one of them, chosen when it is opened.
pub struct Forwarder {
    providers: Arc<Providers>,
    relay: Relay,
    kernel: Option<Kernel>,
    stop: CancellationToken,
    tasks: TaskTracker,
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
    /// The gateway was told to stop.
    pub stopping: CancellationToken,
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
        let listener = crate::listen::tcp(address, BACKLOG).map_err(|error| StartError::Listen(address, error))?;
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
    /// Whether an operator keeps new connections from it.
    pub drained: bool,
}

impl Forwarder {
    /// Asks each provider once whether it is up. `listeners` are those of [`bind`], service by service; nothing is accepted
    /// before [`Forwarder::listen`]. `enforcer` is there if the kernel forwards.
    ///
    /// # Errors
    /// If a listener cannot be used, or the enforcer does not answer.
    pub async fn start(
        config: &Config,
        listeners: Vec<Vec<TcpListener>>,
        enforcer: Option<Enforcer>,
        around: Around,
    ) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let providers = Providers::new(&config.services, &config.forward, around.notices.clone());
        providers.watch(&stop, &tasks).await;
        let kernel = match enforcer {
            Some(enforcer) => {
                let kernel = Kernel::start(config, enforcer, Arc::clone(&providers), around.clone()).await;
                Some(kernel.map_err(StartError::Enforcer)?)
            }
            None => None,
        };
        let relay = Relay::start(&config.services, listeners, &config.forward, Arc::clone(&providers), around)?;
        Ok(Self { providers, relay, kernel, stop, tasks })
    }

    /// Begins to accept connections.
    pub fn listen(&self) {
        self.relay.listen();
    }

    /// Where services are offered.
    #[must_use]
    pub fn bound(&self) -> Vec<(ServiceName, SocketAddr)> {
        self.relay.bound()
    }

    /// Whether what is open stays open without this process.
    #[must_use]
    pub fn outlives_us(&self) -> bool {
        self.kernel.is_some()
    }

    /// So many grants are about to be adopted.
    pub fn expect(&self, grants: usize) {
        if self.kernel.is_none() {
            self.relay.expect(grants);
        }
    }

    /// Opens the way for a recorded grant.
    ///
    /// # Errors
    /// [`OpenError`]; unless it is [`OpenError::Unavailable`], nothing is open then.
    pub async fn open(&self, grant: &GrantRecord) -> Result<Confirmed, OpenError> {
        let Some(kernel) = &self.kernel else { return self.relay.open(grant, NoProviderIs::Refused).await };
        let carrier = kernel.carrier(grant);
        if carrier == Carrier::Kernel {
            return kernel.open(grant, carrier).await;
        }
        let confirmed = self.relay.open(grant, NoProviderIs::Refused).await?;
        if let Err(error) = kernel.open(grant, carrier).await {
            self.relay.close(grant.id).await;
            return Err(error);
        }
        Ok(confirmed)
    }

    /// Opens the way again for a grant found open at start, with what is left of its budget; providers may be down.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn adopt(&self, grant: &GrantRecord) -> Result<Confirmed, OpenError> {
        let Some(kernel) = &self.kernel else { return self.relay.open(grant, NoProviderIs::Accepted).await };
        match kernel.adopt(grant).await? {
            (confirmed, Carrier::Kernel) => Ok(confirmed),
            (_, Carrier::Relay) => self.relay.open(grant, NoProviderIs::Accepted).await,
        }
    }

    /// Begins with what the last run left running: claims of connections that the kernel carries.
    pub fn ran(&self, running: &[RunningClaim]) {
        if let Some(kernel) = &self.kernel {
            kernel.ran(running);
        }
    }

    /// A grant of the last run that nobody adopts, and that may have something open all the same: [`Forwarder::close`] shuts it.
    pub fn leftover(&self, grant: &GrantRecord) {
        if let Some(kernel) = &self.kernel {
            kernel.leftover(grant);
        }
    }

    /// All that was open is adopted.
    pub async fn adopted(&self) {
        if let Some(kernel) = &self.kernel {
            kernel.adopted().await;
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
        match &self.kernel {
            Some(kernel) if kernel.carries(id) == Some(Carrier::Kernel) => kernel.close(id).await,
            Some(kernel) => {
                let totals = self.relay.close(id).await;
                kernel.close(id).await;
                totals
            }
            None => self.relay.close(id).await,
        }
    }

    /// How a grant stands; none if no way is open for it.
    #[must_use]
    pub fn live(&self, id: GrantId) -> Option<Live> {
        self.kernel.as_ref().and_then(|kernel| kernel.live(id)).or_else(|| self.relay.live(id))
    }

    /// A grant as the kernel would take connections for it: what the ledger has given back can be used a moment later, when
    /// the kernel has it, too (P9).
    #[must_use]
    pub fn as_carried(&self, mut grant: GrantRecord) -> GrantRecord {
        if let Some(live) = self.kernel.as_ref().and_then(|kernel| kernel.live(grant.id)) {
            grant.claims = grant.claims.max(grant.connections.saturating_sub(live.left));
        }
        grant
    }

    /// How many grants have a way open.
    #[must_use]
    pub fn open_grants(&self) -> usize {
        self.relay.open_grants() + self.kernel.as_ref().map_or(0, Kernel::open_grants)
    }

    /// Every provider of every service.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderState> {
        self.providers.states()
    }

    /// Whether grants can be opened, as far as it hangs on the forwarder.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.kernel.as_ref().is_none_or(Kernel::ready)
    }

    /// Keeps new connections from a provider, or no longer; whether there is such a provider.
    #[must_use]
    pub fn drain(&self, service: &ServiceName, provider: SocketAddr, drained: bool) -> bool {
        self.providers.drain(service, provider, drained)
    }

    /// Ends every task, and every connection that the relay carries. Grants stay as the ledger has them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.relay.stop().await;
        if let Some(kernel) = &self.kernel {
            kernel.stop().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
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
pub enum StartError {
    /// An address could not be bound.
    Listen(SocketAddr, std::io::Error),
    /// There is no session with the enforcer.
    Enforcer(String),
}

impl StartError {
    /// The fault of a listener of this service.
    fn of(service: &Service) -> impl Fn(std::io::Error) -> Self {
        let address = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), service.port);
        move |error| Self::Listen(address, error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Enforcer(why) => write!(
                f,
                "no session with the enforcer: {why}; start kmsgate as root, or kmsgate-enforcer before it \
                 (kmsgate-enforcer(8))"
            ),
        }
    }
}

impl std::error::Error for StartError {}
