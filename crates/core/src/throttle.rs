//! May this address and this name ask now? Asked before any account server is. What must never happen here: a success that
//! counts, a failure forgotten for want of room, a name treated otherwise because nobody bears it.
//!
//! Every attempt is reserved before the account servers are asked and settled once by their answer, so that a thousand
//! guesses at the same moment are no more than as many one after another. Four keys have a budget of failures in any
//! period of the configured length:
//!
//! | key | failures | may be asked at once |
//! | --- | --- | --- |
//! | address: IPv4 whole, IPv6 /64 | `per_address` | 64; what fails beyond the budget is paid off at its rate |
//! | IPv6 /48 | 16 times `per_address` | 16 times as many |
//! | name and address | `per_user` | no more than the budget has left |
//! | name | `per_user` | no more than the budget has left |
//!
//! Addresses may ask more at once than they may fail, for a class behind one address signs in in one minute and is right.
//! Names may not, for directories lock accounts. The name's own budget does not bind an address from which the name was
//! accepted in the last 30 days: a stranger who uses it up shuts the owner out nowhere that the owner has been.
//!
//! * `table`: failures by key in bounded room.
//! * `known`: where names were accepted.

mod known;
mod table;
#[cfg(test)]
mod tests;

use crate::address::Source;
use crate::decide::Refusal;
use crate::name::{Login, Name, ServiceName};
use crate::password::Password;
use crate::reason::Reason;
use crate::sign_in::SignIn;
use crate::time::{BootTime, Now};
use jiff::Timestamp;
use known::Known;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;
use table::{Budget, Table};

/// At most so many failures in any period of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; 0 is taken for 1.
    pub attempts: u32,
    /// In what period; at least a millisecond.
    pub every: Duration,
}

/// `[throttle]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For an address: IPv4 whole, IPv6 /64, and 16 times as much for a /48.
    pub per_address: Rate,
    /// For a name, and again for a name at one address. An account server thus sees at most this rate from strangers to
    /// the name and this rate from each address that it was accepted from: keep it below the directory's own lockout.
    pub per_user: Rate,
}

impl Default for Limits {
    /// 10 a minute for an address, 20 an hour for a name.
    fn default() -> Self {
        Self {
            per_address: Rate { attempts: 10, every: Duration::from_secs(60) },
            per_user: Rate { attempts: 20, every: Duration::from_secs(3600) },
        }
    }
}

/// Proof that a sign-in may be asked now. Made by [`Throttle::pass`] alone.
#[must_use]
#[derive(Debug)]
pub struct Asked {
    sign_in: SignIn,
    ticket: Ticket,
}

impl Asked {
    /// Who they say they are.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.sign_in.login
    }

    /// Their proof.
    #[must_use]
    pub fn password(&self) -> &Password {
        &self.sign_in.password
    }

    /// The service they want.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.sign_in.service
    }

    /// The address that is to be let in.
    #[must_use]
    pub fn source(&self) -> Source {
        self.sign_in.source
    }

    /// The sign-in, and the ticket with which its answer is told to the throttle.
    pub fn into_parts(self) -> (SignIn, Ticket) {
        (self.sign_in, self.ticket)
    }
}

/// One attempt in flight. It is settled once, by value: [`Throttle::failed`], [`Throttle::outage`] or
/// [`Throttle::succeeded`]. One that is dropped instead counts as not accepted after five minutes.
#[must_use = "an attempt that is not settled holds a place and then counts as a failure"]
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// How an attempt was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// For another reason than the password: unusable account, challenge not answered. Counts for the address.
    NotAccepted,
    /// The account servers' answer is `invalid_credentials`, for a wrong password or a name that nobody bears alike; or
    /// nobody waited for the answer. Counts for the address and the name.
    Rejected,
}

/// The failures of the recent past, and the attempts in flight. A thing of one process: after a restart nothing has failed.
#[derive(Debug)]
pub struct Throttle {
    v4: Table,
    v6: Table,
    /// /48: a site has 65,536 networks of 64 bits.
    v6_site: Table,
    name_here: Table,
    name: Table,
    known: Known,
    flights: BTreeMap<u64, Flight>,
    next: u64,
    seed: [u8; 16],
}

/// What an attempt has reserved.
#[derive(Debug, Clone, Copy)]
struct Flight {
    keys: Keys,
    since: BootTime,
}

/// Under what an attempt counts, as left-aligned bits: addresses themselves, names by their hash.
#[derive(Debug, Clone, Copy)]
struct Keys {
    place: Place,
    name: u64,
    name_here: u64,
}

/// An address as the throttle sees it.
#[derive(Debug, Clone, Copy, Hash)]
enum Place {
    /// The whole address.
    V4(u64),
    /// The first 64 bits.
    V6(u64),
}

/// How many sign-ins of one address may be with the account servers at once.
const AT_ONCE: u32 = 64;
/// How much more a /48 may than a /64.
const SITE: u32 = 16;
/// Longer than any chain of account servers takes with a challenge of two minutes.
const LOST_AFTER: Duration = Duration::from_secs(300);

impl Throttle {
    /// A throttle that remembers `capacity` keys of each kind; some 100 bytes each, and 8 for each failure in its budget.
    /// `seed` is random and secret, so that nobody can find names that share a key.
    #[must_use]
    pub fn new(limits: Limits, capacity: usize, seed: [u8; 16]) -> Self {
        let [address, site, name] = budgets(limits);
        Self {
            v4: Table::new(32, address, capacity),
            v6: Table::new(64, address, capacity),
            v6_site: Table::new(48, site, capacity),
            name_here: Table::new(64, name, capacity),
            name: Table::new(64, name, capacity),
            known: Known::new(capacity),
            flights: BTreeMap::new(),
            next: 0,
            seed,
        }
    }

