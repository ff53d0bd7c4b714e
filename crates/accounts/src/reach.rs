//! The way to a server: its hosts, the connection, TLS; the same for every kind that speaks over TCP. What must never happen
//! here: a password sent before the way is chosen, a certificate that is not verified.

use crate::tls::{Tls, TlsError, TlsSettings};
use crate::verdict::{Outage, Progress};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// Between one address of a host and the next, unless the one before failed at once (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 8;
/// Between one host of a server and the next, unless the one before failed at once.
const NEXT_HOST: Duration = Duration::from_millis(500);

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first byte (RFC 8314 section 3).
    Implicit,
    /// By the protocol's own command, before anything else is said.
    StartTls,
    /// Not at all: `tls = "none"`.
    Clear,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Host name or address.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// What the configuration says of the way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Its hosts, all of which hold the same accounts; at least one.
    pub hosts: Vec<Host>,
    /// How connections to them are protected.
    pub tls: TlsMode,
    /// By what their certificates are verified.
    pub trust: TlsSettings,
}

/// The hosts of a server, each with its TLS, ready to be connected to.
#[derive(Debug)]
pub struct Hosts {
    all: Vec<(Host, Option<Tls>)>,
    mode: TlsMode,
    /// The one that answered last: it is asked first.
    last: AtomicUsize,
}

/// A host to connect to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where.
    pub host: &'a Host,
    /// TLS from the first byte.
    pub at_once: Option<&'a Tls>,
    /// TLS by the protocol's own command.
    pub later: Option<&'a Tls>,
}

impl Hosts {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(way: &Way) -> Result<Self, TlsError> {
        let with_tls = |host: &Host| {
            let tls = match way.tls {
                TlsMode::Clear => None,
                TlsMode::Implicit | TlsMode::StartTls => Some(Tls::new(&way.trust, &host.name)?),
            };
            Ok((host.clone(), tls))
        };
        let all = way.hosts.iter().map(with_tls).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { all, mode: way.tls, last: AtomicUsize::new(0) })
    }

    /// Whether passwords go over the wire in clear.
    #[must_use]
    pub fn clear(&self) -> bool {
        self.mode == TlsMode::Clear
    }

    /// Makes ready with the first host that lets us: the one that answered last, and half a second later, or at once if it
    /// fails, the next beside it. `ready` goes no further than to where a password may be sent, so that none is sent twice.
    ///
    /// # Errors
    /// What every host said, if none is ready.
    pub async fn first_ready<'a, T, F>(&'a self, ready: impl Fn(Target<'a>) -> F) -> Result<(T, &'a Host), Outage>
    where
        F: Future<Output = Result<T, Outage>>,
    {
        let count = self.all.len().max(1);
        let first = self.last.load(Ordering::Relaxed);
        let mut left = (0..self.all.len()).map(|place| (first + place) % count);
        let mut trying = FuturesUnordered::new();
        let mut failed: Vec<Outage> = vec![];
        loop {
            if let Some((place, target)) = left.next().and_then(|place| Some((place, self.target(place)?))) {
                let made = ready(target);
                trying.push(async move { (place, target.host, made.await) });
            } else if trying.is_empty() {
                return Err(together(failed));
            }
            let more = left.len() > 0;
            tokio::select! {
                Some((place, host, made)) = trying.next() => match made {
                    Ok(made) => {
                        self.last.store(place, Ordering::Relaxed);
                        return Ok((made, host));
                    }
                    Err(outage) => failed.push(outage),
                },
                () = tokio::time::sleep(NEXT_HOST), if more => {}
            }
        }
    }

    /// Looks at each host, for `kmsgate check`: what was found at all of them, or at which something is wrong and what.
    ///
    /// # Errors
    /// What is wrong, host by host.
    pub async fn each<'a, F>(&'a self, look: impl Fn(Target<'a>) -> F) -> Result<String, String>
    where
        F: Future<Output = Result<String, String>>,
    {
        let (mut lines, mut good) = (vec![], true);
        for target in (0..self.all.len()).filter_map(|place| self.target(place)) {
            let seen = look(target).await;
            good &= seen.is_ok();
            let (Ok(text) | Err(text)) = seen;
            lines.push(format!("{}: {text}", target.host));
        }
        let text = lines.join("; ");
        if good { Ok(text) } else { Err(text) }
    }

    fn target(&self, place: usize) -> Option<Target<'_>> {
        let (host, tls) = self.all.get(place)?;
        let (at_once, later) = match self.mode {
            TlsMode::Implicit => (tls.as_ref(), None),
            TlsMode::StartTls => (None, tls.as_ref()),
            TlsMode::Clear => (None, None),
        };
        Some(Target { host, at_once, later })
    }
}

