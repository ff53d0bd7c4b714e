//! The budgets of open grants. What must never happen here: one connection more than a grant has, whatever the race; a
//! slot that forgets a connection which still runs.
//!
//! A slot is one grant's budget. A connection takes a provisional place when it is accepted ([`Slots::enter`]), turns it
//! into a claim when a provider took it and the ledger wrote it ([`Place::claim`]), and gives it up when it is dropped.
//! Places are proof types: whoever holds one was counted, and dropping it in any way, a panic too, counts it out again.

use kmsgate_core::address::AddressKey;
use kmsgate_core::grant::{GIVEN_BACK_AT_MOST, GrantId, Totals};
use kmsgate_core::time::BootTime;
use kmsgate_ledger::records::GrantRecord;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// So many locks, so that neither accepts nor the growth of a table wait for each other.
const SHARDS: usize = 64;

/// Every open grant's budget.
#[derive(Debug)]
pub struct Slots {
    shards: Vec<Mutex<Shard>>,
    names: Vec<Mutex<HashMap<[u8; 16], Seat>>>,
    hash: RandomState,
    held: AtomicUsize,
    most: usize,
    /// No connection gets a place any more.
    ended: AtomicBool,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// No grant is open for this address and service.
    NoGrant,
    /// One is, but its connections are taken.
    Taken,
}

/// Why a grant gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// As many grants as the configuration allows.
    Full,
    /// An earlier grant of the same address and service has not been taken away.
    Occupied(GrantId),
}

/// What a slot holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Claims it may have.
    pub connections: u16,
    /// Connections on their way to a provider.
    pub provisional: u16,
    /// Claims not given back.
    pub claims: u16,
    /// Claims given back.
    pub given_back: u16,
    /// Claimed connections that run.
    pub alive: u16,
    /// Bytes from the person so far.
    pub bytes_in: u64,
    /// Bytes to the person so far.
    pub bytes_out: u64,
}

/// What a connection did, told when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// How long it lasted.
    pub lasted: Duration,
}

/// What all running connections of one grant share. It exists only while there is one.
#[derive(Debug, Default)]
pub struct Wire {
    cut: CancellationToken,
    ended: Notify,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    by_key: HashMap<Key, u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
}

/// A service's index and an address key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    service: u16,
    address: IpAddr,
}

/// What connections of one grant carried.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    inward: u64,
    outward: u64,
    milliseconds: u64,
}

/// Where a slot sits. The slot says itself whose it is, since seats are used again.
#[derive(Debug, Clone, Copy)]
struct Seat {
    shard: u16,
    index: u32,
}

#[derive(Debug)]
struct Slot {
    id: [u8; 16],
    deadline: BootTime,
    wire: Option<Arc<Wire>>,
    /// What connections that have ended carried; most open grants wait for their first.
    carried: Option<Box<Bytes>>,
    key: Key,
    last_number: u32,
    connections: u16,
    provisional: u16,
    claims: u16,
    given_back: u16,
    alive: u16,
    close_when_used: bool,
    closing: bool,
}

