//! Very many grants in the kernel, opened as the program opens them, and the memory that they take there.

use crate::Failure;
use crate::fill::address;
use kmsgate_orders::order::{Answer, Carrier, Opening, Order, Place};
use kmsgate_system_tests::kernel::{Enforcer, Family, Site, opening};
use kmsgate_system_tests::scene::one_provider;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// Orders in one piece, as serve gives them.
pub(crate) const TOGETHER: usize = 512;
/// How long a grant of a benchmark is open, in seconds: longer than any run.
const WINDOW: u64 = 12 * 3600 - 60;

/// A site with one provider, where grants may be opened as fast as the kernel takes them.
pub(crate) fn site() -> Site {
    one_provider()
        .with("grants 65536\n", &format!("grants {}\n", crate::place::ROOM))
        .with("opens_per_second 100000\n", "opens_per_second 1000000\n")
        .with("longest_window 3600\n", "longest_window 43200\n")
}

/// One of the addresses from which people connect; `None` never.
pub(crate) fn person(number: u16) -> Option<Ipv4Addr> {
    match Family::V4.person(number) {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// A grant for one connection of this address, whose name is this number.
pub(crate) fn grant(number: u32, address: Ipv4Addr) -> Opening {
    let name = u128::from(number).to_be_bytes();
    let place = Place { service: 0, address: address.into() };
    Opening { grant: name, place, carrier: Carrier::Kernel, ..opening(0, IpAddr::V4(address), WINDOW, 1) }
}

/// Opens grants, [`TOGETHER`] at a time; how many a second.
pub(crate) fn open(enforcer: &mut Enforcer, openings: &[Opening]) -> Result<f64, Failure> {
    let begun = Instant::now();
    for some in openings.chunks(TOGETHER) {
        let answers = enforcer.session.orders(some.iter().map(|opening| Order::Open(*opening)));
        if let Some(refused) = answers.iter().find(|answer| **answer != Answer::Done) {
            return Err(format!("a grant was not opened: {refused:?}").into());
        }
    }
    Ok(f64::from(u32::try_from(openings.len())?) / begun.elapsed().as_secs_f64())
}

/// Closes grants.
pub(crate) fn close(enforcer: &mut Enforcer, openings: &[Opening]) -> Result<(), Failure> {
    for some in openings.chunks(TOGETHER) {
        let close = |opening: &Opening| Order::Close { grant: opening.grant, place: opening.place };
        let answers = enforcer.session.orders(some.iter().map(close));
        if let Some(other) = answers.iter().find(|answer| !matches!(answer, Answer::Standing(_))) {
            return Err(format!("a grant was not closed: {other:?}").into());
        }
    }
    Ok(())
}

/// What many grants took.
pub(crate) struct Filled {
    /// Grants opened a second.
    pub(crate) a_second: f64,
    /// Kernel memory of one, in bytes, as the kernel accounts for it: slab, vmalloc and per-CPU memory.
    pub(crate) bytes: f64,
    /// The same by what is no longer available to anybody; other programs of the machine are in it.
    pub(crate) by_available: f64,
}

/// Opens so many grants of addresses that nobody uses.
pub(crate) fn fill(enforcer: &mut Enforcer, count: u32) -> Result<Filled, Failure> {
    let openings: Vec<_> = (0..count).map(|number| grant(number, address(11, number))).collect();
    let before = Memory::read()?;
    let a_second = open(enforcer, &openings)?;
    let after = Memory::read()?;
    let each = |kilobytes: f64| kilobytes * 1024.0 / f64::from(count);
    Ok(Filled {
        a_second,
        bytes: each(after.accounted - before.accounted),
        by_available: each(before.available - after.available),
    })
}

/// Kilobytes of /proc/meminfo (proc_meminfo(5)).
pub(crate) struct Memory {
    /// `Slab`, `VmallocUsed` and `Percpu`.
    pub(crate) accounted: f64,
    /// `MemAvailable`.
    available: f64,
}

impl Memory {
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        let of = |key: &str| -> Result<f64, Failure> {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let line = line.ok_or_else(|| format!("/proc/meminfo has no {key}"))?;
            Ok(line.trim().trim_end_matches("kB").trim().parse()?)
        };
        Ok(Self { accounted: of("Slab")? + of("VmallocUsed")? + of("Percpu")?, available: of("MemAvailable")? })
    }
}
