//! The headers that every answer wears. What must never happen here: an exception for one page.

use crate::portal::session::Cookie;
use crate::portal::visitor::Visitor;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::Response;

const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
                              connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const ALWAYS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with that, browsers send our own forms with `Origin: null` (Fetch, "append a request Origin
    // header"), which we could not tell from another site's.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Dresses an answer. One that read a password closes its connection, so that the buffers which held it are freed and
/// wiped (P6); a trusted proxy keeps its connections.
pub(crate) fn dress(visitor: &Visitor, hands_over_password: bool, response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if visitor.secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(visitor.language.tag()));
    if let Some(language) = visitor.language_asked
        && let Ok(line) = HeaderValue::try_from(Cookie::Language.set(language.tag(), visitor.secure))
    {
        headers.append(SET_COOKIE, line);
    }
    if hands_over_password && !visitor.proxied {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
