//! Orders that the kernel refuses: each is given again, and nothing is called done before it is (P2, P9).
//!
//! A kernel that refuses cannot be had on demand: what refuses here is the test's stand-in between the gateway and its
//! enforcer.

use kmsgate_orders::order::Order;
use kmsgate_system_tests::gateway::Said;
use kmsgate_system_tests::kernel::Family;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::ledger::Grant;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::middle::Trap;
use kmsgate_system_tests::net::{Outcome, echo};
use kmsgate_system_tests::pair::{Pair, Victim};

fn granted(pair: &Pair, number: u16, who: &str) -> String {
    pair.site.person.within(|| pair.gateway.granted(Family::V4.person(number), who)).text("id")
}

fn has_ended_by_its_limit(grants: &[Grant]) -> bool {
    grants.iter().all(|grant| grant.state == "closed" && grant.cause.as_deref() == Some("limit"))
}

#[test]
fn p2_a_close_that_was_refused_is_ordered_again_until_it_is_done() {
    kernel_needs!();
    let pair = Pair::start(|setup| setup.service("window", "\"10m\""));
    let _providers = pair.site.echoing();
    let id = granted(&pair, 1, "alice");
    let running = pair.site.connect(Family::V4.person(1)).through();
    pair.middle.set(Trap::Refused(|order| matches!(order, Order::Close { .. }), 2));
    let Said { code, out, err } = pair.gateway.command(&["grants", "revoke", &id], "");
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(pair.middle.refused(), 2);
    assert_eq!(pair.standing(Family::V4.person(1)), None, "what is called closed is closed");
    assert!(matches!(echo(running), Outcome::Reset));
}

#[test]
fn a_connection_past_its_limit_is_cut_although_that_was_refused_at_first() {
    kernel_needs!();
    let pair = Pair::start(|setup| setup.service("window", "\"10m\"").service("max_connection", "\"1s\""));
    let _providers = pair.site.echoing();
    granted(&pair, 1, "alice");
    pair.middle.set(Trap::Refused(|order| matches!(order, Order::Cut(_)), 2));
    let running = pair.site.connect(Family::V4.person(1)).through();
    pair.gateway.until("its end", has_ended_by_its_limit);
    assert_eq!(pair.middle.refused(), 2);
    assert!(matches!(echo(running), Outcome::Reset));
}

#[test]
fn f07_a_provider_is_taken_out_although_that_was_refused_at_first() {
    kernel_needs!();
    let pair = Pair::start(|setup| setup.service("window", "\"10m\""));
    let providers = pair.site.echoing();
    pair.middle.set(Trap::Refused(|order| matches!(order, Order::Provider { up: false, .. }), 2));
    let drained = Family::V4.provider(0).to_string();
    let Said { code, out, err } = pair.gateway.command(&["providers", "drain", &drained], "");
    assert_eq!(code, Some(0), "{out}{err}");
    Log::default().until("the order that is not refused", || (pair.middle.refused() == 2).then_some(()));
    pair.middle.until_passed();
    for number in 1..=20 {
        granted(&pair, number, "alice");
        assert!(pair.site.connect(Family::V4.person(number)).is_through());
    }
    assert_eq!(providers[0].accepted(), 0, "it was drained");
}

#[test]
fn a_connection_that_ran_over_a_restart_is_cut_at_its_limit() {
    kernel_needs!();
    let mut pair = Pair::start(|setup| setup.service("window", "\"10m\"").service("max_connection", "\"2s\""));
    let _providers = pair.site.echoing();
    granted(&pair, 1, "alice");
    let running = pair.site.connect(Family::V4.person(1)).through();
    pair.gateway.until("its claim", |grants| grants[0].claims == 1);
    pair.kill(Victim::Serve);
    // It goes on: the limit is ours, the connection is the kernel's.
    let running = echo(running).through();
    pair.start_again(Victim::Serve);
    pair.gateway.until("its end", has_ended_by_its_limit);
    assert!(matches!(echo(running), Outcome::Reset));
}

#[test]
fn p9_an_adoption_that_a_close_overtook_opens_nothing() {
    kernel_needs!();
    let pair = Pair::start(|setup| setup.service("window", "\"10m\""));
    let _providers = pair.site.echoing();
    let address = Family::V4.person(1);
    let id = granted(&pair, 1, "alice");
    pair.middle.set(Trap::Held(|order| matches!(order, Order::Adopt(_)), 1));
    let _nothing = pair.site.gateway.output("nft", &["delete", "table", "inet", "kmsgate"]);
    pair.middle.until_held(1);
    let Said { code, out, err } = pair.gateway.command(&["grants", "revoke", &id], "");
    assert_eq!(code, Some(0), "{out}{err}");
    // It comes now, and puts there what was closed; its order to take it away again is lost with the session.
    pair.middle.release(Trap::Order(|order| matches!(order, Order::Close { .. })));
    pair.middle.until_sprung();
    assert!(pair.standing(address).is_some(), "the adoption came last");
    pair.middle.cut();
    Log::default().until("the kernel to have it no more", || pair.standing(address).is_none().then_some(()));
    assert!(!pair.site.connect(address).is_through());
}
