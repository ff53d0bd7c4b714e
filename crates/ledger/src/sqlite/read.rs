//! What is asked of the ledger. Everything that a sign-in asks goes by an index and reads a bounded number of rows, so that it
//! costs the same at ten open grants and at a million.

use super::fault::Fault;
use super::rows::{self, Octets, Stored, address, grant_columns, moment, natural, person, stored_count};
use crate::records::{Filter, GrantRecord, RunningClaim, Session};
use jiff::Timestamp;
use kmsgate_core::address::AddressKey;
use kmsgate_core::decide::{Facts, Request, Standing};
use kmsgate_core::grant::GrantId;
use kmsgate_core::name::{Name, Person, ServiceName};
use kmsgate_core::quota::{Counts, Since, Use};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::Now;
use rusqlite::{Connection, OptionalExtension, params};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How long after its close a grant is shown to the holder of its token.
const TOKEN_OUTLIVES: Duration = Duration::from_hours(24);
/// How long ago somebody else's grant on the same address still makes it a shared one (F17).
const SHARED_WITHIN: Duration = Duration::from_hours(24);
/// A session ends when nobody used it for so long.
const SESSION_IDLE: Duration = Duration::from_mins(30);
/// A session ends when it is so old.
const SESSION_AGE: Duration = Duration::from_hours(8);

/// The facts for a request, nothing written.
pub(super) fn facts(conn: &Connection, request: &Request, now: Now) -> Result<Facts, Fault> {
    let now = rows::whole(now);
    let standing = standing(conn, &request.permit.terms().service, request.key())?
        .filter(|stored| stored.record.window.deadline > now.boot)
        .map(|stored| stands(&stored));
    Ok(Facts { standing, uses: uses(conn, request, now)? })
}

/// A stored grant as the decision sees it.
pub(super) fn stands(stored: &Stored) -> Standing {
    let record = &stored.record;
    Standing {
        id: record.id,
        person: record.person.clone(),
        open: record.state == kmsgate_core::grant::State::Open,
        deadline: record.window.deadline,
        connections: record.connections,
        claims: record.claims,
        alive: record.alive,
    }
}

/// The unfinished grant on a key and service.
pub(super) fn standing(conn: &Connection, service: &ServiceName, key: AddressKey) -> Result<Option<Stored>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE service = ?1 AND address_key = ?2 AND finished = 0"
    ))?;
    Ok(statement.query_row(params![service.as_str(), Octets::of(key.ip())], rows::grant).optional()?)
}

/// How far each limit of the request is used.
pub(super) fn uses(conn: &Connection, request: &Request, now: Now) -> Result<Vec<Use>, Fault> {
    let limits = request.to_count(now);
    let (Some(oldest), Some(largest)) = (limits.iter().map(|s| s.from).min(), limits.iter().map(|s| s.limit).max())
    else {
        return Ok(Vec::new());
    };
    // With so many rows either the limit or its tenfold in unused ones is reached, whatever the older rows say.
    let enough = i64::from(largest) * 11 + 11;
    let person = request.permit.identity().person();
    let mut statement = conn.prepare_cached(
        "SELECT opened_at, finished = 0 AND deadline > ?5, reached_open, claims, cause FROM grants \
         WHERE domain = ?1 AND name = ?2 AND service = ?3 AND opened_at >= ?4 \
         AND forgiven = 0 AND (reached_open = 1 OR finished = 0) ORDER BY opened_at DESC LIMIT ?6",
    )?;
    let mut seen = Vec::new();
    for service in request.permit.counted().iter() {
        let found = statement.query_map(
            params![
                person.domain.as_str(),
                person.name.as_str(),
                service.as_str(),
                not_before(oldest),
                stored_count(now.boot.0),
                enough
            ],
            |row| {
                let cause: Option<String> = row.get(4)?;
                Ok(Seen {
                    opened_at: row.get(0)?,
                    unfinished: row.get(1)?,
                    reached_open: row.get(2)?,
                    used: row.get::<_, i64>(3)? > 0,
                    swept: cause.as_deref() == Some(Cause::Swept.as_str()),
                })
            },
        )?;
        for row in found {
            seen.push(row?);
        }
    }
    seen.sort_unstable_by_key(|row| std::cmp::Reverse(row.opened_at));
    let counts = request.permit.quota().counts;
    Ok(limits.into_iter().map(|since| used(&seen, since, counts)).collect())
}

