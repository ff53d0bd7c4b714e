//! A provider that is down burns nobody's sign-in, and the person is told (F07).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::net::{End, Outcome, connect_from, end_of};
use kmsgate_system_tests::provider::{Down, Manner, Provider};

#[test]
fn f07_a_provider_that_refuses_spends_nothing() {
    let down = Down::new();
    let gateway = Setup::new(down.address).start();
    let granted = gateway.granted(at(1, 1), "alice");
    for _ in 0..20 {
        assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    }
    let shown = gateway.show(at(1, 1), &granted);
    assert_eq!((shown.text("state").as_str(), shown.number("connections_left")), ("open", Some(1)));
    let provider = down.up(Manner::Echo);
    assert!(gateway.connect(at(1, 1)).is_through());
    assert_eq!(provider.accepted(), 1);
}

fn gives_back_three_times(manner: Manner) {
    let provider = Provider::start(manner);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    // A reset that comes before the connection stands is no claim: then there is nothing to give back yet.
    let grant = gateway.log.until("the end", || {
        assert!(!gateway.connect(at(1, 1)).is_through());
        let quiet = gateway.until("the end of the connection", |grants| grants[0].alive == 0);
        quiet.into_iter().find(|grant| grant.state == "closed")
    });
    assert_eq!((grant.claims, grant.given_back), (1, 3), "the fourth is not given back");
    assert_eq!(grant.cause.as_deref(), Some("used"));
    assert!(provider.accepted() >= 4);
}

#[test]
fn f07_a_provider_that_resets_gives_back_three_times() {
    gives_back_three_times(Manner::Reset);
}

#[test]
fn f07_a_provider_that_closes_unasked_gives_back_three_times() {
    gives_back_three_times(Manner::Close);
}

#[test]
fn f07_a_provider_that_never_answers_gives_back() {
    let provider = Provider::start(Manner::Hang);
    let setup = Setup::new(provider.address);
    let gateway = setup.section("forward", "addresses = [\"127.0.0.1\"]\nidle_timeout = \"1s\"").start();
    gateway.granted(at(1, 1), "alice");
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    let grants = gateway.until("what is given back", |grants| grants[0].given_back == 1);
    assert_eq!((grants[0].claims, grants[0].state), (0, "open"));
}

#[test]
fn f07_a_provider_that_hangs_past_the_limit_of_a_connection_gives_back() {
    let provider = Provider::start(Manner::Hang);
    let gateway = Setup::new(provider.address).service("max_connection", "\"1s\"").start();
    gateway.granted(at(1, 1), "alice");
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    let grant = gateway.only_grant();
    assert_eq!((grant.claims, grant.given_back, grant.state), (0, 1, "open"), "no limit of the person's was broken");
}

#[test]
fn f07_a_provider_that_hangs_to_the_end_of_the_window_spends_nothing() {
    let provider = Provider::start(Manner::Hang);
    let gateway = Setup::new(provider.address).service("window", "\"2s\"").rules(&quota_of_one()).start();
    gateway.granted(at(1, 1), "alice");
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    let grants = gateway.until("its close", |grants| grants[0].state == "closed");
    assert_eq!((grants[0].claims, grants[0].given_back), (0, 1));
    gateway.granted(at(1, 1), "alice");
}

fn quota_of_one() -> String {
    "[[rule]]\nname = \"one\"\nusers = [\"*\"]\nquota = { week = 1 }\n".to_owned()
}

/// Who is told that nothing came of it may try again at once.
#[test]
fn f07_what_is_given_back_can_be_used_as_soon_as_the_person_knows() {
    let provider = Provider::start(Manner::Close);
    let gateway = Setup::new(provider.address).start();
    for low in 1..=40 {
        gateway.granted(at(1, low), "alice");
        for tried in 1..=3 {
            let mut stream = connect_from(at(1, low), gateway.service).unwrap();
            assert_eq!(end_of(&mut stream), End::Reset);
            assert_eq!(provider.accepted(), usize::from(low - 1) * 3 + tried, "the try was not turned away");
        }
    }
}

#[test]
fn f07_the_person_is_told_that_the_provider_is_down() {
    let down = Down::new();
    let gateway = Setup::new(down.address).service("health", "\"tcp\"").start();
    let refused = gateway.sign_in(at(1, 1), "alice", PASSWORD);
    assert_eq!(refused.verdict(), "503 no_provider");
    assert!(!refused.text("detail").is_empty());
    assert!(gateway.grants().iter().all(|grant| grant.cause.as_deref() == Some("failed")), "{:?}", gateway.grants());
}

#[test]
fn f07_the_next_provider_is_tried() {
    let (down, provider) = (Down::new(), Provider::start(Manner::Echo));
    let both = format!("[\"{}\", \"{}\"]", down.address, provider.address);
    let gateway = Setup::new(down.address).service("providers", &both).start();
    for low in 1..=6 {
        gateway.granted(at(1, low), "alice");
        assert!(gateway.connect(at(1, low)).is_through());
    }
    assert_eq!(provider.accepted(), 6);
}

#[test]
fn f07_what_a_provider_says_first_is_an_answer() {
    let provider = Provider::start(Manner::Greet);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    let mut stream = connect_from(at(1, 1), gateway.service).unwrap();
    let mut hello = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    drop(stream);
    let grants = gateway.until("the end", |grants| grants[0].state == "closed");
    assert_eq!((grants[0].claims, grants[0].given_back), (1, 0));
}