    /// Other limits from now on; what has failed stays failed.
    pub fn set_limits(&mut self, limits: Limits) {
        let [address, site, name] = budgets(limits);
        self.v4.set_budget(address);
        self.v6.set_budget(address);
        self.v6_site.set_budget(site);
        self.name_here.set_budget(name);
        self.name.set_budget(name);
    }

    /// Reserves the attempt under each of its keys, or refuses it. A refusal costs nothing and prolongs nothing (F03).
    ///
    /// # Errors
    /// `too_many_attempts`, with the time after which every budget has room again if nothing else fails meanwhile: exact
    /// where failures use it up, one second where attempts in flight do.
    pub fn pass(&mut self, sign_in: SignIn, now: Now) -> Result<Asked, Refusal> {
        self.settle_lost(now.boot);
        let keys = self.keys(&sign_in.login.name, sign_in.source);
        if let Some(wait) = self.wait(keys, now) {
            return Err(Refusal { retry_after: Some(wait), ..Refusal::plain(Reason::TooManyAttempts) });
        }
        for (table, key) in self.tables(keys) {
            table.reserve(key, now.boot);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.flights.insert(number, Flight { keys, since: now.boot });
        Ok(Asked { sign_in, ticket: Ticket(number) })
    }

    /// The attempt was not accepted.
    pub fn failed(&mut self, ticket: Ticket, failure: Failure, now: Now) {
        self.settle(ticket, failure == Failure::Rejected, now.boot);
    }

    /// An account server that may hold the name did not answer: no wrong password, yet a question that cost something.
    pub fn outage(&mut self, ticket: Ticket, now: Now) {
        self.settle(ticket, false, now.boot);
    }

    /// The attempt was accepted, whatever policy or quota say after it. For 30 days the name's own budget does not bind it
    /// at this address.
    pub fn succeeded(&mut self, ticket: Ticket, now: Now) {
        let Some(Flight { keys, .. }) = self.flights.remove(&ticket.0) else { return };
        for (table, key) in self.tables(keys) {
            table.release(key, now.boot);
        }
        self.known.note(keys.name, keys.name_here, now.utc);
    }

    /// The ledger remembers that this name was accepted from this address; told at start.
    pub fn learn(&mut self, name: &Name, source: Source, at: Timestamp) {
        let keys = self.keys(name, source);
        self.known.note(keys.name, keys.name_here, at);
    }

    /// How many attempts are with the account servers.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The longest wait over all budgets that are used up.
    fn wait(&self, keys: Keys, now: Now) -> Option<Duration> {
        let known = self.known.holds(keys.name, keys.name_here, now.utc);
        let name = if known { None } else { self.name.wait(keys.name, now.boot) };
        let address = match keys.place {
            Place::V4(bits) => self.v4.wait(bits, now.boot),
            Place::V6(bits) => self.v6.wait(bits, now.boot).max(self.v6_site.wait(bits, now.boot)),
        };
        name.max(address).max(self.name_here.wait(keys.name_here, now.boot))
    }

    fn settle(&mut self, ticket: Ticket, rejected: bool, now: BootTime) {
        let Some(Flight { keys, .. }) = self.flights.remove(&ticket.0) else { return };
        self.settle_address(keys, now);
        for (table, key) in [(&mut self.name_here, keys.name_here), (&mut self.name, keys.name)] {
            if rejected { table.fail(key, now) } else { table.release(key, now) }
        }
    }

    fn settle_address(&mut self, keys: Keys, now: BootTime) {
        match keys.place {
            Place::V4(bits) => self.v4.fail(bits, now),
            Place::V6(bits) => {
                self.v6.fail(bits, now);
                self.v6_site.fail(bits, now);
            }
        }
    }

    /// Attempts whose tickets are gone must not hold their places for ever. Numbers grow with time: the first is the oldest.
    fn settle_lost(&mut self, now: BootTime) {
        while let Some((&number, flight)) = self.flights.first_key_value()
            && flight.since.plus(LOST_AFTER) <= now
        {
            self.settle(Ticket(number), false, now);
        }
    }

    fn tables(&mut self, keys: Keys) -> impl Iterator<Item = (&mut Table, u64)> {
        let (address, site) = match keys.place {
            Place::V4(bits) => ((&mut self.v4, bits), None),
            Place::V6(bits) => ((&mut self.v6, bits), Some((&mut self.v6_site, bits))),
        };
        [(&mut self.name_here, keys.name_here), (&mut self.name, keys.name), address].into_iter().chain(site)
    }

    /// The realm is no part of it: `alice@` anything may be the same account, and would be as many budgets.
    fn keys(&self, name: &Name, source: Source) -> Keys {
        let place = match source.ip() {
            IpAddr::V4(address) => Place::V4(u64::from(address.to_bits()) << 32),
            IpAddr::V6(address) => Place::V6(u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX)),
        };
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        let name = hasher.finish();
        place.hash(&mut hasher);
        Keys { place, name, name_here: hasher.finish() }
    }
}

fn budgets(Limits { per_address, per_user }: Limits) -> [Budget; 3] {
    let site = Rate { attempts: per_address.attempts.saturating_mul(SITE), every: per_address.every };
    [Budget::new(per_address, Some(AT_ONCE)), Budget::new(site, Some(AT_ONCE * SITE)), Budget::new(per_user, None)]
}
