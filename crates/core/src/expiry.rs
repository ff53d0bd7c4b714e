//! The one queue in which every deadline stands. What must never happen here: a deadline put off. There is no way to edit
//! one; whoever inserts a key again can only bring its end forward.

use crate::time::BootTime;
use std::collections::BTreeSet;

/// Keys with their deadlines, the earliest first. One timer serves them all.
///
/// A million of [`crate::grant::GrantId`] take 39 bytes each if their deadlines come in any order, 50 if they come in
/// rising order; 24 of them are the entry itself.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn p2_the_earliest_deadline_is_the_timer_and_what_has_passed_comes_out_in_order() {
        let mut queue = Expiry::new();
        assert_eq!(queue.poll_timeout(), None);
        for (key, deadline) in [("c", 30), ("a", 10), ("b", 10), ("d", 40)] {
            queue.insert(key, BootTime(deadline));
        }
        assert_eq!(queue.poll_timeout(), Some(BootTime(10)));
        assert_eq!(queue.handle_timeout(BootTime(9)), [""; 0]);
        assert_eq!(queue.handle_timeout(BootTime(30)), ["a", "b", "c"]);
        assert_eq!(queue.poll_timeout(), Some(BootTime(40)));
        assert!(queue.remove("d", BootTime(40)));
        assert!(!queue.remove("d", BootTime(40)));
        assert!(queue.is_empty());
    }

    #[test]
    fn p2_a_deadline_cannot_be_put_off() {
        let mut queue = Expiry::new();
        queue.insert("a", BootTime(10));
        queue.insert("a", BootTime(20));
        assert_eq!(queue.handle_timeout(BootTime(10)), ["a"]);
    }

    proptest! {
        #[test]
        fn p2_every_key_comes_out_once_at_its_deadline(
            deadlines in proptest::collection::vec(0_u64..50, 0..60),
            steps in proptest::collection::vec(0_u64..20, 0..20),
        ) {
            let mut queue = Expiry::new();
            for (key, deadline) in deadlines.iter().enumerate() {
                queue.insert(key, BootTime(*deadline));
            }
            let (mut now, mut out) = (0, Vec::new());
            for step in steps {
                let before = now;
                now += step;
                for key in queue.handle_timeout(BootTime(now)) {
                    prop_assert!(deadlines[key] <= now && (deadlines[key] > before || before == 0));
                    out.push(key);
                }
                prop_assert!(queue.poll_timeout().is_none_or(|next| next > BootTime(now)));
            }
            let mut distinct = out.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), out.len());
            prop_assert_eq!(out.len() + queue.len(), deadlines.len());
        }
    }
}
