//! `[[deny]]`, `[[rule]]`, `[[bypass]]`: who may, as the file says it.

use super::read::{At, Section, Value, nearest};
use super::value::{at, label, list, network, number, title};
use super::{Bypass, Deny, Limits, Rule, UserPattern};
use ipnet::IpNet;
use kmsgate_core::name::{Domain, Group, Name, Person, RuleName, ServiceName};
use std::collections::BTreeSet;

/// What the sections must agree on: names that may be named, names that are taken.
pub(super) struct Names<'a> {
    /// The services that there are.
    pub(super) services: &'a [String],
    /// Names of rules, denials and bypasses so far.
    pub(super) taken: BTreeSet<String>,
}

pub(super) fn deny(section: &Section<'_, '_>, names: &mut Names<'_>) -> Option<Deny> {
    let name = own_name(section, names);
    let users = users(section);
    let groups = groups(section);
    let networks = networks(section);
    let message = section.take("message", message);
    let somebody = ["users", "groups", "networks"].iter().any(|key| section.has(key));
    if !somebody {
        section.fail(&section.span(), "[[deny]] denies nobody; it needs users, groups or networks");
    }
    Some(Deny { name: name?, users, groups, networks, message })
}

pub(super) fn rule(section: &Section<'_, '_>, names: &mut Names<'_>) -> Option<Rule> {
    let name = own_name(section, names);
    let users = users(section);
    let groups = groups(section);
    if !section.has("users") && !section.has("groups") {
        section.fail(&section.span(), "[[rule]] names nobody; it needs users or groups (users = [\"*\"] is everybody)");
    }
    let services = services(section, names);
    let networks = networks(section);
    let hours = section.take("hours", list(hours)).unwrap_or_default();
    let quota = section.take("quota", |value| limits(&value)).unwrap_or_default();
    let hours = hours.into_iter().map(|hours| hours.value).collect();
    Some(Rule { name: name?, users, groups, services, networks, hours, quota })
}

pub(super) fn bypass(section: &Section<'_, '_>, names: &mut Names<'_>) -> Option<Bypass> {
    let name = own_name(section, names);
    let networks = section.need("networks", list(network)).unwrap_or_default();
    let services = services(section, names);
    Some(Bypass { name: name?, networks: networks.into_iter().map(|network| network.value).collect(), services })
}

fn own_name(section: &Section<'_, '_>, names: &mut Names<'_>) -> Option<RuleName> {
    let name = section.need("name", at(title))?;
    if !names.taken.insert(name.value.clone()) {
        section.fail(&name.span, format!("name: {:?} is taken by an earlier rule, denial or bypass", name.value));
    }
    Some(RuleName::new(&name.value))
}

fn users(section: &Section<'_, '_>) -> Vec<UserPattern> {
    values(section.take("users", list(user)))
}

fn user(value: Value<'_, '_>) -> Option<UserPattern> {
    let text = value.text()?;
    if text == "*" {
        return Some(UserPattern::Everybody);
    }
    let Some((domain, name)) = text.split_once('/') else {
        value.fail(format!("{text:?} has no domain; write it like \"campus/{text}\", or \"*\" for everybody"));
        return None;
    };
    if name == "*" {
        return Some(UserPattern::Domain(Domain::new(domain)));
    }
    match Name::canonical(name) {
        Ok(name) => Some(UserPattern::Person(Person { domain: Domain::new(domain), name })),
        Err(why) => {
            value.fail(format!("{text:?}: {why}"));
            None
        }
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

/// Without the key: all services that there are.
fn services(section: &Section<'_, '_>, names: &Names<'_>) -> Vec<ServiceName> {
    let Some(named) = section.take("services", list(label)) else {
        return names.services.iter().map(|name| ServiceName::new(name)).collect();
    };
    for name in named.iter().filter(|name| !names.services.contains(&name.value)) {
        let hint = nearest(&name.value, names.services.iter().map(String::as_str));
        let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        section.fail(&name.span, format!("services: no [[service]] is named {:?}{hint}", name.value));
    }
    named.into_iter().map(|name| ServiceName::new(&name.value)).collect()
}

fn limits(value: &Value<'_, '_>) -> Option<Limits> {
    value.table(|table| Limits {
        day: table.take("day", number(0..=1_000_000)),
        week: table.take("week", number(0..=1_000_000)),
        month: table.take("month", number(0..=1_000_000)),
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

fn hours(value: Value<'_, '_>) -> Option<super::Hours> {
    let text = value.text()?;
    let hours = super::hours::parse(text);
    if hours.is_none() {
        value.fail(format!("{text:?} is no time of the week, such as \"mon-fri 08:00-18:00\" or \"sat 10:00-24:00\""));
    }
    hours
}
