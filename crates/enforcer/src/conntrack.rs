//! What conntrack knows of our connections (linux/netfilter/nfnetlink_conntrack.h). What must never happen here: a decision
//! that hangs on an event: events are for speed, and may be lost.

use crate::marks::{Marks, Masked};
use crate::netlink::{ACK, Attributes, CONNTRACK, DUMP, Failed, REQUEST, Read, Received, Socket};
use crate::rule::Family;
use kmsgate_orders::order::{Carried, Ends};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};

/// Groups whose events tell of changed marks and states, and of ends.
pub const GROUPS: [u32; 2] = [2, 3];

const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const PROTOCOL: u16 = 4;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const COUNT_ORIGINAL: u16 = 9;
const COUNT_REPLY: u16 = 10;
const TIMES: u16 = 20;
const MARK_MASK: u16 = 21;

/// What conntrack remembers of a direction: it was the first to send a FIN (IP_CT_TCP_FLAG_CLOSE_INIT,
/// linux/netfilter/nf_conntrack_tcp.h).
const CLOSED_FIRST: u8 = 4;
/// The most that the headers of a packet can have: IP without and TCP with all its options.
const HEADERS: [u64; 2] = [20 + 60, 40 + 60];

/// Both FINs were acknowledged; a reset was seen (linux/netfilter/nf_conntrack_tcp.h).
const TIME_WAIT: u8 = 7;
const CLOSE: u8 = 8;
const TCP: u8 = 6;

/// An entry of conntrack, as far as an answer or event has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The person's side.
    pub ends: Ends,
    /// Its mark, and what is known of the rest.
    pub carried: Carried,
    /// Whether TCP has ended.
    pub closed: bool,
    /// Whether by a reset.
    pub reset: bool,
    /// Whether the entry is gone.
    pub gone: bool,
}

/// Reads an event or answer; none if it is not of TCP, or has no mark of ours.
#[must_use]
pub fn entry(message: &Received<'_>, marks: &Marks) -> Option<Entry> {
    let gone = message.kind == (CONNTRACK << 8) | DELETE;
    if !gone && message.kind != (CONNTRACK << 8) | NEW {
        return None;
    }
    let attributes = message.attributes();
    let mark = attributes.u32(MARK)?;
    marks.grant_of(mark)?;
    let (client, gateway) = tuple(attributes.nest(ORIGINAL)?)?;
    let (provider, _) = tuple(attributes.nest(REPLY)?)?;
    let tcp = attributes.nest(PROTOCOL).and_then(|info| info.nest(1));
    let [state] = tcp.and_then(|tcp| tcp.array::<1>(1)).unwrap_or_default();
    let [reply, _] = tcp.and_then(|tcp| tcp.array::<2>(5)).unwrap_or_default();
    let closed = state == TIME_WAIT || state == CLOSE;
    let count = |kind, what| attributes.nest(kind).and_then(|counters| counters.u64(what)).unwrap_or(0);
    let bytes_in = count(COUNT_ORIGINAL, 2);
    let [v4, v6] = HEADERS;
    let headers = if client.is_ipv4() { v4 } else { v6 };
    let carried = Carried {
        grant: None,
        mark,
        provider,
        alive: !closed && !gone && !marks.is_over(mark),
        answered: marks.is_answered(mark),
        asked: bytes_in > count(COUNT_ORIGINAL, 1).saturating_mul(headers),
        // Our rule marks what a provider's reset ended; the end of a window is marked before TCP has ended.
        by_provider: reply & CLOSED_FIRST != 0 || state == CLOSE && marks.is_over(mark),
        cut: marks.is_over(mark) && !closed,
        bytes_in,
        bytes_out: count(COUNT_REPLY, 2),
        lasted: lasted(attributes).unwrap_or(0),
    };
    Some(Entry { ends: Ends { client, gateway }, carried, closed, reset: state == CLOSE, gone })
}

/// Reads one connection; none if conntrack has no such entry, or it was never claimed.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn read(socket: &mut Socket, marks: &Marks, ends: &Ends) -> Result<Option<Entry>, Failed> {
    let mut request = socket.messages();
    let family = Family::of(&ends.client.ip());
    request.message(CONNTRACK, GET, REQUEST, family.number(), |out| original(out, ends));
    let mut found = None;
    let answered = socket.ask_for_one(&request, |message| found = found.or_else(|| entry(&message, marks)));
    absent_is_done(answered)?;
    Ok(found)
}

/// Hands every entry of ours with this mark to `each`.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn each(socket: &mut Socket, marks: &Marks, mark: Masked, mut each: impl FnMut(Entry)) -> Result<(), Failed> {
    for family in Family::BOTH {
        let mut request = socket.messages();
        request.message(CONNTRACK, GET, REQUEST | DUMP, family.number(), |out| {
            out.u32(MARK, mark.value).u32(MARK_MASK, mark.mask);
        });
        socket.ask(&request, |message| {
            if let Some(entry) = entry(&message, marks) {
                each(entry);
            }
        })?;
    }
    Ok(())
}

