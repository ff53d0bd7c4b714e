//! `kind = "ldap"`. What must never happen here: a directory whose accounts could be told under several names, a filter that asks for
//! everybody.

use super::way::{Schemes, way};
use crate::config::Kind;
use crate::config::read::{Section, Value};
use crate::config::value::{boolean, secret};
use kmsgate_accounts::LdapSettings;
use kmsgate_accounts::ldap::filter::{Filter, is_attribute};
use kmsgate_accounts::ldap::{Bind, Groups, USER, dn};

/// Longest base or template, in bytes.
const LONGEST: usize = 1024;

/// `url` and TLS; `bind_dn`, `bind_password` or `bind_template`; `base`, `filter`, `user_attribute`; `groups`, `group_base`,
/// `group_filter`, `nested_groups`.
pub(super) fn ldap(section: &Section<'_, '_>) -> Option<Kind> {
    let way = way(section, &Schemes { implicit: Some(("ldaps", 636)), later: ("ldap", 389), names: false });
    let bind = bind(section);
    let base = section.take("base", words);
    let filter = section.take("filter", filter);
    needed(section, "filter", "base");
    let groups = groups(section, base.as_ref());
    // Without a filter it is the entry that was bound as; groups may still be below the base.
    let entries = filter.and_then(|filter| Some((base?, filter)));
    let named = section.take("user_attribute", attribute);
    let (bind, groups) = (bind?, groups?);
    if entries.is_none() && !matches!(&bind, Bind::Template(template) if template.contains('=')) {
        section.fail(
            &section.span(),
            "this account server needs base and filter, such as \"(uid={user})\": where is an account's entry?",
        );
        return None;
    }
    let of_entries = entries.as_ref().and_then(|(_, filter)| filter.user_attribute());
    let of_template = if let Bind::Template(template) = &bind { dn::user_attribute(template) } else { None };
    let Some(user_attribute) = named.or_else(|| of_entries.or(of_template).map(str::to_owned)) else {
        section.fail(
            &section.span(),
            "this account server needs user_attribute: which attribute is an account's one name, however it was typed?",
        );
        return None;
    };
    let (way, _) = way?;
    Some(Kind::Ldap(Box::new(LdapSettings { way, bind, entries, user_attribute, groups })))
}

fn bind(section: &Section<'_, '_>) -> Option<Bind> {
    let template = section.take("bind_template", template);
    let dn = section.take("bind_dn", words);
    let password = section.take("bind_password", secret);
    match (section.key_span("bind_template"), section.key_span("bind_dn")) {
        (Some(span), Some(_)) => {
            section.fail(&span, "bind_template: people bind as themselves, or bind_dn looks for them: one of the two");
            return None;
        }
        (None, None) => {
            section.fail(
                &section.span(),
                "this account server needs bind_template, or bind_dn and bind_password: as whom does somebody bind?",
            );
            return None;
        }
        _ => {}
    }
    needed(section, "bind_dn", "bind_password");
    needed(section, "bind_password", "bind_dn");
    match template {
        Some(template) => Some(Bind::Template(template)),
        None => Some(Bind::Found { dn: dn?, password: password? }),
    }
}

fn groups(section: &Section<'_, '_>, whole: Option<&String>) -> Option<Groups> {
    let attribute = section.take("groups", attribute);
    let base = section.take("group_base", words);
    let filter = section.take("group_filter", filter);
    let nested = section.take("nested_groups", boolean).unwrap_or(false);
    let said = [
        section.key_span("groups"),
        section.key_span("group_filter"),
        section.key_span("nested_groups").filter(|_| nested),
    ];
    if let [Some(_), Some(second), ..] | [Some(_), _, Some(second)] | [_, Some(_), Some(second)] = said {
        section.fail(
            &second,
            "groups are an attribute (groups), or entries (group_filter), or nested (nested_groups): one of them",
        );
        return None;
    }
    needed(section, "group_filter", "group_base");
    if nested {
        // The whole domain, if nothing else is said.
        let Some(base) = base.or_else(|| whole.cloned()) else {
            section.fail(&section.span(), "nested_groups needs base or group_base: where are groups?");
            return None;
        };
        return Some(Groups::Search(base, Filter::in_chain()));
    }
    match (attribute, section.has("group_filter")) {
        (Some(attribute), _) => Some(Groups::Attribute(attribute)),
        (None, true) => Some(Groups::Search(base?, filter?)),
        (None, false) => Some(Groups::None),
    }
}

/// Says so if one key is there without another.
fn needed(section: &Section<'_, '_>, one: &str, other: &str) {
    if let (Some(span), false) = (section.key_span(one), section.has(other)) {
        section.fail(&span, format!("{one} needs {other} beside it"));
    }
}

fn words(value: Value<'_, '_>) -> Option<String> {
    text_of(&value)
}

fn text_of(value: &Value<'_, '_>) -> Option<String> {
    let found = value.text()?.to_owned();
    if found.is_empty() || found.len() > LONGEST || found.chars().any(char::is_control) {
        value.fail(format!("a distinguished name has 1 to {LONGEST} bytes and no control character"));
        return None;
    }
    Some(found)
}

fn template(value: Value<'_, '_>) -> Option<String> {
    let found = text_of(&value)?;
    if found.matches(USER).count() != 1 {
        value.fail("a template has {user} in it once, such as \"uid={user},ou=people,dc=example,dc=edu\"");
        return None;
    }
    Some(found)
}

fn filter(value: Value<'_, '_>) -> Option<Filter> {
    match Filter::parse(value.text()?) {
        Ok(filter) if filter.has_a_place() => Some(filter),
        Ok(_) => {
            value.fail("the filter has no {user} (or, for groups, {dn}) in it: it would find everybody");
            None
        }
        Err(why) => {
            value.fail(why.to_string());
            None
        }
    }
}

fn attribute(value: Value<'_, '_>) -> Option<String> {
    let found = value.text()?.to_owned();
    if !is_attribute(&found) {
        value.fail(format!("{found:?} is no attribute, such as \"uid\" or \"memberOf\""));
        return None;
    }
    Some(found)
}
