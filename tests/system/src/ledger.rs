//! What the record says, read past the program: from its file, with a connection that cannot write. Only
//! [`change`] can, for a program that does not run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use rusqlite::{Connection, OpenFlags, Row};
use std::path::Path;
use std::time::Duration;

/// A grant's row, as far as tests ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: Vec<u8>,
    /// `domain/name`.
    pub person: String,
    /// The four bytes of its address, or sixteen.
    pub source: Vec<u8>,
    /// `opening`, `open`, `closing`, `closed`.
    pub state: &'static str,
    /// Why it ended.
    pub cause: Option<String>,
    /// Milliseconds.
    pub ends_at: i64,
    /// Claims not given back.
    pub claims: u16,
    /// Claims given back.
    pub given_back: u16,
    /// Claimed connections that have not ended.
    pub alive: u16,
    /// Bytes from the person, and to them.
    pub bytes: [i64; 2],
}

/// Every grant, oldest first.
///
/// # Panics
/// If the file cannot be read.
#[must_use]
pub fn grants(file: &Path) -> Vec<Grant> {
    let conn = open(file);
    let sql = "SELECT domain || '/' || name, source, state, cause, ends_at, claims, given_back, alive, bytes_in, bytes_out, id FROM grants ORDER BY id";
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map((), grant).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The answer to a question with one number.
///
/// # Panics
/// If the file cannot be read.
#[must_use]
pub fn number(file: &Path, sql: &str) -> i64 {
    open(file).query_row(sql, (), |row| row.get(0)).unwrap()
}

/// Changes the record of a program that does not run, as a cut at another moment would have left it.
///
/// # Panics
/// If the file cannot be written, or nothing changed.
pub fn change(file: &Path, sql: &str) {
    let conn = Connection::open(file).unwrap();
    assert_ne!(conn.execute(sql, ()).unwrap(), 0, "{sql}");
}

fn open(file: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let state: u8 = row.get(2)?;
    Ok(Grant {
        id: row.get(10)?,
        person: row.get(0)?,
        source: row.get(1)?,
        state: ["opening", "open", "closing", "closed"].get(usize::from(state)).copied().unwrap_or("unknown"),
        cause: row.get(3)?,
        ends_at: row.get(4)?,
        claims: row.get(5)?,
        given_back: row.get(6)?,
        alive: row.get(7)?,
        bytes: [row.get(8)?, row.get(9)?],
    })
}
