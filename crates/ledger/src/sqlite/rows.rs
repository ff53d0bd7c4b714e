//! Between rows and records. What must never happen here: a record that says anything but what the row says.

use super::fault::Fault;
use crate::records::GrantRecord;
use jiff::Timestamp;
use kmsgate_core::address::{AddressKey, Source};
use kmsgate_core::grant::{GrantId, State, Totals, Window};
use kmsgate_core::name::{Domain, Name, Person, RuleName, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, BootTime, Now};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, params};
use std::net::IpAddr;
use std::str::FromStr;

/// A grant with what only the ledger needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) record: GrantRecord,
    pub(super) boot: BootId,
    pub(super) reached_open: bool,
}

impl Stored {
    /// Whether its end has passed: it counts as closed, whether or not a closer has run.
    pub(super) fn over(&self, boot: BootId, now: Now) -> bool {
        self.boot != boot || self.record.window.deadline <= now.boot
    }
}

/// The columns that [`grant`] reads, in its order.
macro_rules! grant_columns {
    () => {
        "id, domain, name, voucher, note, source, address_key, service, rule, opened_at, ends_at, deadline, boot, state, \
         reached_open, cause, closed_at, connections, claims, given_back, alive, close_when_used, provider, bytes_in, \
         bytes_out, milliseconds, shared, last_claim"
    };
}
pub(super) use grant_columns;

/// Reads a grant.
pub(super) fn grant(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let claims: u16 = row.get(18)?;
    let given_back: u16 = row.get(19)?;
    let totals = Totals {
        claims: u32::from(claims),
        given_back: u32::from(given_back),
        bytes_in: natural(row.get(23)?),
        bytes_out: natural(row.get(24)?),
        milliseconds: natural(row.get(25)?),
    };
    let cause = |index| parsed::<Cause>(row, index);
    let state = match row.get::<_, i64>(13)? {
        0 => State::Opening,
        1 => State::Open,
        2 => State::Closing(cause(15)?),
        _ => State::Closed(cause(15)?, totals),
    };
    let record = GrantRecord {
        id: GrantId::from_bytes(row.get(0)?),
        person: person(row, 1)?,
        voucher: row.get(3)?,
        note: row.get(4)?,
        source: Source::new(address(row, 5)?),
        key: AddressKey::stored(address(row, 6)?),
        service: ServiceName::new(text(row, 7)?),
        rule: RuleName::new(text(row, 8)?),
        window: Window {
            opened_at: moment(row.get(9)?),
            ends_at: moment(row.get(10)?),
            deadline: BootTime(natural(row.get(11)?)),
        },
        state,
        closed_at: row.get::<_, Option<i64>>(16)?.map(moment),
        connections: row.get(17)?,
        claims,
        given_back,
        alive: row.get(20)?,
        last_claim: row.get(27)?,
        close_when_used: row.get(21)?,
        provider: match row.get_ref(22)?.as_str_or_null().map_err(|error| from_sql(22, error))? {
            None => None,
            Some(text) => Some(text.parse().map_err(|error| malformed(22, error))?),
        },
        totals,
        shared: row.get(26)?,
    };
    Ok(Stored { record, boot: BootId(row.get(12)?), reached_open: row.get(14)? })
}

/// Writes a new grant, Opening.
pub(super) fn insert_grant(conn: &Connection, stored: &Stored, token: SecretHash) -> Result<(), Fault> {
    let Stored { record, boot, .. } = stored;
    let mut statement = conn.prepare_cached(
        "INSERT INTO grants (id, domain, name, voucher, note, source, address_key, service, rule, opened_at, ends_at, \
         deadline, boot, state, connections, close_when_used, shared, token) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, ?14, ?15, ?16, ?17)",
    )?;
    statement.execute(params![
        record.id.to_bytes(),
        record.person.domain.as_str(),
        record.person.name.as_str(),
        record.voucher,
        record.note,
        Octets::of(record.source.ip()),
        Octets::of(record.key.ip()),
        record.service.as_str(),
        record.rule.as_str(),
        record.window.opened_at.as_millisecond(),
        record.window.ends_at.as_millisecond(),
        stored_count(record.window.deadline.0),
        boot.0,
        record.connections,
        record.close_when_used,
        record.shared,
        token.0,
    ])?;
    Ok(())
}

