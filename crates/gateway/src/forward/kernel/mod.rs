//! The kernel's packet path, by way of the enforcer. What must never happen here: a grant called open that the kernel has not
//! confirmed, a close that is called done while its elements are there.
//!
//! * [`session`]: orders to the enforcer and its answers.
//! * [`book`]: what the kernel forwards, as far as it was told.
//! * [`tell`]: claims and ends into the ledger.
//! * [`mend`]: adoption, and what is made good after something was lost.
//! * [`start`]: the enforcer started by us; [`table`]: what it may do; [`settings`]: what the machine's must be.

mod book;
mod mend;
mod session;
pub mod settings;
pub mod start;
pub mod table;
mod tell;

use super::providers::Providers;
use super::{Around, Confirmed, Live, OpenError};
use crate::config::{Config, Service};
use crate::event::notice::Notice;
use book::Book;
use kmsgate_core::expiry::Expiry;
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::time::BootTime;
use kmsgate_ledger::records::GrantRecord;
use kmsgate_orders::order::{Answer, Carrier, Order, Place, Refused};
use kmsgate_orders::table::Table;
use session::Session;
pub use session::Whence;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tell::{Batch, Mend, Teller, Told};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An order that the kernel refused is given again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The enforcer, and the table by which it counts.
#[derive(Debug)]
pub struct Enforcer {
    /// Where it is.
    pub whence: Whence,
    /// Its table.
    pub table: Table,
}

