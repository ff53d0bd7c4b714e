//! Events as they are kept: JSON that says everything as it was then. What must never happen here: a body that needs another row
//! to be understood.

use super::fault::Fault;
use super::rows::{moment, natural, stored_count};
use crate::records::{Claim, ClaimEnd, Event, GrantRecord, LedgerError, Refused, What};
use jiff::Timestamp;
use kmsgate_core::address::{AddressKey, Source};
use kmsgate_core::grant::{GrantId, State, Totals, Window};
use kmsgate_core::name::{Domain, Name, Person, RuleName, ServerName, ServiceName};
use kmsgate_core::time::BootTime;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Appends an event.
pub(super) fn append(conn: &Connection, at: Timestamp, what: &What) -> Result<(), Fault> {
    let body = serde_json::to_string(&Body::of(what))
        .map_err(|error| LedgerError::State(format!("an event cannot be written: {error}")))?;
    conn.prepare_cached("INSERT INTO events (at, body) VALUES (?1, ?2)")?
        .execute(params![at.as_millisecond(), body])?;
    Ok(())
}

/// Events after `cursor`, oldest first.
pub(super) fn after(conn: &Connection, cursor: u64, limit: usize) -> Result<Vec<Event>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT number, at, body FROM events WHERE number > ?1 ORDER BY number LIMIT ?2")?;
    let mut rows = statement.query(params![stored_count(cursor), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let what = serde_json::from_str::<Body<'_>>(super::rows::text(row, 2)?)
            .map_err(|error| error.to_string())
            .and_then(Body::what)
            .map_err(|error| LedgerError::Unreadable(format!("event {number} is not as it was written: {error}")))?;
        events.push(Event { number: natural(number), at: moment(row.get(1)?), what });
    }
    Ok(events)
}

