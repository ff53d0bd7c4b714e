//! The elements of grants: how a grant is in the kernel. What must never happen here: an element added without its end, an
//! element of an open grant written again.
//!
//! A grant is an element in each of four sets with one time-out, added in one transaction: `open` (may begin connections),
//! `gen` (their mark), `live` (those claimed pass), `pass` (how many are left); one of several connections has a fifth,
//! `more`. `pass` tells the rest: whose it is, and by its counter how many were claimed.

use crate::encode::{self, INET};
use crate::marks::Marks;
use crate::netlink::{ACK, Attributes, CREATE, EXCLUSIVE, Failed, Messages, NFTABLES, REQUEST, Socket};
use crate::rule::{Family, TABLE};
use crate::ruleset::{Names, live};
use kmsgate_orders::order::{Carrier, GrantName, Opening, Place, Standing};
use kmsgate_orders::table::Table;
use rustix::io::Errno;
use std::collections::HashMap;

const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DELETE_ELEMENTS: u16 = 14;

/// Attributes of an element (linux/netfilter/nf_tables.h, NFTA_SET_ELEM_*).
const KEY: u16 = 1;
const DATA: u16 = 2;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;
const USER_DATA: u16 = 6;
const EXPRESSIONS: u16 = 11;

/// Kinds of what nft keeps with an element: a comment, which it shows; ours, which it passes over.
const COMMENT: u8 = 0;
const COUNTS: u8 = 100;

/// Where a grant's elements are, as bytes and names.
pub struct At<'a> {
    names: Names<'a>,
    key: Vec<u8>,
}

impl<'a> At<'a> {
    /// A place; none if the table has no such service.
    #[must_use]
    pub fn new(table: &'a Table, place: &Place) -> Option<Self> {
        let service = table.services.get(usize::from(place.service))?;
        let names = Names(&service.name, Family::of(&place.address));
        Some(Self { names, key: encode::octets(&place.address) })
    }

    fn live(&self) -> String {
        live(self.names.1)
    }

    fn live_key(&self, mark: u32) -> Vec<u8> {
        [self.key.as_slice(), &mark.to_ne_bytes()].concat()
    }
}

/// How a place stands in the kernel, read from its `pass` element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub grant: GrantName,
    /// Who carries it.
    pub carrier: Carrier,
    /// The mark of its connections; 0 if the relay carries them.
    pub mark: u32,
    /// Milliseconds left.
    pub remaining: u64,
    /// Connections that the limit allowed from the start, and how many were claimed before that.
    allowed: u16,
    before: u16,
    /// Connections claimed since the grant was opened.
    pub claimed: u16,
}

impl Budget {
    /// Connections that may still come.
    #[must_use]
    pub fn left(&self) -> u16 {
        self.before.saturating_add(self.allowed).saturating_sub(self.claimed)
    }

    /// As it is answered.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            grant: self.grant,
            carrier: self.carrier,
            remaining: self.remaining,
            claimed: self.claimed,
            left: self.left(),
        }
    }
}

