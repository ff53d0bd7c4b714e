//! What spends a grant and what does not (F04, F06, F07), and what passes beside it (F16).

use kmsgate_orders::order::{Answer, Order, Place, Refused};
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::net::reset;
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::raw::{ACK, FIN, PSH, RST, SYN, Wire};
use kmsgate_system_tests::scene::{
    all_has_arrived, attacker, both_ends, caller, claims, close, listener, nobody, one_provider, standing, until_ended,
    watch,
};
use std::io::Write;

#[test]
fn f04_a_lost_syn_and_a_lost_syn_ack_cost_nothing() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let (wire, tap) = (attacker(&site), Wire::on(&site.hosts[0]));
    for family in Family::BOTH {
        enforcer.open(1, nobody(family, 4), 60, 1);
        let mut person = caller(&wire, family, 4, 1024);
        // Lost behind the gateway: the tap still hears it, TCP does not.
        for rule in [
            "add table inet loss",
            "add chain inet loss input { type filter hook input priority 0; tcp dport 1688 drop; }",
        ] {
            let _nothing = site.hosts[0].output("nft", &[rule]);
        }
        person.send(SYN, b"");
        tap.until("the first SYN", |heard| heard.source == person.from);
        let _nothing = site.hosts[0].output("nft", &["delete table inet loss"]);
        // Sent again, and its answer is lost before the person: the SYN comes a third time.
        person.send(SYN, b"");
        person.hears("a SYN-ACK", |heard| heard.is(SYN | ACK));
        wire.forget();
        person.connect();
        // The provider sends its answer again unasked, whatever became of the third SYN.
        assert!(!person.has_heard(|heard| heard.resets()), "{family:?}: the third SYN was refused");
        person.echo(b"hello");
        assert_eq!(claims(&mut enforcer, nobody(family, 4)), 1);
    }
}

#[test]
fn f06_a_spoofed_syn_spends_nothing_whatever_its_victim_answers() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    for family in Family::BOTH {
        let address = nobody(family, 6);
        enforcer.open(1, address, 60, 1);
        for (port, flags) in (1024..).zip([None, Some(RST), Some(RST | ACK), Some(FIN | ACK), Some(SYN | ACK)]) {
            let mut spoofed = caller(&wire, family, 6, port);
            spoofed.half_open();
            if let Some(flags) = flags {
                spoofed.send(flags, b"");
            }
        }
        all_has_arrived(&site, &mut enforcer, family);
        assert_eq!(claims(&mut enforcer, address), 0, "{family:?}");
        let mut owner = caller(&wire, family, 6, 2000);
        owner.connect();
        owner.echo(b"hello");
    }
}

#[test]
fn f06_a_reset_of_an_older_half_open_connection_spends_nothing_of_the_next_grant() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let (wire, tap) = (attacker(&site), Wire::on(&site.hosts[0]));
    for family in Family::BOTH {
        let address = nobody(family, 7);
        enforcer.open(1, address, 60, 1);
        let mut older = [1024, 1025].map(|port| caller(&wire, family, 7, port));
        older.iter_mut().for_each(|older| older.half_open());
        close(&mut enforcer, 1, address);
        enforcer.open(2, address, 60, 1);
        for (older, flags) in older.iter().zip([RST, RST | ACK]) {
            older.send(flags, b"");
            tap.until("the reset: the provider need not wait", |heard| heard.source == older.from && heard.resets());
        }
        assert_eq!(claims(&mut enforcer, address), 0, "{family:?}");
        let mut owner = caller(&wire, family, 7, 2000);
        owner.connect();
        owner.echo(b"hello");
    }
}

#[test]
fn f07_a_provider_that_refuses_spends_nothing() {
    kernel_needs!();
    let site = one_provider();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let address = family.person(7);
        enforcer.open(1, address, 60, 1);
        let refused = site.connect_only(address).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(claims(&mut enforcer, address), 0);
        let _provider = site.provider(0, family, Manner::Echo);
        assert!(site.connect(address).is_through(), "{family:?}");
    }
}

#[test]
fn f07_a_provider_that_resets_or_hangs_unanswered_is_told_and_given_back() {
    kernel_needs!();
    let site = one_provider();
    let mut enforcer = site.enforcer();
    let mut watch = watch(&enforcer);
    for family in Family::BOTH {
        let (listens, address) = (listener(&site, family), family.person(8));
        let place = Place { service: 0, address };
        let grant = enforcer.open(1, address, 60, 1);
        let back = Order::GiveBack { grant, place, count: 1 };
        assert_eq!(enforcer.session.order(back), Answer::Refused(Refused::NotYet), "nothing is spent yet");
        for claimed in 1..=4 {
            let mut person = site.connect_only(address).expect("it connects");
            person.write_all(b"a request").unwrap();
            let (provider, _) = listens.accept().unwrap();
            // It resets at once, or says nothing until the person goes.
            if claimed % 2 == 1 {
                reset(provider)
            } else {
                reset(person)
            }
            let ended = until_ended(&mut watch, address);
            assert!(!ended.answered, "{ended:?}");
            let now = standing(&mut enforcer, address).expect("it is open");
            assert_eq!((now.claimed, now.left), (claimed, 0));
            assert!(site.connect_only(address).is_err(), "nothing is left");
            assert_eq!(enforcer.session.order(Order::GiveBack { grant: [9; 16], place, count: 1 }), Answer::Absent);
            assert_eq!(enforcer.session.order(back), Answer::Done);
        }
        let before = standing(&mut enforcer, address).expect("it is open");
        assert!(before.remaining <= 60_000, "its end is what it was");
        both_ends(&site, &listens, address);
        let now = standing(&mut enforcer, address).expect("it is open");
        assert_eq!((now.claimed, now.left), (5, 0));
        assert!(site.connect_only(address).is_err(), "what was given back was one connection");
    }
}

#[test]
fn f16_packets_of_no_admitted_connection_reach_no_provider_while_the_window_is_open() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let (wire, tap) = (attacker(&site), Wire::on(&site.hosts[0]));
    for family in Family::BOTH {
        let address = nobody(family, 16);
        enforcer.open(1, address, 60, 2);
        // The same beside a connection that runs.
        for round in [0, 100] {
            tap.forget();
            for (port, flags) in (1024..).zip([ACK, PSH | ACK, FIN | ACK, SYN | ACK, RST | ACK, RST, FIN, 0]) {
                let mut stray = caller(&wire, family, 16, port + round);
                stray.acknowledged = 77;
                stray.send(flags, b"a request");
                stray.send(flags, b"");
            }
            all_has_arrived(&site, &mut enforcer, family);
            assert_eq!(tap.of(|heard| heard.source.ip() == address), vec![], "{family:?}");
            assert_eq!(claims(&mut enforcer, address), round / 100);
            let mut admitted = caller(&wire, family, 16, 2000 + round);
            admitted.connect();
            admitted.echo(b"hello");
        }
    }
}
