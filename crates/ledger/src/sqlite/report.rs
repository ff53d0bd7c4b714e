//! Counts. What must never happen here: a number from the sums that the rows do not bear out.
//!
//! Whole UTC days by day, service or reason come from the sums of [`super::schema`]'s `daily`; everything else is
//! counted row by row.

use super::fault::Fault;
use super::rows::{address, moment, natural, text};
use super::sums::Axis;
use crate::records::{ReportBy, ReportLine, ReportQuery};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;
use std::net::IpAddr;

const DAY: i64 = 24 * 3600 * 1000;

/// What each row of a grant adds.
macro_rules! sums {
    () => {
        "sum(reached_open), sum(claims > 0), sum(claims), 0, sum(bytes_in), sum(bytes_out)"
    };
}

/// Answers a report's question, ordered by key.
pub(super) fn report(conn: &Connection, query: &ReportQuery) -> Result<Vec<ReportLine>, Fault> {
    let transaction = conn.unchecked_transaction()?;
    let whole_days = starts_day(query.from) && starts_day(query.to);
    let mut lines = Lines { conn, query, found: BTreeMap::new() };
    match (query.by, whole_days) {
        (ReportBy::User, _) => by_user(&mut lines)?,
        (ReportBy::Source, _) => by_source(&mut lines)?,
        (ReportBy::Day, true) => lines.daily(
            "SELECT day, sum(grants), sum(used), sum(connections), sum(refused), sum(bytes_in), sum(bytes_out) \
             FROM daily WHERE axis = ?3 AND day >= ?1 AND day < ?2 GROUP BY day",
            Axis::Service,
            |row| day(row.get(0)?),
        )?,
        (ReportBy::Service, true) => lines.daily(
            "SELECT label, sum(grants), sum(used), sum(connections), sum(refused), sum(bytes_in), sum(bytes_out) \
             FROM daily WHERE axis = ?3 AND label <> '' AND day >= ?1 AND day < ?2 GROUP BY label",
            Axis::Service,
            label,
        )?,
        (ReportBy::Reason, true) => lines.daily(
            "SELECT label, sum(grants), sum(used), sum(connections), sum(refused), sum(bytes_in), sum(bytes_out) \
             FROM daily WHERE axis = ?3 AND day >= ?1 AND day < ?2 GROUP BY label",
            Axis::Reason,
            label,
        )?,
        (ReportBy::Day, false) => by_day(&mut lines)?,
        (ReportBy::Service, false) => by_service(&mut lines)?,
        (ReportBy::Reason, false) => by_reason(&mut lines)?,
    }
    let found = lines.found;
    transaction.finish()?;
    Ok(found
        .into_values()
        .filter(|line| *line != ReportLine { key: line.key.clone(), ..ReportLine::default() })
        .collect())
}

fn by_user(lines: &mut Lines<'_>) -> Result<(), Fault> {
    let key = |row: &Row<'_>| Ok(format!("{}/{}", text(row, 0)?, text(row, 7)?));
    lines.rows(
        concat!(
            "SELECT domain, ",
            sums!(),
            ", name FROM grants WHERE opened_at >= ?1 AND opened_at < ?2 GROUP BY domain, name"
        ),
        key,
    )?;
    lines.rows(
        "SELECT domain, 0, 0, 0, count(*), 0, 0, name FROM refusals WHERE at >= ?1 AND at < ?2 GROUP BY domain, name",
        key,
    )
}

fn by_source(lines: &mut Lines<'_>) -> Result<(), Fault> {
    let key = |row: &Row<'_>| Ok(address(row, 0)?.to_string());
    lines.rows(
        concat!("SELECT source, ", sums!(), " FROM grants WHERE opened_at >= ?1 AND opened_at < ?2 GROUP BY source"),
        key,
    )?;
    lines
        .rows("SELECT source, 0, 0, 0, count(*), 0, 0 FROM refusals WHERE at >= ?1 AND at < ?2 GROUP BY source", key)?;
    // Of those only the prefix is known.
    lines.rows(
        "SELECT prefix, 0, 0, 0, sum(count), 0, 0 FROM refusal_counts WHERE minute >= ?1 AND minute < ?2 GROUP BY prefix",
        |row| {
            let prefix = address(row, 0)?;
            Ok(format!("{prefix}/{}", if matches!(prefix, IpAddr::V4(_)) { 24 } else { 64 }))
        },
    )
}

