//! `kind = "radius"`. What must never happen here: an empty shared secret, a secret in an error.

use super::way::urls;
use crate::config::Kind;
use crate::config::read::{Section, Value};
use crate::config::value::{choice, secret};
use kmsgate_accounts::RadiusSettings;
use kmsgate_accounts::radius::{GroupAttribute, Method};
use kmsgate_accounts::reach::Host;

/// The port of RFC 2865.
const PORT: u16 = 1812;

/// `url`, `secret`, `method`, `nas_identifier`, `groups`, `message_authenticator`.
pub(super) fn radius(section: &Section<'_, '_>) -> Option<Kind> {
    let urls = section.need("url", |value| urls(value, &["radius"], false, false));
    let shared = section.need("secret", secret);
    let methods = &[("pap", Method::Pap), ("mschapv2", Method::MsChapV2)];
    let groups = &[("Filter-Id", GroupAttribute::FilterId), ("Class", GroupAttribute::Class)];
    let method = section.take("method", choice(methods)).unwrap_or(Method::Pap);
    let nas_identifier = section.take("nas_identifier", identifier).unwrap_or_else(|| "kmsgate".to_owned());
    let groups = section.take("groups", choice(groups));
    let required = section.take("message_authenticator", choice(&[("required", true), ("if-present", false)]));
    let hosts = urls?.into_iter().map(|url| Host { name: url.value.host, port: url.value.port.unwrap_or(PORT) });
    Some(Kind::Radius(RadiusSettings {
        hosts: hosts.collect(),
        secret: shared?,
        method,
        nas_identifier,
        groups,
        authenticator_required: required.unwrap_or(true),
    }))
}

/// A value of NAS-Identifier (RFC 2865 section 5.32).
fn identifier(value: Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() || text.len() > 253 || text.chars().any(char::is_control) {
        value.fail("a NAS-Identifier has 1 to 253 bytes and no control character");
        return None;
    }
    Some(text.to_owned())
}