impl Slots {
    /// Room for `most` grants.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let mut shards = Vec::new();
        shards.resize_with(SHARDS, Mutex::default);
        let mut names = Vec::new();
        names.resize_with(SHARDS, Mutex::default);
        Self { shards, names, hash: RandomState::new(), held: AtomicUsize::new(0), most, ended: AtomicBool::new(false) }
    }

    /// Makes room for so many grants at once, where tables that grow by and by would leave as much unused behind them.
    pub fn expect(&self, grants: usize) {
        // Some more, since no table has exactly its share.
        let each = grants.min(self.most).div_ceil(SHARDS).saturating_mul(9) / 8;
        for (shard, names) in self.shards.iter().zip(&self.names) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.by_key.reserve(each);
            shard.slots.reserve_exact(each);
            names.lock().unwrap_or_else(PoisonError::into_inner).reserve(each);
        }
    }

    /// Gives a grant its budget: what it has left of its connections. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn insert(&self, service: u16, grant: &GrantRecord) -> Result<(), NoSlot> {
        let key = Key { service, address: grant.key.ip() };
        let shard_number = self.shard_of(&key);
        let id = grant.id.to_bytes();
        let Some(mut shard) = self.shard(shard_number) else { return Err(NoSlot::Full) };
        if let Some(standing) = shard.by_key.get(&key).and_then(|index| shard.get(*index)) {
            return if standing.id == id { Ok(()) } else { Err(NoSlot::Occupied(GrantId::from_bytes(standing.id))) };
        }
        let room = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            (held < self.most).then(|| held.saturating_add(1))
        });
        if room.is_err() {
            return Err(NoSlot::Full);
        }
        let index = shard.put(Slot::of(key, grant));
        shard.by_key.insert(key, index);
        self.names(&id).insert(id, Seat { shard: shard_number, index });
        Ok(())
    }

    /// A provisional place for a connection from this address, if a grant is open and has one left. A refused attempt
    /// changes nothing (F03).
    ///
    /// # Errors
    /// [`Turned`].
    pub fn enter(self: &Arc<Self>, service: u16, key: AddressKey, now: BootTime) -> Result<Place, Turned> {
        let key = Key { service, address: key.ip() };
        let shard_number = self.shard_of(&key);
        let mut shard = self.shard(shard_number).ok_or(Turned::NoGrant)?;
        // Read under the lock that [`Slots::cut_all`] takes after it was set: who is let in before that is cut.
        if self.ended.load(Ordering::Acquire) {
            return Err(Turned::NoGrant);
        }
        let index = *shard.by_key.get(&key).ok_or(Turned::NoGrant)?;
        let slot = shard.get_mut(index).ok_or(Turned::NoGrant)?;
        if slot.closing || now >= slot.deadline {
            return Err(Turned::NoGrant);
        }
        if slot.provisional.saturating_add(slot.claims) >= slot.connections {
            return Err(Turned::Taken);
        }
        slot.provisional += 1;
        let wire = Arc::clone(slot.wire.get_or_insert_default());
        Ok(Place {
            slots: Arc::clone(self),
            seat: Seat { shard: shard_number, index },
            id: slot.id,
            deadline: slot.deadline,
            wire,
            became_a_claim: false,
        })
    }

    /// What a grant's slot holds; none if it has no slot or is being closed.
    #[must_use]
    pub fn held(&self, id: GrantId) -> Option<Held> {
        self.with(&id.to_bytes(), |slot| (!slot.closing).then(|| slot.held())).flatten()
    }

    /// Whether the grant's connections are all used and none runs, where that ends it.
    #[must_use]
    pub fn used(&self, id: GrantId) -> bool {
        self.with(&id.to_bytes(), |slot| slot.used()).unwrap_or(false)
    }

    /// How many grants have a slot.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the slot's door, cuts its connections and waits until the last one has been counted out. The slot stays, with
    /// its totals, until [`Slots::remove`].
    pub async fn shut(&self, id: GrantId) {
        let bytes = id.to_bytes();
        let Some(Some(wire)) = self.close_door(&bytes) else { return };
        wire.cut.cancel();
        loop {
            let ended = wire.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let quiet = self.with(&bytes, |slot| slot.alive == 0 && slot.provisional == 0);
            if quiet.unwrap_or(true) {
                return;
            }
            ended.await;
        }
    }

    /// Takes a slot away and says what came of it. Only for one that was shut; none if there is no such slot.
    pub fn remove(&self, id: GrantId) -> Option<Totals> {
        let id = id.to_bytes();
        let seat = self.names(&id).remove(&id)?;
        let mut shard = self.shard(seat.shard)?;
        let slot = shard.take(seat.index)?;
        self.held.fetch_sub(1, Ordering::AcqRel);
        Some(slot.totals())
    }

    /// Cuts every connection and lets no other one in. The slots stay.
    pub fn cut_all(&self) {
        self.ended.store(true, Ordering::Release);
        for number in 0..SHARDS {
            let Some(shard) = u16::try_from(number).ok().and_then(|number| self.shard(number)) else { continue };
            for wire in shard.slots.iter().flatten().filter_map(|slot| slot.wire.as_ref()) {
                wire.cut.cancel();
            }
        }
    }

    fn close_door(&self, id: &[u8; 16]) -> Option<Option<Arc<Wire>>> {
        let seat = *self.names(id).get(id)?;
        let mut shard = self.shard(seat.shard)?;
        let slot = shard.get_mut(seat.index).filter(|slot| slot.id == *id)?;
        slot.closing = true;
        let (key, wire) = (slot.key, slot.wire.clone());
        if shard.by_key.get(&key) == Some(&seat.index) {
            shard.by_key.remove(&key);
        }
        Some(wire)
    }

    fn with<T>(&self, id: &[u8; 16], look: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let seat = *self.names(id).get(id)?;
        self.at(seat, id, look)
    }

    fn at<T>(&self, seat: Seat, id: &[u8; 16], look: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let mut shard = self.shard(seat.shard)?;
        shard.get_mut(seat.index).filter(|slot| slot.id == *id).map(look)
    }

    fn shard_of(&self, key: &Key) -> u16 {
        let hash = self.hash.hash_one(key);
        // The tables below use the low and the highest bits of their own hash; SHARDS fits into 16 bits.
        u16::try_from((hash >> 16) % SHARDS as u64).unwrap_or(0)
    }

    fn shard(&self, number: u16) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(usize::from(number)).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names that share a lock with this one. Their last byte is random.
    fn names(&self, id: &[u8; 16]) -> MutexGuard<'_, HashMap<[u8; 16], Seat>> {
        let [.., last] = *id;
        let number = usize::from(last) % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "SHARDS tables were made and the number is below SHARDS")]
        self.names[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among a grant's connections, not yet a claim. Dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    slots: Arc<Slots>,
    seat: Seat,
    id: [u8; 16],
    deadline: BootTime,
    wire: Arc<Wire>,
    became_a_claim: bool,
}

