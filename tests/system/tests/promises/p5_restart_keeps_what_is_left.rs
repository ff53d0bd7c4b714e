//! A restart neither prolongs nor re-arms a grant, and keeps its end and what is left of it (P5).

use kmsgate_system_tests::gateway::{Gateway, Setup, at};
use kmsgate_system_tests::net::{End, Outcome, connect_from, end_of};
use kmsgate_system_tests::provider::{Manner, Provider};

fn end_and_left(end: fn(&mut Gateway)) {
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address).service("connections", "2").service("close_when_used", "false");
    let mut gateway = setup.start();
    let granted = gateway.granted(at(1, 1), "alice");
    drop(gateway.connect(at(1, 1)).through());
    gateway.until("the end of the connection", |grants| grants[0].alive == 0);
    let before = gateway.only_grant();

    end(&mut gateway);
    gateway.start_again();

    assert_eq!(gateway.only_grant(), before);
    let shown = gateway.show(at(1, 1), &granted);
    assert_eq!(shown.text("state"), "open");
    assert_eq!(shown.text("expires_at"), granted.text("expires_at"));
    assert_eq!(shown.number("connections_left"), Some(1));
    let held = gateway.connect(at(1, 1)).through();
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset), "what was spent stays spent");
    drop(held);
}

#[test]
fn p5_kill_9_keeps_end_and_budget() {
    end_and_left(Gateway::kill9);
}

#[test]
fn p5_a_stop_in_good_order_keeps_end_and_budget() {
    end_and_left(|gateway| assert!(gateway.stop().success()));
}

#[test]
fn p5_a_relayed_connection_ends_with_the_process_and_unanswered_is_given_back() {
    let provider = Provider::start(Manner::Hang);
    let mut gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let mut held = connect_from(at(1, 1), gateway.service).unwrap();
    gateway.until("the claim", |grants| grants[0].claims == 1);
    gateway.kill9();
    assert_ne!(end_of(&mut held), End::None);
    assert_eq!(provider.until_ended(1).len(), 1);
    gateway.start_again();
    let grant = gateway.only_grant();
    assert_eq!((grant.state, grant.claims, grant.given_back), ("open", 0, 1));
}

#[test]
fn p5_a_grant_whose_last_connection_ended_with_the_process_is_used() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let held = gateway.connect(at(1, 1)).through();
    gateway.kill9();
    drop(held);
    gateway.start_again();
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!((grants[0].cause.as_deref(), grants[0].claims, grants[0].given_back), (Some("used"), 1, 0));
}

/// A connection that found no place in the ledger leaves no number that a later one would take twice.
#[test]
fn p5_claims_after_a_restart_have_numbers_of_their_own() {
    let provider = Provider::start(Manner::Hang);
    let mut gateway = Setup::new(provider.address).service("connections", "3").start();
    gateway.granted(at(1, 1), "alice");
    let numbers = "SELECT count(DISTINCT json_extract(body, '$.claimed[1].number')) FROM events";
    for round in 1..=3 {
        let held = connect_from(at(1, 1), gateway.service).unwrap();
        gateway.until("the claim", |grants| grants[0].claims == 1);
        gateway.kill9();
        drop(held);
        gateway.start_again();
        assert_eq!(kmsgate_system_tests::ledger::number(&gateway.ledger(), numbers), round);
        assert_eq!(gateway.only_grant().given_back, u16::try_from(round).unwrap());
    }
}

#[test]
fn p5_a_window_that_ended_meanwhile_is_closed_as_of_its_end() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).service("window", "\"2s\"").start();
    gateway.granted(at(1, 1), "alice");
    gateway.kill9();
    let ends_at = gateway.only_grant().ends_at;
    gateway.log.until("the end of the window", || (milliseconds() > ends_at).then_some(()));
    gateway.start_again();
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("expired"));
    let closed = "SELECT closed_at - ends_at FROM grants";
    assert_eq!(kmsgate_system_tests::ledger::number(&gateway.ledger(), closed), 0);
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
}

fn milliseconds() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[test]
fn p5_an_open_window_ends_on_time_after_a_restart() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).service("window", "\"5s\"").start();
    gateway.granted(at(1, 1), "alice");
    gateway.kill9();
    gateway.start_again();
    assert!(gateway.connect(at(1, 1)).is_through());
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert!(matches!(grants[0].cause.as_deref(), Some("expired" | "used")), "{grants:?}");
}
