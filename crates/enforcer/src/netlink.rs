//! Netlink messages and the socket they go through (netlink(7), RFC 3549). What must never happen here: an attribute read
//! past its end, a batch that is half believed.

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// nftables' and conntrack's subsystem numbers (linux/netfilter/nfnetlink.h).
pub const NFTABLES: u16 = 10;
/// See [`NFTABLES`].
pub const CONNTRACK: u16 = 1;

/// Flags of a message (linux/netlink.h).
pub const REQUEST: u16 = 1;
/// The kernel says that it was done.
pub const ACK: u16 = 4;
/// Everything there is, in many messages.
pub const DUMP: u16 = 0x300;
/// Fails if it is there.
pub const EXCLUSIVE: u16 = 0x200;
/// Made if it is not there.
pub const CREATE: u16 = 0x400;
/// Behind the others.
pub const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// The most that a socket may have under way: a million grants in one batch would not fit, 10,000 do.
const BUFFER: usize = 32 << 20;
/// Events that are heard in one turn: more than come of any honest load.
const AT_ONCE: u32 = 50_000;
/// The kernel's dumps come in pieces of 32 KiB (NLMSG_GOODSIZE).
const PIECE: usize = 64 << 10;

/// A buffer of messages.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    /// Empty; numbers begin behind `sequence`.
    #[must_use]
    pub fn after(sequence: u32) -> Self {
        Self { bytes: Vec::with_capacity(1024), sequence }
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of the last message.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// One message: `kind` within `subsystem`, an nfgenmsg of `family`, and its attributes. Returns its number.
    pub fn message(
        &mut self,
        subsystem: u16,
        kind: u16,
        flags: u16,
        family: u8,
        body: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        self.raw((subsystem << 8) | kind, flags, family, 0, body)
    }

    /// What stands before the messages of a batch for nftables.
    pub fn begin_batch(&mut self) {
        self.raw(BATCH_BEGIN, REQUEST, 0, NFTABLES, |_| ());
    }

    /// And behind them.
    pub fn end_batch(&mut self) {
        self.raw(BATCH_END, REQUEST, 0, NFTABLES, |_| ());
    }

    fn raw(&mut self, kind: u16, flags: u16, family: u8, resource: u16, body: impl FnOnce(&mut Attributes<'_>)) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        body(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
        self.sequence
    }
}

/// The attributes of a message being written.
#[derive(Debug)]
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// An attribute of plain bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.within(kind, |bytes| bytes.extend_from_slice(value))
    }

    /// A name, which ends with a zero byte.
    pub fn name(&mut self, kind: u16, name: &str) -> &mut Self {
        self.within(kind, |bytes| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        })
    }

    /// A number of one byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// A number in network order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in network order.
    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Attributes within an attribute.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.within(kind | NESTED, |bytes| body(&mut Attributes(bytes)))
    }

    /// How many bytes the whole buffer has, for whoever must keep a nest below 64 KiB.
    #[must_use]
    pub fn written(&self) -> usize {
        self.0.len()
    }

    fn within(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        value(self.0);
        let length = self.0.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "an attribute of at most 64 KiB");
        patch(self.0, start, &u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.0.resize(start + length.next_multiple_of(4), 0);
        self
    }
}

fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Attributes being read: (kind without its flags, value). Ends at the first that does not fit.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a>(pub &'a [u8]);

impl<'a> Iterator for Read<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_first_chunk::<4>()?;
        let [length_low, length_high, kind_low, kind_high] = *head;
        let length = usize::from(u16::from_ne_bytes([length_low, length_high]));
        let kind = u16::from_ne_bytes([kind_low, kind_high]) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Read<'a> {
    /// The first attribute of a kind.
    #[must_use]
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.by_ref().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes within the first one of a kind.
    #[must_use]
    pub fn nest(self, kind: u16) -> Option<Self> {
        self.find(kind).map(Read)
    }

    /// A number in network order.
    #[must_use]
    pub fn u32(self, kind: u16) -> Option<u32> {
        self.array(kind).map(u32::from_be_bytes)
    }

    /// A number in network order.
    #[must_use]
    pub fn u64(self, kind: u16) -> Option<u64> {
        self.array(kind).map(u64::from_be_bytes)
    }

    /// A value of exactly this length.
    #[must_use]
    pub fn array<const N: usize>(self, kind: u16) -> Option<[u8; N]> {
        self.find(kind)?.try_into().ok()
    }
}

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Subsystem and kind.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// The number of the message that it answers.
    pub sequence: u32,
    /// What follows the header.
    payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// The attributes behind the nfgenmsg.
    #[must_use]
    pub fn attributes(&self) -> Read<'a> {
        Read(self.payload.get(4..).unwrap_or_default())
    }

    /// The family of the nfgenmsg.
    #[must_use]
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or(0)
    }

    /// For an error message: 0 for an acknowledgement, else the error's number.
    fn error(&self) -> Option<i32> {
        if self.kind != ERROR {
            return None;
        }
        let (number, _) = self.payload.split_first_chunk::<4>()?;
        Some(i32::from_ne_bytes(*number).wrapping_neg())
    }
}

