//! What the kernel forwards, as far as it was told. What must never happen here: a claim forgotten, a claim counted twice.
//!
//! The truth is in the kernel's counters; this is what the page shows between two readings of them.

use crate::forward::Live;
use kmsgate_core::grant::{GIVEN_BACK_AT_MOST, GrantId, Totals};
use kmsgate_core::time::BootTime;
use kmsgate_ledger::records::GrantRecord;
use kmsgate_orders::order::{Carried, Carrier, Ends, Opening, Place};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every grant that has elements in the kernel.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    slots: HashMap<GrantId, Slot>,
    /// How many of the slots the kernel carries: asked at every opening, when there may be a million.
    in_kernel: usize,
    running: HashMap<Ends, (GrantId, u32)>,
    /// Connections of a former run that the kernel has not yet told of, by grant and port: their numbers.
    before: HashMap<(GrantId, u16), u32>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    carrier: Carrier,
    deadline: BootTime,
    connections: u16,
    claims: u16,
    given_back: u16,
    /// Given back in the ledger, and not yet in the kernel.
    owed: u16,
    /// Given back before the kernel was given this grant, which it does not count.
    forgotten: u16,
    last_number: u32,
    close_when_used: bool,
    closing: bool,
    running: Vec<Running>,
    bytes_in: u64,
    bytes_out: u64,
    milliseconds: u64,
    /// What the kernel was last asked, until it is compared with what was told: claims, and connections left.
    standing: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    ends: Ends,
    number: u32,
    /// Whether the ledger has the claim.
    written: bool,
    /// It lasted longer than its service allows and was cut.
    limit: bool,
}

/// A claim that was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nobody knew of it.
    New(NewClaim),
    /// The former run had written it: its number, and of which service it is.
    Again(u32, u8),
}

/// A claim that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NewClaim {
    /// Its number within its grant.
    pub(super) number: u32,
    /// The end of the grant.
    pub(super) deadline: BootTime,
    /// Of which service, by its place.
    pub(super) service: u8,
}

/// A connection that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// Whose.
    pub(super) grant: GrantId,
    /// Its number within its grant.
    pub(super) number: u32,
    /// Whether the ledger has its claim.
    pub(super) written: bool,
    /// Whether it was cut because it lasted too long.
    pub(super) limit: bool,
    /// Whether a claim of this grant may be given back once more.
    pub(super) may_give_back: bool,
    /// Of which service, by its place.
    pub(super) service: u8,
}

impl Book {
    /// Enters a grant, or replaces what was entered under its name.
    pub(super) fn enter(&self, grant: &GrantRecord, place: Place, carrier: Carrier) {
        let slot = Slot {
            place,
            carrier,
            deadline: grant.window.deadline,
            connections: grant.connections,
            claims: grant.claims,
            given_back: grant.given_back,
            owed: 0,
            forgotten: 0,
            last_number: grant.last_claim,
            close_when_used: grant.close_when_used,
            closing: false,
            running: Vec::new(),
            bytes_in: grant.totals.bytes_in,
            bytes_out: grant.totals.bytes_out,
            milliseconds: grant.totals.milliseconds,
            standing: None,
        };
        let mut pages = self.pages();
        let before = pages.slots.insert(grant.id, slot);
        pages.in_kernel += usize::from(carrier == Carrier::Kernel);
        pages.in_kernel -= usize::from(before.is_some_and(|slot| slot.carrier == Carrier::Kernel));
    }

    /// A connection ran in a former run, as the ledger has it: it is known again by its grant and port.
    pub(super) fn ran(&self, id: GrantId, number: u32, port: u16) {
        self.pages().before.insert((id, port), number);
    }

    /// Those of a former run that the kernel does not have: they ended while nobody was there.
    pub(super) fn ran_out(&self) -> Vec<(GrantId, u32)> {
        std::mem::take(&mut self.pages().before).into_iter().map(|((id, _), number)| (id, number)).collect()
    }