/// One grant of a person, as far as a quota is concerned.
struct Seen {
    opened_at: i64,
    unfinished: bool,
    reached_open: bool,
    used: bool,
    swept: bool,
}

impl Seen {
    /// An unfinished one always counts, or a quota could be raced by grants that are still opening.
    fn counts(&self, counts: Counts) -> bool {
        self.unfinished
            || match counts {
                Counts::Used => self.used,
                Counts::Logins => self.reached_open && (self.used || !self.swept),
            }
    }
}

/// `seen` is newest first.
fn used(seen: &[Seen], since: Since, counts: Counts) -> Use {
    let from = not_before(since.from);
    let (mut used, mut unused, mut limiting) = (0_u32, 0_u32, None);
    for row in seen.iter().take_while(|row| row.opened_at >= from) {
        if row.counts(counts) {
            used += 1;
            if used == since.limit {
                limiting = Some(moment(row.opened_at));
            }
        } else if row.reached_open {
            unused += 1;
        }
    }
    Use { since, used, limiting, unused }
}

/// The first whole millisecond that is not before `from`.
fn not_before(from: Timestamp) -> i64 {
    let whole = from.as_millisecond();
    if moment(whole) < from { whole.saturating_add(1) } else { whole }
}

/// Whether somebody else had a grant on this key within the last day (F17).
pub(super) fn shared(conn: &Connection, key: AddressKey, person: &Person, now: Now) -> Result<bool, Fault> {
    let since = before(now, SHARED_WITHIN);
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM grants WHERE address_key = ?1 AND opened_at >= ?2 AND (name <> ?3 OR domain <> ?4))",
    )?;
    let asked = params![Octets::of(key.ip()), since, person.name.as_str(), person.domain.as_str()];
    Ok(statement.query_row(asked, |row| row.get(0))?)
}

/// A grant by its name.
pub(super) fn grant(conn: &Connection, id: GrantId) -> Result<Option<Stored>, Fault> {
    let mut statement = conn.prepare_cached(concat!("SELECT ", grant_columns!(), " FROM grants WHERE id = ?1"))?;
    Ok(statement.query_row([id.to_bytes()], rows::grant).optional()?)
}

/// The grant that a token opens.
pub(super) fn grant_by_token(conn: &Connection, token: SecretHash, now: Now) -> Result<Option<GrantRecord>, Fault> {
    let mut statement = conn.prepare_cached(concat!("SELECT ", grant_columns!(), " FROM grants WHERE token = ?1"))?;
    let found = statement.query_row([token.0], rows::grant).optional()?.map(|stored| stored.record);
    let since = before(now, TOKEN_OUTLIVES);
    Ok(found.filter(|record| record.closed_at.is_none_or(|closed| closed.as_millisecond() > since)))
}

