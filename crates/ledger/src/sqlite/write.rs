//! What is written, step by step. What must never happen here: a state that the core's transitions do not allow, or a
//! change of a grant that the sums do not see ([`change`] is the only way).

use super::events::{append, milliseconds};
use super::fault::Fault;
use super::read;
use super::rows::{self, Octets, Stored, stored_count};
use super::sums::{Axis, Sums};
use super::writer::Desk;
use crate::records::{
    Claim, ClaimEnd, CloseBegun, GrantRecord, LedgerError, RefusalCount, Refused, Reserved, Session, Swept, What,
};
use kmsgate_core::decide::{Decide, Decision, Facts, Refusal, Request};
use kmsgate_core::grant::{GrantId, State, Totals, Window, gives_back};
use kmsgate_core::identity::Voucher;
use kmsgate_core::name::Person;
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, Now};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// Operators' grants say so in front of the operator's name.
const OPERATOR: &str = "operator:";

/// Reads the facts, has `decide` decide, writes its answer.
pub(super) fn reserve(desk: &mut Desk, request: &Request, now: Now, decide: Decide) -> Result<Reserved, Fault> {
    let boot = desk.boot()?;
    let conn = &desk.conn;
    let now = rows::whole(now);
    let mut standing = read::standing(conn, &request.permit.terms().service, request.key())?;
    if let Some(stored) = standing.take_if(|stored| stored.over(boot, now)) {
        end(desk, stored, Cause::Expired, now)?;
    }
    let facts = Facts { standing: standing.as_ref().map(read::stands), uses: read::uses(conn, request, now)? };
    match (decide(request, &facts, now), standing) {
        (Decision::Open, None) => Ok(Reserved::New { grant: open(conn, request, boot, now)?, replaced: None }),
        (Decision::Replace(id), Some(stored)) if stored.record.id == id => {
            end(desk, stored, Cause::Used, now)?;
            Ok(Reserved::New { grant: open(conn, request, boot, now)?, replaced: Some(id) })
        }
        (Decision::Same(id), Some(stored)) if stored.record.id == id => {
            conn.prepare_cached("UPDATE grants SET token = ?2 WHERE id = ?1")?
                .execute(params![id.to_bytes(), request.token.0])?;
            let record = stored.record;
            if !matches!(request.permit.identity().voucher(), Voucher::Operator { .. }) {
                accept(conn, &record.person, request.permit.source().ip(), now)?;
            }
            append(conn, now.utc, &What::Renewed(record.clone()))?;
            Ok(Reserved::Same(record))
        }
        (Decision::Refuse(refusal), _) => {
            refused(desk, &refusal_of(request, &refusal), now)?;
            Ok(Reserved::Refused(refusal))
        }
        (decision, _) => {
            Err(LedgerError::State(format!("{decision:?} does not fit the grant that stands there")).into())
        }
    }
}

fn open(conn: &Connection, request: &Request, boot: BootId, now: Now) -> Result<GrantRecord, Fault> {
    let permit = &request.permit;
    let (identity, terms, key) = (permit.identity(), permit.terms(), request.key());
    let (voucher, note) = match identity.voucher() {
        Voucher::Server(server) => (server.as_str().to_owned(), None),
        Voucher::Operator { operator, reason } => (format!("{OPERATOR}{operator}"), Some(reason.clone())),
    };
    let window = Window::from(now, terms.window);
    let record = GrantRecord {
        id: request.id,
        person: identity.person().clone(),
        voucher,
        note,
        source: permit.source(),
        key,
        service: terms.service.clone(),
        rule: permit.rule().clone(),
        window: Window { ends_at: rows::moment(window.ends_at.as_millisecond()), ..window },
        state: State::Opening,
        closed_at: None,
        connections: terms.connections,
        claims: 0,
        given_back: 0,
        alive: 0,
        last_claim: 0,
        close_when_used: terms.close_when_used,
        provider: None,
        totals: Totals::default(),
        shared: read::shared(conn, key, identity.person(), now)?,
    };
    let stored = Stored { record, boot, reached_open: false };
    rows::insert_grant(conn, &stored, request.token)?;
    count_unfinished(conn, &stored, 1)?;
    Ok(stored.record)
}

