//! One lost SYN behind the gateway does not burn the sign-in (F04).

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::net::{connect_from, echo};
use kmsgate_system_tests::provider::Down;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Whether somebody waits for an answer to a SYN sent to this address (proc(5), /proc/net/tcp: state 02).
fn syn_sent(to: SocketAddr) -> bool {
    let port = format!(":{:04X}", to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields.get(3) == Some(&"02")
    })
}

/// Connections that nobody accepts, until the kernel drops the next SYN.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    let to = listener.local_addr().unwrap();
    let short = std::time::Duration::from_millis(200);
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&to, short) {
        held.push(stream);
        assert!(held.len() < 64, "the queue does not fill");
    }
    held
}

#[test]
fn f04_the_second_syn_of_one_connection_is_that_connection() {
    let listener = {
        let down = Down::new();
        down.listen(0)
    };
    let provider = listener.local_addr().unwrap();
    let setup = Setup::new(provider).section("forward", "addresses = [\"127.0.0.1\"]\nconnect_timeout = \"30s\"");
    let gateway = setup.start();
    gateway.granted(at(1, 1), "alice");
    let held = fill(&listener);

    let client = connect_from(at(1, 1), gateway.service).unwrap();
    gateway.log.until("the SYN that is dropped", || syn_sent(provider).then_some(()));
    assert_eq!(gateway.only_grant().claims, 0, "nothing is spent before the provider is joined");
    for _ in &held {
        drop(listener.accept().unwrap());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 64];
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let read = stream.read(&mut bytes).unwrap();
                if read > 0 {
                    stream.write_all(&bytes[..read]).unwrap();
                    return;
                }
            }
        });
        assert!(echo(client).is_through());
    });
    assert_eq!(gateway.only_grant().claims, 1);
}
