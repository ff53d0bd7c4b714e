//! A slow or dead account server costs its own questions and nothing else, and never counts as a wrong password (P8).

use kmsgate_system_tests::dovecot::{Dovecot, Wanted};
use kmsgate_system_tests::gateway::{PASSWORD, Setup, at, throttle};
use kmsgate_system_tests::provider::{Down, Manner, Provider};
use std::net::SocketAddr;

fn pop3(address: SocketAddr) -> String {
    format!("domain = \"campus\"\nkind = \"pop3\"\nurl = \"pop3://{address}\"\ntls = \"none\"\ntimeout = \"5s\"")
}

#[test]
fn p8_an_outage_is_told_and_counts_for_no_name() {
    let provider = Provider::start(Manner::Echo);
    let down = Down::new();
    let gateway =
        Setup::new(provider.address).server("mail", &pop3(down.address)).section("throttle", &throttle(20, 3)).start();
    for _ in 0..12 {
        let answer = gateway.sign_in(at(1, 1), "dave", "whatever it is");
        assert_eq!(answer.verdict(), "503 account_server_unavailable");
    }
    assert_eq!(gateway.sign_in(at(1, 1), "alice", PASSWORD).verdict(), "201 granted", "an outage is no wrong password");
}

#[test]
fn p8_a_server_that_hangs_holds_nobody_whom_another_knows() {
    let provider = Provider::start(Manner::Echo);
    let hanging = Provider::start(Manner::Hang);
    let gateway = Setup::new(provider.address).server("mail", &pop3(hanging.address)).start();
    std::thread::scope(|scope| {
        let (gateway, hanging) = (&gateway, &hanging);
        let waiting: Vec<_> = (1..=16)
            .map(|low| scope.spawn(move || gateway.sign_in(at(2, low), &format!("dave{low}"), "whatever").verdict()))
            .collect();
        gateway.log.until("a question at the server that hangs", || (hanging.accepted() > 0).then_some(()));
        for low in 1..=20 {
            assert_eq!(gateway.sign_in(at(1, low), "alice", PASSWORD).verdict(), "201 granted");
        }
        assert!(waiting.iter().any(|attempt| !attempt.is_finished()), "all of it while the others waited");
        for attempt in waiting {
            assert_eq!(attempt.join().unwrap(), "503 account_server_unavailable");
        }
    });
}

#[test]
fn p8_a_real_mail_server_is_asked_and_its_death_is_an_outage() {
    let Some(dovecot) = Dovecot::start(&Wanted::default()).unwrap() else { return };
    let provider = Provider::start(Manner::Echo);
    let ca = dovecot.ca();
    let keys = format!(
        "domain = \"campus\"\nkind = \"pop3\"\nurl = \"pop3s://localhost:{}\"\nca = {:?}",
        dovecot.pop3s,
        ca.display().to_string()
    );
    let gateway = Setup::new(provider.address).only_server("mail", &keys).start();
    assert_eq!(gateway.sign_in(at(1, 1), "alice", "secret").verdict(), "201 granted");
    assert_eq!(gateway.sign_in(at(1, 2), "bob", "pässwörd 2").verdict(), "201 granted");
    assert_eq!(gateway.sign_in(at(1, 3), "alice", "wrong").verdict(), "401 invalid_credentials");
    assert!(gateway.connect(at(1, 1)).is_through());
    drop(dovecot);
    assert_eq!(gateway.sign_in(at(1, 3), "alice", "secret").verdict(), "503 account_server_unavailable");
}
