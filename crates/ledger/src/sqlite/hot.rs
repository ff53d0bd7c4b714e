//! Grants whose connections come and go. What must never happen here: a row that is read while a newer one waits to be
//! written, one that is kept from a transaction that was undone.
//!
//! The jobs of connections find a grant's row in memory, where it stays for the next ones, and leave it there: it is written
//! once, before the commit, however many of them changed it. Every other job finds all of them written, and reads and
//! writes the file alone.

use super::fault::Fault;
use super::read;
use super::rows::{Stored, update_grant};
use kmsgate_core::grant::GrantId;
use rusqlite::Connection;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most grants that are kept from one transaction to the next: half a megabyte.
const KEPT: usize = 1_024;

/// The rows in memory. They are true as long as nobody else writes.
#[derive(Debug, Default)]
pub(super) struct Hot {
    rows: RefCell<HashMap<GrantId, Row>>,
    /// The job that runs is one of a connection.
    in_use: Cell<bool>,
}

#[derive(Debug)]
struct Row {
    stored: Stored,
    to_write: bool,
}

impl Hot {
    /// A job of a connection begins.
    pub(super) fn keep(&self) {
        self.in_use.set(true);
    }

    /// Another job begins: everything is written, and nothing is kept.
    pub(super) fn leave(&self, conn: &Connection) -> Result<(), Fault> {
        self.write(conn)?;
        self.forget();
        Ok(())
    }

    /// What the transaction changed is written. Before its commit.
    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
        let mut rows = self.rows.borrow_mut();
        for row in rows.values_mut().filter(|row| row.to_write) {
            update_grant(conn, &row.stored, false)?;
            row.to_write = false;
        }
        if rows.len() > KEPT {
            rows.clear();
        }
        Ok(())
    }

    /// Nothing is kept. After a transaction that was undone.
    pub(super) fn forget(&self) {
        self.rows.borrow_mut().clear();
        self.in_use.set(false);
    }

    /// A grant as this transaction has it.
    pub(super) fn get(&self, conn: &Connection, id: GrantId) -> Result<Option<Stored>, Fault> {
        if !self.in_use.get() {
            return read::grant(conn, id);
        }
        match self.rows.borrow_mut().entry(id) {
            Entry::Occupied(row) => Ok(Some(row.get().stored.clone())),
            Entry::Vacant(place) => {
                let Some(stored) = read::grant(conn, id)? else { return Ok(None) };
                place.insert(Row { stored: stored.clone(), to_write: false });
                Ok(Some(stored))
            }
        }
    }

    /// A grant changed. `finishes`: it became finished with it, which the file has at once, since others look for that.
    pub(super) fn put(&self, conn: &Connection, stored: &Stored, finishes: bool) -> Result<(), Fault> {
        if self.in_use.get() && !finishes {
            self.rows.borrow_mut().insert(stored.record.id, Row { stored: stored.clone(), to_write: true });
            return Ok(());
        }
        self.rows.borrow_mut().remove(&stored.record.id);
        update_grant(conn, stored, finishes)
    }
}
