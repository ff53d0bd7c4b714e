//! Grants opened through the enforcer's socket, beside what people would use instead.

use super::grants;
use super::others::{Iptables, Nft, iptables};
use crate::Failure;
use crate::fill::address;
use crate::stats::{Spread, percentile};
use crate::table::Table;
use kmsgate_orders::order::{Answer, Order};
use kmsgate_system_tests::kernel::Enforcer;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

const ROUNDS: usize = 5;
/// Grants of a round, one at a time.
const SINGLY: u32 = 3000;
/// Grants of a round, many at a time.
const BATCHED: u32 = 20_000;
/// Grants of a round where a program is started for each.
const STARTED: u32 = 60;
/// Rules that are there before.
const RULES: u32 = 1000;

/// A way to open grants, and what was seen of it.
struct Way {
    name: String,
    a_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let site = grants::site();
    let mut enforcer = site.enforcer();
    let nft = Nft::new();
    let program = iptables();
    let tables: Result<Vec<Iptables>, Failure> =
        program.iter().flat_map(|program| [0, RULES].map(|before| Iptables::new(program, before))).collect();
    let tables = tables?;
    let mut singly = Way::new("the enforcer, one at a time");
    let mut batched = Vec::new();
    let mut others = vec![Way::new("the nft program, once a grant")];
    others.extend(tables.iter().map(|table| {
        let program = program.map(Path::new).and_then(Path::file_name).unwrap_or_default().display();
        Way::new(&format!("{program}, two rules a grant, {} rules before", table.before))
    }));
    let mut next = 0;
    let mut some = |count: u32| {
        let first = next;
        next += count;
        first..next
    };
    for round in 0..ROUNDS {
        crate::progress(&format!("opens, round {} of {ROUNDS}", round + 1));
        let numbers = some(SINGLY);
        singly.round(numbers, |number, address| one(&mut enforcer, number, address))?;
        let openings: Vec<_> = some(BATCHED).map(|number| grants::grant(number, address(11, number))).collect();
        batched.push(grants::open(&mut enforcer, &openings)?);
        let mut ways = others.iter_mut();
        if let Some(way) = ways.next() {
            way.round(some(STARTED), |_, address| nft.open(address))?;
        }
        for (way, table) in ways.zip(&tables) {
            way.round(some(STARTED), |_, address| table.open(address))?;
        }
    }
    singly.rows(table, (">= 10,000", ""), ("<= 0.12 ms", "0.07 ms"));
    table.row("grants opened/s: the enforcer, 512 at a time", &Spread::of(batched.clone(), "").shown(), "", "25,000");
    for way in &others {
        way.rows(table, ("", ""), ("", ""));
        for (name, own) in [("one at a time", &singly.a_second), ("512 at a time", &batched)] {
            let ratios = own.iter().zip(&way.a_second).map(|(own, other)| own / other).collect();
            table.row(
                &format!("  the enforcer, {name}, so many times as many"),
                &Spread::of(ratios, "").shown(),
                "",
                "",
            );
        }
    }
    if program.is_none() {
        table.row("grants opened/s: iptables", "not measured: install the Debian package iptables", "", "");
    }
    Ok(())
}

/// An order and its answer.
fn one(enforcer: &mut Enforcer, number: u32, address: Ipv4Addr) -> Result<(), Failure> {
    match enforcer.session.order(Order::Open(grants::grant(number, address))) {
        Answer::Done => Ok(()),
        other => Err(format!("a grant was not opened: {other:?}").into()),
    }
}

impl Way {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), a_second: Vec::new(), p50: Vec::new(), p99: Vec::new() }
    }

    /// Opens one after the other.
    fn round(
        &mut self,
        numbers: std::ops::Range<u32>,
        mut open: impl FnMut(u32, Ipv4Addr) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let count = f64::from(numbers.end - numbers.start);
        let mut times = Vec::new();
        let begun = Instant::now();
        for number in numbers {
            let asked = Instant::now();
            open(number, address(11, number))?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        self.a_second.push(count / begun.elapsed().as_secs_f64());
        times.sort_by(f64::total_cmp);
        self.p50.push(percentile(&times, 50));
        self.p99.push(percentile(&times, 99));
        Ok(())
    }

    fn rows(&self, table: &mut Table, many: (&str, &str), median: (&str, &str)) {
        let a_second = Spread::of(self.a_second.clone(), "").shown();
        table.row(&format!("grants opened/s: {}", self.name), &a_second, many.0, many.1);
        table.row("  p50", &Spread::of(self.p50.clone(), "ms").shown(), median.0, median.1);
        table.row("  p99", &Spread::of(self.p99.clone(), "ms").shown(), "", "");
    }
}
