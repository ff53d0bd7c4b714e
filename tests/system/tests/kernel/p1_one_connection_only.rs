//! However many race, a grant lets in exactly as many connections as it has (P1, F01).

use kmsgate_orders::order::{Answer, Order};
use kmsgate_system_tests::kernel::{Family, Site, opening};
use kmsgate_system_tests::kernel_needs;

#[test]
fn p1_three_hundred_at_once_and_one_comes_through_a_hundred_times() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        for round in 0..100_u8 {
            let address = family.person(u16::from(round));
            enforcer.open(round, address, 60, 1);
            assert_eq!(site.at_once(address, 300).len(), 1, "{family:?} {round}");
        }
    }
    let reached: usize = providers.iter().map(|provider| provider.accepted()).sum();
    assert!(reached >= 200, "{reached}");
}

#[test]
fn p1_of_three_connections_exactly_three() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for family in Family::BOTH {
        let address = family.person(9);
        enforcer.open(1, address, 60, 3);
        let first = site.at_once(address, 1);
        assert_eq!(first.len(), 1);
        assert_eq!(site.at_once(address, 100).len(), 2, "{family:?}");
        assert!(!site.connect(address).is_through());
    }
}

#[test]
fn p1_a_hundred_grants_at_once_and_one_each() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let addresses: Vec<_> = (0..100).map(|number| Family::V4.person(number)).collect();
    let opened = enforcer.session.orders(addresses.iter().map(|address| Order::Open(opening(1, *address, 60, 1))));
    assert_eq!(opened, vec![Answer::Done; 100]);
    let through: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            addresses.iter().map(|address| scope.spawn(|| site.at_once(*address, 20).len())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(through, vec![1; 100]);
}
