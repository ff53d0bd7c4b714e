//! The one queue in which every deadline stands. What must never happen here: a deadline put off. There is no way to edit
//! one; whoever inserts a key again can only bring its end forward.

use crate::time::BootTime;
use std::collections::BTreeSet;

/// Keys with their deadlines, the earliest first. One timer serves them all.
///
/// With a [`crate::grant::GrantId`] an entry is 24 bytes; with the slack of the tree it takes some 30 to 55 bytes, the more
/// the more evenly deadlines arrive in their order.
#[derive(Debug, Clone)]
pub struct Expiry<K> {
    queue: BTreeSet<(BootTime, K)>,
}

impl<K: Ord + Copy> Expiry<K> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { queue: BTreeSet::new() }
    }

    /// `key` ends at `deadline`. A key that stands here already ends at the earlier of the two.
    pub fn insert(&mut self, key: K, deadline: BootTime) {
        self.queue.insert((deadline, key));
    }

    /// `key`, inserted with `deadline`, has ended otherwise. Whether it was here.
    pub fn remove(&mut self, key: K, deadline: BootTime) -> bool {
        self.queue.remove(&(deadline, key))
    }

    /// When [`Self::handle_timeout`] is to be called next. None if nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out every key whose deadline is `now` or before, in the order of their deadlines.
    #[must_use]
    pub fn handle_timeout(&mut self, now: BootTime) -> Vec<K> {
        let mut expired = Vec::new();
        while let Some((deadline, key)) = self.queue.first().copied()
            && deadline <= now
        {
            self.queue.pop_first();
            expired.push(key);
        }
        expired
    }

    /// How many deadlines stand here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<K: Ord + Copy> Default for Expiry<K> {
    fn default() -> Self {
        Self::new()
    }
}
