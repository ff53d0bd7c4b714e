//! One question over UDP: sent again as RFC 5080 section 2.2.1 has it, and to the next host when one is silent. What must
//! never happen here: an answer that was not checked, a second packet of one identifier to one host.

use super::packet::{Answer, Nonsense, Sealed};
use crate::reach::Host;
use crate::verdict::{Outage, Progress};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// First wait for an answer (IRT of RFC 5080 section 2.2.1; its 2 s would leave no time for a second host).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait between two tries (MRT).
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Most tries at one host (MRC).
const MOST_TRIES: usize = 5;
/// After so long, two tries, the next host is asked beside a silent one.
const NEXT_HOST: Duration = Duration::from_millis(1500);

/// What is told when the time is up: UDP has no way to tell these apart.
const SILENT: &str = "no valid answer: it is down, our address is not among its clients, or the shared secret differs";
const FORGED: &str = "answers came whose authenticator is wrong: the shared secret differs, or they are forged";

/// Asks the hosts, the one that answered last first. `make` makes each host its own packet.
///
/// # Errors
/// What every host said, if none answers.
pub(super) async fn first_answer<M>(
    hosts: &[Host],
    last: &AtomicUsize,
    make: impl Fn() -> Result<(Sealed, M), Outage>,
    (secret, required): (&[u8], bool),
    progress: &Progress,
) -> Result<(Answer, M, usize), Outage> {
    let first = last.load(Ordering::Relaxed);
    let count = hosts.len().max(1);
    let mut left = (0..hosts.len()).map(|place| (first + place) % count);
    let mut asking = FuturesUnordered::new();
    let mut failed: Vec<String> = vec![];
    loop {
        if let Some((place, host)) = left.next().and_then(|place| Some((place, hosts.get(place)?))) {
            let (sealed, more) = make()?;
            asking.push(async move { (place, more, one(host, &sealed, secret, required, progress).await) });
        } else if asking.is_empty() {
            return Err(Outage::server(failed.join("; ")));
        }
        let more = left.len() > 0;
        tokio::select! {
            Some((place, more, answer)) = asking.next() => match answer {
                Ok(answer) => {
                    last.store(place, Ordering::Relaxed);
                    return Ok((answer, more, place));
                }
                Err(outage) => failed.push(outage.detail),
            },
            () = tokio::time::sleep(NEXT_HOST), if more => {}
        }
    }
}

/// Asks one host, until it answers or says that nobody is there.
pub(super) async fn one(
    host: &Host,
    sealed: &Sealed,
    secret: &[u8],
    required: bool,
    progress: &Progress,
) -> Result<Answer, Outage> {
    progress.at("looking up its address");
    let of_host = |why: &dyn std::fmt::Display| Outage::server(format!("{host}: {why}"));
    let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
    let address = found.map_err(|why| of_host(&why))?.next().ok_or_else(|| of_host(&"has no address"))?;
    let any = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // A socket of this question's own, on a port that the kernel chose, connected: nobody else's answers come to it.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(|why| of_host(&why))?;
    socket.connect(address).await.map_err(|why| of_host(&why))?;
    progress.at(SILENT);
    let mut into = Zeroizing::new(vec![0; super::packet::LONGEST + 1]);
    let (mut wait, mut said) = (jittered(FIRST_WAIT, 1)?, SILENT);
    for _ in 0..MOST_TRIES {
        socket.send(&sealed.bytes).await.map_err(|why| of_host(&why))?;
        let until = Instant::now() + wait;
        while let Some(received) = before(until, socket.recv(&mut into)).await {
            let length = received.map_err(|why| of_host(&why))?;
            match sealed.read(into.get(..length).unwrap_or_default(), secret, required) {
                Ok(answer) => return Ok(answer),
                // It knows the secret, so that nothing better will come.
                Err(why @ Nonsense::Unauthenticated) => return Err(of_host(&why)),
                // Passed over (RFC 2865 section 3): whoever can send us packets must not end the question.
                Err(Nonsense::Forged) => {
                    said = FORGED;
                    progress.at(FORGED);
                }
                Err(Nonsense::Malformed | Nonsense::NotOurs) => {}
            }
        }
        wait = jittered(wait, 2)?.min(LONGEST_WAIT);
    }
    Err(of_host(&said))
}

async fn before<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(until, work).await.ok()
}

/// `times` the time, give or take a tenth of it.
fn jittered(time: Duration, times: u32) -> Result<Duration, Outage> {
    let [random] = random::<1>()?;
    let tenths = time / 5 * u32::from(random) / 255;
    Ok((time * times + tenths).saturating_sub(time / 10))
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Outage> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|why| Outage::busy(format!("no random bytes: {why}")))?;
    Ok(bytes)
}