fn by_day(lines: &mut Lines<'_>) -> Result<(), Fault> {
    // SQLite's division cuts towards zero; nobody was let in before 1970.
    let key = |row: &Row<'_>| day(row.get(0)?);
    lines.rows(
        concat!(
            "SELECT opened_at / 86400000 AS day, ",
            sums!(),
            " FROM grants WHERE opened_at >= ?1 AND opened_at < ?2 GROUP BY day"
        ),
        key,
    )?;
    lines.rows(
        "SELECT at / 86400000 AS day, 0, 0, 0, count(*), 0, 0 FROM refusals WHERE at >= ?1 AND at < ?2 GROUP BY day",
        key,
    )?;
    lines.rows(
        "SELECT minute / 86400000 AS day, 0, 0, 0, sum(count), 0, 0 FROM refusal_counts \
         WHERE minute >= ?1 AND minute < ?2 GROUP BY day",
        key,
    )
}

fn by_service(lines: &mut Lines<'_>) -> Result<(), Fault> {
    lines.rows(
        concat!("SELECT service, ", sums!(), " FROM grants WHERE opened_at >= ?1 AND opened_at < ?2 GROUP BY service"),
        label,
    )?;
    lines.rows(
        "SELECT service, 0, 0, 0, count(*), 0, 0 FROM refusals WHERE at >= ?1 AND at < ?2 GROUP BY service",
        label,
    )
}

fn by_reason(lines: &mut Lines<'_>) -> Result<(), Fault> {
    lines.rows(
        "SELECT cause, count(*), sum(claims > 0), sum(claims), 0, sum(bytes_in), sum(bytes_out) FROM grants \
         WHERE opened_at >= ?1 AND opened_at < ?2 AND finished = 1 GROUP BY cause",
        label,
    )?;
    lines.rows(
        "SELECT reason, 0, 0, 0, count(*), 0, 0 FROM refusals WHERE at >= ?1 AND at < ?2 GROUP BY reason",
        label,
    )?;
    lines.rows(
        "SELECT reason, 0, 0, 0, sum(count), 0, 0 FROM refusal_counts WHERE minute >= ?1 AND minute < ?2 GROUP BY reason",
        label,
    )
}

struct Lines<'a> {
    conn: &'a Connection,
    query: &'a ReportQuery,
    found: BTreeMap<String, ReportLine>,
}

impl Lines<'_> {
    /// `sql` takes the two moments; its second to seventh columns are a line's numbers.
    fn rows(&mut self, sql: &str, key: impl Fn(&Row<'_>) -> rusqlite::Result<String>) -> Result<(), Fault> {
        let bounds = params![not_before(self.query.from), not_before(self.query.to)];
        self.add(sql, bounds, key)
    }

    /// `sql` takes the two days and the axis.
    fn daily(
        &mut self,
        sql: &str,
        axis: Axis,
        key: impl Fn(&Row<'_>) -> rusqlite::Result<String>,
    ) -> Result<(), Fault> {
        let days = |at: Timestamp| at.as_millisecond().div_euclid(DAY);
        self.add(sql, params![days(self.query.from), days(self.query.to), axis as i64], key)
    }

    fn add(
        &mut self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        key: impl Fn(&Row<'_>) -> rusqlite::Result<String>,
    ) -> Result<(), Fault> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        while let Some(row) = rows.next()? {
            let key = key(row)?;
            let count = |index: usize| row.get(index).map(natural);
            let line = self.found.entry(key.clone()).or_insert(ReportLine { key, ..ReportLine::default() });
            line.grants += count(1)?;
            line.used += count(2)?;
            line.connections += count(3)?;
            line.refused += count(4)?;
            line.bytes_in += count(5)?;
            line.bytes_out += count(6)?;
        }
        Ok(())
    }
}

fn label(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(text(row, 0)?.to_owned())
}

/// As `2026-11-23`.
fn day(number: i64) -> rusqlite::Result<String> {
    let at = moment(number.saturating_mul(DAY));
    Ok(at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
}

fn starts_day(at: Timestamp) -> bool {
    moment(at.as_millisecond().div_euclid(DAY).saturating_mul(DAY)) == at
}

fn not_before(at: Timestamp) -> i64 {
    let whole = at.as_millisecond();
    if moment(whole) < at { whole.saturating_add(1) } else { whole }
}
