//! Failures by key, in bounded room. What must never happen here: a budget that is used up before keys are merged and has
//! room after it.

use super::Rate;
use crate::time::BootTime;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How much may fail under one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    attempts: usize,
    every: Duration,
    /// How many may be in flight whatever the budget has left; each failure beyond it takes a later place in it. None:
    /// attempts in flight count as failures.
    at_once: Option<u32>,
}

impl Budget {
    pub(super) fn new(rate: Rate, at_once: Option<u32>) -> Self {
        Self {
            attempts: usize::try_from(rate.attempts.max(1)).unwrap_or(usize::MAX),
            every: rate.every.max(Duration::from_millis(1)),
            at_once,
        }
    }
}

/// Keys are 64 bits, left-aligned. Each slot holds one whole key or, once room was short, all keys of a shorter prefix. No
/// slot lies within another, so the slot of a key is the last one that begins at or before it, if it reaches so far.
#[derive(Debug)]
pub(super) struct Table {
    slots: BTreeMap<u64, Slot>,
    /// Bits of a whole key.
    whole: u32,
    budget: Budget,
    capacity: usize,
}

#[derive(Debug)]
struct Slot {
    /// Bits of the prefix.
    length: u32,
    in_flight: u32,
    /// The latest failures, ascending, as many as the budget has.
    failures: VecDeque<BootTime>,
}

/// How long those wait who find only attempts in flight before them.
const SETTLING: Duration = Duration::from_secs(1);

