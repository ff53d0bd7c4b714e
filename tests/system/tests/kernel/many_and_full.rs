//! Very many grants (F14, F02), as many as there may be, and a ruleset that another program removes.

use kmsgate_orders::order::{Answer, News, Opening, Order, Place, Refused};
use kmsgate_system_tests::kernel::{Family, Site, opening};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::net::echo;
use kmsgate_system_tests::scene::{all_elements, claims, elements, standing, watch};
use std::net::IpAddr;

fn addresses(family: Family, count: u16) -> impl Iterator<Item = IpAddr> {
    (0..count).map(move |number| family.person(number))
}

#[test]
fn f14_twenty_thousand_grants_opened_and_closed_64_at_a_time_leave_nothing() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let all: Vec<_> = Family::BOTH.into_iter().flat_map(|family| addresses(family, 10_000)).collect();
    for some in all.chunks(64) {
        let opened = enforcer.session.orders(some.iter().map(|address| Order::Open(opening(1, *address, 600, 2))));
        assert!(opened.iter().all(|answer| *answer == Answer::Done), "{opened:?}");
        // One of them is used.
        assert!(site.connect(some[0]).is_through());
        let place = |address: &IpAddr| Place { service: 0, address: *address };
        let close = |address: &IpAddr| Order::Close { grant: [1; 16], place: place(address) };
        let closed = enforcer.session.orders(some.iter().map(close));
        assert!(closed.iter().all(|answer| matches!(answer, Answer::Standing(_))), "{closed:?}");
    }
    for (family, digit) in [(Family::V4, 4), (Family::V6, 6)] {
        assert!(all_elements(&site, family).iter().all(Vec::is_empty), "{family:?}");
        assert_eq!(elements(&site, "set", &format!("kms_more{digit}")), Vec::<IpAddr>::new());
    }
}

#[test]
fn f02_with_twenty_thousand_open_each_has_exactly_its_own() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let open = addresses(family, 10_000).map(|address| Order::Open(opening(1, address, 600, 2)));
        let opened = enforcer.session.orders(open);
        assert!(opened.iter().all(|answer| *answer == Answer::Done));
    }
    for family in Family::BOTH {
        for number in [0, 1, 4999, 9999] {
            assert_eq!(site.at_once(family.person(number), 30).len(), 2, "{family:?} {number}");
        }
        assert_eq!(claims(&mut enforcer, family.person(5000)), 0, "others are undisturbed");
    }
}

#[test]
fn a_full_set_refuses_with_its_own_word_and_disturbs_nobody() {
    kernel_needs!();
    let site = Site::new().with("grants 65536\n", "grants 4\n");
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        // Together: those for which there is room are opened.
        let six = addresses(family, 6).map(|address| Order::Open(opening(1, address, 600, 2)));
        let answers = enforcer.session.orders(six);
        let (done, full) = (Answer::Done, Answer::Refused(Refused::Full));
        assert_eq!(answers, [done, done, done, done, full, full], "{family:?}");
        for (number, answer) in (0..).zip(&answers) {
            let outcome = site.connect(family.person(number));
            assert_eq!(outcome.is_through(), *answer == done, "{family:?} {number} {outcome:?}");
        }
        let place = Place { service: 0, address: family.person(2) };
        assert!(matches!(enforcer.session.order(Order::Close { grant: [1; 16], place }), Answer::Standing(_)));
        // The kernel frees the place of an element a little later than it forgets it.
        let again = opening(2, family.person(5), 600, 1);
        enforcer.log.clone().until("room", || (enforcer.session.order(Order::Open(again)) == done).then_some(()));
        assert!(site.connect(family.person(5)).is_through());
        assert!(site.connect(family.person(3)).is_through());
    }
}

#[test]
fn a_ruleset_that_another_program_removes_comes_back_and_open_grants_with_what_is_left() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let mut watch = watch(&enforcer);
    let ways =
        [&["flush", "ruleset"][..], &["delete", "table", "inet", "kmsgate"], &["flush", "table", "inet", "kmsgate"]];
    for (number, way) in (0..).zip(ways) {
        for family in Family::BOTH {
            let grant = Opening { grant: [number; 16], ..opening(1, family.person(u16::from(number)), 600, 3) };
            let address = grant.place.address;
            assert_eq!(enforcer.session.order(Order::Open(grant)), Answer::Done);
            let running = site.connect(address).through();
            let _nothing = site.gateway.output("nft", way);
            watch.until(|news| (news == News::Reinstalled).then_some(()));
            // A flush of the table takes its rules and leaves its elements.
            let adopted = enforcer.session.order(Order::Adopt(Opening { claimed: 1, ..grant }));
            assert_eq!(adopted == Answer::Done, !way.contains(&"table") || way.contains(&"delete"), "{adopted:?}");
            let found = standing(&mut enforcer, address).expect("it is there");
            assert_eq!((found.grant, found.claimed, found.left), (grant.grant, 1, 2), "{way:?}");
            assert!(found.remaining <= 600_000);
            assert_eq!(site.at_once(address, 10).len(), 2, "{way:?} {family:?}");
            assert_eq!(standing(&mut enforcer, address).map(|now| (now.claimed, now.left)), Some((3, 0)));
            drop(running);
        }
    }
    let told = enforcer.log.with(&["ERROR the ruleset was removed by another program"]);
    assert_eq!(told.len(), 6, "once each: {}", enforcer.log.text());
}

#[test]
fn a_connection_that_ran_when_the_ruleset_was_removed_passes_for_nothing_afterwards() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let mut watch = watch(&enforcer);
    for family in Family::BOTH {
        let grant = opening(1, family.person(1), 600, 2);
        assert_eq!(enforcer.session.order(Order::Open(grant)), Answer::Done);
        let running = site.connect(grant.place.address).through();
        let _nothing = site.gateway.output("nft", &["flush", "ruleset"]);
        watch.until(|news| (news == News::Reinstalled).then_some(()));
        let adopted = enforcer.session.order(Order::Adopt(Opening { claimed: 1, ..grant }));
        assert_eq!(adopted, Answer::Done);
        // Its mark names what is no more; a grant is not spent by it a second time.
        let outcome = echo(running);
        assert!(!outcome.is_through(), "{outcome:?}");
        assert_eq!(claims(&mut enforcer, grant.place.address), 1);
        Log::default().until("the other connection", || site.connect(grant.place.address).is_through().then_some(()));
    }
}