    /// What the kernel says of a grant, for [`Book::compare`].
    pub(super) fn stands(&self, id: GrantId, claimed: u16, left: u16) {
        if let Some(slot) = self.pages().slots.get_mut(&id) {
            slot.standing = Some((claimed, left));
        }
    }

    /// The kernel had nothing of the grant and was given what is left of it: nothing is owed to it.
    pub(super) fn added(&self, id: GrantId) {
        if let Some(slot) = self.pages().slots.get_mut(&id) {
            (slot.owed, slot.forgotten, slot.standing) = (0, slot.given_back, None);
        }
    }

    /// Where a grant is, who carries it, and when it ends.
    pub(super) fn place(&self, id: GrantId) -> Option<(Place, Carrier, BootTime)> {
        self.pages().slots.get(&id).map(|slot| (slot.place, slot.carrier, slot.deadline))
    }

    /// Takes a grant out, with what came of it.
    pub(super) fn remove(&self, id: GrantId) -> Option<Totals> {
        let mut pages = self.pages();
        let slot = pages.slots.remove(&id)?;
        pages.in_kernel -= usize::from(slot.carrier == Carrier::Kernel);
        for running in &slot.running {
            pages.running.remove(&running.ends);
        }
        Some(Totals {
            claims: u32::from(slot.claims),
            given_back: u32::from(slot.given_back),
            bytes_in: slot.bytes_in,
            bytes_out: slot.bytes_out,
            milliseconds: slot.milliseconds,
        })
    }

    /// How a grant that the kernel carries stands; none while it is being closed.
    pub(super) fn live(&self, id: GrantId) -> Option<Live> {
        let pages = self.pages();
        let slot = pages.slots.get(&id).filter(|slot| slot.carrier == Carrier::Kernel && !slot.closing)?;
        Some(Live {
            left: slot.connections.saturating_sub(slot.claims).saturating_sub(slot.owed),
            alive: u16::try_from(slot.running.len()).unwrap_or(u16::MAX),
            claims: slot.claims,
            bytes_in: slot.bytes_in,
            bytes_out: slot.bytes_out,
        })
    }

    /// How many grants are entered that the kernel carries.
    pub(super) fn len(&self) -> usize {
        self.pages().in_kernel
    }

    /// The names of all that are entered.
    pub(super) fn names(&self) -> Vec<GrantId> {
        self.pages().slots.keys().copied().collect()
    }

    /// The order that makes a grant of this book be in the kernel; none for one that is closing.
    pub(super) fn opening(&self, id: GrantId) -> Option<Opening> {
        let pages = self.pages();
        let slot = pages.slots.get(&id).filter(|slot| !slot.closing)?;
        Some(Opening {
            grant: id.to_bytes(),
            place: slot.place,
            deadline: slot.deadline.0.saturating_mul(1_000_000),
            connections: slot.connections,
            claimed: slot.claims.min(slot.connections),
            carrier: slot.carrier,
        })
    }

    /// The grant is being closed: it is live no more.
    pub(super) fn closing(&self, id: GrantId) {
        if let Some(slot) = self.pages().slots.get_mut(&id) {
            slot.closing = true;
        }
    }

    /// A connection was claimed; none if that is known already, or its grant is not.
    pub(super) fn claim(&self, id: GrantId, ends: Ends) -> Option<Told> {
        let mut pages = self.pages();
        if pages.running.contains_key(&ends) {
            return None;
        }
        let before = pages.before.remove(&(id, ends.client.port()));
        let slot = pages.slots.get_mut(&id)?;
        if let Some(number) = before {
            slot.running.push(Running { ends, number, written: true, limit: false });
            let service = slot.place.service;
            pages.running.insert(ends, (id, number));
            return Some(Told::Again(number, service));
        }
        slot.last_number = slot.last_number.saturating_add(1);
        slot.claims = slot.claims.saturating_add(1);
        let claim = NewClaim { number: slot.last_number, deadline: slot.deadline, service: slot.place.service };
        slot.running.push(Running { ends, number: claim.number, written: false, limit: false });
        pages.running.insert(ends, (id, claim.number));
        Some(Told::New(claim))
    }

