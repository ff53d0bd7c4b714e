//! Who is there, before anything is done for them: address, host, scheme, origin, language. What must never happen here:
//! a header of a stranger that is believed.

use crate::portal::desk::Site;
use crate::portal::fault::Wrong;
use crate::portal::session::Cookie;
use crate::portal::source::{self, NoSource, Place};
use crate::text::Language;
use axum::http::header::{ACCEPT_LANGUAGE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use kmsgate_core::address::Source;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Theirs.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// What holds for one request.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The connection.
    pub ends: Ends,
    /// Whether the peer is a trusted proxy.
    pub proxied: bool,
    /// Whether the person's own end speaks HTTPS: to us, or to the proxy in front of the public address.
    pub secure: bool,
    /// The address to open for.
    pub source: Result<Source, NoSource>,
    /// The authority under which we were asked, in lower case.
    pub authority: String,
    /// In which language to answer.
    pub language: Language,
    /// The language that the address line asks for, to be remembered.
    pub language_asked: Option<Language>,
    /// The configuration in force when the request came.
    pub site: Arc<Site>,
}

impl Visitor {
    /// Reads a request's head.
    #[must_use]
    pub fn new(ends: Ends, uri: &Uri, headers: &HeaderMap, site: Arc<Site>) -> Self {
        let peer = ends.peer.ip().to_canonical();
        let proxied = source::is_trusted(peer, &site.portal.trusted_proxies);
        let public = site.portal.public_url.as_ref();
        let secure = ends.tls || (proxied && public.is_some_and(|url| url.https));
        let forwarded = HeaderName::from_static("x-forwarded-for");
        let lines: Vec<&[u8]> = headers.get_all(forwarded).iter().map(|value| value.as_bytes()).collect();
        // Listening on every address, ours is the one that was reached.
        let mut own = site.own.clone();
        own.extend(Some(ends.local.ip().to_canonical()).filter(|address| !address.is_loopback()));
        let place = Place { trusted: &site.portal.trusted_proxies, own: &own, providers: &site.providers };
        let language_asked = uri.query().and_then(|query| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == "lang").and_then(|(_, tag)| Language::of_tag(tag))
        });
        let offered = Language::offered(&site.portal.languages);
        let language_asked = language_asked.filter(|language| offered.contains(language));
        let remembered = Cookie::Language.read(headers, secure).and_then(Language::of_tag);
        let remembered = remembered.filter(|language| offered.contains(language));
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let language = language_asked.or(remembered).unwrap_or_else(|| Language::accepted(accepted, &offered));
        Self {
            ends,
            proxied,
            secure,
            source: source::source(peer, &lines, place),
            authority: authority(uri, headers).unwrap_or_default(),
            language,
            language_asked,
            site,
        }
    }

    /// What must hold before any page is answered: HTTPS where it must be, and a Host that is ours.
    ///
    /// # Errors
    /// Which of the two does not.
    pub fn may_ask(&self, headers: &HeaderMap) -> Result<(), Wrong> {
        if !self.ends.tls
            && !self.proxied
            && !self.site.portal.insecure_http
            && !self.ends.peer.ip().to_canonical().is_loopback()
        {
            return Err(Wrong::PlainHttp);
        }
        if self.authority.is_empty() || headers.get_all(HOST).iter().count() > 1 {
            return Err(Wrong::NoHost);
        }
        if self.is_ours(&self.authority) { Ok(()) } else { Err(Wrong::Misdirected) }
    }

    /// What must hold before anything is changed: not sent by a page of another site. Non-browsers send neither header.
    ///
    /// # Errors
    /// It was.
    pub fn may_change(&self, headers: &HeaderMap) -> Result<(), Wrong> {
        let site = headers.get_all("sec-fetch-site").iter().all(|value| value == "same-origin" || value == "none");
        let scheme = if self.secure { "https://" } else { "http://" };
        let origin = headers.get_all(ORIGIN).iter().all(|value| {
            let authority = value.to_str().ok().and_then(|value| value.strip_prefix(scheme));
            authority.is_some_and(|authority| self.is_ours(&authority.to_ascii_lowercase()))
        });
        if site && origin { Ok(()) } else { Err(Wrong::Foreign) }
    }

    /// The host that a client is to be pointed to: the public one, else the address that was reached.
    #[must_use]
    pub fn gateway_host(&self) -> String {
        match &self.site.portal.public_url {
            Some(url) => host_of(&url.authority).to_owned(),
            None => bracketed(self.ends.local.ip().to_canonical()),
        }
    }

    /// The address to be typed into a browser.
    #[must_use]
    pub fn public_address(&self) -> String {
        match &self.site.portal.public_url {
            Some(url) => format!("{}://{}/", if url.https { "https" } else { "http" }, url.authority),
            None => {
                let scheme = if self.ends.tls { "https" } else { "http" };
                format!("{scheme}://{}:{}/", self.gateway_host(), self.ends.local.port())
            }
        }
    }

    /// Whether an authority is `public_url`'s or the address at which this connection arrived.
    fn is_ours(&self, authority: &str) -> bool {
        let default = if self.secure { ":443" } else { ":80" };
        let bare = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
        let asked = bare(authority);
        if self.site.portal.public_url.as_ref().is_some_and(|url| bare(&url.authority) == asked) {
            return true;
        }
        let local = self.ends.local;
        let mut ours = vec![(bracketed(local.ip().to_canonical()), local.port())];
        if local.ip().to_canonical().is_loopback() {
            // A name that no other site can have: RFC 6761 section 6.3.
            ours.push(("localhost".to_owned(), local.port()));
        }
        ours.extend(self.site.portal.listen.iter().map(|listen| {
            let port = if listen.port() == 0 { local.port() } else { listen.port() };
            (bracketed(listen.ip().to_canonical()), port)
        }));
        ours.iter().any(|(host, port)| bare(&format!("{host}:{port}")) == asked)
    }
}

