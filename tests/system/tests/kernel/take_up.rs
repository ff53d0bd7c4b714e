//! A start with more grants than can be taken up at once: nobody waits for the last of them (P5).

use kmsgate_orders::order::Order;
use kmsgate_system_tests::gateway::Said;
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::middle::Trap;
use kmsgate_system_tests::pair::{Pair, Victim};

/// Grants that the gateway takes up at once.
const AT_ONCE: u16 = 256;

fn adopts(order: &Order) -> bool {
    matches!(order, Order::Adopt(_))
}

/// Opens one for somebody else's machine; its name.
fn open_for(pair: &Pair, number: u16) -> String {
    let (user, source) = (format!("guest{number}"), Family::V4.person(number).to_string());
    let Said { code, out, err } =
        pair.gateway.command(&["grants", "open", "--user", &user, "--source", &source, "--reason", "a test"], "");
    assert_eq!(code, Some(0), "{out}{err}");
    out.split_whitespace().find(|word| word.len() == 26).expect("its name").to_owned()
}

#[test]
fn p5_what_is_not_taken_up_yet_keeps_nobody_waiting_and_is_taken_up_when_somebody_needs_it() {
    kernel_needs!();
    let mut pair = Pair::start(|setup| setup.service("window", "\"10m\""));
    let _providers = pair.site.echoing();
    let person = Family::V4.person(0);
    let sign_in = |pair: &Pair, number: u16, who: &str| {
        let address = Family::V4.person(number);
        pair.site.person.within(|| pair.gateway.granted(address, who)).text("id")
    };
    // Grants are taken up newest first: these two come last.
    let alices = sign_in(&pair, 0, "alice");
    let bobs = sign_in(&pair, 1, "bob");
    let guests: Vec<String> = (2..2 + AT_ONCE).map(|number| open_for(&pair, number)).collect();
    pair.kill(Victim::Serve);
    pair.middle.set(Trap::Held(adopts, AT_ONCE.into()));
    pair.start_again(Victim::Serve);
    pair.middle.until_held(AT_ONCE.into());

    sign_in(&pair, 2000, "carol");
    assert!(pair.site.connect(Family::V4.person(2000)).is_through(), "somebody new");
    assert_eq!(sign_in(&pair, 0, "alice"), alices, "the same grant");
    assert!(pair.site.connect(person).is_through());
    assert!(!pair.site.connect(person).is_through(), "and no budget afresh");
    assert_eq!(pair.gateway.command(&["grants", "revoke", &bobs], "").code, Some(0));
    assert_eq!(pair.standing(Family::V4.person(1)), None, "revoked");

    // What is in the kernel and in nobody's book is looked for when all are taken up.
    pair.middle.release(Trap::Order(|order| matches!(order, Order::List)));
    pair.middle.until_sprung();
    assert_eq!(pair.standing(Family::V4.person(1)), None, "what was revoked meanwhile is not taken up");
    pair.middle.cut();
    for id in &guests {
        assert_eq!(pair.gateway.command(&["grants", "revoke", id], "").code, Some(0));
    }
    let places = (2..2 + AT_ONCE).map(|number| Family::V4.person(number));
    assert_eq!(places.filter(|address| pair.standing(*address).is_some()).count(), 0, "taken up, and ended");
}
