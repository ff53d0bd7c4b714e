//! `[portal]`.

use super::read::{At, Section};
use super::value::{Url, at, boolean, choice, duration, list, network, number, readable, socket_address, title, url};
use super::{Portal, PortalLimits, PublicUrl, TlsFiles};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Languages in which the pages exist.
pub const LANGUAGES: &[(&str, &str)] = &[("en", "en"), ("zh-TW", "zh-TW")];

/// The section, with the places of its listen addresses for the check of clashes.
pub(super) fn read(section: &Section<'_, '_>) -> (Portal, Vec<At<SocketAddr>>) {
    let tls = tls(section);
    let insecure_http = section.take("insecure_http", boolean).unwrap_or(false);
    let proxies = section.take("trusted_proxies", list(network)).unwrap_or_default();
    let listen = section.take("listen", list(socket_address)).unwrap_or_else(|| default_listen(section, tls.is_some()));
    if tls.is_none() && !section.has("certificate") && !insecure_http && proxies.is_empty() {
        for address in listen.iter().filter(|address| !address.value.ip().to_canonical().is_loopback()) {
            section.fail(
                &address.span,
                "listen: passwords would cross the network in clear. Name a certificate and private_key, or listen on \
                 loopback, or name the trusted_proxies that carry TLS; insecure_http = true is for a network of your own",
            );
        }
    }
    section.only_false("proxy_protocol");
    let public_url = section.take("public_url", at(url(&["https", "http"]))).and_then(|url| public(section, url));
    if let (Some(url), true) = (&public_url, tls.is_some())
        && !url.https
    {
        let span = section.key_span("public_url").unwrap_or_default();
        section.fail(&span, "public_url: says http, but the portal has a certificate; write https");
    }
    let portal = Portal {
        listen: listen.iter().map(|address| address.value).collect(),
        public_url,
        tls,
        insecure_http,
        trusted_proxies: proxies.into_iter().map(|network| network.value).collect(),
        languages: languages(section),
        title: section.take("title", title).unwrap_or_else(|| "kmsgate".to_owned()),
        limits: limits(section),
    };
    (portal, listen)
}

fn default_listen(section: &Section<'_, '_>, tls: bool) -> Vec<At<SocketAddr>> {
    let span = section.span();
    let at = |value: SocketAddr| At { value, span: span.clone() };
    if tls {
        vec![at((Ipv4Addr::UNSPECIFIED, 443).into()), at((Ipv6Addr::UNSPECIFIED, 443).into())]
    } else {
        vec![at((Ipv4Addr::LOCALHOST, 8080).into())]
    }
}

fn tls(section: &Section<'_, '_>) -> Option<TlsFiles> {
    let certificate = section.take("certificate", readable);
    let private_key = section.take("private_key", readable);
    for (one, other) in [("certificate", "private_key"), ("private_key", "certificate")] {
        if let (Some(span), false) = (section.key_span(one), section.has(other)) {
            section.fail(&span, format!("{one} needs {other} beside it"));
        }
    }
    Some(TlsFiles { certificate: certificate?, private_key: private_key? })
}

fn public(section: &Section<'_, '_>, url: At<Url>) -> Option<PublicUrl> {
    let Url { scheme, host, port, path, user: _ } = url.value;
    if !matches!(path.as_str(), "" | "/") {
        section
            .fail(&url.span, format!("public_url: has the path {path:?}; the portal serves the root of its host only"));
        return None;
    }
    let https = scheme == "https";
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let own = if https { 443 } else { 80 };
    let authority = match port.filter(|port| *port != own) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    Some(PublicUrl { https, authority })
}

fn languages(section: &Section<'_, '_>) -> Vec<String> {
    let Some(named) = section.take("languages", list(choice(LANGUAGES))) else {
        return LANGUAGES.iter().map(|(tag, _)| (*tag).to_owned()).collect();
    };
    let mut languages: Vec<String> = Vec::new();
    for language in named {
        if languages.iter().any(|had| had == language.value) {
            section.fail(&language.span, format!("languages: {:?} is there twice", language.value));
        } else {
            languages.push(language.value.to_owned());
        }
    }
    languages
}

fn limits(section: &Section<'_, '_>) -> PortalLimits {
    let second = Duration::from_secs(1);
    let default = PortalLimits::default();
    PortalLimits {
        connections: section.take("connections", number(1..=1_000_000)).unwrap_or(default.connections),
        connections_per_address: section
            .take("connections_per_address", number(1..=1_000_000))
            .unwrap_or(default.connections_per_address),
        header_timeout: section
            .take("header_timeout", duration(second..=60 * second))
            .unwrap_or(default.header_timeout),
        request_timeout: section
            .take("request_timeout", duration(second..=300 * second))
            .unwrap_or(default.request_timeout),
    }
}
