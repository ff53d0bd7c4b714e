//! `[[account_server]]`: what all kinds share, then one function a kind.
//!
//! * `ldap`: the keys of directories.
//! * `nis`: the keys of NIS.
//! * `radius`: the keys of RADIUS; `sql`: those of databases.
//! * [`mod@way`]: urls and TLS, for every kind that speaks over TCP.

mod ldap;
mod nis;
mod radius;
mod sql;
mod way;

use super::read::{At, Section, Value};
use super::value::{at, choice, choice_with_later, duration, label, list, number, path, secret};
use super::{AccountServer, Kind};
use kmsgate_accounts::file::Format;
use kmsgate_accounts::hashes::{Allowed, Form};
use kmsgate_accounts::{FileSettings, FrameSettings, RealmForm};
use kmsgate_core::name::{Domain, Name, ServerName};
use std::time::Duration;
use way::{Schemes, way};

/// Kinds of the agreed shape that come later.
const LATER: &[&str] = &["mysql", "pam", "oidc", "command", "http"];

/// The kinds that are.
#[derive(Clone, Copy)]
enum Word {
    File,
    Imap,
    Ldap,
    Nis,
    Pop3,
    Postgres,
    Radius,
    Sqlite,
}

/// An account server; the place is its name's. What was found of a wrong one still has its name, so that `order` is
/// not told that it does not exist.
pub(super) struct Found {
    /// The name.
    pub(super) name: Option<At<String>>,
    /// Whose people it holds.
    pub(super) domain: Option<String>,
    /// The whole, if nothing is wrong with it.
    pub(super) server: Option<AccountServer>,
}

pub(super) fn read(section: &Section<'_, '_>) -> Option<Found> {
    let name = section.need("name", at(label));
    let domain = section.take("domain", label).or_else(|| name.as_ref().map(|name| name.value.clone()));
    let frame = frame(section, name.as_ref(), domain.as_ref());
    let kinds = &[
        ("file", Word::File),
        ("imap", Word::Imap),
        ("ldap", Word::Ldap),
        ("nis", Word::Nis),
        ("pop3", Word::Pop3),
        ("postgres", Word::Postgres),
        ("radius", Word::Radius),
        ("sqlite", Word::Sqlite),
    ];
    let words = choice_with_later(kinds, LATER);
    let kind = match section.need("kind", words) {
        Some(Word::File) => file(section),
        Some(Word::Imap) => imap(section),
        Some(Word::Ldap) => ldap::ldap(section),
        Some(Word::Nis) => nis::nis(section),
        Some(Word::Pop3) => pop3(section),
        Some(Word::Postgres) => sql::postgres(section),
        Some(Word::Radius) => radius::radius(section),
        Some(Word::Sqlite) => sql::sqlite(section),
        None => {
            // A kind that comes later is refused, but a secret of it that cannot be read is worth knowing as well.
            for key in ["password", "bind_password", "secret", "client_secret", "key"] {
                section.take(key, secret);
            }
            section.leave();
            None
        }
    };
    let server = kind.map(|kind| AccountServer { frame, kind });
    Some(Found { name, domain, server })
}

fn frame(section: &Section<'_, '_>, name: Option<&At<String>>, domain: Option<&String>) -> FrameSettings {
    let default = FrameSettings::new(name.map(|name| name.value.as_str()).unwrap_or_default());
    let second = Duration::from_secs(1);
    let realm = section.take("realm", realm);
    let forms = &[("strip", RealmForm::Strip), ("keep", RealmForm::Keep)];
    FrameSettings {
        name: ServerName::new(default.name.as_str()),
        domain: domain.map_or(default.domain, |domain| Domain::new(domain)),
        realm,
        realm_form: section.take("realm_form", choice(forms)).unwrap_or_default(),
        timeout: section.take("timeout", duration(second / 10..=60 * second)).unwrap_or(default.timeout),
        connections: section.take("connections", number(1..=4096)).unwrap_or(default.connections),
        queue: section.take("queue", number(0..=100_000)).unwrap_or(default.queue),
        failures: section.take("failures", number(1..=1000)).unwrap_or(default.failures),
        rest: section.take("rest", duration(second..=3600 * second)).unwrap_or(default.rest),
    }
}

/// A realm, canonical like a name.
fn realm(value: Value<'_, '_>) -> Option<Name> {
    let text = value.text()?;
    match Name::canonical(text) {
        Ok(name) => Some(name),
        Err(_) => {
            value.fail(format!("{text:?} is no realm, such as \"example.edu\""));
            None
        }
    }
}

fn file(section: &Section<'_, '_>) -> Option<Kind> {
    let formats = &[("kmsgate", Format::Kmsgate), ("htpasswd", Format::Theirs), ("passwd", Format::Theirs)];
    let format = section.take("format", choice(formats)).unwrap_or_default();
    let hashes = section.take("hashes", hashes);
    if let (Format::Kmsgate, Some(span)) = (format, section.key_span("hashes")) {
        section.fail(&span, "hashes goes with format = \"htpasswd\" or \"passwd\": our own files have argon2id alone");
    }
    let path = section.need("path", path)?;
    let hashes = hashes.unwrap_or_default();
    Some(Kind::File(FileSettings { format, hashes, ..FileSettings::new(path) }))
}

/// Forms of hash.
fn hashes(value: Value<'_, '_>) -> Option<Allowed> {
    list(choice(&Form::ALL))(value).map(|named| Allowed(named.into_iter().map(|form| form.value).collect()))
}

fn imap(section: &Section<'_, '_>) -> Option<Kind> {
    way(section, &Schemes { implicit: Some(("imaps", 993)), later: ("imap", 143), names: false })
        .map(|(way, _)| Kind::Imap(way))
}

fn pop3(section: &Section<'_, '_>) -> Option<Kind> {
    way(section, &Schemes { implicit: Some(("pop3s", 995)), later: ("pop3", 110), names: false })
        .map(|(way, _)| Kind::Pop3(way))
}
