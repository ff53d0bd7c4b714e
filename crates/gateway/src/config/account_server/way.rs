//! The way to an account server: `url`, one or several, and TLS.

use crate::config::read::{At, Section, Value};
use crate::config::value::{Url, at, choice, list, readable, url_of, url_with_user};
use kmsgate_accounts::reach::{Host, Hosts, TlsMode, Way};
use kmsgate_accounts::tls::TlsSettings;
use std::net::IpAddr;
use std::path::PathBuf;

/// The schemes of a kind, each with its usual port.
pub(super) struct Schemes {
    /// TLS from the first byte, where the protocol has it.
    pub(super) implicit: Option<(&'static str, u16)>,
    /// TLS by the protocol's own command, or none with `tls = "none"`.
    pub(super) later: (&'static str, u16),
    /// Whether a url says as whom, and has a path.
    pub(super) names: bool,
}

/// `url`, `tls`, `ca`, `server_name`, `client_certificate`, `client_key`, `tls_version`. Also the urls themselves.
pub(super) fn way(section: &Section<'_, '_>, schemes: &Schemes) -> Option<(Way, Vec<At<Url>>)> {
    let Schemes { implicit, later, names } = schemes;
    let words: Vec<&str> = implicit.iter().map(|(word, _)| *word).chain([later.0]).collect();
    let urls = section.need("url", |value| urls(value, &words, *names, *names));
    let clear = section.take("tls", choice(&[("required", false), ("none", true)])).unwrap_or(false);
    let trust = trust(section, clear);
    let urls = urls?;
    let first = urls.first()?;
    if let Some(other) = urls.iter().find(|other| other.value.scheme != first.value.scheme) {
        section.fail(
            &other.span,
            "url: all hosts of a server are reached in the same way: write the same scheme before each",
        );
        return None;
    }
    let (tls, usual) = match (implicit.filter(|(word, _)| *word == first.value.scheme), clear) {
        (Some((_, port)), false) => (TlsMode::Implicit, port),
        (None, false) => (TlsMode::StartTls, later.1),
        (None, true) => (TlsMode::Clear, later.1),
        (Some((word, _)), true) => {
            let span = section.key_span("tls").unwrap_or_default();
            section.fail(&span, format!("tls: \"none\" contradicts {word}://, which is TLS from its first byte"));
            return None;
        }
    };
    let hosts = urls.iter().map(|url| Host { name: url.value.host.clone(), port: url.value.port.unwrap_or(usual) });
    let way = Way { hosts: hosts.collect(), tls, trust };
    believable(section, &way, &first.span);
    Some((way, urls))
}

/// One url, or a list of them.
pub(super) fn urls(value: Value<'_, '_>, schemes: &[&str], paths: bool, users: bool) -> Option<Vec<At<Url>>> {
    let one = |value: Value<'_, '_>| {
        let found = if users { url_with_user(&value, schemes) } else { url_of(&value, schemes) }?;
        if !paths && !matches!(found.path.as_str(), "" | "/") {
            value.fail(format!("has the path {:?}; such a server has none", found.path));
            return None;
        }
        Some(found)
    };
    if value.is_text() { Some(vec![at(one)(value)?]) } else { list(one)(value).filter(|urls| !urls.is_empty()) }
}

/// By what certificates are verified.
pub(super) fn trust(section: &Section<'_, '_>, clear: bool) -> TlsSettings {
    let only_1_3 = section.take("tls_version", choice(&[("1.2", false), ("1.3", true)])).unwrap_or(false);
    let trust = TlsSettings {
        ca: section.take("ca", readable),
        server_name: section.take("server_name", host),
        client: client(section),
        only_1_3,
    };
    if clear {
        for key in ["ca", "server_name", "client_certificate", "client_key", "tls_version"] {
            if let Some(span) = section.key_span(key) {
                section.fail(&span, format!("{key}: has no meaning with tls = \"none\""));
            }
        }
    }
    trust
}

/// Reads the certificates that the section names, so that a bad one is told with its line.
fn believable(section: &Section<'_, '_>, way: &Way, url: &crate::config::read::Span) {
    if way.trust.ca.is_none() && way.trust.client.is_none() {
        return;
    }
    if let Err(why) = Hosts::new(way) {
        let span = section.key_span("ca").or_else(|| section.key_span("client_certificate"));
        section.fail(&span.unwrap_or_else(|| url.clone()), why.to_string());
    }
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