/// The kernel's forwarder of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    book: Arc<Book>,
    services: Vec<Service>,
    providers: Arc<Providers>,
    told: mpsc::UnboundedSender<Told>,
    /// Which providers the enforcer was told of, by service and place, and what.
    known: Mutex<HashMap<(u8, u8), bool>>,
    around: Around,
    /// What is to be made good, until somebody does.
    mends: Mutex<Option<mpsc::UnboundedReceiver<Mend>>>,
    /// Most grants at once.
    most: usize,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Kernel {
    /// Begins the session with the enforcer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn start(
        config: &Config,
        enforcer: Enforcer,
        providers: Arc<Providers>,
        around: Around,
    ) -> Result<Self, String> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (told, tells) = mpsc::unbounded_channel();
        let fingerprint = enforcer.table.fingerprint();
        let (session, mut keeper) =
            session::session(enforcer.whence, fingerprint, told.clone(), around.notices.clone());
        let begun = keeper.begin().await?;
        tasks.spawn(keeper.keep(begun, stop.clone(), around.stopping.clone()));
        let book = Arc::<Book>::default();
        let (mend, mends) = mpsc::unbounded_channel();
        let teller = Teller {
            book: Arc::clone(&book),
            session: session.clone(),
            services: config.services.clone(),
            around: around.clone(),
            mend,
            batch: Batch::default(),
            limits: Expiry::new(),
            listening: None,
            found: Vec::new(),
        };
        tasks.spawn(teller.run(tells, stop.clone()));
        let inner = Inner {
            session,
            book,
            services: config.services.clone(),
            providers,
            told,
            known: Mutex::default(),
            around,
            mends: Mutex::new(Some(mends)),
            most: config.forward.grants,
            stop,
            tasks,
        };
        let this = Self { inner: Arc::new(inner) };
        for setting in settings::look(config) {
            if let Err(detail) = setting.seen {
                this.inner.around.notices.say(Notice::Setting { key: setting.key, detail });
            }
        }
        this.tell_providers().await;
        this.inner.tasks.spawn(this.clone().keep_telling_providers());
        Ok(this)
    }

    /// Who carries a new grant: the kernel if a provider of its address's family is up, else the relay.
    #[must_use]
    pub fn carrier(&self, grant: &GrantRecord) -> Carrier {
        let v4 = grant.key.ip().is_ipv4();
        let pool = self.index(grant).and_then(|index| self.inner.providers.pool(index));
        let usable = pool.is_some_and(|pool| pool.all().iter().any(|one| one.up() && one.address.is_ipv4() == v4));
        if usable { Carrier::Kernel } else { Carrier::Relay }
    }

    /// Opens the way for a recorded grant; with [`Carrier::Relay`] the way to the relay's port.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing is open then, unless it is [`OpenError::Unavailable`]: what became of the order is not known, and
    /// the grant is to be closed.
    pub async fn open(&self, grant: &GrantRecord, carrier: Carrier) -> Result<Confirmed, OpenError> {
        let inner = &self.inner;
        let place = self.place(grant)?;
        if inner.book.len() >= inner.most {
            return Err(OpenError::Full);
        }
        inner.book.enter(grant, place, carrier);
        let lost = || OpenError::Unavailable("the enforcer is away".to_owned());
        let opening = inner.book.opening(grant.id).ok_or_else(lost)?;
        match inner.session.order(Order::Open(opening)).await {
            Some(Answer::Done) => Ok(Confirmed(grant.id)),
            Some(Answer::Refused(refused)) => {
                inner.book.remove(grant.id);
                Err(refused_to_open(refused))
            }
            Some(other) => Err(OpenError::Unavailable(format!("the enforcer answered {other:?}"))),
            None => Err(lost()),
        }
    }

    /// Shuts the way; returns when the kernel has shut it and what came of it is written. An enforcer that is away is waited
    /// for no longer than the window lasts: the kernel shuts that by itself.
    pub async fn close(&self, id: GrantId) -> Option<Totals> {
        let inner = &self.inner;
        let (place, _, deadline) = inner.book.place(id)?;
        inner.book.closing(id);
        if inner.around.clock.now().boot < deadline {
            self.write_what_nobody_told(id, place).await;
        }
        let last = self.take_away(id, place, deadline).await;
        // What was claimed before the close is told of before its answer.
        self.tell(|done| Told::Finish(id, done)).await;
        if let Some(Answer::Standing(standing)) = last {
            // A claim of the last moment is told of when its grant has no name any more: it is in the totals.
            inner.book.stands(id, standing.claimed, standing.left);
            inner.book.compare(id);
        }
        inner.book.remove(id)
    }

    /// Takes a grant's elements away; none if that could not be had before the kernel did it by itself, at its end.
    async fn take_away(&self, id: GrantId, place: Place, deadline: BootTime) -> Option<Answer> {
        let inner = &self.inner;
        loop {
            let answer = inner.session.order(Order::Close { grant: id.to_bytes(), place }).await;
            if let Some(Answer::Done | Answer::Absent | Answer::Standing(_)) = answer {
                return answer;
            }
            let left = inner.around.clock.now().boot.until(deadline);
            if left == Duration::ZERO || inner.stop.is_cancelled() {
                return None;
            }
            // Refused, it is ordered again a little later; an enforcer that is away is waited for.
            let pause = answer.map_or(left, |_| AGAIN.min(left));
            tokio::select! {
                () = inner.session.is_up(), if answer.is_none() => {}
                () = tokio::time::sleep(pause) => {}
                () = inner.stop.cancelled() => return None,
            }
        }
    }

    /// Waits until the teller has done this, and all that it was told before.
    async fn tell(&self, what: impl FnOnce(oneshot::Sender<()>) -> Told) {
        let (done, finished) = oneshot::channel();
        if self.inner.told.send(what(done)).is_ok() {
            // Nobody tells any more while the gateway stops.
            finished.await.unwrap_or(());
        }
    }

    /// Where a grant of the last run may still have elements that nobody adopts: [`Kernel::close`] takes them away.
    pub fn leftover(&self, grant: &GrantRecord) {
        if let Ok(place) = self.place(grant) {
            self.inner.book.enter(grant, place, Carrier::Kernel);
            self.inner.book.closing(grant.id);
        }
    }

    /// Who carries a grant that is open; none if it is not entered here.
    #[must_use]
    pub fn carries(&self, id: GrantId) -> Option<Carrier> {
        self.inner.book.place(id).map(|(_, carrier, _)| carrier)
    }

    /// How a grant stands; none if the kernel does not carry it.
    #[must_use]
    pub fn live(&self, id: GrantId) -> Option<Live> {
        self.inner.book.live(id)
    }

    /// Whether there is a session with the enforcer.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.session.ready()
    }

    /// How many grants the kernel carries.
    #[must_use]
    pub fn open_grants(&self) -> usize {
        self.inner.book.len()
    }

    /// Ends every task. The kernel goes on: windows, connections and their ends are its own.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn place(&self, grant: &GrantRecord) -> Result<Place, OpenError> {
        let index = self.index(grant).and_then(|index| u8::try_from(index).ok());
        let service = index.ok_or_else(|| OpenError::Unavailable(format!("there is no service {}", grant.service)))?;
        Ok(Place { service, address: grant.key.ip() })
    }

    fn index(&self, grant: &GrantRecord) -> Option<usize> {
        self.inner.services.iter().position(|service| service.terms.service == grant.service)
    }

    async fn keep_telling_providers(self) {
        let mut changes = self.inner.providers.changes();
        let mut told = true;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if !told => {}
                () = self.inner.stop.cancelled() => return,
            }
            told = self.tell_providers().await;
        }
    }

    /// Tells which providers take new connections, as far as the enforcer does not know; whether it knows of all then.
    async fn tell_providers(&self) -> bool {
        let mut told = true;
        for (service, pool) in (0..).zip(self.inner.providers.pools()) {
            for (provider, one) in (0..).zip(pool.all()) {
                let up = one.up();
                let known = || self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known().get(&(service, provider)) == Some(&up) {
                    continue;
                }
                match self.inner.session.order(Order::Provider { service, provider, up }).await {
                    Some(Answer::Done) => drop(known().insert((service, provider), up)),
                    Some(other) => {
                        let error = OpenError::Unavailable(format!("a change of providers: {other:?}"));
                        self.inner.around.notices.say(Notice::NotOpened { error });
                        told = false;
                    }
                    // Without a session they are told when there is one again.
                    None => return true,
                }
            }
        }
        told
    }

    /// Tells of every provider, whatever was told before.
    async fn tell_providers_anew(&self) {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.tell_providers().await;
    }
}

fn refused_to_open(refused: Refused) -> OpenError {
    match refused {
        Refused::NoProvider => OpenError::NoProvider,
        Refused::Full => OpenError::Full,
        Refused::TooFast => OpenError::Unavailable("more grants a second than [forward] opens_per_second".to_owned()),
        Refused::Late => OpenError::Unavailable("the window was over before it could be opened".to_owned()),
        Refused::Kernel(errno) => {
            let error = std::io::Error::from_raw_os_error(i32::from(errno));
            OpenError::Unavailable(format!("the kernel refuses: {error}"))
        }
        other => OpenError::Unavailable(format!("the enforcer refuses: {other:?}")),
    }
}