/// Lets the entry of a connection that is over last so many seconds more: long enough to tell both sides.
///
/// # Errors
/// If the kernel refuses; an entry that is gone is no error.
pub fn shorten(socket: &mut Socket, ends: &Ends, seconds: u32) -> Result<(), Failed> {
    change(socket, ends, |out| {
        out.u32(TIMEOUT, seconds);
    })
}

/// Marks a connection as over: the first packet of either side becomes a reset for the other, the next is answered with one.
///
/// # Errors
/// If the kernel refuses; an entry that is gone is no error.
pub fn end(socket: &mut Socket, marks: &Marks, ends: &Ends) -> Result<(), Failed> {
    change(socket, ends, |out| {
        out.u32(MARK, marks.end()).u32(MARK_MASK, marks.end());
    })
}

fn change(socket: &mut Socket, ends: &Ends, what: impl FnOnce(&mut Attributes<'_>)) -> Result<(), Failed> {
    let mut request = socket.messages();
    let family = Family::of(&ends.client.ip());
    request.message(CONNTRACK, NEW, REQUEST | ACK, family.number(), |out| {
        original(out, ends);
        what(out);
    });
    absent_is_done(socket.ask(&request, |_| ()))
}

/// Deletes every entry with this mark: what is left of its connections gets no answer from here.
///
/// # Errors
/// If the kernel refuses.
pub fn forget(socket: &mut Socket, mark: Masked) -> Result<(), Failed> {
    for family in Family::BOTH {
        let mut request = socket.messages();
        request.message(CONNTRACK, DELETE, REQUEST | ACK, family.number(), |out| {
            out.u32(MARK, mark.value).u32(MARK_MASK, mark.mask);
        });
        absent_is_done(socket.ask(&request, |_| ()))?;
    }
    Ok(())
}

/// Deletes half-open entries towards a provider that is down: they would go on trying it (K11).
///
/// # Errors
/// If the kernel refuses.
pub fn forget_pending(
    socket: &mut Socket,
    marks: &Marks,
    pending: Masked,
    provider: &SocketAddr,
) -> Result<(), Failed> {
    let mut found = vec![];
    for family in Family::BOTH {
        let mut request = socket.messages();
        request.message(CONNTRACK, GET, REQUEST | DUMP, family.number(), |out| {
            out.u32(MARK, pending.value).u32(MARK_MASK, pending.mask);
        });
        socket.ask(&request, |message| {
            let attributes = message.attributes();
            let tuples = attributes.nest(ORIGINAL).and_then(tuple).zip(attributes.nest(REPLY).and_then(tuple));
            if let Some(((client, gateway), (towards, _))) = tuples
                && towards == *provider
            {
                found.push(Ends { client, gateway });
            }
        })?;
    }
    for ends in found {
        // It may have been claimed meanwhile: a running connection is left alone.
        if read(socket, marks, &ends)?.is_some() {
            continue;
        }
        let mut request = socket.messages();
        let family = Family::of(&ends.client.ip());
        request.message(CONNTRACK, DELETE, REQUEST | ACK, family.number(), |out| original(out, &ends));
        absent_is_done(socket.ask(&request, |_| ()))?;
    }
    Ok(())
}

fn absent_is_done(answered: Result<(), Failed>) -> Result<(), Failed> {
    match answered {
        Err(Failed { errno: Errno::NOENT, .. }) => Ok(()),
        answered => answered,
    }
}

/// Source and destination of a direction.
fn tuple(tuple: Read<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (tuple.nest(1)?, tuple.nest(2)?);
    if protocol.array::<1>(1)? != [TCP] {
        return None;
    }
    let (source, destination) = match (addresses.array::<4>(1), addresses.array::<4>(2)) {
        (Some(source), Some(destination)) => (IpAddr::from(source), IpAddr::from(destination)),
        _ => (IpAddr::from(addresses.array::<16>(3)?), IpAddr::from(addresses.array::<16>(4)?)),
    };
    let port = |kind| protocol.array::<2>(kind).map(u16::from_be_bytes);
    Some((SocketAddr::new(source, port(2)?), SocketAddr::new(destination, port(3)?)))
}

fn original(out: &mut Attributes<'_>, ends: &Ends) {
    let (source, destination) = match Family::of(&ends.client.ip()) {
        Family::V4 => (1, 2),
        Family::V6 => (3, 4),
    };
    out.nest(ORIGINAL, |tuple| {
        tuple.nest(1, |addresses| {
            addresses.bytes(source, &crate::encode::octets(&ends.client.ip()));
            addresses.bytes(destination, &crate::encode::octets(&ends.gateway.ip()));
        });
        tuple.nest(2, |protocol| {
            protocol.u8(1, TCP).u16(2, ends.client.port()).u16(3, ends.gateway.port());
        });
    });
}

/// Milliseconds from the first packet to the last, or to the reading (`nf_conntrack_timestamp`; nanoseconds of UTC).
fn lasted(attributes: Read<'_>) -> Option<u64> {
    let times = attributes.nest(TIMES)?;
    let start = times.u64(1)?;
    let stop = times.u64(2)?;
    Some(stop.saturating_sub(start) / 1_000_000)
}
