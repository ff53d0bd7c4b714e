//! A stand-in for ypserv, over UDP alone: what Debian's never does. It has a codec of its own, so that a fault of ours does not hide
//! in it.

use kmsgate_system_tests::ypserv::SECRET;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Garbage,
    /// Answers another call.
    OtherNumber,
    /// Answers from another port.
    OtherPort,
    /// Sends half of the answer.
    CutOff,
    SystemError,
    Denies,
    NoProgram,
    /// Answers with the record of another name.
    SomebodyElse,
    /// Answers the second datagram only.
    LosesFirst,
    /// Sends, before the answer, one to another call: that there is no such name.
    ForgedFirst,
}

/// A running one, at 127.0.0.1. Ended when dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    _alive: Arc<()>,
}

impl StandIn {
    pub(crate) fn start(way: Way) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (seen, alive) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::new(()));
        let (all, watched) = (Arc::clone(&seen), Arc::downgrade(&alive));
        std::thread::spawn(move || {
            let mut into = [0; 5000];
            while watched.strong_count() > 0 {
                let Ok((length, from)) = socket.recv_from(&mut into) else { continue };
                let request = &into[..length];
                all.lock().unwrap().push(request.to_vec());
                if way == Way::LosesFirst && all.lock().unwrap().len() == 1 {
                    continue;
                }
                if way == Way::ForgedFirst {
                    let mut forged = numbers(&[0, 1, 0, 0, 0, 0, 0xffff_fffd, 0]);
                    forged[..4].copy_from_slice(&request[..4]);
                    forged[3] ^= 1;
                    socket.send_to(&forged, from).unwrap();
                }
                let sender = if way == Way::OtherPort { &other } else { &socket };
                sender.send_to(&answer(way, request), from).unwrap();
            }
        });
        Self { port, seen, _alive: alive }
    }

    /// Every datagram so far.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn answer(way: Way, request: &[u8]) -> Vec<u8> {
    let mut number = u32::from_be_bytes(request[..4].try_into().unwrap());
    let name = if way == Way::SomebodyElse { "bob" } else { "alice" };
    let line = format!("{name}:{SECRET}:1000:50::/:/bin/sh");
    let mut good = numbers(&[0, 0, 0, 0, 1, u32::try_from(line.len()).unwrap()]);
    good.extend_from_slice(line.as_bytes());
    good.resize(good.len().next_multiple_of(4), 0);
    let body = match way {
        Way::Garbage => return vec![0xff; 40],
        Way::SystemError => numbers(&[0, 0, 0, 5]),
        Way::Denies => numbers(&[1, 1, 1]),
        Way::NoProgram => numbers(&[0, 0, 0, 1]),
        _ => good,
    };
    if way == Way::OtherNumber {
        number ^= 1;
    }
    let mut whole = numbers(&[number, 1]);
    whole.extend_from_slice(&body);
    if way == Way::CutOff {
        whole.truncate(whole.len() / 2);
    }
    whole
}
