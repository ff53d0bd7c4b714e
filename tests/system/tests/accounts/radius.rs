//! RADIUS at FreeRADIUS. That of Debian 12 sends no Message-Authenticator in its answers; a stand-in that does, made here, has
//! the cases that need one.

use crate::common::{Page, Somebody, ask, ask_from, hostile_names, is, is_outage, is_wrong};
use kmsgate_accounts::ChainAnswer;
use kmsgate_accounts::verdict::Reply;
use kmsgate_core::address::Source;
use kmsgate_core::name::Login;
use kmsgate_core::password::Password;
use kmsgate_system_tests::freeradius::{FreeRadius, Wanted};
use std::net::UdpSocket;

use stand_in::{StandIn, Way};

mod stand_in;

/// The manual's configuration for these ports, of which the secret is in this file.
fn page(ports: &[u16], secret: &str) -> Page {
    let urls: Vec<String> = ports.iter().map(|port| format!("\"radius://127.0.0.1:{port}\"")).collect();
    Page::read("radius")
        .with("\"radius://r1.example.edu\", \"radius://r2.example.edu\"", &urls.join(", "))
        .with("/etc/kmsgate/radius-secret", secret)
}

/// For a FreeRADIUS that sends no Message-Authenticator.
fn older(server: &FreeRadius) -> Page {
    page(&[server.port], &server.secret_file()).and("message_authenticator = \"if-present\"")
}

fn of_stand_in(server: &StandIn) -> Page {
    page(&[server.port], "x").with("{ file = \"x\" }", "\"testing-secret\"")
}

/// A port at which nobody answers, held so that nobody else does, and one at which nobody listens.
fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn refused() -> u16 {
    silent().local_addr().unwrap().port()
}

#[tokio::test]
async fn right_wrong_unknown_and_disabled_by_each_method() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    for method in ["pap", "mschapv2"] {
        let accounts = older(&server).and(&format!("method = \"{method}\"")).accounts();
        is(ask(&accounts, "alice", "secret").await, "aaa/alice");
        is(ask(&accounts, "bob", "p\u{e4}ssw\u{f6}rd 2").await, "aaa/bob");
        for (name, password) in
            [("alice", "Secret"), ("alice", "secret "), ("mallory", "secret"), ("carol", "secret"), ("bob", "secret")]
        {
            is_wrong(ask(&accounts, name, password).await);
        }
    }
}

#[tokio::test]
async fn right_the_server_sees_the_persons_address() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    is(ask_from(&older(&server).accounts(), "alice", "secret", "2001:db8::7").await, "aaa/alice");
    server.wait_for(&["Calling-Station-Id = \"2001:db8::7\""]).unwrap();
    server.wait_for(&["NAS-Identifier = \"kmsgate\""]).unwrap();
}

#[tokio::test]
async fn groups_from_the_attribute_that_is_named() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    for (attribute, groups) in [("Filter-Id", vec!["lab", "staff"]), ("Class", vec!["campus"])] {
        let accounts = older(&server).with("\"Filter-Id\"", &format!("\"{attribute}\"")).accounts();
        let groups = groups.into_iter().map(str::to_owned).collect();
        assert_eq!(ask(&accounts, "alice", "secret").await, Ok(Somebody { person: "aaa/alice".into(), groups }));
    }
}

#[tokio::test]
async fn outage_cve_2024_3596_an_answer_without_message_authenticator_is_none_unless_the_file_says_so() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    let strict = page(&[server.port], &server.secret_file()).accounts();
    for password in ["secret", "wrong"] {
        is_outage(ask(&strict, "alice", password).await, "CVE-2024-3596");
    }
    assert!(strict.probe().await.remove(0).1.unwrap_err().contains("if-present"));
    let found = older(&server).accounts().probe().await.remove(0).1.unwrap();
    assert!(found.contains("WARNING") && found.contains("without Message-Authenticator"), "{found}");
}

#[tokio::test]
async fn right_f19_the_manuals_configuration_works_as_it_stands_at_a_server_that_signs_its_answers() {
    let server = StandIn::start(Way::Signs);
    let accounts = of_stand_in(&server).accounts();
    is(ask(&accounts, "alice", "secret").await, "aaa/alice");
    is_wrong(ask(&accounts, "alice", "wrong").await);
    assert!(accounts.probe().await.remove(0).1.unwrap().contains("answers with Message-Authenticator"));
}

#[tokio::test]
async fn service_password_p8_another_shared_secret_is_an_outage_that_says_so() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    let other = older(&server).with(&format!("{{ file = \"{}\" }}", server.secret_file()), "\"another\"");
    let accounts = other.and("timeout = \"2s\"\nfailures = 1000").accounts();
    is_outage(ask(&accounts, "alice", "secret").await, "the shared secret differs");
    assert!(accounts.probe().await.remove(0).1.unwrap_err().contains("the shared secret differs"));
    for way in [Way::Forges, Way::ForgesSignature] {
        let server = StandIn::start(way);
        let accounts = of_stand_in(&server).and("timeout = \"1s\"").accounts();
        is_outage(ask(&accounts, "alice", "secret").await, "authenticator is wrong");
    }
}

