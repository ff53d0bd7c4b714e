//! Windows close without the enforcer (P2), and one that is started again finds everything, whole.

use kmsgate_enforcer::carry_out::since_boot;
use kmsgate_orders::order::{Answer, News, Order, Place};
use kmsgate_system_tests::kernel::{Family, Site, opening};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::net::echo;
use kmsgate_system_tests::scene::{all_elements, all_has_arrived, standing, until_the_kernel_has};

/// Kills, each in the middle of so many openings.
const ROUNDS: u16 = 10;
const GRANTS: u16 = 3000;

#[test]
fn p2_with_the_enforcer_killed_a_window_ends_on_time_and_cuts_what_runs() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    for family in Family::BOTH {
        let mut enforcer = site.enforcer();
        let address = family.person(2);
        all_has_arrived(&site, &mut enforcer, family);
        let opened = opening(1, address, 2, 2);
        assert_eq!(enforcer.session.order(Order::Open(opened)), Answer::Done);
        let mut running = Some(site.connect(address).through());
        enforcer.kill9();
        Log::default().until("the cut", || match running.take().map(echo) {
            Some(kmsgate_system_tests::net::Outcome::Echoed(stream)) => {
                running = Some(stream);
                None
            }
            _ => Some(()),
        });
        let (cut, second) = (since_boot(), 1_000_000_000);
        assert!(cut + second / 10 > opened.deadline, "too early");
        assert!(cut < opened.deadline + second, "{} ns late", cut - opened.deadline);
        assert!(!site.connect(address).is_through(), "the second connection has no window any more");
        let mut again = site.enforcer();
        assert_eq!(standing(&mut again, address), None);
        again.open(2, address, 60, 1);
        assert!(site.connect(address).is_through(), "{family:?}");
    }
}

#[test]
fn p2_p5_what_is_claimed_while_the_enforcer_is_away_is_known_to_the_next() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    for family in Family::BOTH {
        let mut enforcer = site.enforcer();
        let address = family.person(3);
        let opened = opening(1, address, 60, 3);
        assert_eq!(enforcer.session.order(Order::Open(opened)), Answer::Done);
        let before = site.connect(address).through();
        enforcer.kill9();
        let meanwhile = site.connect(address).through();
        let mut again = site.enforcer();
        assert!(again.log.text().contains("ruleset=Same"), "{}", again.log.text());
        let adopted = again.session.order(Order::Adopt(opened));
        let Answer::Standing(found) = adopted else { panic!("{adopted:?}") };
        assert_eq!((found.grant, found.claimed, found.left), (opened.grant, 2, 1));
        assert!(found.remaining <= 60_000, "{found:?}");
        assert_eq!(again.session.order(Order::Connections), Answer::Done);
        let told = again.session.told();
        assert!(told.iter().all(|news| !matches!(news, News::Ended(..))), "{told:?}");
        for running in [before, meanwhile] {
            assert!(echo(running).is_through(), "what runs goes on");
        }
        assert_eq!(site.at_once(address, 10).len(), 1, "{family:?}: what is left is one");
        again.open(2, family.person(4), 60, 1);
        assert!(site.connect(family.person(4)).is_through());
    }
}

#[test]
fn p2_killed_in_the_middle_of_a_batch_it_leaves_whole_grants_only() {
    kernel_needs!();
    let site = Site::new();
    for family in Family::BOTH {
        let mut in_the_middle = 0;
        for round in 0..ROUNDS {
            let mut enforcer = site.enforcer();
            let mut bytes = vec![];
            for number in 0..GRANTS {
                Order::Open(opening(1, family.person(number), 120, 1)).write(u32::from(number) + 100, &mut bytes);
            }
            enforcer.session.write(&bytes).unwrap();
            // The kill comes as soon as the kernel has anything of this grant, with more behind it on the way.
            let first = round * (GRANTS / ROUNDS);
            until_the_kernel_has(&site, family.person(first));
            enforcer.kill9();
            let mut again = site.enforcer();
            assert_eq!(again.session.order(Order::List), Answer::Done);
            let mut found: Vec<Place> = vec![];
            for news in again.session.told() {
                if let News::Found(place, grant) = news {
                    assert_eq!(grant, [1; 16]);
                    found.push(place);
                }
            }
            found.sort_unstable();
            assert!(found.len() > first.into(), "round {round}: {} grants", found.len());
            in_the_middle += usize::from(found.len() < GRANTS.into());
            let addresses: Vec<_> = found.iter().map(|place| place.address).collect();
            for elements in all_elements(&site, family) {
                assert_eq!(elements, addresses, "{family:?}, round {round}");
            }
            let closed = again.session.orders(found.iter().map(|place| Order::Close { grant: [1; 16], place: *place }));
            assert!(closed.iter().all(|answer| matches!(answer, Answer::Standing(_))));
            assert!(all_elements(&site, family).iter().all(Vec::is_empty), "{family:?}, round {round}");
        }
        assert!(in_the_middle > 0, "{family:?}: every kill came too late");
    }
}
