//! What ends a grant ends its connections, on both sides (F09).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::{End, end_of};
use kmsgate_system_tests::provider::{Manner, Provider};

#[test]
fn f09_the_end_of_the_window_resets_both_ends() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("window", "\"2s\"").start();
    gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    assert_eq!(end_of(&mut held), End::Reset);
    assert_eq!(provider.until_ended(1), [End::Reset]);
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("expired"));
}

#[test]
fn f09_the_person_ends_it_and_both_ends_are_reset() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let granted = gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    assert_eq!(gateway.cancel(at(1, 1), &granted).text("state"), "closed");
    assert_eq!(end_of(&mut held), End::Reset);
    assert_eq!(provider.until_ended(1), [End::Reset]);
    assert_eq!(gateway.only_grant().cause.as_deref(), Some("cancelled"));
}

#[test]
fn f09_a_connection_past_its_time_is_a_limit() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("max_connection", "\"1s\"").start();
    gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    assert_eq!(end_of(&mut held), End::Reset);
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("limit"));
}

#[test]
fn f09_a_half_closed_connection_goes_on() {
    use std::io::{Read, Write};
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let mut stream = kmsgate_system_tests::net::connect_from(at(1, 1), gateway.service).unwrap();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "last words");
    assert_eq!(provider.until_ended(1), [End::Fin]);
}
