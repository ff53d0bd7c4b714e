//! What somebody sent, read once. What must never happen here: a copy of a password that is not wiped, a body longer
//! than the limit in memory, a body that may take for ever.

use crate::portal::fault::{Malformed, Wrong};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use kmsgate_core::address::Source;
use kmsgate_core::name::{Login, ServiceName};
use kmsgate_core::password::Password;
use kmsgate_core::sign_in::SignIn;
use serde::de::{Deserialize, Deserializer, Visitor};
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest body, in bytes.
pub(crate) const LONGEST_BODY: usize = 16 * 1024;

/// So much more of a body that is too long is read and dropped, so that its sender gets to read the answer.
const DRAIN: usize = 1024 * 1024;

/// For at most so long.
const DRAIN_FOR: Duration = Duration::from_secs(2);

/// A text of a person's: wiped when dropped, never printed. User names too, since people type passwords there.
#[derive(Default)]
pub(crate) struct Typed(Zeroizing<String>);

impl Typed {
    /// The text itself.
    #[must_use]
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn take(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed(..)")
    }
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Typed;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Typed, E> {
                Ok(Typed(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Typed, E> {
                Ok(Typed(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

/// The fields of a sign-in, as they came.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Who.
    pub(crate) username: Typed,
    /// Their proof.
    pub(crate) password: Typed,
    /// What for; None: the first service.
    pub(crate) service: Option<Typed>,
    /// The form's token; never in JSON.
    pub(crate) csrf: Option<Typed>,
}

impl Asked {
    /// The well-formed sign-in.
    ///
    /// # Errors
    /// What is wrong with the name or the password.
    pub(crate) fn sign_in(self, service: ServiceName, source: Source) -> Result<SignIn, Wrong> {
        let login = Login::parse(self.username.expose()).map_err(Wrong::Name)?;
        let password = Password::new(self.password.take()).map_err(Wrong::Password)?;
        Ok(SignIn { login, password, service, source })
    }
}

/// Reads a body of at most [`LONGEST_BODY`] bytes within `within`, of this media type and no other.
///
/// # Errors
/// Which limit it breaks.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    media: &str,
    within: Duration,
) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    let work = async {
        if !is_media(headers, media) {
            drain(headers, body).await;
            return Err(Wrong::MediaType);
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > LONGEST_BODY) {
            drain(headers, body).await;
            return Err(Wrong::TooLarge);
        }
        // Never grown: growing would leave a copy of what was there before.
        let mut bytes = Zeroizing::new(Vec::with_capacity(announced.unwrap_or(LONGEST_BODY)));
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Wrong::Form(Malformed::CutShort))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > bytes.capacity().min(LONGEST_BODY) {
                drain(headers, body).await;
                return Err(Wrong::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(within, work).await.unwrap_or(Err(Wrong::TooSlow))
}

/// An answer that overtakes a body would be lost in the reset that follows; one who asked first has sent nothing yet.
async fn drain(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let work = async {
        let mut dropped = 0;
        while let Some(Ok(frame)) = body.frame().await {
            dropped += frame.data_ref().map_or(0, axum::body::Bytes::len);
            if dropped > DRAIN {
                return;
            }
        }
    };
    // Whether it ended or was given up, the answer is the same.
    tokio::time::timeout(DRAIN_FOR, work).await.unwrap_or(());
}

fn is_media(headers: &HeaderMap, media: &str) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media));
    is && parts.all(|part| part.is_empty() || part.to_ascii_lowercase().replace('"', "") == "charset=utf-8")
        && !headers.contains_key(CONTENT_ENCODING)
}

/// A sign-in in JSON (RFC 8259): `username` and `password`, perhaps `service`, nothing else, nothing twice.
///
/// # Errors
/// How it is malformed.
pub(crate) fn json(bytes: &[u8]) -> Result<Asked, Wrong> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        username: Option<Typed>,
        password: Option<Typed>,
        service: Option<Typed>,
    }
    if std::str::from_utf8(bytes).is_err() {
        return Err(Wrong::NotText);
    }
    let body: Body = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        // serde tells these apart in words alone; the words hold no value, and a field's name only if it is ours.
        let twice = ["username", "password", "service"]
            .into_iter()
            .find(|field| text.starts_with(&format!("duplicate field `{field}`")));
        match twice {
            Some(field) => Wrong::Form(Malformed::Twice(field)),
            None if text.starts_with("unknown field") => Wrong::Form(Malformed::Unknown),
            None => Wrong::Form(Malformed::Json { line: error.line(), column: error.column() }),
        }
    })?;
    Ok(Asked {
        username: body.username.ok_or(Wrong::Form(Malformed::Missing("username")))?,
        password: body.password.ok_or(Wrong::Form(Malformed::Missing("password")))?,
        service: body.service,
        csrf: None,
    })
}

/// A sign-in as a browser's form sends it.
///
/// # Errors
/// How it is malformed.
pub(crate) fn form(bytes: &[u8]) -> Result<Asked, Wrong> {
    let mut fields = fields(bytes, ["username", "password", "service", "csrf"])?;
    let [username, password, service, csrf] = &mut fields;
    Ok(Asked {
        username: username.take().ok_or(Wrong::Form(Malformed::Missing("username")))?,
        password: password.take().ok_or(Wrong::Form(Malformed::Missing("password")))?,
        service: service.take(),
        csrf: csrf.take(),
    })
}

/// The token of a form that has nothing else.
///
/// # Errors
/// How it is malformed.
pub(crate) fn token_only(bytes: &[u8]) -> Result<Option<Typed>, Wrong> {
    let [csrf] = fields(bytes, ["csrf"])?;
    Ok(csrf)
}

