//! Attacks with connections that were admitted (K01, K06 to K09): one claim is one connection, from its SYN to its end.

use kmsgate_orders::order::{Answer, News, Order};
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::net::reset;
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::raw::{ACK, Caller, PSH, RST, SYN, Segment, Wire};
use kmsgate_system_tests::scene::{
    all_has_arrived, all_is_behind, attacker, caller, claims, forget_connections, in_a_second, listener, nobody,
    one_provider, speaks, until_closed, until_ended, watch,
};
use std::io::{ErrorKind, Write};

#[test]
fn k01_a_port_used_again_behind_the_providers_reset_is_no_second_connection() {
    kernel_needs!();
    let site = one_provider();
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let tap = Wire::on(&site.hosts[0]);
    for family in Family::BOTH {
        let listens = listener(&site, family);
        // With one connection nothing may be left for the port, with three each that passes is a claim.
        for (number, connections) in [(1, 1), (2, 3)] {
            let address = nobody(family, number);
            enforcer.open(1, address, 60, connections);
            let mut first = caller(&wire, family, number, 1024);
            first.connect();
            let (provider, _) = listens.accept().unwrap();
            reset(provider);
            first.hears("the provider's reset", |heard| heard.resets());
            tap.forget();
            for again in 1..=10 {
                let mut next =
                    Caller { sequence: first.sequence + again * 100_000, ..caller(&wire, family, number, 1024) };
                wire.forget();
                next.send(SYN, b"");
                let answer = next.hears("an answer", |_| true);
                next.sequence += 1;
                next.acknowledged = answer.sequence.wrapping_add(1);
                next.send(ACK, b"");
                next.send(PSH | ACK, b"a request");
                first.sequence = next.sequence;
            }
            all_is_behind(&mut enforcer, &wire, family);
            let requests = tap.of(|heard| heard.source.ip() == address && !heard.payload.is_empty());
            let spent = claims(&mut enforcer, address);
            assert!(spent <= connections, "{spent}");
            let mut sources: Vec<_> = requests.iter().map(|heard| heard.sequence).collect();
            sources.dedup();
            assert!(sources.len() < usize::from(connections), "{family:?} {sources:?}");
            assert_eq!(sources.len(), usize::from(spent) - 1, "{family:?}: each that carried something was claimed");
        }
    }
}

#[test]
fn k06_after_the_end_only_the_person_speaks_and_both_are_told() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let (listens, address) = (listener(&site, family), family.person(6));
        let (person, provider) = in_a_second(&site, &mut enforcer, &listens, address);
        until_closed(&mut enforcer, address);
        speaks(&person, &provider);
    }
}

#[test]
fn k07_after_the_end_only_the_provider_speaks_and_both_are_told() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        let mut enforcer = site.enforcer();
        let (listens, address) = (listener(&site, family), family.person(7));
        let (person, provider) = in_a_second(&site, &mut enforcer, &listens, address);
        until_closed(&mut enforcer, address);
        speaks(&provider, &person);
    }
}

#[test]
fn k08_a_connection_that_conntrack_forgot_goes_on_for_nobody() {
    kernel_needs!();
    for family in Family::BOTH {
        let site = one_provider();
        site.gateway.set("net.netfilter.nf_conntrack_tcp_loose", "1");
        let mut enforcer = site.enforcer();
        let (wire, tap) = (attacker(&site), Wire::on(&site.hosts[0]));
        let listens = listener(&site, family);
        enforcer.open(1, nobody(family, 8), 60, 3);
        let mut person = caller(&wire, family, 8, 1024);
        person.connect();
        let (mut provider, _) = listens.accept().unwrap();
        forget_connections(&site);
        tap.forget();
        // A packet that begins nothing, while the address may begin connections.
        person.say(b"a request");
        person.hears("a reset", |heard| heard.resets());
        // The provider speaks, and conntrack takes that for the beginning of a connection of its own.
        provider.write_all(b"late").unwrap();
        let late = |heard: &Segment| heard.destination == person.from && !heard.payload.is_empty();
        tap.until("what the provider says", late);
        let direct = Caller { to: family.provider(0), sequence: person.sequence, ..caller(&wire, family, 8, 1024) };
        direct.send(PSH | ACK, b"a request");
        direct.send(ACK, b"");
        all_is_behind(&mut enforcer, &wire, family);
        assert_eq!(tap.of(|heard| heard.source == person.from), vec![], "{family:?}");
        provider.set_nonblocking(true).unwrap();
        let read = std::io::Read::read(&mut provider, &mut [0; 9]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "{family:?}");
        assert_eq!(claims(&mut enforcer, nobody(family, 8)), 1);
    }
}

