//! What goes over the wire of IMAP, as values (RFC 3501, 9051, 5530, 2971). Pure: bytes in, values out. What must never happen
//! here: a panic, a value that ends its line (F11).

use std::fmt;
use zeroize::Zeroizing;

/// Longest line taken, in bytes with its end. RFC 9051 sets no limit; greetings with all capabilities have about 500.
pub const LONGEST_LINE: usize = 8192;
/// Most untagged lines of one answer.
pub const MOST_LINES: usize = 200;

/// Why bytes are no IMAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// Neither untagged, nor a continuation, nor an answer to our command.
    NotAnAnswer,
    /// More than [`MOST_LINES`].
    TooMany,
}

/// A line of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `* ...`
    Untagged(Untagged),
    /// `+ ...`: go on.
    Continue,
    /// The answer to our command.
    Answer(Status, Option<Code>),
}

/// An untagged line, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untagged {
    /// `OK`, with the capabilities in its code, if they are there.
    Ok(Option<Capabilities>),
    /// `PREAUTH`: it takes us for somebody already.
    Preauth,
    /// `BYE`: it hangs up. Its words are printable ASCII, at most 120; not for the log once a password was sent.
    Bye(String),
    /// `CAPABILITY ...`
    Capabilities(Capabilities),
    /// Anything else.
    Other,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused.
    No,
    /// Not understood.
    Bad,
}

/// Response codes for a refused password (RFC 5530 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// `[AUTHENTICATIONFAILED]`: name or password are wrong.
    AuthenticationFailed,
    /// `[AUTHORIZATIONFAILED]`: the password is right, and this account may not sign in.
    AuthorizationFailed,
    /// `[EXPIRED]`: no access with this password any more; whether it was right is not said.
    Expired,
    /// `[UNAVAILABLE]`: something behind the server is down.
    Unavailable,
    /// `[INUSE]`: somebody else holds on to it.
    InUse,
    /// `[CONTACTADMIN]`, `[LIMIT]`, `[NOPERM]`, `[SERVERBUG]` and whatever else is not about the password.
    Other,
}

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// STARTTLS.
    pub start_tls: bool,
    /// AUTH=PLAIN (RFC 4616).
    pub plain: bool,
    /// SASL-IR: the response may stand in the command's line (RFC 4959).
    pub initial_response: bool,
    /// LOGINDISABLED: no LOGIN, and no password at all as things are (RFC 9051 section 6.2.3).
    pub login_disabled: bool,
    /// ID (RFC 2971): Dovecot takes the person's address by it.
    pub id: bool,
}

impl Line {
    /// Reads a line while the answer to the command of this tag is awaited.
    ///
    /// # Errors
    /// [`Nonsense::NotAnAnswer`].
    pub fn parse(line: &[u8], tag: &str) -> Result<Self, Nonsense> {
        if line == b"+" || line.starts_with(b"+ ") {
            return Ok(Self::Continue);
        }
        if let Some(rest) = line.strip_prefix(b"* ") {
            return Ok(Self::Untagged(Untagged::parse(rest)));
        }
        let rest = line.strip_prefix(tag.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        let (word, rest) = split(rest.ok_or(Nonsense::NotAnAnswer)?);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let status = match () {
            () if is(b"OK") => Status::Ok,
            () if is(b"NO") => Status::No,
            () if is(b"BAD") => Status::Bad,
            () => return Err(Nonsense::NotAnAnswer),
        };
        Ok(Self::Answer(status, code(rest).map(Code::of)))
    }
}

impl Untagged {
    fn parse(rest: &[u8]) -> Self {
        let (word, rest) = split(rest);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"OK") => {
                let words = code(rest).filter(|code| split(code).0.eq_ignore_ascii_case(b"CAPABILITY"));
                Self::Ok(words.map(Capabilities::of))
            }
            () if is(b"PREAUTH") => Self::Preauth,
            () if is(b"BYE") => Self::Bye(printable(rest)),
            () if is(b"CAPABILITY") => Self::Capabilities(Capabilities::of(rest)),
            () => Self::Other,
        }
    }
}

impl Code {
    fn of(code: &[u8]) -> Self {
        let (word, _) = split(code);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"AUTHENTICATIONFAILED") => Self::AuthenticationFailed,
            () if is(b"AUTHORIZATIONFAILED") => Self::AuthorizationFailed,
            () if is(b"EXPIRED") => Self::Expired,
            () if is(b"UNAVAILABLE") => Self::Unavailable,
            () if is(b"INUSE") => Self::InUse,
            () => Self::Other,
        }
    }
}

impl Capabilities {
    fn of(words: &[u8]) -> Self {
        let mut found = Self::default();
        for word in words.split(|byte| *byte == b' ') {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            found.start_tls |= is(b"STARTTLS");
            found.plain |= is(b"AUTH=PLAIN");
            found.initial_response |= is(b"SASL-IR");
            found.login_disabled |= is(b"LOGINDISABLED");
            found.id |= is(b"ID");
        }
        found
    }
}