impl Table {
    pub(super) fn new(whole: u32, budget: Budget, capacity: usize) -> Self {
        Self { slots: BTreeMap::new(), whole, budget, capacity: capacity.max(2) }
    }

    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
        for slot in self.slots.values_mut() {
            slot.keep_latest(budget.attempts);
        }
    }

    /// How long until another attempt may be made under this key. None: now.
    pub(super) fn wait(&self, key: u64, now: BootTime) -> Option<Duration> {
        let Budget { attempts, every, at_once } = self.budget;
        let slot = self.slots.get(&self.start(key)?)?;
        let live = slot.failures.len() - slot.failures.partition_point(|at| at.plus(every) <= now);
        if live >= attempts {
            let limiting = slot.failures.get(slot.failures.len() - attempts)?;
            return Some(now.until(limiting.plus(every)));
        }
        let in_flight = usize::try_from(slot.in_flight).unwrap_or(usize::MAX);
        let full = match at_once {
            Some(most) => slot.in_flight >= most,
            None => live.saturating_add(in_flight) >= attempts,
        };
        full.then_some(SETTLING)
    }

    /// An attempt begins.
    pub(super) fn reserve(&mut self, key: u64, now: BootTime) {
        self.split_if_idle(key, now);
        if self.start(key).is_none() && self.slots.len() >= self.capacity {
            self.make_room(now);
        }
        let start = self.start(key).unwrap_or(prefix(key, self.whole));
        let whole = self.whole;
        let fresh = || Slot { length: whole, in_flight: 0, failures: VecDeque::new() };
        let slot = self.slots.entry(start).or_insert_with(fresh);
        slot.in_flight = slot.in_flight.saturating_add(1);
    }

    /// An attempt in flight has ended and is no failure.
    pub(super) fn release(&mut self, key: u64, now: BootTime) {
        let Some(start) = self.start(key) else { return };
        if let Some(slot) = self.slots.get_mut(&start) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
            if slot.idle(now, self.budget.every) {
                self.slots.remove(&start);
            }
        }
    }

    /// An attempt in flight has ended and is a failure.
    pub(super) fn fail(&mut self, key: u64, now: BootTime) {
        let Budget { attempts, every, at_once } = self.budget;
        let Some(slot) = self.start(key).and_then(|start| self.slots.get_mut(&start)) else { return };
        slot.in_flight = slot.in_flight.saturating_sub(1);
        while slot.failures.front().is_some_and(|at| at.plus(every) <= now) {
            slot.failures.pop_front();
        }
        let beyond = slot.failures.front().filter(|_| at_once.is_some() && slot.failures.len() >= attempts);
        let at = beyond.map_or(now, |first| now.max(first.plus(every)));
        let at = slot.failures.back().map_or(at, |latest| at.max(*latest));
        slot.failures.push_back(at);
        slot.keep_latest(attempts);
    }

    /// Where the slot of a key begins, if there is one.
    fn start(&self, key: u64) -> Option<u64> {
        let (&start, slot) = self.slots.range(..=key).next_back()?;
        (prefix(key, slot.length) == start).then_some(start)
    }

    /// A merged slot in which nothing is left gives its keys their own slots again.
    fn split_if_idle(&mut self, key: u64, now: BootTime) {
        if let Some(start) = self.start(key)
            && self.slots.get(&start).is_some_and(|slot| slot.idle(now, self.budget.every))
        {
            self.slots.remove(&start);
        }
    }

    /// Drops the idle slots; if more than three quarters are left, merges neighbours under the longest prefix that brings
    /// the table down to that. A quarter of room for one walk through all makes it cheap on the whole.
    fn make_room(&mut self, now: BootTime) {
        let every = self.budget.every;
        self.slots.retain(|_, slot| !slot.idle(now, every));
        let target = (self.capacity - self.capacity.div_ceil(4)).max(1);
        if self.slots.len() <= target {
            return;
        }
        let length = self.merging_length(target);
        let mut merged: BTreeMap<u64, Slot> = BTreeMap::new();
        for (start, slot) in std::mem::take(&mut self.slots) {
            let group = prefix(start, length);
            match merged.pop_last() {
                Some((other, mut into)) if prefix(other, length) == group => {
                    into.absorb(slot, length, self.budget.attempts);
                    merged.insert(group, into);
                }
                Some((other, apart)) => {
                    merged.insert(other, apart);
                    merged.insert(start, slot);
                }
                None => {
                    merged.insert(start, slot);
                }
            }
        }
        self.slots = merged;
    }

    /// The longest prefix under which at most `target` slots are left. Slots stand in order, so a prefix of `n` bits parts
    /// as many neighbours as have fewer than `n` bits in common.
    fn merging_length(&self, target: usize) -> u32 {
        let mut parted = BTreeMap::<u32, usize>::new();
        for (here, next) in self.slots.keys().zip(self.slots.keys().skip(1)) {
            *parted.entry((here ^ next).leading_zeros()).or_default() += 1;
        }
        let mut left = 1;
        for (common, pairs) in parted {
            left += pairs;
            if left > target {
                return common;
            }
        }
        self.whole
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.slots.len() <= self.capacity, "{} slots of {}", self.slots.len(), self.capacity);
        let mut free_from = 0_u128;
        for (start, slot) in &self.slots {
            assert!(u128::from(*start) >= free_from, "slots overlap at {start:x}");
            assert_eq!(prefix(*start, slot.length), *start, "a slot begins where its prefix does");
            assert!(slot.failures.len() <= self.budget.attempts);
            assert!(slot.failures.iter().is_sorted());
            free_from = u128::from(*start) + (1_u128 << (64 - slot.length));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Slot {
    fn idle(&self, now: BootTime, every: Duration) -> bool {
        self.in_flight == 0 && self.failures.back().is_none_or(|at| at.plus(every) <= now)
    }

    /// Takes another slot in. The latest failures of both are at least as late as the latest of either, so a budget that
    /// was used up stays so at least as long.
    fn absorb(&mut self, other: Self, length: u32, attempts: usize) {
        self.length = length;
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.failures.extend(other.failures);
        self.failures.make_contiguous().sort_unstable();
        self.keep_latest(attempts);
    }

    fn keep_latest(&mut self, most: usize) {
        let surplus = self.failures.len().saturating_sub(most);
        self.failures.drain(..surplus);
    }
}

/// The first `length` bits.
fn prefix(key: u64, length: u32) -> u64 {
    key & u64::MAX.checked_shl(64 - length.min(64)).unwrap_or(0)
}
