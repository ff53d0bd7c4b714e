//! A gateway from start to stop. What must never happen here: a door that opens before the ledger was read, a password
//! read with more rights than an ordinary user's.

use crate::clock::Clock;
use crate::close::Closes;
use crate::config::{BuildError, Config};
use crate::event::counters::Counters;
use crate::event::news::News;
use crate::event::notice::{Notice, Notices};
use crate::event::refusals::Refusals;
use crate::event::typed_name::NameKey;
use crate::expire::Expiries;
use crate::forward::kernel::{self, Enforcer};
use crate::forward::{Around, Forwarder, StartError, Wish};
use crate::gate::{Engine, Gate};
use crate::portal::desk::Site;
use crate::portal::tls::{BadCertificate, Certificate};
use crate::take_up::{self, Awaited};
use crate::vital::Vital;
use crate::{close, expire, portal};
use arc_swap::ArcSwap;
use kmsgate_core::time::BootId;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::LedgerError;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stop waits for answers under way.
const STOP: Duration = Duration::from_secs(5);
/// Connections that the kernel holds for the portal.
const BACKLOG: i32 = 4096;

/// Runs until SIGTERM or SIGINT. `path` is read again on SIGHUP.
///
/// # Errors
/// [`ServeError`] says what could not be had; nothing was opened then.
pub fn run(config: Config, path: PathBuf) -> Result<(), ServeError> {
    crate::rights::seal()?;
    let sockets = Sockets::bind(&config)?;
    let enforcer = enforcer(&config, &sockets)?;
    crate::rights::drop_to(config.node.user.as_deref())?;
    // A change of user sets it to what the system wants (fs.suid_dumpable, proc_sys_fs(5)).
    crate::rights::seal()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gateway")
        .build()
        .map_err(|error| ServeError::System("start the runtime", error))?;
    runtime.block_on(async {
        let signals = Signals::heed()?;
        let running = Running::start(config, Some(path), sockets, enforcer).await?;
        running.until_told_to_stop(signals).await;
        Ok(())
    })
}

/// The enforcer, if the kernel forwards; started by us if we are root.
fn enforcer(config: &Config, sockets: &Sockets) -> Result<Option<Enforcer>, ServeError> {
    let port = |listeners: &Vec<std::net::TcpListener>| {
        listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port())
    };
    let ports: Vec<u16> = sockets.services.iter().map(port).collect();
    let Some(table) = kernel::table::of(config, &ports) else { return Ok(None) };
    let enforcer = kernel::start::enforcer(config, table);
    enforcer.map(Some).map_err(|why| ServeError::Forwarder(StartError::Enforcer(why)))
}

/// The portal's, the operator's and the services' sockets, bound while this process may still bind low ports.
pub struct Sockets {
    portal: Vec<std::net::TcpListener>,
    operator: Option<std::net::TcpListener>,
    services: Vec<Vec<std::net::TcpListener>>,
}

impl Sockets {
    /// Binds all that the configuration names.
    ///
    /// # Errors
    /// [`ServeError::Bind`] names the address that is taken or not ours.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let portal = config.portal.listen.iter().map(|address| bind(*address)).collect::<Result<_, _>>()?;
        let operator = config.operator.listen.map(bind).transpose()?;
        let service = |service| crate::forward::bind(service, &config.forward).map_err(ServeError::Forwarder);
        let services = config.services.iter().map(service).collect::<Result<_, _>>()?;
        Ok(Self { portal, operator, services })
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ServeError> {
    crate::listen::tcp(address, BACKLOG).map_err(|error| ServeError::Bind(address, error))
}

/// A gateway that serves.
pub struct Running {
    /// What it is made of.
    pub gate: Arc<Gate>,
    /// Where the portal listens.
    pub portal: Vec<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
    path: Option<PathBuf>,
}

/// The signals that are heeded, from before anybody is told that the gateway serves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on SIGTERM, SIGINT and SIGHUP no longer end the process by themselves.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn heed() -> Result<Self, ServeError> {
        let heed = |kind| signal(kind).map_err(|error| ServeError::System("wait for signals", error));
        Ok(Self {
            terminate: heed(SignalKind::terminate())?,
            interrupt: heed(SignalKind::interrupt())?,
            hang_up: heed(SignalKind::hangup())?,
        })
    }
}