type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    #[serde(borrow)]
    Granted(Grant<'a>),
    #[serde(borrow)]
    Renewed(Grant<'a>),
    Claimed(#[serde(borrow)] Grant<'a>, Taken),
    Ended(#[serde(borrow)] Grant<'a>, Ending),
    #[serde(borrow)]
    Closed(Grant<'a>),
    #[serde(borrow)]
    Refused(Refusal<'a>),
    QuotaReset {
        domain: Text<'a>,
        name: Text<'a>,
        operator: Text<'a>,
    },
}

#[derive(Serialize, Deserialize)]
struct Grant<'a> {
    id: Text<'a>,
    domain: Text<'a>,
    name: Text<'a>,
    voucher: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Text<'a>>,
    source: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<IpAddr>,
    service: Text<'a>,
    rule: Text<'a>,
    opened_at: i64,
    ends_at: i64,
    deadline: u64,
    state: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closed_at: Option<i64>,
    connections: u16,
    #[serde(default, skip_serializing_if = "is_zero")]
    claims: u16,
    #[serde(default, skip_serializing_if = "is_zero")]
    given_back: u16,
    #[serde(default, skip_serializing_if = "is_zero")]
    alive: u16,
    #[serde(default, skip_serializing_if = "is_zero")]
    last_claim: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    close_when_used: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes_in: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes_out: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    milliseconds: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    shared: bool,
}

#[derive(Serialize, Deserialize)]
struct Taken {
    number: u32,
    client: SocketAddr,
    provider: SocketAddr,
    relayed: bool,
}

#[derive(Serialize, Deserialize)]
struct Ending {
    number: u32,
    given_back: bool,
    answered: bool,
    bytes_in: u64,
    bytes_out: u64,
    milliseconds: u64,
}

#[derive(Serialize, Deserialize)]
struct Refusal<'a> {
    domain: Text<'a>,
    name: Text<'a>,
    server: Option<Text<'a>>,
    source: IpAddr,
    service: Text<'a>,
    reason: Text<'a>,
    rule: Option<Text<'a>>,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'a> Body<'a> {
    fn of(what: &'a What) -> Self {
        match what {
            What::Granted(grant) => Self::Granted(Grant::of(grant)),
            What::Renewed(grant) => Self::Renewed(Grant::of(grant)),
            What::Claimed(grant, claim) => Self::Claimed(
                Grant::of(grant),
                Taken { number: claim.number, client: claim.client, provider: claim.provider, relayed: claim.relayed },
            ),
            What::Ended(grant, end) => Self::Ended(
                Grant::of(grant),
                Ending {
                    number: end.number,
                    given_back: end.given_back,
                    answered: end.answered,
                    bytes_in: end.bytes_in,
                    bytes_out: end.bytes_out,
                    milliseconds: milliseconds(end.lasted),
                },
            ),
            What::Closed(grant) => Self::Closed(Grant::of(grant)),
            What::Refused(refused) => Self::Refused(Refusal {
                domain: refused.person.domain.as_str().into(),
                name: refused.person.name.as_str().into(),
                server: refused.server.as_ref().map(|server| server.as_str().into()),
                source: refused.source.ip(),
                service: refused.service.as_str().into(),
                reason: refused.reason.as_str().into(),
                rule: refused.rule.as_ref().map(|rule| rule.as_str().into()),
            }),
            What::QuotaReset { person, operator } => Self::QuotaReset {
                domain: person.domain.as_str().into(),
                name: person.name.as_str().into(),
                operator: operator.into(),
            },
        }
    }

    fn what(self) -> Result<What, String> {
        Ok(match self {
            Self::Granted(grant) => What::Granted(grant.record()?),
            Self::Renewed(grant) => What::Renewed(grant.record()?),
            Self::Claimed(grant, taken) => {
                let record = grant.record()?;
                let claim = Claim {
                    grant: record.id,
                    number: taken.number,
                    client: taken.client,
                    provider: taken.provider,
                    relayed: taken.relayed,
                };
                What::Claimed(record, claim)
            }
            Self::Ended(grant, ending) => {
                let record = grant.record()?;
                let end = ClaimEnd {
                    grant: record.id,
                    number: ending.number,
                    given_back: ending.given_back,
                    answered: ending.answered,
                    bytes_in: ending.bytes_in,
                    bytes_out: ending.bytes_out,
                    lasted: Duration::from_millis(ending.milliseconds),
                };
                What::Ended(record, end)
            }
            Self::Closed(grant) => What::Closed(grant.record()?),
            Self::Refused(refusal) => What::Refused(Refused {
                person: person(&refusal.domain, &refusal.name),
                server: refusal.server.as_deref().map(ServerName::new),
                source: Source::new(refusal.source),
                service: ServiceName::new(&refusal.service),
                reason: refusal.reason.parse().map_err(|error| format!("{error}"))?,
                rule: refusal.rule.as_deref().map(RuleName::new),
            }),
            Self::QuotaReset { domain, name, operator } => {
                What::QuotaReset { person: person(&domain, &name), operator: operator.into_owned() }
            }
        })
    }
}

impl<'a> Grant<'a> {
    fn of(record: &'a GrantRecord) -> Self {
        let cause = match record.state {
            State::Opening | State::Open => None,
            State::Closing(cause) | State::Closed(cause, _) => Some(cause),
        };
        Self {
            id: record.id.to_string().into(),
            domain: record.person.domain.as_str().into(),
            name: record.person.name.as_str().into(),
            voucher: record.voucher.as_str().into(),
            note: record.note.as_deref().map(Into::into),
            source: record.source.ip(),
            key: Some(record.key.ip()).filter(|key| *key != record.source.ip()),
            service: record.service.as_str().into(),
            rule: record.rule.as_str().into(),
            opened_at: record.window.opened_at.as_millisecond(),
            ends_at: record.window.ends_at.as_millisecond(),
            deadline: record.window.deadline.0,
            state: record.state.as_str().into(),
            cause: cause.map(|cause| cause.as_str().into()),
            closed_at: record.closed_at.map(Timestamp::as_millisecond),
            connections: record.connections,
            claims: record.claims,
            given_back: record.given_back,
            alive: record.alive,
            last_claim: record.last_claim,
            close_when_used: record.close_when_used,
            provider: record.provider,
            bytes_in: record.totals.bytes_in,
            bytes_out: record.totals.bytes_out,
            milliseconds: record.totals.milliseconds,
            shared: record.shared,
        }
    }

    fn record(self) -> Result<GrantRecord, String> {
        let id: GrantId = self.id.parse().map_err(|error| format!("{error}"))?;
        let totals = Totals {
            claims: u32::from(self.claims),
            given_back: u32::from(self.given_back),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            milliseconds: self.milliseconds,
        };
        let cause = self.cause.map(|cause| cause.parse().map_err(|error| format!("{error}"))).transpose()?;
        let state = match (&*self.state, cause) {
            ("opening", None) => State::Opening,
            ("open", None) => State::Open,
            ("closing", Some(cause)) => State::Closing(cause),
            ("closed", Some(cause)) => State::Closed(cause, totals),
            (state, _) => return Err(format!("{state:?} is no state")),
        };
        Ok(GrantRecord {
            id,
            person: person(&self.domain, &self.name),
            voucher: self.voucher.into_owned(),
            note: self.note.map(Cow::into_owned),
            source: Source::new(self.source),
            key: AddressKey::stored(self.key.unwrap_or(self.source)),
            service: ServiceName::new(&self.service),
            rule: RuleName::new(&self.rule),
            window: Window {
                opened_at: moment(self.opened_at),
                ends_at: moment(self.ends_at),
                deadline: BootTime(self.deadline),
            },
            state,
            closed_at: self.closed_at.map(moment),
            connections: self.connections,
            claims: self.claims,
            given_back: self.given_back,
            alive: self.alive,
            last_claim: self.last_claim,
            close_when_used: self.close_when_used,
            provider: self.provider,
            totals,
            shared: self.shared,
        })
    }
}

fn person(domain: &str, name: &str) -> Person {
    Person { domain: Domain::new(domain), name: Name::stored(name) }
}

/// Whole milliseconds; saturates.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