#[tokio::test]
async fn outage_p8_refused_hanging_garbage_oversized() {
    let hanging = silent();
    let port = hanging.local_addr().unwrap().port();
    let accounts = page(&[port], "x").with("{ file = \"x\" }", "\"s\"").and("timeout = \"1s\"").accounts();
    is_outage(ask(&accounts, "alice", "secret").await, "no valid answer");
    let accounts = page(&[refused()], "x").with("{ file = \"x\" }", "\"s\"").accounts();
    is_outage(ask(&accounts, "alice", "secret").await, "refused");
    for way in [Way::Garbage, Way::Oversized] {
        let server = StandIn::start(way);
        let accounts = of_stand_in(&server).and("timeout = \"1s\"").accounts();
        is_outage(ask(&accounts, "alice", "secret").await, "no valid answer");
    }
}

#[tokio::test]
async fn outage_a_lost_packet_is_sent_again_as_it_was() {
    let server = StandIn::start(Way::LosesFirst);
    is(ask(&of_stand_in(&server).accounts(), "alice", "secret").await, "aaa/alice");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1], "the same packet (RFC 5080 section 2.2.1)");
    assert_eq!(seen[0][20..22], [80, 18], "Message-Authenticator is first");
}

#[tokio::test]
async fn failover_two_hosts_down_the_third_up() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    let hanging = silent();
    let ports = [refused(), hanging.local_addr().unwrap().port(), server.port];
    let accounts = page(&ports, &server.secret_file()).and("message_authenticator = \"if-present\"").accounts();
    is(ask(&accounts, "alice", "secret").await, "aaa/alice");
    // The one that answered is asked first from now on.
    hanging.set_nonblocking(true).unwrap();
    let mut into = [0; 4096];
    while hanging.recv(&mut into).is_ok() {}
    is(ask(&accounts, "alice", "secret").await, "aaa/alice");
    is_wrong(ask(&accounts, "alice", "wrong").await);
    assert!(hanging.recv(&mut into).is_err(), "the silent host was left alone");
}

#[tokio::test]
async fn restarted_between_two_questions() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    let (accounts, port) = (older(&server).accounts(), server.port);
    is(ask(&accounts, "alice", "secret").await, "aaa/alice");
    drop(server);
    is_outage(ask(&accounts, "alice", "secret").await, "refused");
    let _server = FreeRadius::start(&Wanted { port: Some(port), ..Wanted::default() }).unwrap().unwrap();
    is(ask(&accounts, "alice", "secret").await, "aaa/alice");
}

#[tokio::test]
async fn rate_a_delayed_rejection_is_waited_for() {
    let Some(server) = FreeRadius::start(&Wanted { reject_delay: 2, ..Wanted::default() }).unwrap() else { return };
    is_wrong(ask(&older(&server).accounts(), "alice", "wrong").await);
}

#[tokio::test]
async fn hostile_names_change_no_question() {
    let Some(server) = FreeRadius::start(&Wanted::default()).unwrap() else { return };
    for method in ["pap", "mschapv2"] {
        let accounts = older(&server).and(&format!("method = \"{method}\"")).accounts();
        for name in hostile_names() {
            is_wrong(ask(&accounts, &name, "secret").await);
        }
        for password in ["%{User-Name}", &"x".repeat(1000)] {
            is_wrong(ask(&accounts, "alice", password).await);
        }
    }
    assert!(["alice\0", "alice\r\n"].iter().all(|name| Login::parse(name).is_err()));
}

#[tokio::test]
async fn empty_password_is_never_sent() {
    assert!(Password::new(String::new()).is_err());
}

#[tokio::test]
async fn right_an_access_challenge_is_a_second_question() {
    let server = StandIn::start(Way::Challenges);
    for (typed, accepted) in [("123456", true), ("000000", false)] {
        let accounts = of_stand_in(&server).accounts();
        let (login, password) = (Login::parse("alice").unwrap(), Password::new("secret".to_owned()).unwrap());
        let source = Source::new("198.51.100.7".parse().unwrap());
        let ChainAnswer::Challenge(asked) = accounts.ask_for(&login, &password, source).await else { panic!("none") };
        assert_eq!((asked.prompt.as_str(), asked.echo), ("The code, please", false));
        let typed = Password::new(typed.to_owned()).unwrap();
        match accounts.answer(asked.pending, Reply::Typed(&typed)).await {
            ChainAnswer::Accepted(identity) => assert!(accepted, "{identity:?}"),
            ChainAnswer::Refused(by) => assert!(!accepted, "{by:?}"),
            ChainAnswer::Challenge(asked) => panic!("{asked:?}"),
        }
    }
}