/// Reads how a place stands; none if nothing is open there.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn budget(socket: &mut Socket, at: &At<'_>) -> Result<Option<Budget>, Failed> {
    let mut found = None;
    for (set, carrier) in [(at.names.budget(), Carrier::Kernel), (at.names.relayed(), Carrier::Relay)] {
        get(socket, &set, &at.key, |element| {
            let Kept { grant, allowed, before, mark } = Kept::read(element.find(USER_DATA).unwrap_or_default())?;
            let claimed = match carrier {
                Carrier::Kernel => u16::try_from(counted(element.nest(EXPRESSIONS)?)?).unwrap_or(u16::MAX),
                Carrier::Relay => 0,
            };
            found =
                Some(Budget { grant, carrier, mark, remaining: element.u64(EXPIRATION)?, allowed, before, claimed });
            Some(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

/// The mark that connections of this place get; none if nothing is open there.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn mark(socket: &mut Socket, at: &At<'_>) -> Result<Option<u32>, Failed> {
    let mut found = None;
    get(socket, &at.names.generation(), &at.key, |element| {
        found = element.nest(DATA)?.array(1).map(u32::from_ne_bytes);
        Some(())
    })?;
    Ok(found)
}

/// Asks for one element by its key: a read of the whole set would take longer the more there are, squared.
fn get(
    socket: &mut Socket,
    set: &str,
    key: &[u8],
    mut each: impl FnMut(crate::netlink::Read<'_>) -> Option<()>,
) -> Result<(), Failed> {
    let mut request = socket.messages();
    request.message(NFTABLES, GET_ELEMENTS, REQUEST, INET, |out| {
        elements(out, set, |list| {
            element(list, key, |_| ());
        });
    });
    let answered = socket.ask_for_one(&request, |message| {
        let element = message.attributes().nest(3).and_then(|list| list.nest(1));
        // What cannot be read is as good as absent: the place is then written anew, with its elements taken out first.
        if let Some(element) = element {
            let _readable = each(element).is_some();
        }
    });
    match answered {
        Err(Failed { errno: Errno::NOENT, .. }) => Ok(()),
        answered => answered,
    }
}

/// Puts the elements of a grant into a batch; they end `milliseconds` from when it is carried out. Fails if any is there.
pub fn add(batch: &mut Messages, at: &At<'_>, opening: &Opening, mark: u32, milliseconds: u64) {
    if opening.carrier == Carrier::Relay {
        let kept = Kept { grant: opening.grant, allowed: 0, before: 0, mark: 0 };
        return add_to(batch, &at.names.relayed(), &at.key, milliseconds, |element| {
            element.bytes(USER_DATA, &kept.write());
        });
    }
    let left = opening.connections.saturating_sub(opening.claimed);
    add_to(batch, &at.names.generation(), &at.key, milliseconds, |element| {
        element.nest(DATA, |data| {
            data.bytes(1, &mark.to_ne_bytes());
        });
    });
    add_to(batch, &at.live(), &at.live_key(mark), milliseconds, |_| ());
    let kept = Kept { grant: opening.grant, allowed: left, before: opening.claimed, mark };
    add_budget(batch, at, &kept, milliseconds);
}

/// Puts what admits connections: the budget, and if any are left the address.
fn add_budget(batch: &mut Messages, at: &At<'_>, kept: &Kept, milliseconds: u64) {
    let left = kept.allowed;
    add_to(batch, &at.names.budget(), &at.key, milliseconds, |element| {
        element.bytes(USER_DATA, &kept.write());
        element.nest(EXPRESSIONS, |list| encode::budget(list, left.max(1).into(), kept.before.into()));
    });
    if left > 1 {
        add_to(batch, &at.names.not_last(), &at.key, milliseconds, |element| {
            element.nest(EXPRESSIONS, |list| encode::budget(list, u32::from(left) - 1, 0));
        });
    }
    if left > 0 {
        add_to(batch, &at.names.open(), &at.key, milliseconds, |_| ());
    }
}

/// Gives connections back to a grant of which none is left, without touching its end.
///
/// # Errors
/// If the kernel refuses; nothing was changed then.
pub fn give_back(socket: &mut Socket, at: &At<'_>, budget: &Budget, count: u16) -> Result<(), Failed> {
    take_out(
        socket,
        &[
            (at.names.budget(), at.key.clone()),
            (at.names.not_last(), at.key.clone()),
            (at.names.open(), at.key.clone()),
        ],
        |batch| {
            let kept = Kept { grant: budget.grant, allowed: count, before: budget.claimed, mark: budget.mark };
            add_budget(batch, at, &kept, budget.remaining);
        },
    )
}

/// Removes whatever is in a place, and with `then` puts something else there in the same transaction.
///
/// # Errors
/// If the kernel refuses; nothing was changed then.
pub fn remove(socket: &mut Socket, at: &At<'_>, then: impl Fn(&mut Messages)) -> Result<(), Failed> {
    let mut all = vec![
        (at.names.open(), at.key.clone()),
        (at.names.budget(), at.key.clone()),
        (at.names.not_last(), at.key.clone()),
        (at.names.generation(), at.key.clone()),
        (at.names.relayed(), at.key.clone()),
    ];
    if let Some(mark) = mark(socket, at)? {
        all.push((at.live(), at.live_key(mark)));
    }
    take_out(socket, &all, then)
}

/// Elements that time out under our hands, or a table of our name that is not ours: it is loaded anew then.
const TAKEN_OUT_AT_MOST: u8 = 8;

/// Takes out those of the elements that are there. One may time out under our hands: then the whole is tried again, without
/// it. Kernels before 6.3 have no other way (NFT_MSG_DESTROYSETELEM).
fn take_out(socket: &mut Socket, all: &[(String, Vec<u8>)], then: impl Fn(&mut Messages)) -> Result<(), Failed> {
    for again in (0..TAKEN_OUT_AT_MOST).rev() {
        let mut batch = socket.messages();
        batch.begin_batch();
        for (set, key) in all {
            let mut there = false;
            get(socket, set, key, |_| {
                there = true;
                Some(())
            })?;
            if there {
                batch.message(NFTABLES, DELETE_ELEMENTS, REQUEST, INET, |out| {
                    elements(out, set, |list| {
                        element(list, key, |_| ());
                    });
                });
            }
        }
        then(&mut batch);
        let last = done(&mut batch);
        batch.end_batch();
        match socket.commit(&batch, last) {
            Err(Failed { errno: Errno::NOENT, .. }) if again > 0 && crate::load::is_present(socket)? => {}
            ended => return ended,
        }
    }
    Ok(())
}

/// A last message that asks for an acknowledgement and changes nothing.
pub fn done(batch: &mut Messages) -> u32 {
    batch.message(NFTABLES, 0, REQUEST | CREATE | ACK, INET, |table| {
        table.name(1, TABLE);
    })
}

/// Hands the key of every element of a service's budgets to `each`. As slow as the square of their number.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn each(socket: &mut Socket, set: &str, mut each: impl FnMut(&[u8], GrantName)) -> Result<(), Failed> {
    let mut request = socket.messages();
    request.message(NFTABLES, GET_ELEMENTS, REQUEST | crate::netlink::DUMP, INET, |out| {
        out.name(1, TABLE).name(2, set);
    });
    socket.ask(&request, |message| {
        let Some(list) = message.attributes().nest(3) else { return };
        for (_, element) in list {
            let element = crate::netlink::Read(element);
            let key = element.nest(KEY).and_then(|key| key.find(1));
            let kept = element.find(USER_DATA).and_then(Kept::read);
            if let (Some(key), Some(kept)) = (key, kept) {
                each(key, kept.grant);
            }
        }
    })
}

fn add_to(batch: &mut Messages, set: &str, key: &[u8], milliseconds: u64, rest: impl FnOnce(&mut Attributes<'_>)) {
    batch.message(NFTABLES, NEW_ELEMENTS, REQUEST | CREATE | EXCLUSIVE, INET, |out| {
        elements(out, set, |list| {
            element(list, key, |element| {
                element.u64(TIMEOUT, milliseconds);
                rest(element);
            });
        });
    });
}

fn elements(out: &mut Attributes<'_>, set: &str, list: impl FnOnce(&mut Attributes<'_>)) {
    out.name(1, TABLE).name(2, set).nest(3, list);
}

fn element(list: &mut Attributes<'_>, key: &[u8], rest: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(1, |element| {
        element.nest(KEY, |data| {
            data.bytes(1, key);
        });
        rest(element);
    });
}

/// What an element keeps of its grant, in the form of nft's user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    grant: GrantName,
    /// Connections that the limit allows.
    allowed: u16,
    /// Connections that were claimed before this element was added.
    before: u16,
    mark: u32,
}