fn refusal_of(request: &Request, refusal: &Refusal) -> Refused {
    let permit = &request.permit;
    Refused {
        person: permit.identity().person().clone(),
        server: match permit.identity().voucher() {
            Voucher::Server(server) => Some(server.clone()),
            Voucher::Operator { .. } => None,
        },
        source: permit.source(),
        service: permit.terms().service.clone(),
        reason: refusal.reason,
        rule: refusal.rule.clone().or_else(|| Some(permit.rule().clone())),
    }
}

/// Opening -> Open.
pub(super) fn opened(desk: &mut Desk, id: GrantId, session: Option<&Session>, now: Now) -> Result<GrantRecord, Fault> {
    let conn = &desk.conn;
    let now = rows::whole(now);
    let before = existing(desk, id)?;
    let state = before.record.state.opened().map_err(|error| LedgerError::State(error.to_string()))?;
    let mut after = Stored { reached_open: true, ..before.clone() };
    after.record.state = state;
    change(desk, &before, &after)?;
    if !after.record.voucher.starts_with(OPERATOR) {
        accept(conn, &after.record.person, after.record.source.ip(), now)?;
    }
    if let Some(session) = session {
        session_begin(conn, session, now)?;
    }
    append(conn, now.utc, &What::Granted(after.record.clone()))?;
    Ok(after.record)
}

