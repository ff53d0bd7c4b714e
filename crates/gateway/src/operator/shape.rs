//! Grants as an operator is shown them, and the words in which an operator names things. What must never happen here: a
//! token, or its hash.

use super::problem::Problem;
use crate::gate::Gate;
use crate::portal::view::{left, state};

pub(super) use crate::portal::view::rfc3339;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kmsgate_core::address::Source;
use kmsgate_core::grant::{GrantId, State};
use kmsgate_core::name::{Domain, Name, Person};
use kmsgate_core::reason::Cause;
use kmsgate_core::time::Now;
use kmsgate_ledger::records::{GrantRecord, ReportBy};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Everything that is known of a grant.
pub(super) fn grant(grant: &GrantRecord, now: Now) -> Value {
    let (state, cause) = state(grant, now);
    let totals = match grant.state {
        State::Closed(_, totals) => totals,
        State::Opening | State::Open | State::Closing(_) => grant.totals,
    };
    json!({
        "id": grant.id.to_string(),
        "state": state,
        "cause": cause.map(Cause::as_str),
        "user": grant.person.to_string(),
        "source": grant.source.to_string(),
        "key": grant.key.to_string(),
        "service": grant.service.as_str(),
        "rule": grant.rule.as_str(),
        "voucher": grant.voucher,
        "note": grant.note,
        "opened_at": rfc3339(grant.window.opened_at),
        "expires_at": rfc3339(grant.window.ends_at),
        "closed_at": grant.closed_at.map(rfc3339),
        "connections": grant.connections,
        "connections_left": left(grant, now),
        "claims": grant.claims,
        "given_back": grant.given_back,
        "alive": grant.alive,
        "provider": grant.provider.map(|provider| provider.to_string()),
        "bytes_in": totals.bytes_in,
        "bytes_out": totals.bytes_out,
        "milliseconds": totals.milliseconds,
        "shared": grant.shared,
    })
}

/// `DOMAIN/NAME`, or `NAME` where all account servers hold the people of one domain.
pub(super) fn person(gate: &Gate, text: &str) -> Result<Person, Problem> {
    let servers = gate.accounts.load().snapshot();
    person_of(&servers.iter().map(|server| server.domain.as_str()).collect(), text)
}

fn person_of(domains: &BTreeSet<&str>, text: &str) -> Result<Person, Problem> {
    let (domain, name) = match (text.split_once('/'), domains.first()) {
        (Some((domain, name)), _) if !domain.is_empty() => (domain, name),
        (None, Some(only)) if domains.len() == 1 => (*only, text),
        _ => {
            let all: Vec<String> = domains.iter().map(|domain| format!("{domain}/NAME")).collect();
            return Err(Problem::malformed(format!("{text:?} does not say whose: {}", all.join(" or "))));
        }
    };
    let name = Name::canonical(name).map_err(|why| Problem::malformed(format!("{text:?}: {why}")))?;
    Ok(Person { domain: Domain::new(domain), name })
}

/// An address to open for or ask about.
pub(super) fn source(text: &str) -> Result<Source, Problem> {
    let address = text.parse().map_err(|_| Problem::malformed(format!("{text:?} is not an IP address")))?;
    Ok(Source::new(address))
}

/// A grant's name.
pub(super) fn id(text: &str) -> Result<GrantId, Problem> {
    text.parse().map_err(|why: kmsgate_core::grant::NotAGrantId| Problem::malformed(why.to_string()))
}

/// What a report counts by.
pub(super) fn by(text: &str) -> Result<ReportBy, Problem> {
    Ok(match text {
        "user" => ReportBy::User,
        "day" => ReportBy::Day,
        "source" => ReportBy::Source,
        "service" => ReportBy::Service,
        "reason" => ReportBy::Reason,
        _ => return Err(Problem::malformed(format!("by: {text:?} is none of user, day, source, service, reason"))),
    })
}

/// A moment (RFC 3339), or the first one of a day in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, Problem> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
    text.parse::<Timestamp>().ok().or_else(day).ok_or_else(|| {
        Problem::malformed(format!("{text:?} is neither a day (2026-11-01) nor a moment (2026-11-01T12:00:00Z)"))
    })
}

/// The first moment of the day (UTC) that is so many days from now.
pub(super) fn day_from(now: Timestamp, days: i64) -> Timestamp {
    let today = TimeZone::UTC.to_datetime(now).date();
    let day = today.checked_add(days.days()).and_then(|day| day.to_zoned(TimeZone::UTC));
    day.map_or(now, |start| start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_addresses_and_days_are_read_or_refused_with_their_form() {
        let (one, two) = (["campus"].into(), ["campus", "staff"].into());
        assert_eq!(person_of(&one, "ALICE").unwrap().to_string(), "campus/alice");
        assert!(person_of(&two, "alice").is_err());
        assert_eq!(person_of(&two, "campus/ALICE").unwrap().to_string(), "campus/alice");
        for text in ["/alice", "campus/", "campus/a b"] {
            assert!(person_of(&one, text).is_err(), "{text}");
        }
        assert_eq!(source("::ffff:198.51.100.7").unwrap().to_string(), "198.51.100.7");
        assert!(source("gw1").is_err());
        assert_eq!(moment("2026-08-13").unwrap(), "2026-08-13T00:00:00Z".parse().unwrap());
        assert_eq!(moment("2026-08-13T12:00:00+02:00").unwrap(), "2026-08-13T10:00:00Z".parse().unwrap());
        assert!(moment("yesterday").is_err());
        let now = "2026-08-13T12:00:00Z".parse().unwrap();
        assert_eq!(day_from(now, 1), "2026-08-14T00:00:00Z".parse().unwrap());
        assert_eq!(day_from(now, -30), "2026-07-14T00:00:00Z".parse().unwrap());
    }
}
