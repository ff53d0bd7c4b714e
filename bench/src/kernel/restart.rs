//! The program killed and started again while very many grants are open in the kernel, and somebody who connects meanwhile.

use super::grants::{self, person};
use super::sign_ins::on;
use crate::Failure;
use crate::fill::{As, address, fill};
use crate::http::Client;
use crate::place::{Gateway, Mode, Place};
use crate::sign_ins::Round;
use crate::stats::{Spread, number};
use crate::table::Table;
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::net::{Outcome, echo, try_through};
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::scene::until_the_kernel_has_within;
use kmsgate_system_tests::{PATIENCE, ledger};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Addresses from which the prober connects in turn; each has as many connections as a grant may have.
const PROBERS: u16 = 60;
/// Between two connections of the prober.
const PACE: Duration = Duration::from_millis(5);
/// Connections that are made while the program is dead, of an address that makes no others.
const UNSEEN: u16 = 20;
/// Where those come from.
const WITNESS: u16 = 1000;

/// Rounds of sign-ins when all is over, and sign-ins of each.
const SIGN_INS: (usize, u32) = (5, 2000);

/// What a restart was like.
struct Restart {
    /// Seconds from the kill to a sign-in that was answered.
    signs_in: f64,
    /// Seconds from the kill until the ledger had the claims of its absence.
    claims: f64,
    /// Connections of the prober meanwhile, and those that were refused or cut.
    probes: usize,
    refused: usize,
}

pub(crate) fn measure(table: &mut Table, full: bool) -> Result<(), Failure> {
    let (open, rounds) = if full { (1_000_000, 3) } else { (10_000, 5) };
    let (place, site) = (Place::make()?, grants::site());
    let _provider = site.provider(0, Family::V4, Manner::Echo);
    crate::progress(&format!("a ledger with {open} open grants"));
    tokio::runtime::Runtime::new()?.block_on(fill(&place.ledger(), open, As::Open))?;
    let start = || place.start_on(&site.gateway, Family::V4.provider(0), Mode::Kernel);
    let shown = number(f64::from(open));
    let begun = Instant::now();
    let mut gateway = start()?;
    let seconds = || format!("{} s, once", number(begun.elapsed().as_secs_f64()));
    let name = format!("start with {shown} open grants of which the kernel has none");
    table.row(&format!("{name}: until it serves"), &seconds(), "", "");
    // The oldest comes last.
    until_the_kernel_has_within(&site, address(11, 0).into(), Duration::from_secs(300));
    table.row("  until the kernel has all of them", &seconds(), "", "");
    let all: Vec<Ipv4Addr> = (0..PROBERS).chain([WITNESS]).filter_map(person).collect();
    on(&site.gateway, || sign_in(gateway.portal, &all))?;
    let mut seen = vec![];
    for round in 0..rounds {
        crate::progress(&format!("restart, round {} of {rounds}", round + 1));
        let (again, restart) = restart(gateway, &place, &site, round, start)?;
        gateway = again;
        seen.push(restart);
    }
    rows(table, &shown, &seen);
    crate::progress("sign-ins among them");
    let (next, portal) = (Arc::new(AtomicU32::new(0)), gateway.portal);
    let among: Result<Vec<Round>, Failure> = (0..SIGN_INS.0)
        .map(|_| on(&site.gateway, || crate::sign_ins::sign_in(portal, 32, SIGN_INS.1, &next)))
        .collect();
    let among = among?;
    let of = |figure: fn(&Round) -> f64, unit| Spread::of(among.iter().map(figure).collect(), unit).shown();
    let name = format!("sign-ins/s, forward = nftables, 32 at a time, {shown} open in the kernel");
    table.row(&name, &of(|round| round.a_second, ""), "", "");
    table.row("  p50", &of(|round| round.p50, "ms"), "", "");
    table.row("  p99", &of(|round| round.p99, "ms"), "", "");
    Ok(())
}

