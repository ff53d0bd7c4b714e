//! Where names were accepted. What must never happen here: an entry of somebody else's pushed out by one person's many
//! addresses; each name has its own few places.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// Names with the places from which they were accepted in the last 30 days, both as hashes. Forgetting one is safe: the
/// name's budget binds there again.
#[derive(Debug)]
pub(super) struct Known {
    /// When each name was last accepted from each place, in whole seconds of Unix time.
    accepted: BTreeMap<(u64, u64), i64>,
    capacity: usize,
}

/// Places remembered for one name: home, office, telephone, and some more.
const PLACES: usize = 8;
/// Seconds: 30 days.
const LASTS: i64 = 30 * 24 * 3600;

impl Known {
    pub(super) fn new(capacity: usize) -> Self {
        Self { accepted: BTreeMap::new(), capacity: capacity.max(2) }
    }

    /// Whether `name` was accepted from `place` in the 30 days before `now`.
    pub(super) fn holds(&self, name: u64, place: u64, now: Timestamp) -> bool {
        self.accepted.get(&(name, place)).is_some_and(|at| now.as_second().saturating_sub(*at) < LASTS)
    }

    /// `name` was accepted from `place`.
    pub(super) fn note(&mut self, name: u64, place: u64, at: Timestamp) {
        let at = at.as_second();
        if let Some(known) = self.accepted.get_mut(&(name, place)) {
            *known = at.max(*known);
            return;
        }
        if self.accepted.len() >= self.capacity {
            self.make_room();
        }
        self.accepted.insert((name, place), at);
        let places = self.accepted.range((name, 0)..=(name, u64::MAX));
        if places.clone().count() > PLACES
            && let Some(oldest) = places.min_by_key(|(_, at)| **at).map(|(key, _)| *key)
        {
            self.accepted.remove(&oldest);
        }
    }

    /// Forgets the quarter that was accepted longest ago.
    fn make_room(&mut self) {
        let mut all: Vec<(i64, (u64, u64))> = self.accepted.iter().map(|(key, at)| (*at, *key)).collect();
        all.sort_unstable();
        for (_, key) in all.into_iter().take(self.capacity.div_ceil(4)) {
            self.accepted.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accepted.len()
    }
}