    /// Compares what the kernel said with what was told. Claims that nobody told of are counted from here on: returned is how
    /// many, and the number of the first. What the kernel has too few is owed.
    pub(super) fn compare(&self, id: GrantId) -> Option<(u16, u32)> {
        let mut pages = self.pages();
        let slot = pages.slots.get_mut(&id)?;
        let (claimed, left) = slot.standing.take()?;
        let untold = claimed.saturating_sub(slot.claims.saturating_add(slot.given_back - slot.forgotten));
        let first = slot.last_number.saturating_add(1);
        slot.claims = slot.claims.saturating_add(untold);
        slot.last_number = slot.last_number.saturating_add(untold.into());
        slot.owed = slot.connections.saturating_sub(slot.claims).saturating_sub(left);
        Some((untold, first))
    }

    /// The ledger has the claim.
    pub(super) fn written(&self, ends: &Ends) {
        self.with_running(ends, |running| running.written = true);
    }

    /// Whose connection this is, and its number; none if it is not known to run.
    pub(super) fn runner(&self, ends: &Ends) -> Option<(GrantId, u32)> {
        self.pages().running.get(ends).copied()
    }

    /// The connection of this number, marked as one that lasted too long; none if it runs no more.
    pub(super) fn lasted_too_long(&self, id: GrantId, number: u32) -> Option<Ends> {
        let mut pages = self.pages();
        let slot = pages.slots.get_mut(&id)?;
        let running = slot.running.iter_mut().find(|running| running.number == number)?;
        running.limit = true;
        Some(running.ends)
    }

    /// Whose connections run, and where.
    pub(super) fn running(&self, id: GrantId) -> Vec<Ends> {
        let pages = self.pages();
        pages.slots.get(&id).map_or_else(Vec::new, |slot| slot.running.iter().map(|running| running.ends).collect())
    }

    /// All connections that run.
    pub(super) fn all_running(&self) -> Vec<Ends> {
        self.pages().running.keys().copied().collect()
    }

    /// What is known of a connection that ends; it still runs until [`Book::ended`].
    pub(super) fn ending(&self, ends: &Ends) -> Option<Ending> {
        let pages = self.pages();
        let (grant, number) = *pages.running.get(ends)?;
        let slot = pages.slots.get(&grant)?;
        let running = slot.running.iter().find(|running| running.number == number)?;
        Some(Ending {
            grant,
            number,
            written: running.written,
            limit: running.limit,
            may_give_back: slot.given_back < GIVEN_BACK_AT_MOST,
            service: slot.place.service,
        })
    }

    /// The end of a connection is written.
    pub(super) fn ended(&self, ends: &Ends, carried: Option<&Carried>, given_back: bool) {
        let mut pages = self.pages();
        let Some((grant, number)) = pages.running.remove(ends) else { return };
        let Some(slot) = pages.slots.get_mut(&grant) else { return };
        slot.running.retain(|running| running.number != number);
        if let Some(carried) = carried {
            slot.bytes_in = slot.bytes_in.saturating_add(carried.bytes_in);
            slot.bytes_out = slot.bytes_out.saturating_add(carried.bytes_out);
            slot.milliseconds = slot.milliseconds.saturating_add(carried.lasted);
        }
        if given_back {
            slot.claims = slot.claims.saturating_sub(1);
            slot.given_back = slot.given_back.saturating_add(1);
            slot.owed = slot.owed.saturating_add(1);
        }
    }

    /// What is to be given back to a grant in the kernel, and where.
    pub(super) fn owed(&self, id: GrantId) -> Option<(Place, u16)> {
        let pages = self.pages();
        pages.slots.get(&id).filter(|slot| slot.owed > 0).map(|slot| (slot.place, slot.owed))
    }

