//! `[accounts]`: in which order servers are asked.

use super::AccountsSettings;
use super::account_server::Found;
use super::read::{At, Section, Value, nearest};
use super::value::{label, list};
use kmsgate_core::name::{Name, ServerName};

/// The section. The servers themselves are put in by the caller.
pub(super) fn read(section: &Section<'_, '_>, found: &[Found]) -> AccountsSettings {
    let names: Vec<&str> =
        found.iter().filter_map(|found| found.name.as_ref()).map(|name| name.value.as_str()).collect();
    let known = |key: &str, named: Vec<At<String>>| -> Vec<ServerName> {
        let mut servers: Vec<ServerName> = Vec::new();
        for name in named {
            if !names.contains(&name.value.as_str()) {
                let hint = nearest(&name.value, names.iter().copied());
                let hint = hint.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                section.fail(&name.span, format!("{key}: no [[account_server]] is named {:?}{hint}", name.value));
            } else if servers.iter().any(|had| had.as_str() == name.value) {
                section.fail(&name.span, format!("{key}: {:?} is there twice", name.value));
            } else {
                servers.push(ServerName::new(&name.value));
            }
        }
        servers
    };
    let order = section.take("order", list(label)).map(|named| known("order", named));
    let realms = section.take("realms", |value| {
        Some(realms(&value)?.into_iter().map(|(realm, named)| (realm, known("realms", named))).collect())
    });
    AccountsSettings {
        servers: Vec::new(),
        order: order.unwrap_or_else(|| names.iter().map(|name| ServerName::new(name)).collect()),
        realms: realms.unwrap_or_default(),
    }
}

type Realm = (Name, Vec<At<String>>);

fn realms(value: &Value<'_, '_>) -> Option<Vec<Realm>> {
    let mut realms: Vec<Realm> = Vec::new();
    for (key, servers) in value.entries()? {
        let Ok(realm) = Name::canonical(&key.value) else {
            value.fail(format!("{:?} is no realm, such as \"example.edu\"", key.value));
            continue;
        };
        if realms.iter().any(|(had, _)| *had == realm) {
            value.fail(format!("the realm {realm} is there twice"));
            continue;
        }
        if let Some(servers) = list(label)(servers) {
            realms.push((realm, servers));
        }
    }
    Some(realms)
}
