//! Two SYNs at once from two CPUs, for very many grants (P1, F01): exactness must not hang on how packets interleave.

use kmsgate_orders::order::{Answer, Order};
use kmsgate_system_tests::kernel::{Enforcer, Family, Site, opening};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::net::{begin_from, echo};
use kmsgate_system_tests::raw::{ACK, Caller};
use kmsgate_system_tests::scene::{all_has_arrived, attacker, claims, nobody};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;

fn open_all(enforcer: &mut Enforcer, addresses: &[IpAddr], connections: u16) {
    let openings = addresses.iter().map(|address| Order::Open(opening(1, *address, 120, connections)));
    let answers = enforcer.session.orders(openings);
    assert!(answers.iter().all(|answer| *answer == Answer::Done), "{answers:?}");
}

/// So many threads send a SYN from each address in turn, all at the same moment; how many got through, of each address. No
/// connection ends before its address is done.
fn race(site: &Site, family: Family, addresses: &[IpAddr], racers: usize) -> Vec<usize> {
    let start = Barrier::new(racers);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let run = &|racer: usize, addresses: &[IpAddr]| {
        let mut own = CpuSet::new();
        own.set(racer % cpus);
        sched_setaffinity(None, &own).expect("a processor of its own");
        site.person.enter();
        let begin = |address: &IpAddr| {
            start.wait();
            begin_from(*address, family.service())
        };
        let begun: Vec<_> = addresses.iter().map(begin).collect();
        // A loser may hear nothing before its SYN is sent again: that is waited for by all of them together.
        let ended: Vec<_> = begun.into_iter().map(|stream| stream.map(echo)).collect();
        start.wait();
        ended.iter().map(|outcome| outcome.as_ref().is_ok_and(|outcome| outcome.is_through())).collect::<Vec<_>>()
    };
    let mut through = vec![];
    // Not more at once than a process may have files.
    for addresses in addresses.chunks(400 / racers) {
        let each: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..racers).map(|racer| scope.spawn(move || run(racer, addresses))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        through.extend((0..addresses.len()).map(|place| each.iter().filter(|through| through[place]).count()));
    }
    through
}

#[test]
fn p1_f01_two_at_once_from_two_cpus_a_thousand_grants_and_one_each() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let addresses: Vec<_> = (0..1000).map(|number| family.person(number)).collect();
        open_all(&mut enforcer, &addresses, 1);
        assert_eq!(race(&site, family, &addresses, 2), vec![1; 1000], "{family:?}");
        for address in addresses {
            assert_eq!(claims(&mut enforcer, address), 1, "{address}");
        }
    }
    assert!(providers.iter().all(|provider| provider.accepted() > 100), "both providers have their share");
}

#[test]
fn p1_f01_eight_at_once_of_three_connections_and_three_each() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let addresses: Vec<_> = (0..150).map(|number| family.person(number)).collect();
        open_all(&mut enforcer, &addresses, 3);
        assert_eq!(race(&site, family, &addresses, 8), vec![3; 150], "{family:?}");
    }
}

/// The claim itself is raced: both handshakes are complete but for their last packets, and those go out together.
#[test]
fn p1_f01_two_last_packets_of_handshakes_at_once_and_one_claim() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    for family in Family::BOTH {
        let addresses: Vec<_> = (0..200).map(|number| nobody(family, number)).collect();
        open_all(&mut enforcer, &addresses, 1);
        for address in &addresses {
            let mut callers =
                [1001, 1002].map(|port| Caller::new(&wire, SocketAddr::new(*address, port), family.service()));
            callers.iter_mut().for_each(|caller| caller.half_open());
            let start = Barrier::new(2);
            std::thread::scope(|scope| {
                for caller in &callers {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        caller.send(ACK, b"");
                    });
                }
            });
            wire.forget();
        }
        all_has_arrived(&site, &mut enforcer, family);
        for address in addresses {
            assert_eq!(claims(&mut enforcer, address), 1, "{address}");
        }
    }
}