/// One outage of several hosts'. The account's own trouble is one only if every host says so.
fn together(mut failed: Vec<Outage>) -> Outage {
    if failed.len() == 1
        && let Some(only) = failed.pop()
    {
        return only;
    }
    let details: Vec<String> = failed.into_iter().map(|outage| outage.detail).collect();
    Outage::server(if details.is_empty() { "no host is configured".to_owned() } else { details.join("; ") })
}

impl Target<'_> {
    /// Connects, and shakes hands where TLS begins at once.
    ///
    /// # Errors
    /// [`Outage`] of the server.
    pub async fn open(&self, progress: &Progress) -> Result<Stream, Outage> {
        let stream = Stream::Clear(connect(self.host, progress).await?);
        match self.at_once {
            Some(tls) => stream.secure(tls, progress).await,
            None => Ok(stream),
        }
    }
}

/// A connection, in clear or not.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Clear(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Shakes hands. Whoever calls has seen to it that nothing was read in clear that would be believed after it.
    ///
    /// # Errors
    /// [`Outage`] of the server, with what is wrong with its certificate.
    pub async fn secure(self, tls: &Tls, progress: &Progress) -> Result<Self, Outage> {
        progress.at("shaking hands for TLS");
        let Self::Clear(stream) = self else { return Err(Outage::server("TLS within TLS")) };
        let (connector, name) = tls.connector();
        let shown = name.to_str().into_owned();
        let stream = connector.connect(name, stream).await.map_err(|why| {
            Outage::server(format!("TLS with {shown} failed: {why} (`ca` names the authority, `server_name` the name)"))
        })?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The version of TLS; none in clear.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        match self {
            Self::Clear(_) => None,
            Self::Tls(stream) => stream.get_ref().1.protocol_version().map(|version| format!("{version:?}")),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Tries the host's addresses one after another, a quarter of a second apart, and takes the first that answers.
///
/// # Errors
/// [`Outage`] of the server, with what each address said.
pub async fn connect(host: &Host, progress: &Progress) -> Result<TcpStream, Outage> {
    let Host { name, port } = host;
    progress.at("looking up its address");
    let found = tokio::net::lookup_host((name.as_str(), *port)).await;
    let found = found.map_err(|why| Outage::server(format!("{name} has no address: {why}")))?;
    let mut left = found.take(MOST_ADDRESSES).collect::<Vec<_>>().into_iter();
    progress.at("connecting");
    let mut trying = JoinSet::new();
    let mut failed = String::new();
    loop {
        if let Some(address) = left.next() {
            trying.spawn(async move { try_one(address).await });
        } else if trying.is_empty() {
            return Err(Outage::server(format!("{name} port {port} cannot be reached{failed}")));
        }
        tokio::select! {
            Some(tried) = trying.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => failed = format!("{failed}; {why}"),
                Err(why) => failed = format!("{failed}; {why}"),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if left.len() > 0 => {}
        }
    }
}

async fn try_one(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await.map_err(|why| format!("{address}: {why}"))?;
    stream.set_nodelay(true).map_err(|why| format!("{address}: {why}"))?;
    Ok(stream)
}