impl Kept {
    /// The grant's name as nft's comment, so that an administrator sees whose an element is, and our numbers.
    fn write(&self) -> Vec<u8> {
        let mut data = vec![COMMENT, 27];
        data.extend_from_slice(&text_of(&self.grant));
        data.extend_from_slice(&[0, COUNTS, 24]);
        data.extend_from_slice(&self.grant);
        data.extend_from_slice(&self.allowed.to_be_bytes());
        data.extend_from_slice(&self.before.to_be_bytes());
        data.extend_from_slice(&self.mark.to_be_bytes());
        data
    }

    fn read(mut data: &[u8]) -> Option<Self> {
        loop {
            let ([kind, length], rest) = data.split_first_chunk::<2>()?;
            let value = rest.get(..usize::from(*length))?;
            data = rest.get(usize::from(*length)..)?;
            if *kind == COUNTS {
                let (grant, counts) = value.split_first_chunk::<16>()?;
                let [a, b, c, d, mark @ ..] = *counts.first_chunk::<8>()?;
                let (allowed, before) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                return Some(Self { grant: *grant, allowed, before, mark: u32::from_be_bytes(mark) });
            }
        }
    }
}

/// The packets that an element's counter has counted.
fn counted(list: crate::netlink::Read<'_>) -> Option<u64> {
    let mut expressions = list.map(|(_, expression)| crate::netlink::Read(expression));
    expressions.find(|expression| expression.find(1) == Some(b"counter\0"))?.nest(2)?.u64(2)
}