impl Place {
    /// Whose place.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        GrantId::from_bytes(self.id)
    }

    /// When the grant's window ends.
    #[must_use]
    pub fn deadline(&self) -> BootTime {
        self.deadline
    }

    /// Told when the grant is closed.
    #[must_use]
    pub fn cut(&self) -> CancellationToken {
        self.wire.cut.clone()
    }

    /// The connection's number within its grant: one that no connection had before. One that does not become a claim leaves
    /// a gap.
    #[must_use]
    pub fn number(&self) -> u32 {
        let next = self.slots.at(self.seat, &self.id, |slot| {
            slot.last_number = slot.last_number.saturating_add(1);
            slot.last_number
        });
        next.unwrap_or(u32::MAX)
    }

    /// The place becomes a claim; called when the ledger has it.
    #[must_use]
    pub fn claim(mut self) -> Claimed {
        // In one step: counted twice for a moment, a connection could keep out another one that has a place.
        self.slots.at(self.seat, &self.id, |slot| {
            slot.claims = slot.claims.saturating_add(1);
            slot.alive = slot.alive.saturating_add(1);
            slot.provisional = slot.provisional.saturating_sub(1);
        });
        self.became_a_claim = true;
        Claimed {
            slots: Arc::clone(&self.slots),
            seat: self.seat,
            id: self.id,
            wire: Arc::clone(&self.wire),
            gives_back: false,
            spent: Spent::default(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.became_a_claim {
            return;
        }
        self.slots.at(self.seat, &self.id, |slot| {
            slot.provisional = slot.provisional.saturating_sub(1);
            slot.fold_if_quiet();
        });
        self.wire.ended.notify_waiters();
    }
}

/// A claim whose connection runs. Dropped, the connection has ended; the claim stays spent unless it was given back.
#[derive(Debug)]
pub struct Claimed {
    slots: Arc<Slots>,
    seat: Seat,
    id: [u8; 16],
    wire: Arc<Wire>,
    gives_back: bool,
    spent: Spent,
}

impl Claimed {
    /// What the grant's running connections share.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Asks for the claim to be given back when the connection is dropped. No more than [`GIVEN_BACK_AT_MOST`] are.
    pub fn give_back(&mut self) -> bool {
        let given = self.slots.at(self.seat, &self.id, |slot| {
            let may = slot.given_back < GIVEN_BACK_AT_MOST;
            if may {
                slot.given_back += 1;
            }
            may
        });
        self.gives_back = given.unwrap_or(false);
        self.gives_back
    }

    /// The ledger did not write it: the claim stays spent, here as there.
    pub fn keep(&mut self) {
        if std::mem::take(&mut self.gives_back) {
            self.slots.at(self.seat, &self.id, |slot| slot.given_back = slot.given_back.saturating_sub(1));
        }
    }

    /// The connection has ended and its end is written.
    pub fn end(mut self, spent: Spent) {
        self.spent = spent;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let spent = self.spent;
        let gives_back = self.gives_back;
        self.slots.at(self.seat, &self.id, |slot| {
            slot.alive = slot.alive.saturating_sub(1);
            if gives_back {
                slot.claims = slot.claims.saturating_sub(1);
            }
            let lasted = u64::try_from(spent.lasted.as_millis()).unwrap_or(u64::MAX);
            let carried = slot.carried.get_or_insert_default();
            carried.milliseconds = carried.milliseconds.saturating_add(lasted);
            slot.fold_if_quiet();
        });
        self.wire.ended.notify_waiters();
    }
}

impl Wire {
    /// Bytes from the person are about to pass.
    pub fn passed_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes to the person are about to pass.
    pub fn passed_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Shard {
    fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(index).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }

    fn put(&mut self, slot: Slot) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(empty) = usize::try_from(index).ok().and_then(|index| self.slots.get_mut(index)) {
                *empty = Some(slot);
            }
            return index;
        }
        self.slots.push(Some(slot));
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    fn take(&mut self, index: u32) -> Option<Slot> {
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?.take()?;
        if self.by_key.get(&slot.key) == Some(&index) {
            self.by_key.remove(&slot.key);
        }
        self.free.push(index);
        Some(slot)
    }
}

