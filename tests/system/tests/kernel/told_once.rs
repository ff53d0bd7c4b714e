//! What the enforcer tells of a connection, whatever it is asked meanwhile. What must never happen here: a claim that is told
//! of once more when its end was told, because it would be counted twice.

use kmsgate_orders::order::{Answer, Ends, News, Order};
use kmsgate_system_tests::kernel::{Family, Site, opening};
use kmsgate_system_tests::kernel_needs;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connections, each of a grant of its own, so that no two have the same ends.
const CONNECTIONS: u16 = 1500;

#[test]
fn p1_a_connection_whose_end_was_told_is_not_told_of_again_while_all_are_asked_for() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    let people: Vec<_> = (0..CONNECTIONS).map(|number| Family::V4.person(number)).collect();
    let openings = people.iter().map(|address| Order::Open(opening(1, *address, 300, 1)));
    assert!(enforcer.session.orders(openings).iter().all(|answer| *answer == Answer::Done));
    let mut session = enforcer.session();
    assert_eq!(session.order(Order::Watch), Answer::Done);
    let over = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            let through = people.iter().filter(|address| site.connect(**address).is_through()).count();
            assert_eq!(through, people.len());
            over.store(true, Ordering::SeqCst);
        });
        let mut told = vec![];
        while !over.load(Ordering::SeqCst) {
            assert_eq!(session.order(Order::Connections), Answer::Done);
            told.extend(session.told());
        }
        told
    });
    let (mut running, mut ended) = (HashSet::<Ends>::new(), HashSet::<Ends>::new());
    let mut hear = |news: News| {
        match news {
            News::Claimed(ends, _) => {
                assert!(!ended.contains(&ends), "{ends:?} is told of again");
                running.insert(ends);
            }
            News::Ended(ends, _) => {
                assert!(running.contains(&ends) && ended.insert(ends), "{ends:?} ends without a claim, or twice");
            }
            _ => {}
        }
        (ended.len() == people.len()).then_some(())
    };
    // Those of the last connections may still come.
    let all = told.into_iter().filter_map(&mut hear).last();
    if all.is_none() {
        session.until(hear);
    }
}
