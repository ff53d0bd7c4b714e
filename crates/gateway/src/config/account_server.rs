//! `[[account_server]]`: what all kinds share, then one function a kind.

use super::read::{At, Section, Value};
use super::value::{Url, at, choice, choice_with_later, duration, label, list, number, path, readable, secret, url};
use super::{AccountServer, Kind};
use kmsgate_accounts::pop3::TlsMode;
use kmsgate_accounts::tls::TlsSettings;
use kmsgate_accounts::{FileSettings, FrameSettings, Pop3Server, Pop3Settings, RealmForm};
use kmsgate_core::name::{Domain, Name, ServerName};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Kinds of the agreed shape that come later.
const LATER: &[&str] =
    &["imap", "ldap", "mysql", "postgres", "sqlite", "nis", "radius", "pam", "oidc", "command", "http"];

/// The kinds that are.
#[derive(Clone, Copy)]
enum Word {
    File,
    Pop3,
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
    let words = choice_with_later(&[("file", Word::File), ("pop3", Word::Pop3)], LATER);
    let kind = match section.need("kind", words) {
        Some(Word::File) => file(section),
        Some(Word::Pop3) => pop3(section),
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
    section.take("format", choice_with_later(&[("kmsgate", ())], &["htpasswd", "passwd"]));
    section.need("path", path).map(|path| Kind::File(FileSettings::new(path)))
}

fn pop3(section: &Section<'_, '_>) -> Option<Kind> {
    let url = section.need("url", |value| {
        let urls = if value.is_text() { vec![at(pop3_url)(value)?] } else { list(pop3_url)(value)? };
        if let Some(second) = urls.get(1) {
            section.fail(&second.span, "url: going over to a second server is not carried out by this version");
        }
        urls.into_iter().next()
    });
    let clear = section.take("tls", choice(&[("required", false), ("none", true)])).unwrap_or(false);
    let trust = TlsSettings {
        ca: section.take("ca", readable),
        server_name: section.take("server_name", host),
        client: client(section),
    };
    if clear {
        for key in ["ca", "server_name", "client_certificate", "client_key"] {
            if let Some(span) = section.key_span(key) {
                section.fail(&span, format!("{key}: has no meaning with tls = \"none\""));
            }
        }
    }
    let url = url?;
    let tls = match (url.value.scheme.as_str(), clear) {
        ("pop3", false) => TlsMode::StartTls,
        ("pop3", true) => TlsMode::Clear,
        (_, false) => TlsMode::Implicit,
        (_, true) => {
            let span = section.key_span("tls").unwrap_or_default();
            section.fail(&span, "tls: \"none\" contradicts pop3s://, which is TLS from its first byte");
            return None;
        }
    };
    let usual = if tls == TlsMode::Implicit { 995 } else { 110 };
    let settings = Pop3Settings { host: url.value.host, port: url.value.port.unwrap_or(usual), tls, trust };
    believable(section, &settings, &url.span);
    Some(Kind::Pop3(settings))
}

/// Reads the certificates that the section names, so that a bad one is told with its line.
fn believable(section: &Section<'_, '_>, settings: &Pop3Settings, url: &super::read::Span) {
    let trust = &settings.trust;
    if trust.ca.is_none() && trust.client.is_none() {
        return;
    }
    if let Err(why) = Pop3Server::new(settings.clone()) {
        let span = section.key_span("ca").or_else(|| section.key_span("client_certificate"));
        section.fail(&span.unwrap_or_else(|| url.clone()), why.to_string());
    }
}

fn pop3_url(value: Value<'_, '_>) -> Option<Url> {
    let found = url(&["pop3s", "pop3"])(value.clone())?;
    if !matches!(found.path.as_str(), "" | "/") {
        value.fail(format!("has the path {:?}; a POP3 server has none", found.path));
        return None;
    }
    Some(found)
}

/// A host name for the certificate's check.
fn host(value: Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if text.parse::<IpAddr>().is_err() && (text.is_empty() || text.len() > 253 || !text.chars().all(good)) {
        value.fail(format!("{text:?} is no host name"));
        return None;
    }
    Some(text.to_ascii_lowercase())
}

fn client(section: &Section<'_, '_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = section.take("client_certificate", readable);
    let private_key = section.take("client_key", readable);
    for (one, other) in [("client_certificate", "client_key"), ("client_key", "client_certificate")] {
        if let (Some(span), false) = (section.key_span(one), section.has(other)) {
            section.fail(&span, format!("{one} needs {other} beside it"));
        }
    }
    Some((certificate?, private_key?))
}