/// The first word, and what follows its space.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// What stands in brackets at the beginning.
fn code(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"[")?;
    inner.get(..inner.iter().position(|byte| *byte == b']')?)
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().take(120).map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' }).collect()
}

/// A value of LOGIN: in quotes where that can hold it, else as a literal, for whose length the server is asked first.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// With its quotes.
    Quoted(Zeroizing<Vec<u8>>),
    /// Its bytes (RFC 9051 section 4.3).
    Literal(Zeroizing<Vec<u8>>),
}

impl Value {
    /// How this value is said.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Self::Literal(Zeroizing::new(text.as_bytes().to_vec()));
        }
        // As long as it can get, so that it never moves and leaves a copy behind.
        let mut quoted = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
        quoted.push(b'"');
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                quoted.push(b'\\');
            }
            quoted.push(byte);
        }
        quoted.push(b'"');
        Self::Quoted(quoted)
    }
}

/// Everything above over any bytes: what the fuzz target `imap_line` calls.
pub fn exercise(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Line::Untagged(Untagged::Bye(text))) = Line::parse(line, "a1") {
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "a text is printable");
        }
        if let Ok(text) = std::str::from_utf8(line)
            && let Value::Quoted(quoted) = Value::of(text)
        {
            assert!(!quoted.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "one line");
        }
    }
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAnswer => "something that is no IMAP answer",
            Self::TooMany => "more than 200 lines in one answer",
        })
    }
}

impl std::error::Error for Nonsense {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_what_the_rfcs_say() {
        let answer = |line: &str| Line::parse(line.as_bytes(), "a4");
        for (line, status, code) in [
            ("a4 OK Logged in", Status::Ok, None),
            ("a4 OK [CAPABILITY IMAP4rev1] Logged in", Status::Ok, Some(Code::Other)),
            ("a4 NO [AUTHENTICATIONFAILED] no", Status::No, Some(Code::AuthenticationFailed)),
            ("a4 no [authenticationfailed]", Status::No, Some(Code::AuthenticationFailed)),
            ("a4 NO [AUTHORIZATIONFAILED] no", Status::No, Some(Code::AuthorizationFailed)),
            ("a4 NO [EXPIRED] change it", Status::No, Some(Code::Expired)),
            ("a4 NO [UNAVAILABLE] later", Status::No, Some(Code::Unavailable)),
            ("a4 NO [INUSE] busy", Status::No, Some(Code::InUse)),
            ("a4 NO [CONTACTADMIN] ask", Status::No, Some(Code::Other)),
            ("a4 NO", Status::No, None),
            ("a4 BAD what", Status::Bad, None),
        ] {
            assert_eq!(answer(line), Ok(Line::Answer(status, code)), "{line}");
        }
        for line in ["+", "+ ", "+ go on"] {
            assert_eq!(answer(line), Ok(Line::Continue), "{line}");
        }
        for line in ["", "a5 OK", "a4", "a4 MAYBE", "a4OK", "OK", "+OK", "HTTP/1.1 200 OK"] {
            assert_eq!(answer(line), Err(Nonsense::NotAnAnswer), "{line}");
        }
        assert_eq!(answer("* BYE \u{e9}"), Ok(Line::Untagged(Untagged::Bye("??".into()))));
        assert_eq!(answer("* PREAUTH hello"), Ok(Line::Untagged(Untagged::Preauth)));
        assert_eq!(answer("* 3 EXISTS"), Ok(Line::Untagged(Untagged::Other)));
    }

    #[test]
    fn capabilities_come_in_a_code_or_in_a_line_of_their_own() {
        let all = Capabilities { start_tls: true, plain: true, initial_response: true, login_disabled: true, id: true };
        let words = "CAPABILITY IMAP4rev1 SASL-IR id ENABLE STARTTLS LOGINDISABLED auth=plain";
        let parse = |line: String| Line::parse(line.as_bytes(), "a1");
        assert_eq!(parse(format!("* OK [{words}] ready")), Ok(Line::Untagged(Untagged::Ok(Some(all)))));
        assert_eq!(parse(format!("* {words}")), Ok(Line::Untagged(Untagged::Capabilities(all))));
        assert_eq!(parse("* OK ready".into()), Ok(Line::Untagged(Untagged::Ok(None))));
        assert_eq!(parse("* OK [ALERT] ready".into()), Ok(Line::Untagged(Untagged::Ok(None))));
    }

    #[test]
    fn f11_a_value_is_quoted_or_a_literal() {
        let quoted = |text: &str| Value::Quoted(Zeroizing::new(text.as_bytes().to_vec()));
        assert_eq!(Value::of("alice"), quoted("\"alice\""));
        assert_eq!(Value::of(r#"a"b\c"#), quoted(r#""a\"b\\c""#));
        for text in ["p\u{e4}ss", "a\r\nb", "a\0"] {
            assert_eq!(Value::of(text), Value::Literal(Zeroizing::new(text.as_bytes().to_vec())), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_or_nonsense(bytes: Vec<u8>) {
            exercise(&bytes);
        }
    }
}
