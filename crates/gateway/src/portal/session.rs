//! Cookies, and the tokens that forms carry. What must never happen here: a cookie that a neighbour domain can set under
//! TLS, a form that another site can fill in.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The cookies of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// The session after a sign-in.
    Session,
    /// What the sign-in form's token is bound to before there is a session.
    Form,
    /// The language chosen; no secret.
    Language,
}

impl Cookie {
    /// Its name. `__Host-` (RFC 6265bis section 4.1.3.2) keeps neighbour domains and plain HTTP from setting it.
    #[must_use]
    pub fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, true) => "__Host-kmsgate",
            (Self::Session, false) => "kmsgate",
            (Self::Form, true) => "__Host-kmsgate-form",
            (Self::Form, false) => "kmsgate-form",
            (Self::Language, true) => "__Host-kmsgate-lang",
            (Self::Language, false) => "kmsgate-lang",
        }
    }

    /// The value that the browser sent. Two of one name: none, since one of them is not ours.
    #[must_use]
    pub fn read(self, headers: &HeaderMap, secure: bool) -> Option<&str> {
        let name = self.name(secure);
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) if !value.is_empty() && value.len() <= 64 => Some(value),
            _ => None,
        }
    }

    /// The Set-Cookie line that sets it.
    #[must_use]
    pub fn set(self, value: &str, secure: bool) -> String {
        let flags = if secure { "; Secure" } else { "" };
        let lasts = if self == Self::Language { "; Max-Age=31536000" } else { "" };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{lasts}{flags}", self.name(secure))
    }

    /// The Set-Cookie line that takes it away.
    #[must_use]
    pub fn clear(self, secure: bool) -> String {
        let flags = if secure { "; Secure" } else { "" };
        format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{flags}", self.name(secure))
    }
}

/// The token that forms carry, bound to a cookie that no other site can read: the session's, or before one the form's own.
/// It tells nothing of the cookie, so it may stand in a page.
#[must_use]
pub fn form_token(cookie: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(b"kmsgate form token\0");
    digest.update(cookie.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// Whether a form's token belongs to the cookie.
#[must_use]
pub fn is_form_token(token: Option<&str>, cookie: Option<&str>) -> bool {
    match (token, cookie) {
        (Some(token), Some(cookie)) => form_token(cookie).as_bytes().ct_eq(token.as_bytes()).into(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_cookie_is_bound_to_the_host_under_tls() {
        assert_eq!(Cookie::Session.set("v", true), "__Host-kmsgate=v; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(Cookie::Session.set("v", false), "kmsgate=v; Path=/; HttpOnly; SameSite=Lax");
        assert!(Cookie::Session.clear(true).ends_with("Max-Age=0; Secure"));
    }

    #[test]
    fn a_cookie_is_read_from_any_line_but_only_if_it_is_the_only_one() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            Cookie::Session.read(&headers, false).map(str::to_owned)
        };
        assert_eq!(read(&["a=b; kmsgate=v"]), Some("v".into()));
        assert_eq!(read(&["a=b", "kmsgate=v; kmsgate-form=w"]), Some("v".into()));
        assert_eq!(read(&["kmsgate=v; kmsgate=w"]), None);
        assert_eq!(read(&["kmsgate=v", "kmsgate=w"]), None);
        assert_eq!(read(&["kmsgate="]), None);
        assert_eq!(read(&["__Host-kmsgate=v"]), None);
        assert_eq!(read(&[&format!("kmsgate={}", "x".repeat(65))]), None);
    }

    #[test]
    fn a_form_token_belongs_to_one_cookie() {
        let token = form_token("cookie");
        assert!(is_form_token(Some(&token), Some("cookie")));
        for (token, cookie) in
            [(None, None), (Some(token.as_str()), None), (None, Some("cookie")), (Some(&token), Some("other"))]
        {
            assert!(!is_form_token(token, cookie));
        }
        assert!(!is_form_token(Some(""), Some("cookie")));
    }
}
