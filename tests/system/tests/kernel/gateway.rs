//! The whole gateway with the kernel's packet path: from a sign-in to the record.

use kmsgate_orders::order::Order;
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::middle::Trap;
use kmsgate_system_tests::pair::Pair;
use kmsgate_system_tests::provider::Manner;

#[test]
fn a_sign_in_opens_the_kernel_for_one_connection_and_the_record_has_it() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    let gateway = site.setup().start();
    for family in Family::BOTH {
        let address = family.person(9);
        assert!(!site.connect(address).is_through(), "{family:?}: before the sign-in");
        let granted = site.person.within(|| gateway.granted(address, "alice"));
        let connection = site.connect(address);
        assert!(connection.is_through(), "{family:?}: {connection:?}\n{}", gateway.log.text());
        assert!(!site.connect(address).is_through(), "{family:?}: a second one");
        drop(connection);
        let grants = gateway.until("the end", |grants| grants.iter().all(|grant| grant.state == "closed"));
        let grant = grants.last().unwrap();
        assert_eq!((grant.cause.as_deref(), grant.claims), (Some("used"), 1), "{grant:?}");
        assert!(grant.bytes[0] > 0 && grant.bytes[1] > 0, "{grant:?}");
        let shown = site.person.within(|| gateway.show(address, &granted));
        assert_eq!(shown.text("state"), "closed");
    }
    assert_eq!(providers.iter().map(|provider| provider.accepted()).sum::<usize>(), 2);
}

#[test]
fn p5_a_restart_keeps_end_budget_and_running_connections() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut gateway = site.setup().service("connections", "3").start();
    let address = Family::V4.person(1);
    let granted = site.person.within(|| gateway.granted(address, "alice"));
    let first = site.connect(address).through();
    gateway.until("the first claim", |grants| grants[0].claims == 1);
    let end = gateway.only_grant().ends_at;
    gateway.kill9();
    // The kernel goes on alone: the second of three.
    let second = site.connect(address).through();
    gateway.start_again();
    let grant = gateway.until("the second claim", |grants| grants[0].claims == 2).remove(0);
    assert_eq!((grant.state, grant.ends_at), ("open", end));
    assert!(kmsgate_system_tests::net::echo(first).is_through(), "the first goes on");
    assert!(kmsgate_system_tests::net::echo(second).is_through(), "so does the second");
    assert!(site.connect(address).is_through(), "the third");
    assert!(!site.connect(address).is_through(), "a fourth");
    let cancelled = site.person.within(|| gateway.cancel(address, &granted));
    assert_eq!(cancelled.text("state"), "closed");
    assert_eq!(gateway.only_grant().claims, 3);
}

#[test]
fn f07_a_connection_that_the_provider_resets_is_given_back() {
    kernel_needs!();
    let site = Site::new();
    let _resetting = [0, 1].map(|number| site.provider(number, Family::V4, Manner::Reset));
    let gateway = site.setup().start();
    let address = Family::V4.person(1);
    let granted = site.person.within(|| gateway.granted(address, "alice"));
    for count in 1..=3 {
        assert!(!site.connect(address).is_through());
        gateway.until("another given back", |grants| grants[0].given_back == count && grants[0].claims == 0);
        // The ledger has it first; the person is told when the kernel lets in the next (P9).
        gateway.log.until("a connection is left", || {
            let shown = site.person.within(|| gateway.show(address, &granted));
            (shown.number("connections_left") == Some(1)).then_some(())
        });
    }
    assert_eq!(gateway.only_grant().state, "open");
}

#[test]
fn p9_what_the_ledger_gave_back_is_not_shown_as_left_before_the_kernel_has_it() {
    kernel_needs!();
    let pair = Pair::start(|setup| setup);
    let _resetting = [0, 1].map(|number| pair.site.provider(number, Family::V4, Manner::Reset));
    let address = Family::V4.person(1);
    let granted = pair.site.person.within(|| pair.gateway.granted(address, "alice"));
    pair.middle.set(Trap::Order(|order| matches!(order, Order::GiveBack { .. })));
    assert!(!pair.site.connect(address).is_through());
    pair.middle.until_sprung();
    let grant = pair.gateway.only_grant();
    assert_eq!((grant.claims, grant.given_back), (0, 1), "the ledger has it");
    let shown = pair.site.person.within(|| pair.gateway.show(address, &granted));
    assert_eq!((shown.text("state").as_str(), shown.number("connections_left")), ("open", Some(0)));
    assert!(!pair.site.connect(address).is_through(), "what is shown is so");
}
