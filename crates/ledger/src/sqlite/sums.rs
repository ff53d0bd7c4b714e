//! Sums of a day, kept with every change. What must never happen here: a sum without its change, or a change without its sum.
//!
//! All changes of a transaction to one sum are added up first and written once, before it is committed.

use super::fault::Fault;
use super::rows::{Stored, stored_count};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::cell::RefCell;
use std::collections::BTreeMap;

const DAY: i64 = 24 * 3600 * 1000;

/// By what a day's sums are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Axis {
    Service = 0,
    Reason = 1,
}

/// What the transaction that runs adds to the sums.
#[derive(Debug, Default)]
pub(super) struct Pending(RefCell<Added>);

/// What was added up so far: day, axis and label of each sum.
pub(super) type Added = BTreeMap<(i64, Axis, String), Sums>;

impl Pending {
    /// Adds to the sums of the day of `at`.
    pub(super) fn add(&self, at: Timestamp, axis: Axis, label: &str, sums: Sums) {
        if sums != Sums::default() {
            let key = (at.as_millisecond().div_euclid(DAY), axis, label.to_owned());
            let mut added = self.0.borrow_mut();
            let sum = added.entry(key).or_default();
            *sum = sum.plus(sums);
        }
    }

    /// As it stands, for [`Pending::back_to`].
    pub(super) fn so_far(&self) -> Added {
        self.0.borrow().clone()
    }

    /// What was added since is undone.
    pub(super) fn back_to(&self, before: Added) {
        *self.0.borrow_mut() = before;
    }

    /// Writes them into the transaction.
    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
        for ((day, axis, label), sums) in std::mem::take(&mut *self.0.borrow_mut()) {
            conn.prepare_cached(
                "INSERT INTO daily (day, axis, label, grants, used, connections, refused, bytes_in, bytes_out) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET \
                 grants = grants + excluded.grants, used = used + excluded.used, \
                 connections = connections + excluded.connections, refused = refused + excluded.refused, \
                 bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out",
            )?
            .execute(params![
                day,
                axis as i64,
                label,
                sums.grants,
                sums.used,
                sums.connections,
                sums.refused,
                sums.bytes_in,
                sums.bytes_out,
            ])?;
        }
        Ok(())
    }
}

/// What is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) grants: i64,
    pub(super) used: i64,
    pub(super) connections: i64,
    pub(super) refused: i64,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
}

impl Sums {
    /// What a grant adds to its service.
    pub(super) fn of(stored: &Stored) -> Self {
        let record = &stored.record;
        Self {
            grants: i64::from(stored.reached_open),
            used: i64::from(record.claims > 0),
            connections: i64::from(record.claims),
            refused: 0,
            bytes_in: stored_count(record.totals.bytes_in),
            bytes_out: stored_count(record.totals.bytes_out),
        }
    }

    /// What it adds to its cause: one, even if it was never open.
    pub(super) fn closed(stored: &Stored) -> Self {
        Self { grants: 1, ..Self::of(stored) }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.with(other, i64::saturating_sub)
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, i64::saturating_add)
    }

    fn with(self, other: Self, each: fn(i64, i64) -> i64) -> Self {
        Self {
            grants: each(self.grants, other.grants),
            used: each(self.used, other.used),
            connections: each(self.connections, other.connections),
            refused: each(self.refused, other.refused),
            bytes_in: each(self.bytes_in, other.bytes_in),
            bytes_out: each(self.bytes_out, other.bytes_out),
        }
    }
}
