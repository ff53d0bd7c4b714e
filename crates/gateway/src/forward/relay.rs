//! The relay: an ordinary TCP server on each service's port. What must never happen here: a claim without a provider, a
//! byte before its claim is in the ledger (P3).
//!
//! A connection takes a provisional place of its grant when it is accepted; the place becomes a claim when a provider
//! accepted it and the ledger has it. However many race, no more places are handed out than the grant has (P1, F01).

use super::carry::{self, Limits, Verdict};
use super::ends::{self, Ended};
use super::pool::Pool;
use super::providers::Providers;
use super::slots::{NoSlot, Place, Slots};
use super::{Around, Confirmed, Live, OpenError, StartError};
use crate::config::{Forward, Protocol, Service};
use crate::event::notice::Notice;
use crate::vital::Vital;
use kmsgate_core::address::Source;
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::name::ServiceName;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Claim, ClaimEnd, GrantRecord, LedgerError};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an accept that failed for want of something (EMFILE, ENOBUFS), the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The relay of one gateway.
pub struct Relay {
    inner: Arc<Inner>,
    waiting: Mutex<Vec<(usize, TcpListener)>>,
}

struct Inner {
    slots: Arc<Slots>,
    services: Vec<Guarded>,
    providers: Arc<Providers>,
    settings: Forward,
    around: Around,
    /// One for each connection at once.
    room: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Where the ends of connections go.
    ended: UnboundedSender<Ended>,
    /// All connections have ended.
    last: CancellationToken,
    /// Those who write the ends.
    writing: TaskTracker,
}

/// A service as the relay has it.
struct Guarded {
    service: Service,
    bound: Vec<SocketAddr>,
}

/// What it means that no provider is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProviderIs {
    /// A new grant is refused.
    Refused,
    /// A grant that was open keeps its budget until one is back.
    Accepted,
}

impl Relay {
    /// See [`super::Forwarder::start`].
    ///
    /// # Errors
    /// If a listener cannot be used.
    pub fn start(
        services: &[Service],
        listeners: Vec<Vec<std::net::TcpListener>>,
        settings: &Forward,
        providers: Arc<Providers>,
        around: Around,
    ) -> Result<Self, StartError> {
        let mut waiting = Vec::new();
        let mut guarded = Vec::new();
        for (index, (service, listeners)) in services.iter().zip(listeners).enumerate() {
            let mut bound = Vec::new();
            for listener in listeners {
                let address = listener.local_addr().map_err(StartError::of(service))?;
                bound.push(address);
                waiting.push((index, TcpListener::from_std(listener).map_err(StartError::of(service))?));
            }
            guarded.push(Guarded { service: service.clone(), bound });
        }
        let slots = Arc::new(Slots::new(settings.grants));
        let (ended, ends) = unbounded_channel();
        let (last, writing) = (CancellationToken::new(), TaskTracker::new());
        writing.spawn(ends::write(around.clone(), Arc::clone(&slots), ends, last.clone()));
        let inner = Arc::new(Inner {
            slots,
            services: guarded,
            providers,
            settings: settings.clone(),
            around,
            room: Arc::new(Semaphore::new(settings.connections)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ended,
            last,
            writing,
        });
        Ok(Self { inner, waiting: Mutex::new(waiting) })
    }

    /// Begins to accept.
    pub fn listen(&self) {
        let listeners = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for (index, listener) in listeners {
            self.inner.tasks.spawn(accept(Arc::clone(&self.inner), index, listener));
        }
    }

    /// Where services are offered.
    #[must_use]
    pub fn bound(&self) -> Vec<(ServiceName, SocketAddr)> {
        let each = |guarded: &Guarded| {
            let name = guarded.service.terms.service.clone();
            guarded.bound.iter().map(move |at| (name.clone(), *at)).collect::<Vec<_>>()
        };
        self.inner.services.iter().flat_map(each).collect()
    }

    /// See [`super::Forwarder::open`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, grant: &GrantRecord, no_provider: NoProviderIs) -> Result<Confirmed, OpenError> {
        let named = |guarded: &Guarded| guarded.service.terms.service == grant.service;
        let index = self.inner.services.iter().position(named);
        let index = index.ok_or_else(|| OpenError::Unavailable(format!("there is no service {}", grant.service)))?;
        let up = self.inner.providers.pool(index).is_some_and(Pool::any_up);
        if no_provider == NoProviderIs::Refused && !up {
            return Err(OpenError::NoProvider);
        }
        loop {
            match self.inner.slots.insert(u16::try_from(index).unwrap_or(u16::MAX), grant) {
                Ok(()) => return Ok(Confirmed(grant.id)),
                Err(NoSlot::Full) => return Err(OpenError::Full),
                // The ledger has closed that one, or it would have refused this one.
                Err(NoSlot::Occupied(earlier)) => drop(self.close(earlier).await),
            }
        }
    }

    /// See [`super::Forwarder::expect`].
    pub fn expect(&self, grants: usize) {
        self.inner.slots.expect(grants);
    }

    /// See [`super::Forwarder::close`].
    pub async fn close(&self, id: GrantId) -> Option<Totals> {
        self.inner.slots.shut(id).await;
        self.inner.slots.remove(id)
    }

    /// See [`super::Forwarder::live`].
    #[must_use]
    pub fn live(&self, id: GrantId) -> Option<Live> {
        self.inner.slots.held(id).map(|held| Live {
            left: held.connections.saturating_sub(held.claims.saturating_add(held.provisional)),
            alive: held.alive,
            claims: held.claims,
            bytes_in: held.bytes_in,
            bytes_out: held.bytes_out,
        })
    }

