//! Calls to one address: datagrams first, then a stream. What must never happen here: an answer from anybody but the address that
//! was asked, a record without a bound.

use super::rpc::{self, GETPORT, NoResults, PORTMAPPER, Procedure, Transport};
use crate::verdict::{Outage, Progress};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long each datagram is waited for. It is sent again after the first time; after the last one the stream is tried.
const WAITS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(700)];
/// Longest datagram, in bytes.
const LONGEST_DATAGRAM: usize = 64 << 10;
/// Longest record, in bytes: a map of groups at its largest.
pub(super) const LONGEST_RECORD: usize = 8 << 20;
/// Most fragments of a record.
const MOST_FRAGMENTS: usize = 64 << 10;
/// Ports that ypserv believes to be a system's own: below 1024, and above those of old services (bindresvport(3)).
const RESERVED: std::ops::Range<u16> = 600..1024;
/// Most of them that are tried.
const MOST_TRIES: u16 = 64;

/// Results of a call; hashes may be among them.
pub(super) type Results = Zeroizing<Vec<u8>>;

/// From which port is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Any.
    Any,
    /// One that only a privileged process can have, if we are one.
    Reserved,
}

/// Why a call has no results.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing came, or not to its end, or it cannot be reached. Another transport may do better.
    Way(String),
    /// It answers, and no other transport will help.
    Told(NoResults),
}

/// Calls to one address.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    ip: IpAddr,
    /// [`PORTMAPPER`] if that is to be asked.
    port: u16,
    progress: &'a Progress,
    /// Why datagrams are not tried any more.
    no_datagrams: Option<String>,
    /// What the portmapper said.
    known: [Option<u16>; 2],
}

impl<'a> Talk<'a> {
    /// Says nothing yet.
    pub(super) fn new(ip: IpAddr, port: u16, progress: &'a Progress) -> Self {
        Self { ip, port, progress, no_datagrams: None, known: [None; 2] }
    }

    /// Calls a procedure over UDP, and over TCP if that gives no answer, or one that was cut off.
    pub(super) async fn call(&mut self, procedure: Procedure, arguments: &[u8], from: From) -> Result<Results, Outage> {
        if self.no_datagrams.is_none() {
            self.progress.at("asking over UDP");
            match self.over(Transport::Udp, procedure, arguments, from).await {
                Ok(results) => return Ok(results),
                Err(Fault::Told(why)) => return Err(self.outage(&why)),
                Err(Fault::Way(why)) => self.no_datagrams = Some(why),
            }
        }
        self.call_stream(procedure, arguments, from).await
    }

    /// Calls a procedure over TCP.
    pub(super) async fn call_stream(
        &mut self,
        procedure: Procedure,
        arguments: &[u8],
        from: From,
    ) -> Result<Results, Outage> {
        self.progress.at(match self.no_datagrams {
            Some(_) => "asking over TCP after no answer over UDP: it is down, or our address is not in its securenets",
            None => "asking over TCP",
        });
        self.over(Transport::Tcp, procedure, arguments, from).await.map_err(|fault| match (fault, &self.no_datagrams) {
            (Fault::Told(why), _) => self.outage(&why),
            (Fault::Way(why), None) => self.outage(&format!("TCP: {why}")),
            (Fault::Way(why), Some(first)) => self.outage(&format!("UDP: {first}; TCP: {why}")),
        })
    }

    /// Where a program listens.
    pub(super) async fn port(&mut self, of: Procedure, transport: Transport) -> Result<u16, Fault> {
        if self.port != PORTMAPPER {
            return Ok(self.port);
        }
        let [udp, tcp] = &self.known;
        if let Some(known) = if transport == Transport::Udp { udp } else { tcp } {
            return Ok(*known);
        }
        if self.ip.is_ipv6() {
            // Version 2 tells the port of IPv4 to whoever asks (RFC 1833 section 3); ypserv has another one for IPv6.
            let why = "the portmapper (version 2) knows IPv4 only: write ypserv's port into `url`";
            return Err(Fault::Way(why.to_owned()));
        }
        let there = SocketAddr::new(self.ip, PORTMAPPER);
        let asked = exchange(transport, there, GETPORT, &rpc::where_is(of, transport), From::Any).await;
        let results = asked.map_err(|fault| match fault {
            Fault::Way(why) => Fault::Way(format!("portmapper: {why} (or write ypserv's port into `url`)")),
            Fault::Told(why) => Fault::Way(format!("portmapper: {why}")),
        })?;
        match rpc::port(&results) {
            Ok(Some(port)) => {
                let [udp, tcp] = &mut self.known;
                *(if transport == Transport::Udp { udp } else { tcp }) = Some(port);
                Ok(port)
            }
            Ok(None) => Err(Fault::Way("the portmapper knows no ypserv there: start it".to_owned())),
            Err(_) => Err(Fault::Way("the portmapper told no port".to_owned())),
        }
    }

    async fn over(
        &mut self,
        transport: Transport,
        procedure: Procedure,
        arguments: &[u8],
        from: From,
    ) -> Result<Results, Fault> {
        let port = self.port(procedure, transport).await?;
        exchange(transport, SocketAddr::new(self.ip, port), procedure, arguments, from).await
    }

    /// What came over UDP is no answer of the program's: TCP from now on.
    pub(super) fn cut_off(&mut self) {
        self.no_datagrams.get_or_insert_with(|| "an answer that was cut off".to_owned());
    }

