//! Where names were accepted. What must never happen here: an entry of somebody else's pushed out by one person's many
//! addresses; each name has its own few places.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Names with the places from which they were accepted in the last 30 days, both as hashes. Forgetting one is safe: the
/// name's budget binds there again.
#[derive(Debug)]
pub(super) struct Known {
    names: BTreeMap<u64, Vec<(u64, Timestamp)>>,
    capacity: usize,
}

/// Places remembered for one name: home, office, telephone, and some more.
const PLACES: usize = 8;
const LASTS: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Known {
    pub(super) fn new(capacity: usize) -> Self {
        Self { names: BTreeMap::new(), capacity: capacity.max(2) }
    }

    /// Whether `name` was accepted from `place` in the 30 days before `now`.
    pub(super) fn holds(&self, name: u64, place: u64, now: Timestamp) -> bool {
        let Some(places) = self.names.get(&name) else { return false };
        places.iter().any(|(known, at)| *known == place && now.duration_since(*at) < LASTS)
    }

    /// `name` was accepted from `place`.
    pub(super) fn note(&mut self, name: u64, place: u64, at: Timestamp) {
        if !self.names.contains_key(&name) && self.names.len() >= self.capacity {
            self.make_room();
        }
        let places = self.names.entry(name).or_default();
        let at = match places.iter().position(|(known, _)| *known == place) {
            Some(index) => places.remove(index).1.max(at),
            None => at,
        };
        places.push((place, at));
        places.sort_unstable_by_key(|(_, at)| *at);
        let surplus = places.len().saturating_sub(PLACES);
        places.drain(..surplus);
    }

    /// Forgets the quarter of the names that were accepted longest ago.
    fn make_room(&mut self) {
        let latest = |places: &[(u64, Timestamp)]| places.last().map_or(Timestamp::MIN, |(_, at)| *at);
        let mut names: Vec<(Timestamp, u64)> =
            self.names.iter().map(|(name, places)| (latest(places), *name)).collect();
        names.sort_unstable();
        for (_, name) in names.into_iter().take(self.capacity.div_ceil(4)) {
            self.names.remove(&name);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