    /// How many grants have a slot.
    #[must_use]
    pub fn open_grants(&self) -> usize {
        self.inner.slots.len()
    }

    /// Ends every connection and task; returns when they have ended.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.slots.cut_all();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.last.cancel();
        self.inner.writing.close();
        self.inner.writing.wait().await;
    }
}

async fn accept(inner: Arc<Inner>, index: usize, listener: TcpListener) {
    let _vital = Vital;
    let mut wanting = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inner.stop.cancelled() => return,
        };
        match accepted {
            Ok((client, peer)) => {
                wanting = false;
                receive(&inner, index, client, peer);
            }
            // That one gave up before it was accepted (accept(2)); the next one is its own matter.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                if !std::mem::replace(&mut wanting, true)
                    && let Ok(listener) = listener.local_addr()
                {
                    inner.around.notices.say(Notice::Accept { listener, error: error.to_string() });
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An address without an open grant, or one whose connections are taken, is reset at once; that costs and prolongs
/// nothing (F03).
fn receive(inner: &Arc<Inner>, index: usize, client: TcpStream, peer: SocketAddr) {
    let Some(guarded) = inner.services.get(index) else { return };
    let key = Source::new(peer.ip()).key(guarded.service.terms.ipv6_prefix);
    let now = inner.around.clock.now().boot;
    let Ok(place) = inner.slots.enter(u16::try_from(index).unwrap_or(u16::MAX), key, now) else {
        return reset(&client);
    };
    let Ok(room) = Arc::clone(&inner.room).try_acquire_owned() else {
        return reset(&client);
    };
    inner.tasks.spawn(serve(Arc::clone(inner), index, place, room, client, peer));
}

/// One connection from its place to its end.
async fn serve(
    inner: Arc<Inner>,
    index: usize,
    place: Place,
    room: OwnedSemaphorePermit,
    mut client: TcpStream,
    peer: SocketAddr,
) {
    let Some((guarded, pool)) = inner.services.get(index).zip(inner.providers.pool(index)) else { return };
    let grant = place.grant();
    let cut = place.cut();
    let mut cut = pin!(cut.cancelled());
    let deadline = place.deadline();
    let window = inner.around.clock.now().boot.until(deadline);
    let until = Instant::now() + window;
    let joined = tokio::select! {
        joined = join(pool, inner.settings.connect_timeout, until) => joined,
        () = &mut cut => None,
    };
    let Some((mut upstream, provider)) = joined else {
        // The place is free again before the person learns that they may try again (F03).
        drop(place);
        return reset(&client);
    };
    let number = place.number();
    let claim = Claim { grant, number, client: peer, provider, relayed: true };
    if let Err(error) = inner.around.ledger.claim(claim, inner.around.clock.now()).await {
        if error != LedgerError::Spent {
            inner.around.notices.say(Notice::Ledger { error });
        }
        drop(place);
        reset(&upstream);
        return reset(&client);
    }
    let mut claimed = place.claim();
    inner.around.news.notify();
    let began = Instant::now();
    let limits = Limits {
        until,
        longest: guarded.service.max_connection.map(|longest| began + longest),
        idle: inner.settings.idle_timeout,
        bytes_in: guarded.service.max_bytes_in,
        calls: guarded.service.calls.filter(|_| guarded.service.protocol == Protocol::Msrpc),
    };
    let answered = || inner.around.ledger.answered(grant, number);
    let carried = carry::carry(&mut client, &mut upstream, &limits, claimed.wire(), cut, answered).await;
    if !carried.clean {
        reset(&upstream);
        reset(&client);
    }
    drop(upstream);
    if carried.verdict == Verdict::Cut && inner.stop.is_cancelled() {
        // The next start finds the claim and judges it (P5).
        return;
    }
    let unserved = carried.verdict == Verdict::Unserved;
    let end = ClaimEnd {
        grant,
        number,
        given_back: unserved && claimed.give_back(),
        answered: carried.answered,
        bytes_in: carried.bytes_in,
        bytes_out: carried.bytes_out,
        lasted: began.elapsed(),
    };
    let client = unserved.then_some(client);
    let ended = Ended { end, claimed, client, deadline, limit: carried.verdict == Verdict::Limit, room };
    // It is received until all connections have ended.
    if inner.ended.send(ended).is_err() {}
}

/// The first provider in turn that accepts before the window ends. One that does not is checked soon, so that others are
/// spared the wait.
async fn join(pool: &Pool, patience: Duration, until: Instant) -> Option<(TcpStream, SocketAddr)> {
    for provider in pool.in_turn() {
        let longest = until.min(Instant::now() + patience);
        match tokio::time::timeout_at(longest, TcpStream::connect(provider.address)).await {
            Ok(Ok(upstream)) => {
                prompt(&upstream);
                return Some((upstream, provider.address));
            }
            Err(_) if Instant::now() >= until => return None,
            Ok(Err(_)) | Err(_) => provider.doubt(),
        }
    }
    None
}

/// Small questions are not held back for more to come (TCP_NODELAY). Those who are accepted have it of their listener.
fn prompt(stream: &TcpStream) {
    // Without it the connection is slower and not wrong.
    if stream.set_nodelay(true).is_err() {}
}

/// Ends a connection with RST instead of FIN: the other side is told at once that nothing comes (RFC 9293 section 3.5.2;
/// socket(7), SO_LINGER).
pub(super) fn reset(stream: &TcpStream) {
    // A socket that refuses the option is closed all the same when it is dropped.
    if rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).is_err() {}
}