/// A ULID's 26 letters (Crockford's base 32).
#[must_use]
pub fn text_of(grant: &GrantName) -> [u8; 26] {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = u128::from_be_bytes(*grant);
    std::array::from_fn(|place| {
        let five = number >> (5 * (25 - place)) & 31;
        LETTERS.get(usize::try_from(five).unwrap_or(0)).copied().unwrap_or(b'0')
    })
}

/// Marks of grants, none of which comes again while a connection of its former bearer could live.
#[derive(Debug)]
pub struct Generations {
    marks: Marks,
    /// When places were cleared of what is over.
    cleared: u64,
    /// The last generation of a place, as long as the clock has not gone past it.
    last: HashMap<Place, u64>,
}

/// Milliseconds of a generation: 2^21 of them are 29 hours, and no window is longer than 12.
const TICK: u64 = 50;

impl Generations {
    /// None given yet.
    #[must_use]
    pub fn new(marks: Marks) -> Self {
        Self { marks, cleared: 0, last: HashMap::new() }
    }

    /// The mark for a grant of this place that is opened at `now` (nanoseconds since the boot): the number of the tick, so
    /// that it needs no memory of earlier grants; a place that had this tick's, or a later one, gets the one behind its last.
    pub fn next(&mut self, place: Place, now: u64) -> u32 {
        let tick = now / 1_000_000 / TICK;
        if tick != self.cleared {
            self.cleared = tick;
            self.last.retain(|_, last| *last >= tick);
        }
        let next = self.last.get(&place).map_or(tick, |last| tick.max(last + 1));
        self.last.insert(place, next);
        self.marks.of_generation(u32::try_from(next % u64::from(crate::marks::GENERATIONS)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_the_grants_name() {
        let grant = 0x0192_4b4a_0f1e_9d3c_5a6b_7c8d_9eaf_b0c1_u128.to_be_bytes();
        assert_eq!(&text_of(&grant), b"01J95MM3RYKMY5MTVWHPFAZC61");
        let kept = Kept { grant, allowed: 3, before: 1, mark: 0x6b80_0007 };
        let data = kept.write();
        assert_eq!(Kept::read(&data), Some(kept));
        for cut in 0..data.len() {
            assert_eq!(Kept::read(&data[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_place_never_gets_the_same_generation_twice() {
        let mut generations = Generations::new(Marks::within(u32::MAX).expect("all bits"));
        let place = |service| Place { service, address: "192.0.2.1".parse().expect("an address") };
        let mut given = std::collections::HashSet::new();
        // An opening may draw more than one: where it is tried again, or takes the place of another.
        for step in 0..400_u64 {
            let now = step * 10_000_000;
            for _ in 0..=step % 3 {
                assert!(given.insert(generations.next(place(0), now)), "{now}");
            }
            generations.next(place(1), now);
        }
    }
}
