//! `[[deny]]`, `[[rule]]`, `[[bypass]]`: who may, as the file says it.

use super::read::{At, Section, Span, Value, nearest};
use super::service::MOST_CONNECTIONS;
use super::value::{at, duration, label, list, network, number, title};
use ipnet::IpNet;
use kmsgate_core::name::{Group, RuleName, ServiceName};
use kmsgate_core::policy::{Bypass, Denial, Hours, Rule, UserPattern};
use kmsgate_core::quota::Quota;
use std::collections::BTreeSet;
use std::time::Duration;

/// What the sections must agree on: names that may be named, names that are taken, how quotas count.
pub(super) struct Common<'a> {
    /// The services that there are.
    pub(super) services: &'a [String],
    /// The domains that there are.
    pub(super) domains: &'a [String],
    /// `[quota]`.
    pub(super) quota: &'a Quota,
    /// Names of rules, denials and bypasses so far.
    pub(super) taken: BTreeSet<String>,
}

pub(super) fn deny(section: &Section<'_, '_>, common: &mut Common<'_>) -> Option<Denial> {
    let name = own_name(section, common);
    if !["users", "groups", "networks"].iter().any(|key| section.has(key)) {
        section.fail(&section.span(), "[[deny]] denies nobody; it needs users, groups or networks");
    }
    let users = users(section, common);
    let groups = groups(section);
    let networks = networks(section);
    let message = section.take("message", message);
    Some(Denial { name: name?, users, groups, networks, message })
}

pub(super) fn rule(section: &Section<'_, '_>, common: &mut Common<'_>) -> Option<Rule> {
    let name = own_name(section, common);
    if !section.has("users") && !section.has("groups") {
        section.fail(&section.span(), "[[rule]] names nobody; it needs users or groups (users = [\"*\"] is everybody)");
    }
    let users = users(section, common);
    let groups = groups(section);
    let services = services(section, common);
    let networks = networks(section);
    let hours = section.take("hours", |value| hours(&value, common));
    let unlimited = Quota { day: None, week: None, month: None, ..common.quota.clone() };
    let quota = section.take("quota", |value| quota(&value, &unlimited)).unwrap_or(unlimited);
    let second = Duration::from_secs(1);
    let window = section.take("window", duration(second..=super::service::LONGEST));
    let connections = section.take("connections", number(1..=MOST_CONNECTIONS));
    Some(Rule { name: name?, users, groups, services, networks, hours, quota, window, connections })
}

pub(super) fn bypass(section: &Section<'_, '_>, common: &mut Common<'_>) -> Option<Bypass> {
    let name = own_name(section, common);
    let networks = section.need("networks", list(network)).unwrap_or_default();
    let services = services(section, common);
    Some(Bypass { name: name?, networks: networks.into_iter().map(|network| network.value).collect(), services })
}

fn own_name(section: &Section<'_, '_>, common: &mut Common<'_>) -> Option<RuleName> {
    let name = section.need("name", at(title))?;
    if !common.taken.insert(name.value.clone()) {
        section.fail(&name.span, format!("name: {:?} is taken by an earlier rule, denial or bypass", name.value));
    }
    Some(RuleName::new(&name.value))
}

fn users(section: &Section<'_, '_>, common: &Common<'_>) -> Vec<UserPattern> {
    let users = section.take("users", list(user)).unwrap_or_default();
    for user in &users {
        let domain = match &user.value {
            UserPattern::Domain(domain) => domain.as_str(),
            UserPattern::Person(person) => person.domain.as_str(),
            UserPattern::Everybody | UserPattern::Name(_) => continue,
        };
        unknown(section, &user.span, domain, common.domains, "users: no [[account_server]] has the domain");
    }
    users.into_iter().map(|user| user.value).collect()
}

fn user(value: Value<'_, '_>) -> Option<UserPattern> {
    let parsed = value.text()?.parse::<UserPattern>();
    if let Err(why) = &parsed {
        value.fail(why);
    }
    parsed.ok()
}

/// A name that is none of those that there are is a fault.
fn unknown(section: &Section<'_, '_>, span: &Span, name: &str, there: &[String], what: &str) {
    if !there.iter().any(|known| known == name) {
        let hint = nearest(name, there.iter().map(String::as_str));
        let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        section.fail(span, format!("{what} {name:?}{hint}"));
    }
}

fn groups(section: &Section<'_, '_>) -> Vec<Group> {
    let group = |value: Value<'_, '_>| value.text().map(Group::new);
    values(section.take("groups", list(group)))
}

fn networks(section: &Section<'_, '_>) -> Vec<IpNet> {
    values(section.take("networks", list(network)))
}

fn values<T>(list: Option<Vec<At<T>>>) -> Vec<T> {
    list.unwrap_or_default().into_iter().map(|entry| entry.value).collect()
}

/// Without the key: empty, which means all.
fn services(section: &Section<'_, '_>, common: &Common<'_>) -> Vec<ServiceName> {
    let named = section.take("services", list(label)).unwrap_or_default();
    for name in &named {
        unknown(section, &name.span, &name.value, common.services, "services: no [[service]] is named");
    }
    named.into_iter().map(|name| ServiceName::new(&name.value)).collect()
}

fn hours(value: &Value<'_, '_>, common: &Common<'_>) -> Option<Hours> {
    let entries = value.list()?;
    let mut texts = Vec::new();
    for entry in entries {
        let text = entry.text()?;
        if let Err(why) = Hours::parse([text], common.quota.zone.clone()) {
            entry.fail(why);
            return None;
        }
        texts.push(text);
    }
    let hours = Hours::parse(texts, common.quota.zone.clone());
    if let Err(why) = &hours {
        value.fail(why);
    }
    hours.ok()
}

fn quota(value: &Value<'_, '_>, unlimited: &Quota) -> Option<Quota> {
    value.table(|table| Quota {
        day: table.take("day", number(0..=1_000_000)),
        week: table.take("week", number(0..=1_000_000)),
        month: table.take("month", number(0..=1_000_000)),
        ..unlimited.clone()
    })
}

fn message(value: Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if text.chars().count() > 500 || text.chars().any(char::is_control) {
        value.fail("must be a text of at most 500 characters, none of them a control character");
        return None;
    }
    Some(text.to_owned())
}
