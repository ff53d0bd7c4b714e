//! Attacks on the handshake (K02, K03, K05, K10): who spends a grant, and what passes before it is spent.

use kmsgate_orders::order::{Answer, Order, Place};
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::provider::Manner;
use kmsgate_system_tests::raw::{ACK, PSH, RST, SYN, Segment, Wire};
use kmsgate_system_tests::scene::{
    all_has_arrived, attacker, caller, claims, nobody, one_provider, played, played_providers, until_ended, watch,
};

#[test]
fn k02_blind_acks_half_the_numbers_apart_spend_nothing() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    for family in Family::BOTH {
        for number in 0..40_u16 {
            enforcer.open(1, nobody(family, number), 60, 1);
            let mut spoofed = caller(&wire, family, number, 1024);
            spoofed.send(SYN, b"");
            spoofed.sequence += 1;
            // The attacker sees no answer: of two numbers half of all apart, one is too old or right.
            for guess in [u32::from(number) * 107_374_182, (u32::from(number) * 107_374_182).wrapping_add(1 << 31)] {
                spoofed.acknowledged = guess;
                spoofed.send(ACK, b"");
                spoofed.send(PSH | ACK, b"?");
            }
        }
        all_has_arrived(&site, &mut enforcer, family);
        for number in 0..40 {
            assert_eq!(claims(&mut enforcer, nobody(family, number)), 0, "{family:?} {number}");
            let mut owner = caller(&wire, family, number, 1025);
            owner.connect();
            owner.echo(b"hello");
        }
    }
}

#[test]
fn k03_a_guess_just_below_the_right_number_is_unanswered_and_given_back() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let mut watch = watch(&enforcer);
    for family in Family::BOTH {
        let address = nobody(family, 3);
        let grant = enforcer.open(1, address, 60, 1);
        let mut guesser = caller(&wire, family, 3, 1024);
        guesser.half_open();
        guesser.acknowledged -= 1000;
        guesser.send(ACK, b"");
        let ended = until_ended(&mut watch, address);
        assert!(!ended.answered, "the provider refused it: {ended:?}");
        let place = Place { service: 0, address };
        assert_eq!(enforcer.session.order(Order::GiveBack { grant, place, count: 1 }), Answer::Done);
        let mut owner = caller(&wire, family, 3, 1025);
        owner.connect();
        owner.echo(b"hello");
    }
}

#[test]
fn k05_fast_open_brings_no_request_and_no_answer_before_the_claim() {
    kernel_needs!();
    let site = played_providers();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let taps = site.hosts.each_ref().map(Wire::on);
    for family in Family::BOTH {
        enforcer.open(1, nobody(family, 5), 60, 1);
        let cookie = vec![34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        // With a request in the SYN: with a cookie, without one, and with the experimental option of before RFC 7413.
        let experimental = vec![254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8];
        for (port, options) in (1024..).zip([cookie.clone(), vec![34, 2, 1, 1], experimental, vec![]]) {
            let first = Segment { options, ..caller(&wire, family, 5, port).segment(SYN, b"a request") };
            wire.send(&first);
        }
        // Without: the option is gone, and there is nothing to which a provider could give a cookie.
        let mut honest = caller(&wire, family, 5, 2000);
        wire.send(&Segment { options: cookie, ..honest.segment(SYN, b"") });
        let (number, syn) = Log::default().until("the SYN", || {
            let heard = |tap: &Wire| tap.of(|heard| heard.source.ip() == nobody(family, 5)).first().cloned();
            taps.iter().map(heard).enumerate().find_map(|(number, heard)| Some(number).zip(heard))
        });
        assert_eq!(syn.source, honest.from, "nothing with a request came before it");
        assert_eq!((syn.options, syn.payload), (vec![1; 12], vec![]));
        // Answers of a provider that has a cookie all the same. Its reset may pass, and comes last.
        let (from, to) = (played(family, number), honest.from);
        let answer = |flags, payload: &[u8]| Segment {
            source: from,
            destination: to,
            sequence: if flags & SYN == 0 { 5001 } else { 5000 },
            acknowledged: syn.sequence + 1,
            flags,
            options: vec![],
            payload: payload.to_vec(),
        };
        let hands = Wire::on(&site.hosts[number]);
        hands.send(&answer(SYN | ACK, b""));
        honest.answered();
        hands.send(&answer(PSH | ACK, b"an answer"));
        hands.send(&answer(ACK, b"an answer"));
        hands.send(&answer(RST | ACK, b""));
        honest.hears("the reset", |heard| heard.resets());
        assert!(!honest.has_heard(|heard| !heard.payload.is_empty()), "an answer without a claim");
        assert_eq!(claims(&mut enforcer, nobody(family, 5)), 0);
    }
}

#[test]
fn k10_a_flood_of_one_granted_address_leaves_256_half_open_and_disturbs_nobody_else() {
    kernel_needs!();
    let site = one_provider();
    let _providers = Family::BOTH.map(|family| site.provider(0, family, Manner::Echo));
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let tap = Wire::on(&site.hosts[0]);
    for family in Family::BOTH {
        enforcer.open(1, nobody(family, 10), 120, 1);
        for port in 1024..4024 {
            caller(&wire, family, 10, port).send(SYN, b"");
        }
        all_has_arrived(&site, &mut enforcer, family);
        let arrived = tap.of(|heard| heard.is(SYN) && heard.source.ip() == nobody(family, 10));
        assert_eq!(arrived.len(), 256, "{family:?}");
        assert_eq!(claims(&mut enforcer, nobody(family, 10)), 0, "a SYN spends nothing");
    }
    // Half-open connections are forgotten within 10 s, and the owner gets through.
    for family in Family::BOTH {
        let mut owner = caller(&wire, family, 10, 5000);
        Log::default().until("a place for the owner", || {
            owner.send(SYN, b"");
            owner.has_heard(|heard| heard.is(SYN | ACK)).then_some(())
        });
        owner.answered();
        owner.send(ACK, b"");
        owner.echo(b"hello");
    }
}