/// A claim is taken.
pub(super) fn claim(desk: &mut Desk, claim: &Claim, now: Now) -> Result<(), Fault> {
    let boot = desk.boot()?;
    let conn = &desk.conn;
    let now = rows::whole(now);
    let before = existing(desk, claim.grant)?;
    let record = &before.record;
    // The kernel lets in from the moment at which it confirms until it has shut the way, and we hear of it a little later.
    let let_in = record.state == State::Open || !claim.relayed && record.state.unfinished();
    if !let_in {
        return Err(LedgerError::State(format!("a grant that is {} gives no claim", record.state.as_str())).into());
    }
    if before.over(boot, now) || record.claims >= record.connections {
        return Err(LedgerError::Spent.into());
    }
    let taken = conn
        .prepare_cached(
            "INSERT INTO claims (grant_id, number, relayed, port) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute(params![claim.grant.to_bytes(), claim.number, claim.relayed, claim.client.port()])?;
    if taken == 0 {
        return Err(LedgerError::State(format!("claim {} of the grant was taken before", claim.number)).into());
    }
    // Whoever was let in found the way open, whatever had been written of it by then: it counts.
    let mut after = Stored { reached_open: true, ..before.clone() };
    after.record.claims = after.record.claims.saturating_add(1);
    after.record.alive = after.record.alive.saturating_add(1);
    after.record.last_claim = after.record.last_claim.max(claim.number);
    after.record.totals.claims = u32::from(after.record.claims);
    after.record.provider = Some(claim.provider);
    change(desk, &before, &after)?;
    append(conn, now.utc, &What::Claimed(after.record, claim.clone()))
}

/// The provider's first byte passed.
pub(super) fn answered(conn: &Connection, grant: GrantId, number: u32) -> Result<(), Fault> {
    let changed = conn
        .prepare_cached("UPDATE claims SET answered = 1 WHERE grant_id = ?1 AND number = ?2")?
        .execute(params![grant.to_bytes(), number])?;
    if changed == 0 { Err(LedgerError::Missing.into()) } else { Ok(()) }
}

/// Claimed connections ended. Those that do not run are returned.
pub(super) fn claims_ended(desk: &Desk, ends: Vec<ClaimEnd>, now: Now) -> Result<Vec<ClaimEnd>, Fault> {
    let mut unknown = Vec::new();
    for end in ends {
        if !claim_ended(desk, &end, now)? {
            unknown.push(end);
        }
    }
    Ok(unknown)
}

/// Whether the connection ran.
fn claim_ended(desk: &Desk, end: &ClaimEnd, now: Now) -> Result<bool, Fault> {
    let conn = &desk.conn;
    let now = rows::whole(now);
    let was_answered: Option<bool> = conn
        .prepare_cached("DELETE FROM claims WHERE grant_id = ?1 AND number = ?2 RETURNING answered")?
        .query_row(params![end.grant.to_bytes(), end.number], |row| row.get(0))
        .optional()?;
    let Some(was_answered) = was_answered else { return Ok(false) };
    let before = existing(desk, end.grant)?;
    let answered = was_answered || end.answered;
    let given_back = gives_back(end.given_back, answered, before.record.given_back);
    let mut after = before.clone();
    let record = &mut after.record;
    record.alive = record.alive.saturating_sub(1);
    if given_back {
        record.claims = record.claims.saturating_sub(1);
        record.given_back = record.given_back.saturating_add(1);
    }
    let totals = &mut record.totals;
    totals.claims = u32::from(record.claims);
    totals.given_back = u32::from(record.given_back);
    totals.bytes_in = totals.bytes_in.saturating_add(end.bytes_in);
    totals.bytes_out = totals.bytes_out.saturating_add(end.bytes_out);
    totals.milliseconds = totals.milliseconds.saturating_add(milliseconds(end.lasted));
    if let State::Closed(_, known) = &mut record.state {
        *known = *totals;
    }
    change(desk, &before, &after)?;
    append(conn, now.utc, &What::Ended(after.record, ClaimEnd { answered, given_back, ..end.clone() }))?;
    Ok(true)
}

/// Opening or Open -> Closing.
pub(super) fn closing(desk: &Desk, id: GrantId, cause: Cause) -> Result<CloseBegun, Fault> {
    let before = existing(desk, id)?;
    let Ok(state) = before.record.state.closing(cause) else {
        return Ok(CloseBegun::AlreadyBegun(before.record));
    };
    let mut after = before.clone();
    after.record.state = state;
    change(desk, &before, &after)?;
    Ok(CloseBegun::Begun(after.record))
}

/// Closing -> Closed.
pub(super) fn closed(desk: &Desk, id: GrantId, totals: Totals, now: Now) -> Result<GrantRecord, Fault> {
    let now = rows::whole(now);
    let before = existing(desk, id)?;
    let mut after = before.clone();
    take_totals(&mut after.record, totals);
    after.reached_open |= after.record.claims > 0;
    if let State::Closed(_, known) = &mut after.record.state {
        *known = after.record.totals;
        change(desk, &before, &after)?;
        return Ok(after.record);
    }
    let known = after.record.totals;
    after.record.state = before.record.state.closed(known).map_err(|error| LedgerError::State(error.to_string()))?;
    finish(desk, &before, after, now)
}

/// The greater of each: a forwarder that was restarted does not know what passed before, the ledger not yet what just ended.
fn take_totals(record: &mut GrantRecord, totals: Totals) {
    let known = &mut record.totals;
    known.claims = known.claims.max(totals.claims.min(u32::from(u16::MAX)));
    known.given_back = known.given_back.max(totals.given_back.min(u32::from(u16::MAX)));
    known.bytes_in = known.bytes_in.max(totals.bytes_in);
    known.bytes_out = known.bytes_out.max(totals.bytes_out);
    known.milliseconds = known.milliseconds.max(totals.milliseconds);
    record.claims = u16::try_from(known.claims).unwrap_or(u16::MAX);
    record.given_back = u16::try_from(known.given_back).unwrap_or(u16::MAX);
}

/// Closes in one step, without asking the forwarder: for a grant past its end, a spent one, one of another boot. A close that
/// had begun keeps its cause.
fn end(desk: &Desk, before: Stored, cause: Cause, now: Now) -> Result<GrantRecord, Fault> {
    let mut after = before.clone();
    let begun = after.record.state.closing(cause).unwrap_or(after.record.state);
    after.record.state = begun.closed(after.record.totals).map_err(|error| LedgerError::State(error.to_string()))?;
    finish(desk, &before, after, now)
}

fn finish(desk: &Desk, before: &Stored, mut after: Stored, now: Now) -> Result<GrantRecord, Fault> {
    let conn = &desk.conn;
    let ends_at = after.record.window.ends_at;
    after.record.closed_at = Some(match after.record.state {
        State::Closed(Cause::Expired, _) => ends_at,
        // Nothing is open after its end, whenever that was noticed.
        State::Closed(Cause::Swept, _) => now.utc.min(ends_at),
        _ => now.utc,
    });
    change(desk, before, &after)?;
    append(conn, now.utc, &What::Closed(after.record.clone()))?;
    Ok(after.record)
}

/// At start: see [`crate::Ledger::recover`].
pub(super) fn recover(desk: &mut Desk, boot: BootId, now: Now) -> Result<Swept, Fault> {
    let now = rows::whole(now);
    end_claims(desk, boot, now)?;
    let mut found = Swept::default();
    let mut after = None;
    loop {
        let page = read::unfinished(&desk.conn, after)?;
        let Some(last) = page.last() else { break };
        after = Some(last.record.id);
        for stored in page {
            let id = stored.record.id;
            match stored.record.state {
                _ if stored.boot != boot => found.swept.push(end(desk, stored, Cause::Swept, now)?.id),
                State::Opening => found.swept.push(end(desk, stored, Cause::Swept, now)?.id),
                State::Closing(_) => found.finish.push(id),
                _ if stored.over(boot, now) => found.expired.push(id),
                _ => found.adopt.push(id),
            }
        }
    }
    desk.recovered(boot);
    Ok(found)
}

/// Connections that the last process held, and all of another boot, are no more.
fn end_claims(desk: &Desk, boot: BootId, now: Now) -> Result<(), Fault> {
    let conn = &desk.conn;
    let ended: Vec<(GrantId, u32)> = conn
        .prepare_cached(
            "SELECT c.grant_id, c.number FROM claims c JOIN grants g ON g.id = c.grant_id \
             WHERE c.relayed = 1 OR g.boot <> ?1",
        )?
        .query_map([boot.0], |row| Ok((GrantId::from_bytes(row.get(0)?), row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (grant, number) in ended {
        let end = ClaimEnd {
            grant,
            number,
            given_back: true,
            answered: false,
            bytes_in: 0,
            bytes_out: 0,
            lasted: Duration::ZERO,
        };
        claim_ended(desk, &end, now)?;
    }
    Ok(())
}

/// A sign-in refused after an identity was proved.
pub(super) fn refused(desk: &Desk, refused: &Refused, now: Now) -> Result<(), Fault> {
    let conn = &desk.conn;
    let at = rows::whole(now).utc;
    conn.prepare_cached(
        "INSERT INTO refusals (at, domain, name, source, service, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        at.as_millisecond(),
        refused.person.domain.as_str(),
        refused.person.name.as_str(),
        Octets::of(refused.source.ip()),
        refused.service.as_str(),
        refused.reason.as_str(),
    ])?;
    let sums = Sums { refused: 1, ..Sums::default() };
    desk.sums.add(at, Axis::Service, refused.service.as_str(), sums);
    desk.sums.add(at, Axis::Reason, refused.reason.as_str(), sums);
    append(conn, at, &What::Refused(refused.clone()))
}

/// Refusals before an identity was proved.
pub(super) fn refusals_counted(desk: &Desk, counts: &[RefusalCount]) -> Result<(), Fault> {
    let conn = &desk.conn;
    for count in counts {
        conn.prepare_cached(
            "INSERT INTO refusal_counts (minute, reason, prefix, count) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
        )?
        .execute(params![
            count.minute.as_millisecond(),
            count.reason.as_str(),
            Octets::of(count.prefix),
            stored_count(count.count)
        ])?;
        let sums = Sums { refused: stored_count(count.count), ..Sums::default() };
        desk.sums.add(count.minute, Axis::Service, "", sums);
        desk.sums.add(count.minute, Axis::Reason, count.reason.as_str(), sums);
    }
    Ok(())
}

fn accept(conn: &Connection, person: &Person, source: std::net::IpAddr, now: Now) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO accepted (name, prefix, domain, at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
    )?
    .execute(params![
        person.name.as_str(),
        Octets::of(read::prefix(source)),
        person.domain.as_str(),
        now.utc.as_millisecond()
    ])?;
    Ok(())
}

/// A browser's session.
pub(super) fn session_begin(conn: &Connection, session: &Session, now: Now) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM sessions WHERE since <= ?1")?.execute([read::oldest_session(now)])?;
    conn.prepare_cached(
        "INSERT INTO sessions (hash, domain, name, grant_id, since, seen) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        session.hash.0,
        session.person.domain.as_str(),
        session.person.name.as_str(),
        session.grant.to_bytes(),
        session.since.as_millisecond(),
        now.utc.as_millisecond(),
    ])?;
    Ok(())
}

