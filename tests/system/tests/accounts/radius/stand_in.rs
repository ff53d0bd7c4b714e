//! A stand-in for a RADIUS server: what Debian's FreeRADIUS does not do (Message-Authenticator in its answers, a challenge), and
//! what no server should. It has a codec of its own, so that a fault of ours does not hide in it.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECRET: &[u8] = b"testing-secret";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As a server of today does: Message-Authenticator in every answer.
    Signs,
    /// With a wrong Response Authenticator.
    Forges,
    /// With a wrong Message-Authenticator, but a right Response Authenticator.
    ForgesSignature,
    Garbage,
    /// With more than a packet can have.
    Oversized,
    /// Answers the second packet only.
    LosesFirst,
    /// Asks for a code after the password.
    Challenges,
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
                socket.send_to(&answer(way, request), from).unwrap();
            }
        });
        Self { port, seen, _alive: alive }
    }

    /// Every packet so far.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(way: Way, request: &[u8]) -> Vec<u8> {
    match way {
        Way::Garbage => return vec![0xff; 40],
        Way::Oversized => return vec![2; 4500],
        _ => {}
    }
    let state = value(request, 24);
    let password = value(request, 2).map(|hidden| password(request, &hidden));
    let more: &[u8] = b"\x12\x12The code, please\x18\x05tag";
    let (code, more) = match (request[0], way, state.as_deref(), password.as_deref()) {
        (12, ..) => (2, &b""[..]),
        (_, Way::Challenges, None, Some(b"secret")) => (11, more),
        (_, Way::Challenges, Some(b"tag"), Some(b"123456")) => (2, &b""[..]),
        (_, Way::Challenges, ..) => (3, &b""[..]),
        (_, _, _, Some(b"secret")) => (2, &b""[..]),
        _ => (3, &b""[..]),
    };
    let length = u16::try_from(20 + 18 + more.len()).unwrap().to_be_bytes();
    let mut packet = vec![code, request[1], length[0], length[1]];
    packet.extend_from_slice(&request[4..20]);
    packet.extend_from_slice(&[80, 18]);
    packet.extend_from_slice(&[0; 16]);
    packet.extend_from_slice(more);
    let mut mac = Hmac::<Md5>::new_from_slice(SECRET).unwrap();
    mac.update(&packet);
    packet[22..38].copy_from_slice(&mac.finalize().into_bytes());
    if way == Way::ForgesSignature {
        packet[30] ^= 1;
    }
    let digest = Md5::new().chain_update(&packet).chain_update(SECRET).finalize();
    packet[4..20].copy_from_slice(&digest);
    if way == Way::Forges {
        packet[10] ^= 1;
    }
    packet
}

fn value(packet: &[u8], kind: u8) -> Option<Vec<u8>> {
    let mut rest = &packet[20..];
    while !rest.is_empty() {
        let length = usize::from(rest[1]);
        if rest[0] == kind {
            return Some(rest[2..length].to_vec());
        }
        rest = &rest[length..];
    }
    None
}

fn password(request: &[u8], hidden: &[u8]) -> Vec<u8> {
    let (mut before, mut clear) = (request[4..20].to_vec(), vec![]);
    for part in hidden.chunks(16) {
        let mask = Md5::new().chain_update(SECRET).chain_update(&before).finalize();
        clear.extend(part.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        before = part.to_vec();
    }
    while clear.last() == Some(&0) {
        clear.pop();
    }
    clear
}
