//! Providers that go down and come up (K11, F07): new connections go elsewhere, running ones and budgets are left alone.

use kmsgate_orders::order::{Answer, Order, Refused};
use kmsgate_system_tests::kernel::{Enforcer, Family, Site, opening};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::net::{Outcome, echo};
use kmsgate_system_tests::provider::Provider;
use kmsgate_system_tests::raw::{SYN, Wire};
use kmsgate_system_tests::scene::{attacker, caller, claims, nobody, played_providers};

/// The place of a provider in the table.
fn place(family: Family, number: usize) -> u8 {
    let number = if number == 0 { 0 } else { 1 };
    if family == Family::V4 { number } else { number + 2 }
}

#[track_caller]
fn set(enforcer: &mut Enforcer, family: Family, number: usize, up: bool) {
    let order = Order::Provider { service: 0, provider: place(family, number), up };
    assert_eq!(enforcer.session.order(order), Answer::Done);
}

#[test]
fn k11_a_syn_that_a_dead_provider_left_unanswered_goes_to_the_other_when_sent_again() {
    kernel_needs!();
    let site = played_providers();
    let mut enforcer = site.enforcer();
    let wire = attacker(&site);
    let taps = site.hosts.each_ref().map(Wire::on);
    for family in Family::BOTH {
        enforcer.open(1, nobody(family, 11), 60, 1);
        let person = caller(&wire, family, 11, 1024);
        person.send(SYN, b"");
        let dead = Log::default().until("the SYN at one of them", || {
            taps.iter().position(|tap| !tap.of(|heard| heard.source == person.from).is_empty())
        });
        set(&mut enforcer, family, dead, false);
        person.send(SYN, b"");
        let other = &taps[1 - dead];
        other.until("the SYN at the other", |heard| heard.source == person.from && heard.is(SYN));
        assert_eq!(taps[dead].of(|heard| heard.source == person.from).len(), 1, "{family:?}");
        set(&mut enforcer, family, dead, true);
        assert_eq!(claims(&mut enforcer, nobody(family, 11)), 0);
    }
}

/// Opens grants and connects, one address after another.
fn connect(site: &Site, enforcer: &mut Enforcer, addresses: impl Iterator<Item = std::net::IpAddr>) -> Vec<Outcome> {
    addresses
        .map(|address| {
            enforcer.open(1, address, 60, 1);
            site.connect(address)
        })
        .collect()
}

#[test]
fn new_connections_go_to_the_provider_that_is_up_and_running_ones_stay() {
    kernel_needs!();
    let site = Site::new();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let providers: [Provider; 2] =
            [0, 1].map(|number| site.provider(number, family, kmsgate_system_tests::provider::Manner::Echo));
        let accepted = || [0, 1].map(|number: usize| providers[number].accepted());
        let running = connect(&site, &mut enforcer, (0..20).map(|number| family.person(number)));
        let [first, second] = accepted();
        assert!(first > 0 && second > 0 && first + second == 20, "{family:?} {first} {second}");
        set(&mut enforcer, family, 0, false);
        let later = connect(&site, &mut enforcer, (20..40).map(|number| family.person(number)));
        assert_eq!(accepted(), [first, second + 20], "{family:?}");
        set(&mut enforcer, family, 0, true);
        set(&mut enforcer, family, 1, false);
        let last = connect(&site, &mut enforcer, (40..60).map(|number| family.person(number)));
        assert_eq!(accepted(), [first + 20, second + 20], "{family:?}");
        set(&mut enforcer, family, 1, true);
        for outcome in running.into_iter().chain(later).chain(last) {
            assert!(echo(outcome.through()).is_through(), "what runs goes on");
        }
        set(&mut enforcer, family, 1, true);
    }
}

#[test]
fn f07_with_all_providers_down_nothing_is_opened_and_no_budget_is_spent() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for (family, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let open = family.person(1);
        enforcer.open(1, open, 60, 2);
        let running = site.connect(open).through();
        for number in [0, 1] {
            set(&mut enforcer, family, number, false);
        }
        let refused = enforcer.session.order(Order::Open(opening(2, family.person(2), 60, 1)));
        assert_eq!(refused, Answer::Refused(Refused::NoProvider));
        assert!(matches!(site.connect(open), Outcome::Reset), "{family:?}");
        assert_eq!(claims(&mut enforcer, open), 1);
        let running = echo(running).through();
        enforcer.open(3, other.person(3), 60, 1);
        assert!(site.connect(other.person(3)).is_through(), "the other family is not concerned");
        set(&mut enforcer, family, 1, true);
        assert!(site.connect(open).is_through());
        assert!(!site.connect(open).is_through(), "{family:?}");
        assert!(echo(running).is_through());
        set(&mut enforcer, family, 0, true);
    }
}
