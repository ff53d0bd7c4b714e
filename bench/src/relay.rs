//! The relay beside HAProxy and nginx, and beside no relay at all.

use crate::Failure;
use crate::http::{Client, connect_from};
use crate::peers::{self, Peer};
use crate::place::{Front, Gateway, Place};
use crate::stats::{Spread, number};
use crate::table::Table;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 7;
/// Connections of a round.
const ROUND: u32 = 4000;
/// Addresses from which connections come, in turn: a grant gives at most 1,000.
const SOURCES: u32 = 40;
/// At once.
const AT_ONCE: u32 = 64;
/// How long a stream runs.
const STREAM: Duration = Duration::from_secs(2);
/// Connections at rest.
const RESTING: u32 = 2000;

/// What carries the bytes.
enum Way {
    Nothing(SocketAddr),
    Ours(Gateway),
    Theirs(Peer),
}

struct Measured {
    name: &'static str,
    way: Way,
    connections: Vec<f64>,
    gigabits: Vec<f64>,
}

pub(crate) async fn measure(table: &mut Table) -> Result<(), Failure> {
    let echo = echo().await?;
    let source = source().await?;
    let place = Place::make()?;
    let bulk_place = Place::make()?;
    let mut all = ways(echo, &place)?;
    let mut bulk = ways(source, &bulk_place)?;
    for measured in all.iter().chain(&bulk) {
        open(&measured.way).await?;
    }
    for round in 0..ROUNDS {
        crate::progress(&format!("relay, round {} of {ROUNDS}", round + 1));
        for measured in &mut all {
            measured.connections.push(connections(measured.way.address()).await?);
        }
        for measured in &mut bulk {
            measured.gigabits.push(stream(measured.way.address()).await?);
        }
    }
    rows(table, &all, "connections/s, one PDU each way", |measured| &measured.connections);
    rows(table, &bulk, "Gbit/s, one stream", |measured| &measured.gigabits);
    for measured in &all {
        resting(table, measured).await?;
    }
    Ok(())
}

fn ways(provider: SocketAddr, place: &Place) -> Result<Vec<Measured>, Failure> {
    let measured = |name, way| Measured { name, way, connections: Vec::new(), gigabits: Vec::new() };
    let ours = place.start(provider, Front::Direct)?;
    let mut all = vec![measured("no relay", Way::Nothing(provider)), measured("kmsgate", Way::Ours(ours))];
    all.extend(peers::haproxy(provider)?.map(|peer| measured("HAProxy", Way::Theirs(peer))));
    all.extend(peers::nginx(provider)?.map(|peer| measured("nginx stream", Way::Theirs(peer))));
    Ok(all)
}

impl Way {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Nothing(address) => *address,
            Self::Ours(gateway) => gateway.service,
            Self::Theirs(peer) => peer.address,
        }
    }

    fn memory(&self) -> Result<Option<f64>, Failure> {
        match self {
            Self::Nothing(_) => Ok(None),
            Self::Ours(gateway) => gateway.memory().map(Some),
            Self::Theirs(peer) => peer.memory().map(Some),
        }
    }
}

/// Signs in where that is needed, from every address.
async fn open(way: &Way) -> Result<(), Failure> {
    let Way::Ours(gateway) = way else { return Ok(()) };
    for number in 0..SOURCES {
        Client::connect_from(source_of(number), gateway.portal).await?.sign_in(number, None).await?;
    }
    Ok(())
}

/// The address from which this connection comes.
fn source_of(number: u32) -> Ipv4Addr {
    let [.., last] = (number % SOURCES).to_be_bytes();
    Ipv4Addr::new(127, 0, 1, last)
}

fn rows(table: &mut Table, all: &[Measured], what: &str, figures: fn(&Measured) -> &Vec<f64>) {
    for measured in all {
        let shown = Spread::of(figures(measured).clone(), "").shown();
        table.row(&format!("relay, {what}: {}", measured.name), &shown, "", "");
    }
    let peers: Vec<&Measured> = all.iter().filter(|measured| matches!(measured.way, Way::Theirs(_))).collect();
    let Some(ours) = all.iter().find(|measured| matches!(measured.way, Way::Ours(_))) else { return };
    if peers.is_empty() {
        table.row("  against the better peer", "neither HAProxy nor nginx is installed", ">= 0.8", "1.0");
        return;
    }
    let ratios = figures(ours).iter().enumerate().map(|(round, own)| {
        let theirs = peers.iter().filter_map(|peer| figures(peer).get(round).copied());
        own / theirs.fold(f64::NAN, f64::max)
    });
    table.row("  against the better peer", &Spread::of(ratios.collect(), "").shown(), ">= 0.8", "1.0");
}

/// Connections a second: connect, one PDU there, one back, close.
async fn connections(to: SocketAddr) -> Result<f64, Failure> {
    let left = Arc::new(AtomicU32::new(ROUND));
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..AT_ONCE {
        let left = Arc::clone(&left);
        clients.push(tokio::spawn(async move {
            while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
                exchange(number, to).await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for client in clients {
        client.await??;
    }
    Ok(f64::from(ROUND) / begun.elapsed().as_secs_f64())
}

/// As long as a bind and its answer.
async fn exchange(number: u32, to: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = connect_from(source_of(number), to).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[7; 72]).await?;
    stream.read_exact(&mut [0; 72]).await?;
    Ok(stream)
}

/// Gigabits a second of one stream to the client.
async fn stream(from: SocketAddr) -> Result<f64, Failure> {
    let mut stream = connect_from(source_of(0), from).await?;
    stream.write_all(b"go").await?;
    let mut buffer = vec![0; 256 * 1024];
    stream.read_exact(&mut [0; 1]).await?;
    let begun = Instant::now();
    let mut bytes = 0_u64;
    while begun.elapsed() < STREAM {
        match stream.read(&mut buffer).await? {
            0 => return Err("the stream ended".into()),
            read => bytes += u64::try_from(read)?,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
    Ok(bytes as f64 * 8.0 / 1e9 / begun.elapsed().as_secs_f64())
}

/// What connections at rest cost the relay's own processes.
async fn resting(table: &mut Table, measured: &Measured) -> Result<(), Failure> {
    let Some(before) = measured.way.memory()? else { return Ok(()) };
    let mut held = Vec::new();
    for number in 0..RESTING {
        held.push(exchange(number, measured.way.address()).await?);
    }
    let after = measured.way.memory()?.unwrap_or(before);
    let kilobytes = (after - before) / f64::from(RESTING);
    let shown = format!("{} kB, once, of {RESTING}", number(kilobytes));
    let goal = if matches!(measured.way, Way::Ours(_)) { "below both" } else { "" };
    table.row(&format!("memory per connection at rest: {}", measured.name), &shown, "", goal);
    Ok(())
}

/// A provider that sends back what it gets.
async fn echo() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 256];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// A provider that sends without end once it was asked.
async fn source() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let bytes: Arc<[u8]> = vec![7; 256 * 1024].into();
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = Arc::clone(&bytes);
            tokio::spawn(async move {
                if stream.read(&mut [0; 16]).await.is_ok_and(|read| read > 0) {
                    while stream.write_all(&bytes).await.is_ok() {}
                }
            });
        }
    });
    Ok(address)
}