fn rows(table: &mut Table, open: &str, seen: &[Restart]) {
    let of = |figure: fn(&Restart) -> f64| Spread::of(seen.iter().map(figure).collect(), "s").shown();
    let name = format!("killed and started again, {open} open in the kernel");
    table.row(&format!("{name}: until a sign-in is answered"), &of(|seen| seen.signs_in), "<= 5 s", "1 s");
    table.row("  until its absence's claims are in the ledger", &of(|seen| seen.claims), "<= 15 s", "8 s");
    let sum = |figure: fn(&Restart) -> usize| seen.iter().map(figure).sum::<usize>();
    let shown = format!("{} of {}", sum(|seen| seen.refused), sum(|seen| seen.probes));
    table.row("  connections under open grants refused or cut meanwhile", &shown, "none", "");
}

/// Kills the program, and the enforcer that it started with it, and starts both again, while somebody connects.
fn restart(
    gateway: Gateway,
    place: &Place,
    site: &Site,
    round: u16,
    start: impl Fn() -> Result<Gateway, Failure>,
) -> Result<(Gateway, Restart), Failure> {
    let long = site.connect(Family::V4.person(0)).through();
    let before = claims(&place.ledger())?;
    let newcomer = [person(2000 + round).ok_or("an address")?];
    std::thread::scope(|scope| {
        let ((stop, stopped), (ready, is_ready)) = (channel(), channel());
        let prober = scope.spawn(move || probe(site, &stopped, &ready));
        is_ready.recv()?;
        let begun = Instant::now();
        drop(gateway);
        let unseen: Vec<_> = (0..UNSEEN).map(|_| site.connect(Family::V4.person(WITNESS))).collect();
        let gateway = start()?;
        on(&site.gateway, || sign_in(gateway.portal, &newcomer))?;
        let signs_in = begun.elapsed().as_secs_f64();
        while claims(&place.ledger())? < before + i64::from(UNSEEN) {
            if begun.elapsed() > PATIENCE {
                return Err("claims of the program's absence do not come into the ledger".into());
            }
            park_timeout(Duration::from_millis(20));
        }
        let claims = begun.elapsed().as_secs_f64();
        drop(stop);
        let (probes, mut refused) = prober.join().map_err(|_| "the prober panicked")?;
        refused += unseen.iter().filter(|outcome| !outcome.is_through()).count();
        refused += usize::from(!echo(long).is_through());
        Ok((gateway, Restart { signs_in, claims, probes: probes + unseen.len() + 1, refused }))
    })
}

/// Connects again and again until the other end of `stopped` is dropped: how often, and how often in vain.
fn probe(site: &Site, stopped: &Receiver<()>, ready: &Sender<()>) -> (usize, usize) {
    site.person.enter();
    let (mut probes, mut refused) = (0, 0);
    let mut running: Option<TcpStream> = None;
    for number in (0..PROBERS).cycle() {
        probes += 1;
        match try_through(Family::V4.person(number), Family::V4.service()) {
            // The one before it ends now: one runs at any time.
            Outcome::Echoed(stream) => drop(running.replace(stream)),
            _ => refused += 1,
        }
        // Whoever waits for the first has not gone away.
        if probes == 1 && ready.send(()).is_err() {
            break;
        }
        if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    (probes, refused)
}

/// Claims of the witness, as the ledger has them.
fn claims(file: &Path) -> Result<i64, Failure> {
    let source = person(WITNESS).ok_or("an address")?.octets().map(|octet| format!("{octet:02x}")).concat();
    // By what is indexed: looking among a million rows would take the time that is measured.
    Ok(ledger::number(file, &format!("SELECT coalesce(sum(claims), 0) FROM grants WHERE address_key = x'{source}'")))
}

async fn sign_in(portal: SocketAddr, sources: &[Ipv4Addr]) -> Result<(), Failure> {
    let mut client = Client::connect(portal).await?;
    for (person, source) in (0..).zip(sources) {
        client.sign_in(person % crate::place::PEOPLE, Some(*source)).await?;
    }
    Ok(())
}
