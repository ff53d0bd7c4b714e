//! What is old goes, a little at a time, so that no sign-in waits for it.

use super::fault::Fault;
use jiff::Timestamp;
use rusqlite::{Connection, params};

/// Grants in one step.
const GRANTS: usize = 200;
/// Events in one step.
const EVENTS: usize = 1_000;

/// What a step did.
pub(super) struct Pruned {
    /// Grants removed.
    pub(super) grants: u64,
    /// Whether anything is left for another step.
    pub(super) more: bool,
}

/// Removes some of what is older than `before` and finished.
pub(super) fn step(conn: &Connection, before: Timestamp) -> Result<Pruned, Fault> {
    let limit = before.as_millisecond();
    let old: Vec<Vec<u8>> = conn
        .prepare_cached(
            "SELECT id FROM grants WHERE opened_at < ?1 AND finished = 1 AND closed_at < ?1 ORDER BY opened_at LIMIT ?2",
        )?
        .query_map(params![limit, GRANTS as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &old {
        conn.prepare_cached("DELETE FROM grants WHERE id = ?1")?.execute([id])?;
    }
    // The guard on the events lets go of what is older than this, and of nothing else.
    conn.prepare_cached("UPDATE pruned SET before = max(before, ?1)")?.execute([limit])?;
    let events = old_events(conn, limit)?;
    if let Some(last) = events.last() {
        conn.prepare_cached("DELETE FROM events WHERE number <= ?1")?.execute([last])?;
    }
    for sql in [
        "DELETE FROM refusals WHERE number IN (SELECT number FROM refusals WHERE at < ?1 ORDER BY at LIMIT 1000)",
        "DELETE FROM refusal_counts WHERE minute < ?1",
        "DELETE FROM sessions WHERE since < ?1",
        "DELETE FROM accepted WHERE at < ?1",
        "DELETE FROM daily WHERE (day + 1) * 86400000 <= ?1",
    ] {
        conn.prepare_cached(sql)?.execute([limit])?;
    }
    let grants = old.len();
    Ok(Pruned { grants: grants as u64, more: grants == GRANTS || events.len() == EVENTS })
}

/// The first events, up to one that stays because it is younger: the clock may have gone back before it.
fn old_events(conn: &Connection, limit: i64) -> Result<Vec<i64>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT number, at FROM events WHERE number < (SELECT max(number) FROM events) ORDER BY number LIMIT ?1",
    )?;
    let mut rows = statement.query([EVENTS as i64])?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()?
        && row.get::<_, i64>(1)? < limit
    {
        old.push(row.get(0)?);
    }
    Ok(old)
}

/// Forgets the tokens of grants that were closed a day before the newest one was opened: nobody may use them any more.
pub(super) fn tokens(conn: &Connection) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE grants SET token = NULL WHERE token IS NOT NULL AND finished = 1 \
         AND closed_at < (SELECT max(opened_at) FROM grants) - 86400000",
    )?
    .execute(())?;
    Ok(())
}