/// The session was used.
pub(super) fn session_touch(conn: &Connection, hash: SecretHash, now: Now) -> Result<(), Fault> {
    conn.prepare_cached("UPDATE sessions SET seen = ?2 WHERE hash = ?1")?
        .execute(params![hash.0, now.utc.as_millisecond()])?;
    Ok(())
}

/// The session is over.
pub(super) fn session_end(conn: &Connection, hash: SecretHash) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM sessions WHERE hash = ?1")?.execute([hash.0])?;
    Ok(())
}

/// An operator forgives what was used. The grants themselves are marked, so that it holds whatever the clock does.
pub(super) fn quota_reset(conn: &Connection, person: &Person, operator: &str, now: Now) -> Result<(), Fault> {
    conn.prepare_cached("UPDATE grants SET forgiven = 1 WHERE domain = ?1 AND name = ?2 AND forgiven = 0")?
        .execute(params![person.domain.as_str(), person.name.as_str()])?;
    let what = What::QuotaReset { person: person.clone(), operator: operator.to_owned() };
    append(conn, rows::whole(now).utc, &what)
}

/// Moves a reader of events.
pub(super) fn set_cursor(conn: &Connection, reader: &str, cursor: u64) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO cursors (reader, number) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET number = excluded.number",
    )?
    .execute(params![reader, stored_count(cursor)])?;
    Ok(())
}