impl Running {
    /// Reads the ledger, takes up what the last run left, and only then listens.
    ///
    /// # Errors
    /// [`ServeError`] says what could not be had.
    pub async fn start(
        config: Config,
        path: Option<PathBuf>,
        mut sockets: Sockets,
        enforcer: Option<Enforcer>,
    ) -> Result<Self, ServeError> {
        let (clock, notices, news) = (Clock, Notices::default(), Arc::new(News::default()));
        let ledger = Arc::new(Engine::open(&config.ledger.path).map_err(ServeError::Ledger)?);
        let (wishes, wanted) = tokio::sync::mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let around = Around {
            ledger: Arc::clone(&ledger),
            clock,
            wishes,
            news: Arc::clone(&news),
            notices: notices.clone(),
            stopping: stop.clone(),
        };
        let listeners = std::mem::take(&mut sockets.services);
        let forwarder = Forwarder::start(&config, listeners, enforcer, around).await.map_err(ServeError::Forwarder)?;
        let drawn = |error: getrandom::Error| ServeError::System("draw random bits", error.into());
        let (seed, name_key) = (crate::clock::random().map_err(drawn)?, NameKey::new().map_err(drawn)?);
        let certificate = config.portal.tls.as_ref().map(Certificate::load).transpose().map_err(ServeError::Portal)?;
        let found = ledger.recover(boot_id()?, clock.now()).await.map_err(ServeError::Ledger)?;
        let gate = Arc::new(Gate {
            clock,
            policy: ArcSwap::from_pointee(config.policy.clone()),
            accounts: ArcSwap::from_pointee(config.accounts.build().map_err(ServeError::Accounts)?),
            throttle: Mutex::new(config.throttle.build(seed)),
            certificate,
            site: ArcSwap::from_pointee(site(&config, &forwarder)),
            ledger,
            forwarder,
            closes: Closes::default(),
            awaited: Awaited::default(),
            expiries: Expiries::default(),
            counters: Counters::default(),
            refusals: Refusals::default(),
            notices,
            name_key,
            news,
            config: ArcSwap::from_pointee(config),
        });
        take_up::begin(&gate, found).await.map_err(ServeError::Ledger)?;
        let running = Self { gate, portal: Vec::new(), path, stop, tasks: TaskTracker::new() };
        running.open_doors(sockets, wanted).await
    }

    /// The last step of a start: from here on people and programs can reach it.
    async fn open_doors(mut self, sockets: Sockets, wanted: UnboundedReceiver<Wish>) -> Result<Self, ServeError> {
        let gate = &self.gate;
        self.tasks.spawn(expire::run(Arc::clone(gate), self.stop.clone()));
        self.tasks.spawn(carry_out(Arc::clone(gate), wanted, self.stop.clone()));
        crate::event::start(gate, &self.stop, &self.tasks);
        let operator = sockets.operator.as_ref().and_then(|listener| listener.local_addr().ok());
        crate::operator::start(gate, sockets.operator, self.path.clone(), &self.stop, &self.tasks)
            .map_err(ServeError::Operator)?;
        let (listeners, portal) = into_tokio(sockets.portal)?;
        let desk = Arc::new(crate::desk::Front(Arc::clone(gate)));
        let config = gate.config.load_full();
        let certificate = gate.certificate.clone();
        let serving =
            portal::accept::serve(desk, listeners, certificate, config.portal.limits.into(), self.stop.clone());
        let notices = gate.notices.clone();
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                notices.say(Notice::Portal { error: error.to_string() });
            }
        });
        gate.notices.say(Notice::Serving { portal: portal.clone(), services: gate.forwarder.bound(), operator });
        self.portal = portal;
        Ok(self)
    }
}

fn into_tokio(listeners: Vec<std::net::TcpListener>) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), ServeError> {
    let failed = |error| ServeError::System("listen for the portal", error);
    let listeners: Vec<TcpListener> =
        listeners.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>().map_err(failed)?;
    let bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().map_err(failed)?;
    Ok((listeners, bound))
}

/// What the portal needs of a configuration, with the ports at which services really listen.
fn site(config: &Config, forwarder: &Forwarder) -> Site {
    let mut services = config.services.clone();
    for (name, bound) in forwarder.bound() {
        services
            .iter_mut()
            .filter(|service| service.terms.service == name)
            .for_each(|service| service.port = bound.port());
    }
    Site::new(config.portal.clone(), services, &config.forward.addresses)
}

