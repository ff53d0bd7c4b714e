//! `[log]`.

use super::read::{Section, Value};
use super::value::{choice, parse_url};
use super::{Log, LogFormat, LogTarget};
use std::path::PathBuf;

pub(super) fn read(section: &Section<'_, '_>) -> Log {
    let target = section.take("syslog", target).unwrap_or(LogTarget::Stdout);
    let words = &[("rfc5424", LogFormat::Rfc5424), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = section.take("format", choice(words));
    if let (Some(LogFormat::Json | LogFormat::Text), false, Some(span)) =
        (format, target == LogTarget::Stdout, section.key_span("format"))
    {
        section
            .fail(&span, "format: syslog takes \"rfc5424\" only; leave syslog out for \"json\" or \"text\" on stdout");
    }
    let own = if target == LogTarget::Stdout { LogFormat::Text } else { LogFormat::Rfc5424 };
    Log { target, format: format.unwrap_or(own) }
}

fn target(value: Value<'_, '_>) -> Option<LogTarget> {
    let text = value.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        if path.starts_with('/') {
            return Some(LogTarget::Unix(PathBuf::from(path)));
        }
        value.fail("unix: needs an absolute path, such as \"unix:/dev/log\"");
        return None;
    }
    let url = match parse_url(text) {
        Ok(url) if url.user.is_none() => url,
        _ => {
            value.fail(format!("{text:?} is none of unix:/PATH, udp://HOST:PORT, tcp://HOST:PORT"));
            return None;
        }
    };
    match (url.scheme.as_str(), url.path.as_str()) {
        ("udp", "" | "/") => Some(LogTarget::Udp(url.host, url.port.unwrap_or(514))),
        ("tcp", "" | "/") => Some(LogTarget::Tcp(url.host, url.port.unwrap_or(601))),
        ("tls", _) => {
            value.fail("syslog over TLS is not carried out by this version; write unix:, udp:// or tcp://");
            None
        }
        _ => {
            value.fail(format!("{text:?} is none of unix:/PATH, udp://HOST:PORT, tcp://HOST:PORT"));
            None
        }
    }
}
