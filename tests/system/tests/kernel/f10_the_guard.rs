//! From the boot on nobody reaches a provider from outside, and no moment of the enforcer's start changes that (F10, P2).

use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::net::try_through;
use kmsgate_system_tests::provider::Provider;
use kmsgate_system_tests::{PATIENCE, kernel_needs};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::net::SocketAddr;
use std::time::Instant;

/// Packets to a provider that the guard has dropped.
fn dropped(site: &Site, family: Family) -> u64 {
    let set = if family == Family::V4 { "@providers4" } else { "@providers6" };
    let chain = site.gateway.output("nft", &["list", "chain", "inet", "kmsgate", "forward"]);
    let rules = chain.lines().filter(|line| line.contains(set) && line.contains("drop"));
    let count = |rule: &str| rule.split_once("counter packets ")?.1.split(' ').next()?.parse::<u64>().ok();
    rules.map(|rule| count(rule).expect("a counter")).sum()
}

/// A SYN past the gateway's service, to a provider itself, is dropped and reaches nobody.
#[track_caller]
fn is_shut(site: &Site, providers: &[Provider], family: Family) {
    let accepted = || providers.iter().map(Provider::accepted).sum::<usize>();
    let before = (dropped(site, family), accepted());
    let _half_open = site.person.within(|| {
        let family_number = if family == Family::V4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family_number, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
        bind(&socket, &SocketAddr::new(family.person(1), 0)).expect("bound");
        assert_eq!(connect(&socket, &family.provider(0)), Err(Errno::INPROGRESS));
        socket
    });
    let until = Instant::now() + PATIENCE;
    while dropped(site, family) == before.0 {
        assert!(Instant::now() < until, "{family:?}: it is neither dropped nor let through");
        assert_eq!(accepted(), before.1, "{family:?}: it reached a provider");
    }
}

#[test]
fn f10_the_guard_alone_shuts_the_providers_and_every_window() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    for family in Family::BOTH {
        let directly = site.person.within(|| try_through(family.person(1), family.provider(0)));
        assert!(directly.is_through(), "{family:?}: routing alone lets in");
    }
    assert!(site.guard().contains("loaded ruleset=Nothing"));
    for family in Family::BOTH {
        is_shut(&site, &providers, family);
        assert!(!site.connect(family.person(1)).is_through(), "{family:?}");
    }
    assert!(site.guard().contains("loaded ruleset=Same"), "a second time it changes nothing");
}

#[test]
fn f10_the_enforcer_finds_the_guard_and_serves_with_it() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    let _said = site.guard();
    let before = site.gateway.output("nft", &["--handle", "list", "table", "inet", "kmsgate"]);
    let mut enforcer = site.enforcer();
    enforcer.log.until("the same ruleset", || enforcer.log.after(0, &["ruleset=Same"]));
    assert_eq!(site.gateway.output("nft", &["--handle", "list", "table", "inet", "kmsgate"]), before);
    for family in Family::BOTH {
        enforcer.open(1, family.person(1), 60, 1);
        assert!(site.connect(family.person(1)).is_through(), "{family:?}");
        is_shut(&site, &providers, family);
    }
    // The other way round: a window that is open is none of the guard's business.
    enforcer.open(2, Family::V4.person(2), 60, 1);
    enforcer.kill9();
    assert!(site.guard().contains("loaded ruleset=Same"));
    assert!(site.connect(Family::V4.person(2)).is_through());
}