impl Running {
    /// Serves until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    pub async fn until_told_to_stop(self, mut signals: Signals) {
        tell_systemd(&self.gate, &[sd_notify::NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hang_up.recv() => self.reload(),
            }
        }
        tell_systemd(&self.gate, &[sd_notify::NotifyState::Stopping]);
        self.stop().await;
    }

    /// Ends every task. Grants stay as they are: the next start adopts them (P5).
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP, self.tasks.wait()).await.is_err() {
            self.gate.notices.say(Notice::StoppedInTheMiddle);
        }
        self.gate.forwarder.stop().await;
        self.gate.notices.say(Notice::Stopped);
    }

    fn reload(&self) {
        let Some(path) = &self.path else { return };
        self.gate.notices.say(match reload(&self.gate, path) {
            Ok(restart) => Notice::Reloaded { restart },
            Err(errors) => Notice::NotReloaded { errors },
        });
    }
}

/// Applies a changed file without touching open grants. A bad file leaves the old one in force.
///
/// Returns what a restart is needed for, or the text of the errors.
///
/// # Errors
/// The file's errors, as the command line shows them.
pub fn reload(gate: &Gate, path: &Path) -> Result<Vec<&'static str>, String> {
    let mut new = Config::load(path).map_err(|errors| errors.to_string())?;
    let old = gate.config.load_full();
    let accounts = new.accounts.build().map_err(|error| error.to_string())?;
    if let (Some(certificate), Some(files)) = (&gate.certificate, &new.portal.tls) {
        certificate.reload(files).map_err(|error| error.to_string())?;
    }
    let restart = old.needs_restart(&new);
    new.keep_prefixes(&old);
    gate.throttle().set_limits(new.throttle.limits);
    gate.site.store(Arc::new(site(&new, &gate.forwarder)));
    gate.policy.store(Arc::new(new.policy.clone()));
    gate.accounts.store(Arc::new(accounts));
    gate.config.store(Arc::new(new));
    Ok(restart)
}

/// The forwarder asks for an end; the one door carries it out.
async fn carry_out(gate: Arc<Gate>, mut wanted: UnboundedReceiver<Wish>, stop: CancellationToken) {
    let _vital = Vital;
    loop {
        let wish = tokio::select! {
            wish = wanted.recv() => wish,
            () = stop.cancelled() => return,
        };
        let Some(wish) = wish else { return };
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            let _vital = Vital;
            close::close_or_say(&gate, wish.grant, wish.cause).await;
        });
    }
}

fn boot_id() -> Result<BootId, ServeError> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|error| ServeError::System("read which boot this is", error))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16)
        .map(|number| BootId(number.to_be_bytes()))
        .map_err(|_| ServeError::System("read which boot this is", std::io::ErrorKind::InvalidData.into()))
}

fn tell_systemd(gate: &Gate, state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        gate.notices.say(Notice::Systemd { error: error.to_string() });
    }
}

/// Why a gateway did not start. Each says what to do.
#[derive(Debug)]
pub enum ServeError {
    /// An address could not be bound.
    Bind(SocketAddr, std::io::Error),
    /// The ledger.
    Ledger(LedgerError),
    /// The account servers' settings.
    Accounts(BuildError),
    /// The forwarder.
    Forwarder(StartError),
    /// The portal.
    Portal(BadCertificate),
    /// The control socket or the operator's listener.
    Operator(String),
    /// Rights could not be given up.
    Rights(crate::rights::RightsError),
    /// The system refused something.
    System(&'static str, std::io::Error),
}

impl From<crate::rights::RightsError> for ServeError {
    fn from(error: crate::rights::RightsError) -> Self {
        Self::Rights(error)
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                write!(f, "{address} is taken by another program; stop it, or change `listen`")
            }
            Self::Bind(address, error) => {
                write!(f, "cannot listen on {address}: {error}; is it an address of this machine?")
            }
            Self::Ledger(error) => error.fmt(f),
            Self::Accounts(error) => write!(f, "account servers: {error}"),
            Self::Forwarder(error) => write!(f, "the forwarder did not start: {error}"),
            Self::Portal(error) => write!(f, "the portal did not start: {error}"),
            Self::Operator(error) => write!(f, "the operator's socket did not start: {error}"),
            Self::Rights(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}