/// Grants, newest first.
pub(super) fn grants(conn: &Connection, filter: &Filter) -> Result<Vec<GrantRecord>, Fault> {
    let mut sql = concat!("SELECT ", grant_columns!(), " FROM grants WHERE id < ?1").to_owned();
    let below = filter.before.map_or([u8::MAX; 17].to_vec(), |id| id.to_bytes().to_vec());
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![Box::new(below)];
    if filter.unfinished {
        sql.push_str(" AND finished = 0");
    }
    if let Some(person) = &filter.person {
        sql.push_str(" AND domain = ? AND name = ?");
        values.push(Box::new(person.domain.as_str().to_owned()));
        values.push(Box::new(person.name.as_str().to_owned()));
    }
    if let Some(source) = filter.source {
        let source = source.to_canonical();
        // The key is the source under a prefix of 64 to 128, so it lies between the /64 and the source itself.
        sql.push_str(" AND address_key BETWEEN ? AND ? AND source = ?");
        values.push(Box::new(Octets::of(prefix(source))));
        values.push(Box::new(Octets::of(source)));
        values.push(Box::new(Octets::of(source)));
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(Box::new(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    let mut statement = conn.prepare_cached(&sql)?;
    let found = statement.query_map(rusqlite::params_from_iter(values), rows::grant)?;
    found.map(|stored| Ok(stored?.record)).collect()
}

/// An address under its prefix: IPv4 whole, IPv6 its /64.
pub(super) fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// A live session, with the moment at which it was last used.
pub(super) fn session(conn: &Connection, hash: SecretHash, now: Now) -> Result<Option<(Session, Timestamp)>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT domain, name, grant_id, since, seen FROM sessions WHERE hash = ?1")?;
    let found = statement.query_row([hash.0], |row| {
        let session = Session {
            hash,
            person: person(row, 0)?,
            grant: GrantId::from_bytes(row.get(2)?),
            since: moment(row.get(3)?),
        };
        Ok((session, moment(row.get(4)?)))
    });
    Ok(found.optional()?.filter(|(session, seen)| {
        seen.as_millisecond() > before(now, SESSION_IDLE) && session.since.as_millisecond() > oldest_session(now)
    }))
}

/// Sessions that began then or earlier are over.
pub(super) fn oldest_session(now: Now) -> i64 {
    before(now, SESSION_AGE)
}

/// Whether the name was ever accepted.
pub(super) fn ever_accepted(conn: &Connection, name: &Name) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM accepted WHERE name = ?1)")?;
    Ok(statement.query_row([name.as_str()], |row| row.get(0))?)
}

/// Who was accepted from where since then.
pub(super) fn accepted_since(
    conn: &Connection,
    since: Timestamp,
    after: Option<&(Name, IpAddr)>,
    limit: usize,
) -> Result<Vec<(Name, IpAddr, Timestamp)>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT name, prefix, max(at) FROM accepted WHERE (name, prefix) > (?2, ?3) AND at >= ?1 \
         GROUP BY name, prefix ORDER BY name, prefix LIMIT ?4",
    )?;
    // Before every address: no bytes at all.
    let (name, prefix) = after.map_or(("", None), |(name, prefix)| (name.as_str(), Some(Octets::of(*prefix))));
    let prefix = prefix.as_ref().map_or(&[][..], Octets::bytes);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map(params![not_before(since), name, prefix, limit], |row| {
        Ok((Name::stored(rows::text(row, 0)?), address(row, 1)?, moment(row.get(2)?)))
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Where a reader of events stands.
pub(super) fn cursor(conn: &Connection, reader: &str) -> Result<u64, Fault> {
    let mut statement = conn.prepare_cached("SELECT number FROM cursors WHERE reader = ?1")?;
    Ok(statement.query_row([reader], |row| row.get(0)).optional()?.map_or(0, natural))
}

/// Connections that the kernel carries.
pub(super) fn running(conn: &Connection) -> Result<Vec<RunningClaim>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT grant_id, number, port FROM claims WHERE relayed = 0 ORDER BY grant_id, number")?;
    let found = statement.query_map((), |row| {
        Ok(RunningClaim { grant: GrantId::from_bytes(row.get(0)?), number: row.get(1)?, port: row.get(2)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Unfinished grants of a service.
pub(super) fn count_open(conn: &Connection, service: &ServiceName) -> Result<u64, Fault> {
    let mut statement = conn.prepare_cached("SELECT grants FROM unfinished WHERE service = ?1")?;
    Ok(statement.query_row([service.as_str()], |row| row.get(0)).optional()?.map_or(0, natural))
}

/// So long before now, in milliseconds.
fn before(now: Now, length: Duration) -> i64 {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    now.utc.as_millisecond().saturating_sub(length)
}

/// Every unfinished grant.
pub(super) fn unfinished(conn: &Connection, after: Option<GrantId>) -> Result<Vec<Stored>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE finished = 0 AND id > ?1 ORDER BY id LIMIT 1000"
    ))?;
    let found = statement.query_map([after.map_or(vec![], |id| id.to_bytes().to_vec())], rows::grant)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