/// The authority that was asked: that of an absolute request line (RFC 9112 section 3.2.2), else Host.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST)?.to_str().ok()?,
    };
    Some(text.trim().to_ascii_lowercase())
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::tests::site;

    fn visitor(tls: bool, peer: &str, headers: &[(&str, &str)]) -> (Visitor, HeaderMap) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let ends = Ends { peer: format!("{peer}:9").parse().unwrap(), local: "198.51.100.1:443".parse().unwrap(), tls };
        let mut site = site();
        site.portal.public_url =
            Some(crate::config::PublicUrl { https: true, authority: "kms.example.edu".to_owned() });
        site.portal.listen = vec!["0.0.0.0:443".parse().unwrap()];
        site.portal.trusted_proxies = vec!["10.9.0.0/24".parse().unwrap()];
        (Visitor::new(ends, &Uri::from_static("/"), &map, Arc::new(site)), map)
    }

    #[test]
    fn only_our_own_host_is_answered() {
        let asked = |host: &str| {
            let (visitor, headers) = visitor(true, "203.0.113.7", &[("host", host)]);
            visitor.may_ask(&headers)
        };
        for host in ["kms.example.edu", "KMS.example.edu:443", "198.51.100.1", "198.51.100.1:443"] {
            assert_eq!(asked(host), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "kms.example.edu:8443", "kms.example.edu.evil.example", "localhost", "198.51.100.1:80"]
        {
            assert_eq!(asked(host), Err(Wrong::Misdirected), "{host}");
        }
        assert_eq!(asked(""), Err(Wrong::NoHost));
        let (two, headers) = visitor(true, "203.0.113.7", &[("host", "kms.example.edu"), ("host", "kms.example.edu")]);
        assert_eq!(two.may_ask(&headers), Err(Wrong::NoHost));
    }

    #[test]
    fn plain_http_is_for_loopback_and_proxies() {
        let asked = |peer: &str| {
            let (visitor, headers) = visitor(false, peer, &[("host", "kms.example.edu")]);
            visitor.may_ask(&headers)
        };
        assert_eq!(asked("203.0.113.7"), Err(Wrong::PlainHttp));
        assert_eq!(asked("10.9.0.7"), Ok(()));
        assert_eq!(asked("127.0.0.1"), Ok(()));
    }

    #[test]
    fn nothing_is_changed_for_a_page_of_another_site() {
        let change = |headers: &[(&str, &str)]| {
            let (visitor, headers) = visitor(true, "203.0.113.7", headers);
            visitor.may_change(&headers)
        };
        assert_eq!(change(&[]), Ok(()));
        assert_eq!(change(&[("origin", "https://kms.example.edu"), ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(change(&[("sec-fetch-site", "none")]), Ok(()));
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "http://kms.example.edu"),
            ("origin", "null"),
            ("origin", "https://kms.example.edu.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", ""),
        ] {
            assert_eq!(change(&[(name, value)]), Err(Wrong::Foreign), "{name}: {value}");
        }
    }

    #[test]
    fn https_ends_at_us_or_at_the_trusted_proxy() {
        assert!(visitor(true, "203.0.113.7", &[]).0.secure);
        assert!(visitor(false, "10.9.0.7", &[]).0.secure);
        assert!(!visitor(false, "127.0.0.1", &[]).0.secure);
        assert!(!visitor(false, "203.0.113.7", &[("x-forwarded-proto", "https")]).0.secure);
    }

    #[test]
    fn the_gateway_is_called_by_its_public_name() {
        assert_eq!(visitor(true, "203.0.113.7", &[]).0.gateway_host(), "kms.example.edu");
        assert_eq!(host_of("[2001:db8::1]:8443"), "[2001:db8::1]");
        assert_eq!(host_of("[2001:db8::1]"), "[2001:db8::1]");
        assert_eq!(host_of("kms.example.edu:8443"), "kms.example.edu");
    }
}