/// The messages of one datagram. Ends at the first that does not fit.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let (head, _) = datagram.split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *head;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        })
    })
}

/// A netlink socket towards netfilter.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    piece: Vec<u8>,
    sequence: u32,
}

impl Socket {
    /// Opens one; it belongs to the network namespace in which it was opened. `groups` are those it listens to, by number.
    ///
    /// # Errors
    /// If the kernel refuses: without CAP_NET_ADMIN, for one.
    pub fn open(groups: &[u32]) -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(rustix::net::netlink::NETFILTER),
        )?;
        // A user namespace's root may not go past the system's limit; batches are then as long as that allows.
        if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
        }
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
        }
        let mask = groups.iter().fold(0, |mask, group| mask | (1_u32 << (group - 1)));
        bind(&socket, &SocketAddrNetlink::new(0, mask))?;
        Ok(Self { socket, piece: vec![0; PIECE], sequence: 0 })
    }

    /// A buffer whose numbers follow those sent before.
    #[must_use]
    pub fn messages(&self) -> Messages {
        Messages::after(self.sequence)
    }

    /// Sends a batch whole and waits until the kernel acknowledged the message numbered `last`, whose ACK flag is set. All
    /// of it was done, or nothing.
    ///
    /// # Errors
    /// The first error, with the number of its message.
    pub fn commit(&mut self, batch: &Messages, last: u32) -> Result<(), Failed> {
        self.exchange(batch, last, false, |_| ())
    }

    /// Sends one request and hands what comes back to `each`, until it is acknowledged or, for a dump, done.
    ///
    /// # Errors
    /// As [`Socket::commit`].
    pub fn ask(&mut self, request: &Messages, each: impl FnMut(Received<'_>)) -> Result<(), Failed> {
        self.exchange(request, request.sequence(), false, each)
    }

    /// Sends one request for one thing, without ACK, and hands it to `each`: half as many messages as [`Socket::ask`] takes.
    ///
    /// # Errors
    /// As [`Socket::commit`].
    pub fn ask_for_one(&mut self, request: &Messages, each: impl FnMut(Received<'_>)) -> Result<(), Failed> {
        self.exchange(request, request.sequence(), true, each)
    }

    fn exchange(
        &mut self,
        sent: &Messages,
        last: u32,
        for_one: bool,
        mut each: impl FnMut(Received<'_>),
    ) -> Result<(), Failed> {
        let first = self.sequence;
        self.sequence = sent.sequence();
        let whole = |errno| Failed { errno, sequence: 0 };
        let length = retry_on_intr(|| send(&self.socket, sent.bytes(), SendFlags::empty())).map_err(whole)?;
        if length != sent.bytes().len() {
            return Err(whole(Errno::MSGSIZE));
        }
        let mut failed: Option<Failed> = None;
        loop {
            let (received, _) = match retry_on_intr(|| recv(&self.socket, &mut *self.piece, RecvFlags::empty())) {
                Ok(received) => received,
                Err(errno) => return Err(failed.unwrap_or(whole(errno))),
            };
            for message in messages(self.piece.get(..received).unwrap_or_default()) {
                if message.sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                    continue;
                }
                match message.error() {
                    Some(0) if message.sequence == last => return failed.map_or(Ok(()), Err),
                    Some(0) => {}
                    Some(errno) => {
                        let this = Failed { errno: Errno::from_raw_os_error(errno), sequence: message.sequence };
                        let ended = message.sequence == last || message.sequence == first.wrapping_add(1);
                        let first_one = *failed.get_or_insert(this);
                        if ended {
                            return Err(first_one);
                        }
                    }
                    None if message.kind == DONE => return failed.map_or(Ok(()), Err),
                    None => {
                        each(message);
                        if for_one {
                            return failed.map_or(Ok(()), Err);
                        }
                    }
                }
            }
        }
    }

    /// Hands every message that waits to `each`, without waiting for more, and no more than [`AT_ONCE`] of them: whoever sends
    /// without end must not keep us from anything else.
    ///
    /// # Errors
    /// `NOBUFS` if some were lost.
    pub fn drain(&mut self, mut each: impl FnMut(Received<'_>)) -> Result<(), Errno> {
        for _ in 0..AT_ONCE {
            match retry_on_intr(|| recv(&self.socket, &mut *self.piece, RecvFlags::DONTWAIT)) {
                Ok((received, _)) => messages(self.piece.get(..received).unwrap_or_default()).for_each(&mut each),
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message that the kernel did not carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub errno: Errno,
    /// Which; 0 if it was none of them.
    pub sequence: u32,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the kernel refuses: {}", self.errno)
    }
}

impl std::error::Error for Failed {}