    /// So many were given back in the kernel.
    pub(super) fn paid(&self, id: GrantId, count: u16) {
        if let Some(slot) = self.pages().slots.get_mut(&id) {
            slot.owed = slot.owed.saturating_sub(count);
        }
    }

    /// Whether the grant's connections are all used and none runs, where that ends it, and when it ends otherwise.
    pub(super) fn used(&self, id: GrantId) -> Option<BootTime> {
        let pages = self.pages();
        let slot = pages.slots.get(&id)?;
        let used = slot.close_when_used && !slot.closing && slot.claims >= slot.connections && slot.running.is_empty();
        used.then_some(slot.deadline)
    }

    fn with_running(&self, ends: &Ends, change: impl FnOnce(&mut Running)) {
        let mut pages = self.pages();
        let Some((grant, number)) = pages.running.get(ends).copied() else { return };
        let slot = pages.slots.get_mut(&grant);
        if let Some(running) = slot.and_then(|slot| slot.running.iter_mut().find(|running| running.number == number)) {
            change(running);
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmsgate_core::address::Source;
    use kmsgate_core::grant::{State, Window};
    use kmsgate_core::name::{Domain, Name, Person, RuleName, ServiceName};
    use kmsgate_core::random::Entropy;
    use std::net::Ipv4Addr;

    fn grant(number: u8) -> (GrantRecord, Place) {
        let opened_at = "2026-08-13T12:00:00Z".parse().unwrap();
        let address = Ipv4Addr::new(198, 51, 100, number).into();
        let record = GrantRecord {
            id: GrantId::new(opened_at, Entropy([number; 10])),
            person: Person { domain: Domain::new("campus"), name: Name::canonical("alice").unwrap() },
            voucher: "mail".to_owned(),
            note: None,
            source: Source::new(address),
            key: Source::new(address).key(128),
            service: ServiceName::new("kms"),
            rule: RuleName::new("students"),
            window: Window { opened_at, ends_at: opened_at, deadline: BootTime(1000) },
            state: State::Open,
            closed_at: None,
            connections: 1,
            claims: 0,
            given_back: 0,
            alive: 0,
            last_claim: 0,
            close_when_used: true,
            provider: None,
            totals: Totals::default(),
            shared: false,
        };
        (record, Place { service: 0, address })
    }

    #[test]
    fn f02_what_the_kernel_carries_is_counted_once_however_often_it_is_entered() {
        let book = Book::default();
        let ((one, at_one), (other, at_other)) = (grant(1), grant(2));
        book.enter(&one, at_one, Carrier::Kernel);
        book.enter(&one, at_one, Carrier::Kernel);
        assert_eq!(book.len(), 1);
        book.enter(&other, at_other, Carrier::Relay);
        assert_eq!(book.len(), 1);
        // What was thought to be the kernel's turns out to be the relay's, and the other way round.
        book.enter(&one, at_one, Carrier::Relay);
        book.enter(&other, at_other, Carrier::Kernel);
        assert_eq!(book.len(), 1);
        book.remove(one.id);
        assert_eq!(book.len(), 1);
        book.remove(other.id);
        book.remove(other.id);
        assert_eq!(book.len(), 0);
    }
    #[test]
    fn p1_a_claim_of_which_nobody_told_is_counted_although_the_kernel_forgot_one_that_was_given_back() {
        let book = Book::default();
        let (one, place) = grant(1);
        book.enter(&GrantRecord { given_back: 1, last_claim: 1, ..one.clone() }, place, Carrier::Kernel);
        book.stands(one.id, 1, 1);
        assert_eq!(book.compare(one.id), Some((0, 2)), "the kernel counts the one that was given back");
        book.added(one.id);
        book.stands(one.id, 0, 1);
        assert_eq!(book.compare(one.id), Some((0, 2)), "it was given the grant afresh");
        book.stands(one.id, 1, 0);
        assert_eq!(book.compare(one.id), Some((1, 2)), "and one claimed it");
    }
}
