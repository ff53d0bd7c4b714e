//! New connections through the ruleset, with few and with very many grants open, beside one bare DNAT rule.

use super::grants::{self, Filled, person};
use super::load::{Sink, connect_from_each};
use crate::Failure;
use crate::stats::{Interval, Spread, number};
use crate::table::Table;
use kmsgate_orders::order::Opening;
use kmsgate_system_tests::kernel::{Enforcer, Family, Site};
use rustix::process::Signal;
use std::net::Ipv4Addr;

const ROUNDS: u16 = 30;
/// Connections of a round, each from an address of its own.
const ROUND: u16 = 2000;
/// Addresses come again after so many rounds; what conntrack kept of them is gone by then.
const SETS: u16 = 30;
/// What does the least that forwards a port: no grants, no marks, no guard.
const BARE: &str = "table ip bare { chain to_provider { type nat hook prerouting priority dstnat; \
                    ip daddr 192.0.2.1 tcp dport 1688 dnat to 198.19.0.2:1688; }; }";

/// A gateway's kernel, a person's host in front of it and a provider behind it.
struct Way {
    /// Grants open beside those that are measured; none for the bare rule.
    open: Option<u32>,
    enforcer: Option<Enforcer>,
    site: Site,
    _provider: Sink,
    with: Figures,
    alone: Figures,
}

#[derive(Default)]
struct Figures {
    a_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Who else has work of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// The enforcer, which hears of each and looks whose it is.
    Enforcer,
    /// Nobody: the enforcer is stopped meanwhile, and hears afterwards.
    Nobody,
}

pub(crate) fn measure(table: &mut Table, full: bool) -> Result<(), Failure> {
    let mut ways = vec![Way::new(None)?];
    for open in [0, 10_000, 100_000, 1_000_000] {
        if open > 10_000 && !full {
            continue;
        }
        crate::progress(&format!("a ruleset with {open} open grants"));
        let mut way = Way::new(Some(open))?;
        if let Some(enforcer) = way.enforcer.as_mut().filter(|_| open > 0) {
            filled(table, open, &grants::fill(enforcer, open)?);
        }
        ways.push(way);
    }
    // The first connections look for their neighbours.
    for way in &mut ways {
        way.round(SETS - 1, Beside::Nobody)?;
        way.with = Figures::default();
        way.alone = Figures::default();
    }
    let count = ways.len();
    for round in 0..ROUNDS {
        crate::progress(&format!("connections, round {} of {ROUNDS}", round + 1));
        // Whoever is first in one round is last in the next.
        for place in 0..count {
            let Some(way) = ways.get_mut((place + usize::from(round)) % count) else { continue };
            way.round(round, Beside::Nobody)?;
            way.round(round + SETS / 2, Beside::Enforcer)?;
        }
    }
    rows(table, &ways);
    Ok(())
}

fn filled(table: &mut Table, open: u32, filled: &Filled) {
    let shown = shown(open);
    let a_second = format!("{}, once", number(filled.a_second));
    table.row(&format!("grants opened/s, batched, from 0 to {shown} open"), &a_second, "", "25,000");
    let bytes = format!("{} bytes, once", number(filled.bytes));
    table.row(&format!("kernel memory per open grant at {shown}"), &bytes, "<= 2.6 kB", "1.6");
    let available = format!("{} bytes, once", number(filled.by_available));
    table.row("  by what is no longer available (MemAvailable)", &available, "", "");
}

fn rows(table: &mut Table, ways: &[Way]) {
    let Some(bare) = ways.iter().find(|way| way.open.is_none()) else { return };
    for (title, figures) in
        [("", (|way| &way.alone) as fn(&Way) -> &Figures), (", the enforcer hearing of each", |way| &way.with)]
    {
        for way in ways {
            let own = figures(way);
            let name = match way.open {
                None => "one bare DNAT rule".to_owned(),
                Some(open) => format!("kmsgate, {} open{title}", shown(open)),
            };
            if way.open.is_none() && !title.is_empty() {
                continue;
            }
            let a_second = Spread::of(own.a_second.clone(), "").shown();
            table.row(&format!("new connections/s through nftables: {name}"), &a_second, "", "");
            table.row("  p50 of a connect", &Spread::of(own.p50.clone(), "ms").shown(), "", "");
            table.row("  p99 of a connect", &Spread::of(own.p99.clone(), "ms").shown(), "", "");
            if way.open.is_some() {
                let theirs = figures(bare);
                let ratios = own.a_second.iter().zip(&theirs.a_second).map(|(own, bare)| own / bare);
                let (must, goal) = if title.is_empty() { (">= 0.85, all of the interval", "0.95") } else { ("", "") };
                table.row("  against the bare rule", &Interval::of(ratios.collect()).shown(), must, goal);
            }
        }
    }
}

impl Way {
    fn new(open: Option<u32>) -> Result<Self, Failure> {
        let site = grants::site();
        let [host, _] = &site.hosts;
        let provider = Sink::start(host, Family::V4.provider(0))?;
        let enforcer = match open {
            Some(_) => Some(site.enforcer()),
            None => {
                drop(site.gateway.output("nft", &[BARE]));
                None
            }
        };
        let (with, alone) = Default::default();
        Ok(Self { open, enforcer, site, _provider: provider, with, alone })
    }

    /// A grant for each connection, the connections, and the end of the grants; only the connections are measured.
    fn round(&mut self, round: u16, beside: Beside) -> Result<(), Failure> {
        let first = round % SETS * ROUND;
        let sources: Vec<Ipv4Addr> = (first..first + ROUND).filter_map(person).collect();
        let number = |place| u32::MAX - u32::from(round) * u32::from(ROUND) - place;
        let openings: Vec<Opening> =
            (0..).zip(&sources).map(|(place, address)| grants::grant(number(place), *address)).collect();
        if let Some(enforcer) = &mut self.enforcer {
            grants::open(enforcer, &openings)?;
            if beside == Beside::Nobody {
                enforcer.signal(Signal::STOP);
            }
        }
        let load = connect_from_each(&self.site.person, &sources, Family::V4.service());
        if let Some(enforcer) = &mut self.enforcer {
            enforcer.signal(Signal::CONT);
            grants::close(enforcer, &openings)?;
        }
        let load = load?;
        let figures = if beside == Beside::Nobody { &mut self.alone } else { &mut self.with };
        figures.a_second.push(load.a_second);
        figures.p50.push(load.p50);
        figures.p99.push(load.p99);
        Ok(())
    }
}

fn shown(open: u32) -> String {
    if open == 0 { "0".to_owned() } else { number(f64::from(open)) }
}
