//! What ends a grant ends its connections, on both sides (F09).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::{End, connect_from, end_of, reset};
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

/// P2: whatever the traffic.
#[test]
fn f09_the_end_of_the_window_comes_through_a_flood() {
    use std::io::{ErrorKind, Read, Write};
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).service("window", "\"2s\"").start();
    gateway.granted(at(1, 1), "alice");
    let mut reader = gateway.connect(at(1, 1)).through();
    let mut writer = reader.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let bytes = vec![7; 1 << 16];
        let mut sent = 0_u64;
        // The connection ends it; if it did not, a bound would.
        while sent < 1 << 34 {
            match writer.write_all(&bytes) {
                Ok(()) => sent += bytes.len() as u64,
                Err(error) => return (sent, error.kind()),
            }
        }
        (sent, ErrorKind::Other)
    });
    let mut bytes = vec![0; 1 << 16];
    let ended = loop {
        match reader.read(&mut bytes) {
            Ok(0) => break ErrorKind::UnexpectedEof,
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    let (sent, refused) = flood.join().unwrap();
    // A socket tells of a reset once: to whoever of the two asks first.
    assert!([ended, refused].contains(&ErrorKind::ConnectionReset), "{ended:?}, {refused:?}");
    assert_eq!(provider.until_ended(1), [End::Reset]);
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("expired"));
    assert!(sent > 1 << 20, "it was a flood: {sent} bytes");
}

#[test]
fn f09_a_reset_of_the_person_resets_the_provider() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    reset(gateway.connect(at(1, 1)).through());
    assert_eq!(provider.until_ended(1), [End::Reset]);
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!(grants[0].cause.as_deref(), Some("used"));
}

#[test]
fn f09_a_reset_of_the_provider_resets_the_person() {
    let provider = Provider::start(Manner::ResetSecond);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let mut held = gateway.connect(at(1, 1)).through();
    std::io::Write::write_all(&mut held, b"more").unwrap();
    assert_eq!(end_of(&mut held), End::Reset);
}

#[test]
fn f09_every_byte_is_counted_that_either_side_took() {
    use std::io::{Read, Write};
    const BYTES: usize = 3_000_000;
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let mut reader = connect_from(at(1, 1), gateway.service).unwrap();
    let mut writer = reader.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        writer.write_all(&vec![7; BYTES]).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    sending.join().unwrap();
    assert_eq!(back.len(), BYTES);
    gateway.until("its close", |grants| grants[0].state == "closed");
    for column in ["bytes_in", "bytes_out"] {
        let counted = kmsgate_system_tests::ledger::number(&gateway.ledger(), &format!("SELECT {column} FROM grants"));
        assert_eq!(usize::try_from(counted), Ok(BYTES), "{column}");
    }
}

#[test]
fn f09_the_person_ends_it_and_both_ends_are_reset() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).without_limits().start();
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
    let mut stream = connect_from(at(1, 1), gateway.service).unwrap();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "last words");
    assert_eq!(provider.until_ended(1), [End::Fin]);
}