/// A write that changes nothing anybody reads.
pub(super) fn pulse(conn: &Connection) -> Result<(), Fault> {
    conn.prepare_cached("UPDATE pulse SET beat = beat + 1")?.execute(())?;
    Ok(())
}

fn existing(desk: &Desk, id: GrantId) -> Result<Stored, Fault> {
    desk.hot.get(&desk.conn, id)?.ok_or_else(|| LedgerError::Missing.into())
}

/// The only way in which a grant that is written changes: the row and every sum in the same step.
fn change(desk: &Desk, before: &Stored, after: &Stored) -> Result<(), Fault> {
    let conn = &desk.conn;
    let finishes = before.record.state.unfinished() && !after.record.state.unfinished();
    desk.hot.put(conn, after, finishes)?;
    if finishes {
        count_unfinished(conn, after, -1)?;
    }
    let at = after.record.window.opened_at;
    desk.sums.add(at, Axis::Service, after.record.service.as_str(), Sums::of(after).minus(Sums::of(before)));
    if let State::Closed(cause, _) = after.record.state {
        let known = if finishes { Sums::default() } else { Sums::closed(before) };
        desk.sums.add(at, Axis::Reason, cause.as_str(), Sums::closed(after).minus(known));
    }
    Ok(())
}

fn count_unfinished(conn: &Connection, stored: &Stored, by: i64) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO unfinished (service, grants) VALUES (?1, ?2) \
         ON CONFLICT DO UPDATE SET grants = grants + excluded.grants",
    )?
    .execute(params![stored.record.service.as_str(), by])?;
    Ok(())
}
