//! From a sign-in to the open door, through the whole program: the kernel forwarder beside the relay.

use crate::Failure;
use crate::place::{Gateway, Mode, Place};
use crate::sign_ins::{Round, sign_in};
use crate::stats::Spread;
use crate::table::Table;
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::namespace::Host;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

const ROUNDS: usize = 5;
/// At once, and sign-ins of a round.
const MANY: (u32, u32) = (32, 3000);
/// The same one at a time.
const ALONE: (u32, u32) = (1, 300);

/// A gateway, and what was seen of it.
struct Measured {
    name: &'static str,
    gateway: Gateway,
    site: Site,
    _place: Place,
    many: Vec<Round>,
    alone: Vec<Round>,
}

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let mut all = vec![];
    for (name, mode) in [("relay", Mode::Relay), ("nftables", Mode::Kernel)] {
        let (place, site) = (Place::make()?, super::grants::site());
        let gateway = place.start_on(&site.gateway, Family::V4.provider(0), mode)?;
        all.push(Measured { name, gateway, site, _place: place, many: vec![], alone: vec![] });
    }
    let next = Arc::new(AtomicU32::new(0));
    for round in 0..ROUNDS {
        crate::progress(&format!("sign-ins of both forwarders, round {} of {ROUNDS}", round + 1));
        for measured in &mut all {
            let portal = measured.gateway.portal;
            let [alone, many] = [ALONE, MANY].map(|(at_once, count)| {
                let next = &next;
                on(&measured.site.gateway, || sign_in(portal, at_once, count, next))
            });
            measured.alone.push(alone?);
            measured.many.push(many?);
        }
        // Whoever was first is last.
        all.reverse();
    }
    all.sort_by_key(|measured| measured.name != "relay");
    for measured in &all {
        let of = |rounds: &[Round], figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        let name = format!("sign-in until open, forward = {}", measured.name);
        let (many, alone) = (&measured.many, &measured.alone);
        table.row(&format!("{name}: one at a time, p50"), &ms(of(alone, |round| round.p50)), "", "");
        table.row("  p99", &ms(of(alone, |round| round.p99)), "", "");
        table.row("  32 at a time, p50", &ms(of(many, |round| round.p50)), "", "");
        table.row("  p99", &ms(of(many, |round| round.p99)), "", "");
        table.row("  a second", &Spread::of(of(many, |round| round.a_second), "").shown(), "", "");
    }
    if let [relay, kernel] = all.as_slice() {
        let ratios = kernel.many.iter().zip(&relay.many).map(|(own, other)| own.a_second / other.a_second);
        table.row("  a second, against the relay", &Spread::of(ratios.collect(), "").shown(), "", "");
    }
    Ok(())
}

fn ms(values: Vec<f64>) -> String {
    Spread::of(values, "ms").shown()
}

/// Runs a future whose sockets are this host's.
pub(crate) fn on<T: Send, F: Future<Output = Result<T, Failure>>>(
    host: &Host,
    future: impl FnOnce() -> F + Send,
) -> Result<T, Failure> {
    host.within(|| {
        // Its threads are started from this one, and are this host's too.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(future())
    })
}