    /// An outage of this address.
    pub(super) fn outage(&self, why: &dyn std::fmt::Display) -> Outage {
        Outage::server(format!("{}: {why}", self.ip))
    }
}

async fn exchange(
    transport: Transport,
    there: SocketAddr,
    procedure: Procedure,
    arguments: &[u8],
    from: From,
) -> Result<Results, Fault> {
    let failed = |why: io::Error| Fault::Way(format!("port {}: {why}", there.port()));
    let mut xid = [0; 4];
    getrandom::fill(&mut xid).map_err(|why| Fault::Way(format!("no random bytes: {why}")))?;
    let xid = u32::from_be_bytes(xid);
    let call = rpc::call(xid, procedure, arguments);
    let reply = match transport {
        Transport::Udp => return datagram(there, xid, &call, from).await,
        Transport::Tcp => stream(there, &call, from).await.map_err(failed)?,
    };
    // Nobody else can write into a stream of ours: what is no answer here is nonsense.
    rpc::results(xid, &reply).map(|results| Zeroizing::new(results.to_vec())).map_err(told)
}

/// What was cut off may come whole another way.
fn told(why: NoResults) -> Fault {
    match why {
        NoResults::NotOurs | NoResults::Malformed => Fault::Way(why.to_string()),
        // So says ypserv too of an answer that no datagram can hold.
        NoResults::System => Fault::Way(why.to_string()),
        other => Fault::Told(other),
    }
}

async fn datagram(there: SocketAddr, xid: u32, call: &[u8], from: From) -> Result<Results, Fault> {
    let failed = |why: io::Error| Fault::Way(format!("port {}: {why}", there.port()));
    let socket = udp_socket(there, from).await.map_err(failed)?;
    // Connected: the kernel drops what comes from any other address or port.
    socket.connect(there).await.map_err(failed)?;
    let mut into = Zeroizing::new(vec![0; LONGEST_DATAGRAM]);
    for wait in WAITS {
        socket.send(call).await.map_err(failed)?;
        let until = Instant::now() + wait;
        while let Ok(received) = tokio::time::timeout_at(until, socket.recv(&mut into)).await {
            let length = received.map_err(failed)?;
            match rpc::results(xid, into.get(..length).unwrap_or_default()) {
                // Whoever can forge the sender's address must not end the question.
                Err(NoResults::NotOurs) => {}
                Ok(results) => return Ok(Zeroizing::new(results.to_vec())),
                Err(why) => return Err(told(why)),
            }
        }
    }
    Err(Fault::Way(format!("port {}: no answer", there.port())))
}

async fn stream(there: SocketAddr, call: &[u8], from: From) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut stream = tcp_stream(there, from).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&rpc::record(call)).await?;
    let mut whole = Zeroizing::new(Vec::new());
    for _ in 0..MOST_FRAGMENTS {
        let mut header = [0; 4];
        stream.read_exact(&mut header).await?;
        let (last, length) = rpc::fragment(header);
        if length > LONGEST_RECORD.saturating_sub(whole.len()) {
            break;
        }
        // Room is made for what comes, not for what is promised.
        let promised = u64::try_from(length).unwrap_or(u64::MAX);
        if (&mut stream).take(promised).read_to_end(&mut whole).await? < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if last {
            return Ok(whole);
        }
    }
    Err(io::Error::other(format!("the answer is longer than {} MiB, or none", LONGEST_RECORD >> 20)))
}

async fn udp_socket(there: SocketAddr, from: From) -> io::Result<UdpSocket> {
    let mut failed = None;
    for port in ports(from)? {
        match UdpSocket::bind(any(there, port)).await {
            Err(why) if goes_on(why.kind()) => failed = Some(why),
            other => return other,
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrInUse.into()))
}

async fn tcp_stream(there: SocketAddr, from: From) -> io::Result<TcpStream> {
    let mut failed = None;
    for port in ports(from)? {
        let socket = if there.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let bound = socket.bind(any(there, port));
        let connected = match bound {
            Ok(()) => socket.connect(there).await,
            Err(why) => Err(why),
        };
        match connected {
            Err(why) if goes_on(why.kind()) => failed = Some(why),
            other => return other,
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::AddrInUse.into()))
}

fn any(there: SocketAddr, port: u16) -> SocketAddr {
    match there.ip() {
        IpAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        IpAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
    }
}

fn goes_on(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Source ports in the order in which they are tried; 0 lets the kernel choose.
fn ports(from: From) -> io::Result<Vec<u16>> {
    if from == From::Any || !may_reserve() {
        return Ok(vec![0]);
    }
    let mut start = [0; 2];
    getrandom::fill(&mut start).map_err(io::Error::other)?;
    let (start, count) = (u16::from_be_bytes(start), RESERVED.end - RESERVED.start);
    Ok((0..MOST_TRIES).map(|place| RESERVED.start + start.wrapping_add(place) % count).collect())
}

/// Whether this process can have a reserved port.
pub(super) fn may_reserve() -> bool {
    let bound = |port: u16| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
    // A port that is taken says nothing; the kernel asks for the right before it looks.
    !bound(RESERVED.start).is_err_and(|why| why.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_reserved() {
        for _ in 0..100 {
            let found = ports(From::Reserved).unwrap();
            assert!(found.iter().all(|port| *port == 0 || RESERVED.contains(port)), "{found:?}");
        }
    }
}
