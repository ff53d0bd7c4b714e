//! Several hosts that hold the same accounts: whoever is up answers, and no password is sent twice.

use crate::common::{Peer, Step, accepted, ask, chain, patient, refused, say};
use kmsgate_accounts::tls::TlsSettings;
use kmsgate_accounts::{Host, Pop3Server, Server, TlsMode, Way};
use kmsgate_core::reason::Reason;

fn right() -> Vec<Step> {
    vec![
        say("+OK ready\r\n"),
        Step::Hear("CAPA"),
        say("+OK\r\nUSER\r\n.\r\n"),
        Step::Hear("USER alice"),
        say("+OK\r\n"),
        Step::Hear("PASS secret"),
        say("+OK\r\n"),
        Step::Hear("QUIT"),
    ]
}

fn server(ports: &[u16]) -> Server {
    let hosts = ports.iter().map(|port| Host { name: "127.0.0.1".to_owned(), port: *port }).collect();
    let way = Way { hosts, tls: TlsMode::Clear, trust: TlsSettings::default() };
    Server::Pop3(Pop3Server::new(&way).unwrap())
}

/// A port at which nobody listens.
async fn nobody() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn p8_one_that_refuses_and_one_that_hangs_are_passed_over_and_the_third_is_asked_first_from_then_on() {
    let (hangs, third) = (Peer::new(vec![Step::Hang]).await, Peer::new(right()).await);
    let accounts = chain(vec![(patient("mail"), server(&[nobody().await, hangs.port, third.port]))]);
    for _ in 0..3 {
        accepted(ask(&accounts, "alice", "secret").await);
    }
    assert_eq!(hangs.connections(), 1, "it is tried once");
    assert_eq!(third.connections(), 3);
    let passwords = third.heard().iter().filter(|line| line.starts_with("PASS")).count();
    assert_eq!(passwords, 3, "one for each question");
}

#[tokio::test]
async fn p8_all_hosts_down_is_an_outage_that_names_each() {
    let ports = [nobody().await, nobody().await];
    let accounts = chain(vec![(patient("mail"), server(&ports))]);
    let by = refused(ask(&accounts, "alice", "secret").await);
    assert_eq!(by.reason, Reason::AccountServerUnavailable);
    for port in ports {
        assert!(by.log.contains(&format!("127.0.0.1 port {port} cannot be reached")), "{}", by.log);
    }
}

#[tokio::test]
async fn p8_a_host_that_was_asked_and_failed_is_not_asked_again_elsewhere() {
    let mut breaks = right();
    breaks.truncate(6);
    let (first, second) = (Peer::new(breaks).await, Peer::new(right()).await);
    let accounts = chain(vec![(patient("mail"), server(&[first.port, second.port]))]);
    let by = refused(ask(&accounts, "alice", "secret").await);
    assert_eq!(by.reason, Reason::AccountServerUnavailable);
    assert_eq!(second.connections(), 0, "the password was out already");
}