#[test]
fn k09_a_packet_beyond_the_window_kills_no_running_connection() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    for family in Family::BOTH {
        enforcer.open(1, nobody(family, 9), 60, 1);
        let mut person = caller(&wire, family, 9, 1024);
        person.connect();
        person.echo(b"before");
        let far = person.sequence.wrapping_add(100_000_000);
        let spoofed = Caller { sequence: far, acknowledged: person.acknowledged, ..caller(&wire, family, 9, 1024) };
        spoofed.send(PSH | ACK, b"far away");
        spoofed.send(ACK, b"");
        all_has_arrived(&site, &mut enforcer, family);
        assert!(!person.has_heard(|heard| heard.resets()), "{family:?}");
        person.echo(b"and after");
    }
}

#[test]
fn f06_a_syn_on_a_running_connections_port_neither_ends_it_nor_makes_another() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let mut told = watch(&enforcer);
    let wire = attacker(&site);
    for family in Family::BOTH {
        // With budget left, and without: what the SYN would have met.
        for (number, connections) in [(9, 1), (10, 2)] {
            let address = nobody(family, number);
            enforcer.open(1, address, 60, connections);
            let mut person = caller(&wire, family, number, 1024);
            person.connect();
            person.echo(b"before");
            // Whoever guesses the port knows no sequence number.
            let blind =
                Caller { sequence: person.sequence.wrapping_add(1 << 30), ..caller(&wire, family, number, 1024) };
            for _ in 0..3 {
                blind.send(SYN, b"");
            }
            all_has_arrived(&site, &mut enforcer, family);
            assert!(!person.has_heard(|heard| heard.resets()), "{family:?}");
            person.echo(b"and after");
            assert_eq!(enforcer.session.order(Order::Connections), Answer::Done);
            let ended = |news: &News| matches!(news, News::Ended(ends, _) if ends.client.ip() == address);
            assert!(!told.told().iter().any(ended) && !enforcer.session.told().iter().any(ended), "{family:?}");
            assert_eq!(claims(&mut enforcer, address), 1);
        }
    }
}

#[test]
fn a_reset_that_dies_on_its_way_to_the_provider_ends_the_connection_all_the_same() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let mut told = watch(&enforcer);
    let wire = attacker(&site);
    for family in Family::BOTH {
        let address = nobody(family, 9);
        enforcer.open(1, address, 60, 2);
        let mut person = caller(&wire, family, 9, 1024);
        person.connect();
        person.echo(b"before");
        wire.send_for(&person.segment(RST, b""), 1);
        until_ended(&mut told, address);
        person.say(b"after what was told to have ended");
        person.hears("a reset", |heard| heard.resets());
        assert!(!person.has_heard(|heard| heard.payload == b"after what was told to have ended"), "{family:?}");
    }
}

#[test]
fn a_router_that_says_that_packets_are_too_long_is_heard_by_the_provider() {
    kernel_needs!();
    let site = one_provider();
    let _provider = site.provider(0, Family::V4, Manner::Echo);
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let address = nobody(Family::V4, 9);
    enforcer.open(1, address, 60, 1);
    let mut person = caller(&wire, Family::V4, 9, 1024);
    person.connect();
    person.echo(b"something");
    // As the provider's packet looks on this side of the gateway.
    let packet = Segment {
        source: person.to,
        destination: person.from,
        sequence: person.acknowledged,
        ..person.segment(ACK, b"")
    };
    wire.too_long(nobody(Family::V4, 1), &packet, 1000);
    Log::default().until("the provider to know the way's width", || {
        let route = site.hosts[0].output("ip", &["route", "get", &address.to_string()]);
        route.contains("mtu 1000").then_some(())
    });
}
