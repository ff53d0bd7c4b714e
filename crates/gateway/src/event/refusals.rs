//! Refusals before an identity was proved: counted per minute, reason and prefix, never listed. What must never happen
//! here: memory or a disk that a guesser can fill.

use jiff::Timestamp;
use kmsgate_core::address::Source;
use kmsgate_core::reason::Reason;
use kmsgate_ledger::records::RefusalCount;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most rows at once; further prefixes are counted together.
pub const MOST_ROWS: usize = 1000;

/// The counts of the minutes that are not yet in the ledger.
#[derive(Debug, Default)]
pub struct Refusals {
    rows: Mutex<HashMap<Key, u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Minutes since 1970.
    minute: i64,
    reason: Reason,
    prefix: IpAddr,
}

impl Refusals {
    /// One more.
    pub fn count(&self, reason: Reason, source: Source, at: Timestamp) {
        self.add(Key { minute: minute(at), reason, prefix: prefix(source.ip()) }, 1);
    }

    /// Takes the counts of every minute before `now`'s; all of them if `all`.
    #[must_use]
    pub fn take(&self, now: Timestamp, all: bool) -> Vec<RefusalCount> {
        let mut rows = self.rows();
        let done: Vec<Key> = rows.keys().filter(|key| all || key.minute != minute(now)).copied().collect();
        done.into_iter().filter_map(|key| rows.remove(&key).map(|count| key.row(count))).collect()
    }

    /// Puts back what the ledger could not take.
    pub fn put_back(&self, counts: &[RefusalCount]) {
        for row in counts {
            self.add(Key { minute: minute(row.minute), reason: row.reason, prefix: row.prefix }, row.count);
        }
    }

    fn add(&self, key: Key, count: u64) {
        let mut rows = self.rows();
        let key = if rows.contains_key(&key) || rows.len() < MOST_ROWS { key } else { key.merged() };
        *rows.entry(key).or_insert(0) += count;
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// The row of all prefixes that have none of their own.
    fn merged(self) -> Self {
        Self { prefix: IpAddr::V6(Ipv6Addr::UNSPECIFIED), ..self }
    }

    fn row(self, count: u64) -> RefusalCount {
        let minute = Timestamp::from_second(self.minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH);
        RefusalCount { minute, reason: self.reason, prefix: self.prefix, count }
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// IPv4 /24, IPv6 /64.
fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & 0xffff_ff00)),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f15_a_guesser_with_many_addresses_fills_a_thousand_rows_and_no_more() {
        let refusals = Refusals::default();
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        for number in 0..100_000_u32 {
            refusals.count(Reason::InvalidCredentials, Source::new(Ipv4Addr::from_bits(number << 8).into()), at);
        }
        assert!(refusals.take(at, false).is_empty(), "the minute is not over");
        let rows = refusals.take(at, true);
        assert!(rows.len() <= MOST_ROWS + 1);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 100_000, "none is forgotten");
        assert!(refusals.take(at, true).is_empty());
    }
}
