//! Packets as an attacker makes them, and a tap that hears what comes by. What must never happen here: a packet that leaves
//! the test's namespaces, an absence that is shown by waiting.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use crate::PATIENCE;
use crate::log::Log;
use crate::namespace::Host;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with, sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// TCP flags (RFC 9293, section 3.1).
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const PSH: u8 = 8;
/// See [`FIN`].
pub const ACK: u8 = 16;

const TCP: u8 = 6;
/// Every protocol, in the order of the network (packet(7), ETH_P_ALL).
const ALL: u32 = 0x0300;

/// A TCP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges.
    pub acknowledged: u32,
    /// Its flags.
    pub flags: u8,
    /// TCP options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Segment {
    /// Whether exactly these are set of FIN, SYN, RST and ACK.
    #[must_use]
    pub fn is(&self, flags: u8) -> bool {
        self.flags & (FIN | SYN | RST | ACK) == flags
    }

    /// Whether it is a reset.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.flags & RST != 0
    }

    /// Whether it goes from here to there.
    #[must_use]
    pub fn goes(&self, from: SocketAddr, to: SocketAddr) -> bool {
        self.source == from && self.destination == to
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = vec![];
        tcp.extend_from_slice(&self.source.port().to_be_bytes());
        tcp.extend_from_slice(&self.destination.port().to_be_bytes());
        tcp.extend_from_slice(&self.sequence.to_be_bytes());
        tcp.extend_from_slice(&self.acknowledged.to_be_bytes());
        let words = u8::try_from(5 + self.options.len() / 4).expect("at most 40 bytes of options");
        tcp.extend_from_slice(&[words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(&self.options);
        tcp.extend_from_slice(&self.payload);
        let length = u32::try_from(tcp.len()).expect("a small packet");
        let pseudo = [octets(self.source.ip()), octets(self.destination.ip()), length.to_be_bytes().to_vec()].concat();
        let sum = checksum(&[pseudo, vec![0, 0, 0, TCP], tcp.clone()].concat());
        tcp.get_mut(16..18).expect("a header").copy_from_slice(&sum.to_be_bytes());
        tcp
    }

    fn packet(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let short = |length: usize| u16::try_from(length).expect("a small packet").to_be_bytes();
        let (from, to) = (octets(self.source.ip()), octets(self.destination.ip()));
        let header = match self.source.ip() {
            // The kernel fills in the IPv4 checksum (raw(7)).
            IpAddr::V4(_) => {
                let [high, low] = short(20 + tcp.len());
                [vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, TCP, 0, 0], from, to].concat()
            }
            IpAddr::V6(_) => {
                let [high, low] = short(tcp.len());
                [vec![0x60, 0, 0, 0, high, low, TCP, 64], from, to].concat()
            }
        };
        [header, tcp].concat()
    }

    /// Reads a packet from its IP header on; none if it is not of TCP, or cut short.
    fn read(packet: &[u8]) -> Option<Self> {
        let (source, destination, tcp) = match packet.first()? >> 4 {
            4 if *packet.get(9)? == TCP => {
                let address = |at| packet.get(at..)?.first_chunk::<4>().map(|four| IpAddr::from(*four));
                let whole = packet.get(..be16(packet, 2)?.into())?;
                (address(12)?, address(16)?, whole.get(usize::from(packet.first()? & 15) * 4..)?)
            }
            6 if *packet.get(6)? == TCP => {
                let address = |at| packet.get(at..)?.first_chunk::<16>().map(|sixteen| IpAddr::from(*sixteen));
                (address(8)?, address(24)?, packet.get(40..40 + usize::from(be16(packet, 4)?))?)
            }
            _ => return None,
        };
        let number = |at| tcp.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four));
        let data = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Self {
            source: SocketAddr::new(source, be16(tcp, 0)?),
            destination: SocketAddr::new(destination, be16(tcp, 2)?),
            sequence: number(4)?,
            acknowledged: number(8)?,
            flags: *tcp.get(13)?,
            options: tcp.get(20..data)?.to_vec(),
            payload: tcp.get(data..)?.to_vec(),
        })
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let high = pair.first().copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([high, pair.get(1).copied().unwrap_or(0)]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// What is plugged in at a host beside its own TCP: sends any packet, and hears all TCP that comes or goes.
#[derive(Debug)]
pub struct Wire {
    v4: OwnedFd,
    v6: OwnedFd,
    tap: OwnedFd,
    heard: Mutex<Vec<Segment>>,
}

impl Wire {
    /// Plugs in at a host; what went by before is not heard.
    ///
    /// # Panics
    /// If sockets cannot be made: the test needs root.
    #[must_use]
    pub fn on(host: &Host) -> Self {
        host.within(|| {
            let socket = |family, kind, protocol| {
                socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).expect("root may make it")
            };
            let all = Protocol::from_raw(std::num::NonZeroU32::new(ALL).expect("not 0"));
            // Not bound, it hears every interface (packet(7)).
            let tap = socket(AddressFamily::PACKET, SocketType::DGRAM, all);
            sockopt::set_socket_recv_buffer_size_force(&tap, 64 << 20).expect("root may have more");
            sockopt::set_socket_timeout(&tap, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a time-out");
            Self {
                v4: socket(AddressFamily::INET, SocketType::RAW, ipproto::RAW),
                v6: socket(AddressFamily::INET6, SocketType::RAW, ipproto::RAW),
                tap,
                heard: Mutex::default(),
            }
        })
    }

    /// Sends a packet, whoever's address it says it is from.
    ///
    /// # Panics
    /// If the kernel does not take it.
    pub fn send(&self, segment: &Segment) {
        let by = if segment.source.is_ipv4() { &self.v4 } else { &self.v6 };
        let to = SocketAddr::new(segment.destination.ip(), 0);
        sendto(by, &segment.packet(), SendFlags::empty(), &to).expect("sent");
    }

    /// The same, for so many routers only: it dies at the next.
    ///
    /// # Panics
    /// If the kernel does not take it.
    pub fn send_for(&self, segment: &Segment, hops: u8) {
        let (by, at) = if segment.source.is_ipv4() { (&self.v4, 8) } else { (&self.v6, 7) };
        let mut packet = segment.packet();
        *packet.get_mut(at).expect("a header") = hops;
        let to = SocketAddr::new(segment.destination.ip(), 0);
        sendto(by, &packet, SendFlags::empty(), &to).expect("sent");
    }

    /// What a router says to the sender of an IPv4 packet that is longer than its next cable takes (RFC 1191 section 4).
    ///
    /// # Panics
    /// If the kernel does not take it.
    pub fn too_long(&self, router: IpAddr, packet: &Segment, mtu: u16) {
        let quoted = packet.packet();
        let quoted = quoted.get(..28).expect("a header and eight bytes");
        let [high, low] = mtu.to_be_bytes();
        let mut icmp = [&[3, 4, 0, 0, 0, 0, high, low], quoted].concat();
        let sum = checksum(&icmp);
        icmp.get_mut(2..4).expect("a header").copy_from_slice(&sum.to_be_bytes());
        let [above, below] = u16::try_from(20 + icmp.len()).expect("a small packet").to_be_bytes();
        let start = vec![0x45, 0, above, below, 0, 0, 0, 0, 64, 1, 0, 0];
        let whole = [start, octets(router), octets(packet.source.ip()), icmp].concat();
        let to = SocketAddr::new(packet.source.ip(), 0);
        sendto(&self.v4, &whole, SendFlags::empty(), &to).expect("sent");
    }

    /// All that was heard, up to now.
    #[must_use]
    pub fn heard(&self) -> Vec<Segment> {
        let mut heard = self.lock();
        while let Some(segment) = self.read(RecvFlags::DONTWAIT) {
            heard.extend(segment);
        }
        heard.clone()
    }

    /// What was heard of this kind, up to now.
    #[must_use]
    pub fn of(&self, mut wanted: impl FnMut(&Segment) -> bool) -> Vec<Segment> {
        let mut heard = self.heard();
        heard.retain(|segment| wanted(segment));
        heard
    }

    /// Forgets what was heard up to now.
    pub fn forget(&self) {
        drop(self.heard());
        self.lock().clear();
    }

    /// The first packet of this kind: heard already, or to come.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn until(&self, what: &str, mut wanted: impl FnMut(&Segment) -> bool) -> Segment {
        Log::default().until(what, || self.heard().into_iter().find(|segment| wanted(segment)))
    }

    /// A packet, if one is there; one that is not of TCP is none within.
    fn read(&self, flags: RecvFlags) -> Option<Option<Segment>> {
        let mut packet = [0; 1 << 16];
        let (read, _) = recv(&self.tap, &mut packet, flags).ok()?;
        Some(Segment::read(packet.get(..read)?))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP client by hand, that sends what a test tells it and nothing else.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// Where it is plugged in.
    pub wire: &'a Wire,
    /// Its address and port.
    pub from: SocketAddr,
    /// Whom it calls.
    pub to: SocketAddr,
    /// The number of the next byte that it sends.
    pub sequence: u32,
    /// The number of the next byte that it expects.
    pub acknowledged: u32,
}

impl<'a> Caller<'a> {
    /// A client at this address and port.
    #[must_use]
    pub fn new(wire: &'a Wire, from: SocketAddr, to: SocketAddr) -> Self {
        // Any number will do, if two callers of one port differ.
        let sequence = 1_000_000_000 + u32::from(from.port()) * 1000;
        Self { wire, from, to, sequence, acknowledged: 0 }
    }

    /// A packet with the numbers of the moment.
    #[must_use]
    pub fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        Segment {
            source: self.from,
            destination: self.to,
            sequence: self.sequence,
            acknowledged: if flags & ACK == 0 { 0 } else { self.acknowledged },
            flags,
            options: vec![],
            payload: payload.to_vec(),
        }
    }

    /// Sends a packet with the numbers of the moment.
    pub fn send(&self, flags: u8, payload: &[u8]) {
        self.wire.send(&self.segment(flags, payload));
    }

    /// Waits for the SYN-ACK to the SYN of this sequence number, and takes its numbers.
    #[track_caller]
    pub fn answered(&mut self) {
        let answer = self.hears("a SYN-ACK", |heard| heard.is(SYN | ACK));
        self.sequence = self.sequence.wrapping_add(1);
        self.acknowledged = answer.sequence.wrapping_add(1);
    }

    /// The first two steps of the handshake.
    #[track_caller]
    pub fn half_open(&mut self) {
        self.send(SYN, b"");
        self.answered();
    }

    /// The whole handshake.
    #[track_caller]
    pub fn connect(&mut self) {
        self.half_open();
        self.send(ACK, b"");
    }

    /// Says something.
    pub fn say(&mut self, payload: &[u8]) {
        self.send(PSH | ACK, payload);
        self.sequence = self.sequence.wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
    }

    /// Says something, and waits until it is sent back.
    #[track_caller]
    pub fn echo(&mut self, payload: &[u8]) {
        self.say(payload);
        let answer = self.hears("what it said", |heard| heard.payload == payload);
        self.acknowledged = answer.sequence.wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
        self.send(ACK, b"");
    }

    /// The first packet of this kind that is for it: heard already, or to come.
    #[track_caller]
    pub fn hears(&self, what: &str, mut wanted: impl FnMut(&Segment) -> bool) -> Segment {
        self.wire.until(what, |heard| heard.goes(self.to, self.from) && wanted(heard))
    }

    /// Whether a packet of this kind has come for it.
    #[must_use]
    pub fn has_heard(&self, mut wanted: impl FnMut(&Segment) -> bool) -> bool {
        !self.wire.of(|heard| heard.goes(self.to, self.from) && wanted(heard)).is_empty()
    }
}
