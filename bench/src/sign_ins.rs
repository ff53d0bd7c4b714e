//! Sign-ins a second, how long one takes, and the memory that an open grant costs.

use crate::Failure;
use crate::fill::{As, address, fill};
use crate::http::Client;
use crate::place::{Front, Gateway, PEOPLE, Place};
use crate::stats::{Spread, number, percentile};
use crate::table::Table;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// At once, each on a connection that is kept.
const AT_ONCE: u32 = 32;
/// Sign-ins of a round.
const ROUND: u32 = 3000;
/// Sign-ins one at a time of a round.
const ALONE: u32 = 300;
const ROUNDS: usize = 5;
/// Nobody connects here.
const PROVIDER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A round: sign-ins a second, and milliseconds of one.
pub(crate) struct Round {
    pub(crate) a_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// A gateway with so many open grants.
struct Sized {
    open: u32,
    place: Place,
    gateway: Gateway,
    memory: f64,
    rounds: Vec<Round>,
    alone: Vec<f64>,
}

pub(crate) async fn measure(table: &mut Table, full: bool, fsync: f64) -> Result<(), Failure> {
    let mut sizes = vec![10, 10_000, 100_000];
    if full {
        sizes.push(1_000_000);
    }
    let next = Arc::new(AtomicU32::new(0));
    let mut all = Vec::new();
    for open in sizes {
        let place = Place::make()?;
        crate::progress(&format!("a ledger with {open} open grants"));
        fill(&place.ledger(), open, As::Open).await?;
        let begun = Instant::now();
        let gateway = place.start(PROVIDER, Front::Proxy)?;
        if open >= 100_000 {
            let seconds = begun.elapsed().as_secs_f64();
            table.row(&format!("start with {open} open grants"), &format!("{} s, once", number(seconds)), "", "");
        }
        let memory = gateway.memory()?;
        all.push(Sized { open, place, gateway, memory, rounds: Vec::new(), alone: Vec::new() });
    }
    memory(table, &all);
    for round in 0..ROUNDS {
        crate::progress(&format!("round {} of {ROUNDS}", round + 1));
        for sized in &mut all {
            if sized.open == 10 && round > 0 {
                // The rounds before opened some thousands.
                sized.place = Place::make()?;
                fill(&sized.place.ledger(), sized.open, As::Open).await?;
                sized.gateway = sized.place.start(PROVIDER, Front::Proxy)?;
            }
            let alone = sign_in(sized.gateway.portal, 1, ALONE, &next).await?;
            sized.alone.push(alone.p50);
            sized.rounds.push(sign_in(sized.gateway.portal, AT_ONCE, ROUND, &next).await?);
        }
    }
    rows(table, &all, fsync);
    Ok(())
}

fn memory(table: &mut Table, all: &[Sized]) {
    let Some(least) = all.first() else { return };
    for sized in all.iter().filter(|sized| sized.open >= 100_000) {
        let bytes = (sized.memory - least.memory) * 1024.0 / f64::from(sized.open - least.open);
        let what = format!("memory per open grant at {}", sized.open);
        table.row(&what, &format!("{} bytes, once", number(bytes)), "<= 400", "250");
    }
}

fn rows(table: &mut Table, all: &[Sized], fsync: f64) {
    let Some(least) = all.first() else { return };
    for sized in all {
        let open = sized.open;
        let of = |figure: fn(&Round) -> f64, unit| Spread::of(sized.rounds.iter().map(figure).collect(), unit).shown();
        let (must, goal) = if open == 10 { (">= 3,000", "6,000") } else { ("", "") };
        table.row(
            &format!("sign-ins/s, {AT_ONCE} at a time, {open} open"),
            &of(|round| round.a_second, ""),
            must,
            goal,
        );
        if open > 10 {
            let ratios = sized.rounds.iter().zip(&least.rounds).map(|(own, other)| own.a_second / other.a_second);
            let (must, goal) = if open > 100_000 { (">= 0.6", "0.9") } else { (">= 0.8", "0.95") };
            table.row(&format!("  against {} open", least.open), &Spread::of(ratios.collect(), "").shown(), must, goal);
        }
        table.row("  p50", &of(|round| round.p50, "ms"), "<= 10 ms", "6 ms");
        table.row("  p99", &of(|round| round.p99, "ms"), "<= 30 ms", "15 ms");
        let (must, goal) = (format!("<= {} ms", number(2.0 * fsync + 1.0)), format!("{} ms", number(fsync + 0.3)));
        table.row("  one at a time, p50", &Spread::of(sized.alone.clone(), "ms").shown(), &must, &goal);
    }
}

/// `count` sign-ins, `at_once` at a time, each from an address of its own.
pub(crate) async fn sign_in(
    portal: SocketAddr,
    at_once: u32,
    count: u32,
    next: &Arc<AtomicU32>,
) -> Result<Round, Failure> {
    let mut clients = Vec::new();
    for _ in 0..at_once {
        clients.push(Client::connect(portal).await?);
    }
    let left = Arc::new(AtomicU32::new(count));
    let begun = Instant::now();
    let mut people = Vec::new();
    for mut client in clients {
        let (left, next) = (Arc::clone(&left), Arc::clone(next));
        people.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let asked = Instant::now();
                client.sign_in(number % PEOPLE, Some(address(10, number))).await?;
                times.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, Failure>(times)
        }));
    }
    let mut times = Vec::new();
    for person in people {
        times.extend(person.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Ok(Round { a_second: f64::from(count) / seconds, p50: percentile(&times, 50), p99: percentile(&times, 99) })
}
