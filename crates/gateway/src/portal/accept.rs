//! Connections of the portal, within limits. What must never happen here: a connection that costs something for ever.

use crate::portal::desk::Desk;
use crate::portal::tls::{BadCertificate, Certificate};
use crate::portal::unread::Unread;
use crate::portal::visitor::Ends;
use crate::portal::{Limits, Portal, answer, router, source};
use crate::vital::Vital;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A head of at most so many fields.
const MOST_FIELDS: usize = 64;

/// Request line and head together, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// Pause after the system refused to hand over a connection (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the portal on these listeners until `stop`; then takes no more connections, lets what is under way end for
/// [`Limits::stop`], and returns. `certificate`: TLS on all of them; None: plain HTTP.
///
/// # Errors
/// If TLS cannot be set up. Nothing was accepted then.
pub async fn serve(
    desk: Arc<dyn Desk>,
    listeners: Vec<TcpListener>,
    certificate: Option<Arc<Certificate>>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), BadCertificate> {
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let portal = Arc::new(Portal {
        desk,
        views: Arc::new(Semaphore::new(limits.views)),
        limits: limits.clone(),
        stop: stop.clone(),
    });
    let front = Arc::new(Front {
        router: router(Arc::clone(&portal)),
        portal,
        tls,
        all: Arc::new(Semaphore::new(limits.connections)),
        addresses: Arc::new(Addresses::default()),
    });
    let connections = TaskTracker::new();
    let loops = TaskTracker::new();
    for listener in listeners {
        loops.spawn(accept(Arc::clone(&front), listener, connections.clone()));
    }
    loops.close();
    loops.wait().await;
    connections.close();
    // Connections were told by `stop` themselves; what is left after the time is dropped with the runtime.
    tokio::time::timeout(limits.stop, connections.wait()).await.unwrap_or(());
    Ok(())
}

struct Front {
    portal: Arc<Portal>,
    router: Router,
    tls: Option<TlsAcceptor>,
    all: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

async fn accept(front: Arc<Front>, listener: TcpListener, connections: TaskTracker) {
    let _vital = Vital;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = front.portal.stop.cancelled() => return,
        };
        match accepted {
            // Over a limit the connection is dropped at once: waiting would only fill the backlog with the same.
            Ok((stream, peer)) => {
                if let Some(held) = front.admit(peer.ip()) {
                    connections.spawn(Arc::clone(&front).connection(stream, peer, held));
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// What a connection holds while it lives.
struct Held {
    _all: OwnedSemaphorePermit,
    _address: Option<Place>,
}

impl Front {
    fn admit(&self, peer: IpAddr) -> Option<Held> {
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let peer = peer.to_canonical();
        let unbounded = peer.is_loopback() || source::is_trusted(peer, &self.portal.desk.site().portal.trusted_proxies);
        let address = if unbounded {
            None
        } else {
            Some(Addresses::take(&self.addresses, peer, self.portal.limits.connections_per_address)?)
        };
        Some(Held { _all: all, _address: address })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _held: Held) {
        let Ok(local) = stream.local_addr() else { return };
        let ends = Ends { peer, local, tls: self.tls.is_some() };
        match &self.tls {
            None => self.http(stream, ends).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(self.portal.limits.handshake, tls.accept(stream));
                let encrypted = tokio::select! {
                    encrypted = handshake => encrypted,
                    () = self.portal.stop.cancelled() => return,
                };
                if let Ok(Ok(encrypted)) = encrypted {
                    self.http(encrypted, ends).await;
                }
            }
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, ends: Ends) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (portal, router) = (Arc::clone(&self.portal), self.router.clone());
            async move { Ok::<_, Infallible>(answer(portal, router, ends, request.map(Body::new)).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.portal.limits.head)
            .max_headers(MOST_FIELDS)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(Unread::new(stream, self.portal.limits.write)), service);
        let mut connection = std::pin::pin!(connection);
        let whole = tokio::time::sleep(self.portal.limits.connection);
        // However a connection ends, its end is all there is to know of it.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = whole => return,
            () = self.portal.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        drop(tokio::time::timeout(self.portal.limits.stop, connection).await);
    }
}

/// How many connections each address has. Entries exist only while there are connections, so it is bounded by them.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place.
struct Place {
    addresses: Arc<Addresses>,
    key: IpAddr,
}

impl Addresses {
    fn take(addresses: &Arc<Self>, peer: IpAddr, most: usize) -> Option<Place> {
        let key = match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        };
        let mut counts = addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { addresses: Arc::clone(addresses), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_memory_of_them() {
        let addresses = Arc::new(Addresses::default());
        let take = |peer: &str| Addresses::take(&addresses, peer.parse().unwrap(), 2);
        let first = (take("2001:db8::1"), take("2001:db8::2"));
        assert!(first.0.is_some() && first.1.is_some());
        assert!(take("2001:db8::3").is_none(), "one /64 is one address");
        assert!(take("2001:db8:0:1::3").is_some());
        assert!(take("203.0.113.7").is_some());
        drop(first);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