impl Slot {
    fn of(key: Key, grant: &GrantRecord) -> Self {
        Self {
            id: grant.id.to_bytes(),
            deadline: grant.window.deadline,
            wire: None,
            carried: (grant.totals != Totals::default()).then(|| {
                Box::new(Bytes {
                    inward: grant.totals.bytes_in,
                    outward: grant.totals.bytes_out,
                    milliseconds: grant.totals.milliseconds,
                })
            }),
            key,
            last_number: grant.last_claim,
            connections: grant.connections,
            provisional: 0,
            claims: grant.claims,
            given_back: grant.given_back,
            alive: 0,
            close_when_used: grant.close_when_used,
            closing: false,
        }
    }

    fn used(&self) -> bool {
        self.close_when_used && !self.closing && self.claims >= self.connections && self.alive == 0
    }

    /// The wire goes when nobody is on it, and leaves its counts here.
    fn fold_if_quiet(&mut self) {
        if self.alive == 0
            && self.provisional == 0
            && let Some(wire) = self.wire.take()
        {
            let carried = self.carried.get_or_insert_default();
            carried.inward = carried.inward.saturating_add(wire.bytes_in.load(Ordering::Relaxed));
            carried.outward = carried.outward.saturating_add(wire.bytes_out.load(Ordering::Relaxed));
        }
    }

    fn held(&self) -> Held {
        let running =
            |count: fn(&Wire) -> &AtomicU64| self.wire.as_ref().map_or(0, |wire| count(wire).load(Ordering::Relaxed));
        let carried = self.carried();
        Held {
            connections: self.connections,
            provisional: self.provisional,
            claims: self.claims,
            given_back: self.given_back,
            alive: self.alive,
            bytes_in: carried.inward.saturating_add(running(|wire| &wire.bytes_in)),
            bytes_out: carried.outward.saturating_add(running(|wire| &wire.bytes_out)),
        }
    }

    fn totals(&self) -> Totals {
        let held = self.held();
        Totals {
            claims: u32::from(self.claims),
            given_back: u32::from(self.given_back),
            bytes_in: held.bytes_in,
            bytes_out: held.bytes_out,
            milliseconds: self.carried().milliseconds,
        }
    }

    fn carried(&self) -> Bytes {
        self.carried.as_deref().copied().unwrap_or_default()
    }
}