/// Writes what can change of a grant. Whether it became finished is told, so that no index is touched otherwise.
pub(super) fn update_grant(conn: &Connection, stored: &Stored, finishes: bool) -> Result<(), Fault> {
    let record = &stored.record;
    let (state, cause) = match record.state {
        State::Opening => (0, None),
        State::Open => (1, None),
        State::Closing(cause) => (2, Some(cause.as_str())),
        State::Closed(cause, _) => (3, Some(cause.as_str())),
    };
    let sql = if finishes {
        "UPDATE grants SET state = ?2, cause = ?3, closed_at = ?4, reached_open = ?5, claims = ?6, given_back = ?7, \
         alive = ?8, provider = ?9, bytes_in = ?10, bytes_out = ?11, milliseconds = ?12, last_claim = ?13, finished = 1 WHERE id = ?1"
    } else {
        "UPDATE grants SET state = ?2, cause = ?3, closed_at = ?4, reached_open = ?5, claims = ?6, given_back = ?7, \
         alive = ?8, provider = ?9, bytes_in = ?10, bytes_out = ?11, milliseconds = ?12, last_claim = ?13 WHERE id = ?1"
    };
    conn.prepare_cached(sql)?.execute(params![
        record.id.to_bytes(),
        state,
        cause,
        record.closed_at.map(Timestamp::as_millisecond),
        stored.reached_open,
        record.claims,
        record.given_back,
        record.alive,
        record.provider.map(|provider| provider.to_string()),
        stored_count(record.totals.bytes_in),
        stored_count(record.totals.bytes_out),
        stored_count(record.totals.milliseconds),
        record.last_claim,
    ])?;
    Ok(())
}

/// The moment cut to what a row holds, so that what is answered is what is read back.
pub(super) fn whole(now: Now) -> Now {
    Now { utc: moment(now.utc.as_millisecond()), boot: now.boot }
}

/// A moment from its milliseconds; one beyond the calendar is its end.
pub(super) fn moment(milliseconds: i64) -> Timestamp {
    let end = if milliseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(milliseconds).unwrap_or(end)
}

/// A count as SQLite can hold it.
pub(super) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count from SQLite.
pub(super) fn natural(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A person in two columns, the first at `index`.
pub(super) fn person(row: &Row<'_>, index: usize) -> rusqlite::Result<Person> {
    Ok(Person { domain: Domain::new(text(row, index)?), name: Name::stored(text(row, index + 1)?) })
}

/// A text without a copy.
pub(super) fn text<'row>(row: &'row Row<'_>, index: usize) -> rusqlite::Result<&'row str> {
    row.get_ref(index)?.as_str().map_err(|error| from_sql(index, error))
}

/// A stable name in a column.
pub(super) fn parsed<T: FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text(row, index)?.parse().map_err(|error| malformed(index, error))
}

/// An address in a column.
pub(super) fn address(row: &Row<'_>, index: usize) -> rusqlite::Result<IpAddr> {
    let bytes = row.get_ref(index)?.as_blob().map_err(|error| from_sql(index, error))?;
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        Ok(IpAddr::from(four))
    } else {
        <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|error| malformed(index, error))
    }
}

/// An address as its bytes, without an allocation.
pub(super) enum Octets {
    Four([u8; 4]),
    Sixteen([u8; 16]),
}

impl Octets {
    /// Of this address.
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Four(address.octets()),
            IpAddr::V6(address) => Self::Sixteen(address.octets()),
        }
    }

    /// Four or sixteen.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Four(bytes) => bytes,
            Self::Sixteen(bytes) => bytes,
        }
    }
}

impl rusqlite::ToSql for Octets {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Blob(self.bytes())))
    }
}

fn malformed(index: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

fn from_sql(index: usize, error: FromSqlError) -> rusqlite::Error {
    malformed(index, error)
}
