//! A clock that is set forward or back neither ends a window nor prolongs it.

use kmsgate_system_tests::gateway::{Gateway, Setup, at};
use kmsgate_system_tests::need;
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::path::Path;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A gateway whose clock of the day is what a file says; the clock since boot is the machine's.
fn with_clock(provider: &Provider, window: &str) -> Gateway {
    let setup = Setup::new(provider.address).service("window", window);
    let file = setup.path().join("clock");
    set(&file, "+0");
    let file = file.display().to_string();
    setup
        .environment("LD_PRELOAD", LIBRARY)
        .environment("FAKETIME_TIMESTAMP_FILE", &file)
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
}

fn set(file: &Path, clock: &str) {
    std::fs::write(file, format!("{clock}\n")).unwrap();
}

#[test]
fn a_clock_set_forward_ends_no_window() {
    need!("faketime", "/usr/bin/faketime", "faketime");
    let provider = Provider::start(Manner::Echo);
    let gateway = with_clock(&provider, "\"200s\"");
    let granted = gateway.granted(at(1, 1), "alice");
    set(&gateway.path().join("clock"), "+2d");
    let later = gateway.granted(at(1, 2), "alice");
    let day = |answer: &kmsgate_system_tests::http::Answer| answer.text("opened_at")[..10].to_owned();
    assert_ne!(day(&granted), day(&later), "the clock was set");
    assert_eq!(gateway.show(at(1, 1), &granted).text("state"), "open");
    assert!(gateway.connect(at(1, 1)).is_through());
}

#[test]
fn a_clock_set_back_prolongs_no_window() {
    need!("faketime", "/usr/bin/faketime", "faketime");
    let provider = Provider::start(Manner::Echo);
    let gateway = with_clock(&provider, "\"2s\"");
    let granted = gateway.granted(at(1, 1), "alice");
    set(&gateway.path().join("clock"), "-2d");
    let later = gateway.granted(at(1, 2), "alice");
    assert!(later.text("opened_at") < granted.text("opened_at"), "the clock was set");
    let grants = gateway.until("both ends", |grants| grants.iter().all(|grant| grant.state == "closed"));
    assert!(grants.iter().all(|grant| grant.cause.as_deref() == Some("expired")));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
}