/// application/x-www-form-urlencoded (URL standard, section 5.1), stricter: each field once, none unknown, escapes whole,
/// text UTF-8.
fn fields<const N: usize>(bytes: &[u8], names: [&'static str; N]) -> Result<[Option<Typed>; N], Wrong> {
    let mut found: [Option<Typed>; N] = std::array::from_fn(|_| None);
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(parts.next().unwrap_or_default())?;
        let value = decode(parts.next().unwrap_or_default())?;
        let slot = names.iter().zip(found.iter_mut()).find(|(known, _)| **known == name.expose());
        let Some((known, slot)) = slot else { return Err(Wrong::Form(Malformed::Unknown)) };
        if slot.replace(value).is_some() {
            return Err(Wrong::Form(Malformed::Twice(known)));
        }
    }
    Ok(found)
}

fn decode(text: &[u8]) -> Result<Typed, Wrong> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = rest.next().and_then(hexadecimal).ok_or(Wrong::Form(Malformed::Escape))?;
                let low = rest.next().and_then(hexadecimal).ok_or(Wrong::Form(Malformed::Escape))?;
                (high << 4) | low
            }
            plain => *plain,
        });
    }
    if std::str::from_utf8(&bytes).is_err() {
        return Err(Wrong::NotText);
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|_| Wrong::NotText)?;
    Ok(Typed(Zeroizing::new(text)))
}

fn hexadecimal(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(asked: Result<Asked, Wrong>) -> Result<(String, String, Option<String>), Wrong> {
        asked.map(|asked| {
            let service = asked.service.map(|service| service.expose().to_owned());
            (asked.username.expose().to_owned(), asked.password.expose().to_owned(), service)
        })
    }

    #[test]
    fn a_form_is_taken_as_it_should_be_and_no_other_way() {
        let good = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned(), None));
        assert_eq!(shown(form(b"username=alice&password=s%26+%3D")), good("alice", "s& ="));
        assert_eq!(shown(form("username=%E7%8E%8B&password=\u{e9}".as_bytes())), good("王", "é"));
        assert_eq!(shown(form(b"username=&password=")), good("", ""));
        assert_eq!(shown(form(b"username=a&password=b=c&&")), good("a", "b=c"));
        let wrong = |body: &[u8]| shown(form(body)).unwrap_err();
        assert_eq!(wrong(b""), Wrong::Form(Malformed::Missing("username")));
        assert_eq!(wrong(b"username=a"), Wrong::Form(Malformed::Missing("password")));
        assert_eq!(wrong(b"username=a&username=b&password=c"), Wrong::Form(Malformed::Twice("username")));
        assert_eq!(wrong(b"username=a&password=b&passwor%64=c"), Wrong::Form(Malformed::Twice("password")));
        assert_eq!(wrong(b"username=a&password=b&admin=1"), Wrong::Form(Malformed::Unknown));
        assert_eq!(wrong(b"username=%ff&password=b"), Wrong::NotText);
        assert_eq!(wrong(b"username=a&password=\xff"), Wrong::NotText);
        for escape in ["%", "%2", "%zz", "%+1", "%2g"] {
            assert_eq!(wrong(format!("username={escape}&password=b").as_bytes()), Wrong::Form(Malformed::Escape));
        }
    }

    #[test]
    fn json_is_taken_as_it_should_be_and_no_other_way() {
        let body = br#" {"username":"alice","password":"s\u0026 \"","service":"kms"} "#;
        assert_eq!(shown(json(body)), Ok(("alice".into(), "s& \"".into(), Some("kms".into()))));
        let wrong = |body: &[u8]| shown(json(body)).unwrap_err();
        assert_eq!(wrong(br#"{"username":"a"}"#), Wrong::Form(Malformed::Missing("password")));
        assert_eq!(wrong(br#"{"password":"a"}"#), Wrong::Form(Malformed::Missing("username")));
        let twice = br#"{"username":"a","username":"b","password":"c"}"#;
        assert_eq!(wrong(twice), Wrong::Form(Malformed::Twice("username")));
        assert_eq!(wrong(br#"{"username":"a","password":"c","admin":true}"#), Wrong::Form(Malformed::Unknown));
        assert_eq!(wrong(b"{\"username\":\"\xff\",\"password\":\"c\"}"), Wrong::NotText);
        for body in ["", "[]", "null", "{", r#"{"username":1,"password":"c"}"#, r#"{"username":"a","password":["c"]}"#]
        {
            assert!(matches!(wrong(body.as_bytes()), Wrong::Form(Malformed::Json { .. })), "{body}");
        }
        let deep = format!("{{\"username\":{}", "[".repeat(16_000));
        assert!(matches!(wrong(deep.as_bytes()), Wrong::Form(Malformed::Json { .. })));
    }

    #[test]
    fn p6_what_was_typed_does_not_print() {
        let asked = form(b"username=alice&password=hunter2").unwrap();
        assert!(!format!("{asked:?}").contains("hunter2") && !format!("{asked:?}").contains("alice"));
    }

    proptest! {
        #[test]
        fn what_a_browser_encodes_comes_back(name in ".{0,40}", password in ".{0,40}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let body = format!("username={}&password={}", encode(&name), encode(&password));
            prop_assert_eq!(shown(form(body.as_bytes())), Ok((name, password, None)));
        }

        #[test]
        fn no_bytes_whatever_do_harm(bytes in any::<Vec<u8>>()) {
            drop(shown(form(&bytes)));
            drop(shown(json(&bytes)));
        }
    }
}
