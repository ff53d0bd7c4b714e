//! What the table may ask for: `masquerade`, `refuse drop`, bypass networks, marks beside another program's; and another
//! program's firewall beside ours.

use kmsgate_orders::order::{Answer, Carried, Ends, Order};
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::raw::{ACK, PSH, SYN, Wire};
use kmsgate_system_tests::scene::{
    acquaint, all_has_arrived, attacker, both_ends, caller, claims, close, listener, nobody, one_provider, speaks,
};
use std::net::IpAddr;

#[test]
fn with_masquerade_a_provider_sees_the_gateway_and_a_grant_lets_in_as_many_as_it_has() {
    kernel_needs!();
    let site = one_provider().with("masquerade no\n", "masquerade yes\n");
    let mut enforcer = site.enforcer();
    for (family, inside) in [(Family::V4, "198.19.0.1"), (Family::V6, "2001:db8:2::1")] {
        let (listens, address) = (listener(&site, family), family.person(1));
        enforcer.open(1, address, 60, 2);
        for _ in 0..2 {
            let (_person, provider) = both_ends(&site, &listens, address);
            assert_eq!(provider.peer_addr().unwrap().ip(), inside.parse::<IpAddr>().unwrap());
        }
        assert!(site.connect_only(address).is_err());
        close(&mut enforcer, 1, address);
        enforcer.open(2, address, 60, 1);
        let (person, provider) = both_ends(&site, &listens, address);
        close(&mut enforcer, 2, address);
        speaks(&provider, &person);
    }
}

#[test]
fn with_refuse_drop_a_stranger_hears_nothing_and_a_person_still_hears_of_the_end() {
    kernel_needs!();
    let site = one_provider().with("refuse reset\n", "refuse drop\n");
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    for family in Family::BOTH {
        let echoing = site.provider(0, family, Manner::Echo);
        let stranger = caller(&wire, family, 1, 1024);
        for flags in [SYN, ACK, PSH | ACK, SYN | ACK] {
            stranger.send(flags, b"");
        }
        all_has_arrived(&site, &mut enforcer, family);
        assert!(!stranger.has_heard(|_| true), "{family:?}");
        drop(echoing);
    }
    for family in Family::BOTH {
        let listens = retried(&site, family);
        for person_speaks in [true, false] {
            let address = family.person(2);
            enforcer.open(1, address, 60, 1);
            let (person, provider) = both_ends(&site, &listens, address);
            close(&mut enforcer, 1, address);
            if person_speaks { speaks(&person, &provider) } else { speaks(&provider, &person) }
        }
    }
}

/// The provider's port, when the thread that listened there has let go of it.
fn retried(site: &Site, family: Family) -> std::net::TcpListener {
    let address = family.provider(0);
    kmsgate_system_tests::log::Log::default()
        .until("the port", || site.hosts[0].within(|| std::net::TcpListener::bind(address).ok()))
}

#[test]
fn a_bypass_network_needs_no_grant_and_is_counted() {
    kernel_needs!();
    let line = "service kms port=1688 max_bytes_in=0\n";
    let site = one_provider().with(line, &format!("{line}bypass 10.7.9.0/24\nbypass 2001:db8:7::900/120\n"));
    let providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    for (family, digit) in [(Family::V4, 4), (Family::V6, 6)] {
        for number in [0x900, 0x901, 0x9ff] {
            for _ in 0..3 {
                assert!(site.connect(family.person(number)).is_through(), "{family:?} {number:x}");
            }
        }
        for number in [0x8ff, 0xa00] {
            assert!(matches!(site.connect(family.person(number)), Outcome::Reset), "{family:?} {number:x}");
        }
        let listed = site.gateway.output("nft", &["list", "chain", "inet", "kmsgate", &format!("kms_syn{digit}")]);
        let line = listed.lines().find(|line| line.contains(&format!("@kms_bypass{digit}"))).unwrap();
        assert!(line.contains("counter packets 9 "), "{line}");
        // A grant of such an address is not spent.
        enforcer.open(1, family.person(0x900), 60, 1);
        assert!(site.connect(family.person(0x900)).is_through());
        assert_eq!(claims(&mut enforcer, family.person(0x900)), 0);
    }
    assert!(providers.iter().all(|provider| provider.accepted() == 10));
}

/// Whether the kernel takes a mark from a map together with other bits: Linux 6.13.
fn merges_marks() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(13))
}

#[test]
fn another_programs_bits_of_the_mark_stay_and_ours_work_beside_them() {
    kernel_needs!();
    if !merges_marks() {
        eprintln!("left out: needs Linux 6.13");
        return;
    }
    for (mask, theirs) in [("0x00ffffff", 0xab00_0000), ("0xffffff00", 0x0000_00cd), ("0x0ffffff0", 0xa000_000b_u32)] {
        let site = one_provider().with("mark_mask 0xffffffff\n", &format!("mark_mask {mask}\n"));
        let rule = format!(
            "table inet other {{ chain early {{ type filter hook prerouting priority -160; \
             ct state new ct mark set {theirs:#x}; }}; }}"
        );
        let _nothing = site.gateway.output("nft", &[&rule]);
        let ours = u32::from_str_radix(mask.trim_start_matches("0x"), 16).unwrap();
        let mut enforcer = site.enforcer();
        for family in Family::BOTH {
            let (listens, address) = (listener(&site, family), family.person(1));
            acquaint(&site, &mut enforcer, &listens, family);
            enforcer.open(1, address, 60, 1);
            let (person, provider) = both_ends(&site, &listens, address);
            assert!(site.connect_only(address).is_err(), "{mask}: one was granted");
            let ends = Ends { client: person.local_addr().unwrap(), gateway: family.service() };
            let carried: Carried = match enforcer.session.order(Order::Connection(ends)) {
                Answer::Connection(carried) => carried,
                other => panic!("{other:?}"),
            };
            assert_eq!(carried.mark & !ours, theirs, "{mask} {:#x}", carried.mark);
            assert!(carried.alive && carried.answered, "{carried:?}");
            close(&mut enforcer, 1, address);
            speaks(&person, &provider);
        }
    }
}

#[test]
fn a_host_firewall_that_drops_what_is_forwarded_has_to_accept_our_marks_and_nothing_else() {
    kernel_needs!();
    let site = one_provider();
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let chain = "table inet host { chain forward { type filter hook forward priority 0; policy drop; }; }";
    for family in Family::BOTH {
        let _nothing = site.gateway.output("nft", &[chain]);

        let tap = Wire::on(&site.gateway);
        let listens = listener(&site, family);
        // Without a word for us nothing passes, and nothing is spent.
        enforcer.open(1, nobody(family, 1), 60, 1);
        let person = caller(&wire, family, 1, 1024);
        person.send(SYN, b"");
        tap.until("the SYN at the gateway", |heard| heard.source == person.from);
        assert_eq!(claims(&mut enforcer, nobody(family, 1)), 0);
        let accept =
            ["add", "rule", "inet", "host", "forward", "ct", "mark", "&", "0xff000000", "==", "0x6b000000", "accept"];
        let _nothing = site.gateway.output("nft", &accept);
        let address = family.person(1);
        enforcer.open(2, address, 60, 1);
        let (person, provider) = both_ends(&site, &listens, address);
        assert!(site.connect_only(address).is_err(), "{family:?}: one was granted");
        close(&mut enforcer, 2, address);
        speaks(&person, &provider);
        let _nothing = site.gateway.output("nft", &["delete table inet host"]);
    }
}
