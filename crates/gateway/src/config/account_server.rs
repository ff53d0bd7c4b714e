//! `[[account_server]]`: what all kinds share, then one function a kind.

use super::read::{At, Section, Value};
use super::value::{Url, at, choice, choice_with_later, duration, label, list, number, path, readable, secret, url};
use super::{AccountServer, Endpoint, Kind, Pop3, RealmForm, ServerTls};
use kmsgate_core::name::{Domain, Name, ServerName};
use std::net::IpAddr;
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
    /// The whole, if nothing is wrong with it.
    pub(super) server: Option<AccountServer>,
}

pub(super) fn read(section: &Section<'_, '_>) -> Option<Found> {
    let name = section.need("name", at(label));
    let domain = section.take("domain", label).or_else(|| name.as_ref().map(|name| name.value.clone()));
    let second = Duration::from_secs(1);
    let timeout = section.take("timeout", duration(second / 10..=60 * second)).unwrap_or(5 * second);
    let connections = section.take("connections", number(1..=4096)).unwrap_or(16);
    let queue = section.take("queue", number(0..=100_000)).unwrap_or(256);
    let realm = section.take("realm", realm);
    let forms = &[("strip", RealmForm::Strip), ("keep", RealmForm::Keep), ("require", RealmForm::Require)];
    let realm_form = section.take("realm_form", choice(forms));
    if let (Some(RealmForm::Require), None, Some(span)) = (realm_form, &realm, section.key_span("realm_form")) {
        section.fail(&span, "realm_form: \"require\" needs a realm beside it");
    }
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
    let server = (|| {
        Some(AccountServer {
            name: ServerName::new(&name.as_ref()?.value),
            domain: Domain::new(&domain?),
            timeout,
            connections,
            queue,
            realm,
            realm_form: realm_form.unwrap_or(RealmForm::Strip),
            kind: kind?,
        })
    })();
    Some(Found { name, server })
}

/// A realm, canonical like a name.
pub(super) fn realm(value: Value<'_, '_>) -> Option<Name> {
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
    section.need("path", path).map(|path| Kind::File { path })
}

fn pop3(section: &Section<'_, '_>) -> Option<Kind> {
    let urls = section.need("url", |value| {
        if value.is_text() { at(endpoint)(value).map(|one| vec![one]) } else { list(endpoint)(value) }
    });
    let clear = section.take("tls", choice(&[("required", false), ("none", true)])).unwrap_or(false);
    if let (Some(span), true) = (section.key_span("tls"), clear)
        && urls.iter().flatten().any(|endpoint| endpoint.value.tls)
    {
        section.fail(&span, "tls: \"none\" contradicts pop3s://, which is TLS from its first byte");
    }
    let tls = ServerTls {
        clear,
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
    Some(Kind::Pop3(Pop3 { endpoints: urls?.into_iter().map(|endpoint| endpoint.value).collect(), tls }))
}

fn endpoint(value: Value<'_, '_>) -> Option<Endpoint> {
    let Url { scheme, host, port, path } = url(&["pop3s", "pop3"])(value.clone())?;
    if !matches!(path.as_str(), "" | "/") {
        value.fail(format!("has the path {path:?}; a POP3 server has none"));
        return None;
    }
    let tls = scheme == "pop3s";
    Some(Endpoint { tls, host, port: port.unwrap_or(if tls { 995 } else { 110 }) })
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

fn client(section: &Section<'_, '_>) -> Option<super::TlsFiles> {
    let certificate = section.take("client_certificate", readable);
    let private_key = section.take("client_key", readable);
    for (one, other) in [("client_certificate", "client_key"), ("client_key", "client_certificate")] {
        if let (Some(span), false) = (section.key_span(one), section.has(other)) {
            section.fail(&span, format!("{one} needs {other} beside it"));
        }
    }
    Some(super::TlsFiles { certificate: certificate?, private_key: private_key? })
}
