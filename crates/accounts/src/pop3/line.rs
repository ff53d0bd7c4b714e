//! What a POP3 server sends, as values (RFC 1939, 2449, 3206, 5034). Pure: bytes in, values out. What must never happen
//! here: a panic.

use crate::lines::Lines;
use std::fmt;

/// Longest line taken, in bytes with its end (RFC 2449 section 4).
pub const LONGEST_LINE: usize = 512;
/// Most lines of an answer to CAPA.
pub const MOST_CAPABILITIES: usize = 100;
/// Longest timestamp taken for APOP; a message id of RFC 5322 fits a line.
const LONGEST_TIMESTAMP: usize = 255;

/// Why bytes are no POP3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// Neither `+OK` nor `-ERR` nor `+`.
    NotAReply,
    /// More than [`MOST_CAPABILITIES`] lines.
    TooMany,
}

/// A reply's first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it begins.
    pub status: Status,
    /// Its extended response code (RFC 2449 section 8).
    pub code: Option<Code>,
    /// The rest, printable ASCII only, at most 120 characters. Not for the log once a password was sent: a server may
    /// repeat what it was told.
    pub text: String,
}

/// How a reply begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `+OK`
    Ok,
    /// `-ERR`
    Err,
    /// `+`: go on (RFC 5034 section 4).
    Continue,
}

/// Extended response codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// `[AUTH]`: name or password are wrong (RFC 3206 section 5).
    Auth,
    /// `[IN-USE]`: the mailbox is locked by another session (RFC 2449 section 8.1.2), told only after the password was
    /// found right (RFC 1939 section 7, PASS).
    InUse,
    /// `[LOGIN-DELAY]`: this account signed in too short a while ago (RFC 2449 section 8.1.1).
    LoginDelay,
    /// `[SYS/TEMP]`, `[SYS/PERM]` and any other `[SYS...]` (RFC 3206 section 4): not about the password.
    System,
    /// Another one.
    Other,
}

/// What a server can do (RFC 2449 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// The server answered CAPA. If not, nothing is known of it.
    pub known: bool,
    /// USER and PASS.
    pub user: bool,
    /// STLS (RFC 2595 section 4).
    pub stls: bool,
    /// SASL PLAIN.
    pub plain: bool,
    /// XCLIENT (Dovecot: login_trusted_networks).
    pub xclient: bool,
    /// Wrong passwords are told by `[AUTH]`, and nothing else is (RFC 3206 section 6).
    pub auth_code: bool,
}

impl Reply {
    /// Reads a reply's first line.
    ///
    /// # Errors
    /// [`Nonsense::NotAReply`].
    pub fn parse(line: &[u8]) -> Result<Self, Nonsense> {
        let (status, rest) = match line {
            [b'+', b'O', b'K', rest @ ..] => (Status::Ok, rest),
            [b'-', b'E', b'R', b'R', rest @ ..] => (Status::Err, rest),
            [b'+', rest @ ..] => (Status::Continue, rest),
            _ => return Err(Nonsense::NotAReply),
        };
        let rest = match rest {
            [] => rest,
            [b' ' | b'\t', rest @ ..] => rest,
            _ => return Err(Nonsense::NotAReply),
        };
        let code = if status == Status::Continue { None } else { Code::parse(rest) };
        Ok(Self { status, code, text: printable(rest) })
    }

    /// Whether a greeting offers XCLIENT, as Dovecot does.
    #[must_use]
    pub fn offers_xclient(&self) -> bool {
        self.status == Status::Ok && self.text.contains("[XCLIENT]")
    }
}

impl Code {
    fn parse(text: &[u8]) -> Option<Self> {
        let inner = text.strip_prefix(b"[")?;
        let end = inner.iter().position(|byte| *byte == b']')?;
        let inner = inner.get(..end)?;
        let mut levels = inner.split(|byte| *byte == b'/');
        let first = levels.next()?;
        let whole = |name: &[u8]| inner.eq_ignore_ascii_case(name);
        Some(match () {
            () if whole(b"AUTH") => Self::Auth,
            () if whole(b"IN-USE") => Self::InUse,
            () if whole(b"LOGIN-DELAY") => Self::LoginDelay,
            () if first.eq_ignore_ascii_case(b"SYS") => Self::System,
            () => Self::Other,
        })
    }
}

impl Capabilities {
    /// Adds one line of the answer to CAPA.
    pub fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let Some(tag) = words.next() else { return };
        let is = |name: &[u8]| tag.eq_ignore_ascii_case(name);
        self.user |= is(b"USER");
        self.stls |= is(b"STLS");
        self.xclient |= is(b"XCLIENT");
        self.auth_code |= is(b"AUTH-RESP-CODE");
        self.plain |= is(b"SASL") && words.any(|word| word.eq_ignore_ascii_case(b"PLAIN"));
    }
}

/// The timestamp of a greeting, with its angle brackets, if it offers APOP (RFC 1939 section 7). It must be a message id
/// of visible ASCII with one `@`: a forged one that is not was how APOP passwords were won (CVE-2007-1558).
#[must_use]
pub fn timestamp(greeting: &[u8]) -> Option<&[u8]> {
    let start = greeting.iter().position(|byte| *byte == b'<')?;
    let rest = greeting.get(start..)?;
    let end = rest.iter().position(|byte| *byte == b'>')?;
    let stamp = rest.get(..=end)?;
    let at_signs = stamp.iter().filter(|byte| **byte == b'@').count();
    let fits = stamp.len() <= LONGEST_TIMESTAMP && at_signs == 1 && stamp.iter().all(u8::is_ascii_graphic);
    fits.then_some(stamp)
}

/// Everything above over any bytes in any pieces: what the fuzz target `pop3_reply` calls.
pub fn exercise(bytes: &[u8], piece: usize) {
    let mut lines = Lines::new(LONGEST_LINE);
    let mut capabilities = Capabilities::default();
    for part in bytes.chunks(piece.clamp(1, 2 * LONGEST_LINE)) {
        lines.push(part);
        loop {
            match lines.take() {
                Ok(Some(line)) => {
                    assert!(line.len() < LONGEST_LINE, "a line is bounded");
                    capabilities.add(&line);
                    if let Ok(reply) = Reply::parse(&line) {
                        assert!(reply.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "a text is printable");
                    }
                    if let Some(stamp) = timestamp(&line) {
                        assert!(stamp.len() <= LONGEST_TIMESTAMP, "a timestamp is bounded");
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().take(120).map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' }).collect()
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAReply => "something that is no POP3 reply",
            Self::TooMany => "more than 100 capabilities",
        })
    }
}

impl std::error::Error for Nonsense {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_and_their_codes() {
        for (line, status, code) in [
            ("+OK", Status::Ok, None),
            ("+OK Logged in.", Status::Ok, None),
            ("-ERR [AUTH] Authentication failed.", Status::Err, Some(Code::Auth)),
            ("-ERR [auth]", Status::Err, Some(Code::Auth)),
            ("-ERR [IN-USE] locked", Status::Err, Some(Code::InUse)),
            ("-ERR [LOGIN-DELAY] wait", Status::Err, Some(Code::LoginDelay)),
            ("-ERR [SYS/TEMP] later", Status::Err, Some(Code::System)),
            ("-ERR [SYS/PERM] never", Status::Err, Some(Code::System)),
            ("-ERR [SYSTEM] odd", Status::Err, Some(Code::Other)),
            ("-ERR [unended", Status::Err, None),
            ("+ ", Status::Continue, None),
            ("+", Status::Continue, None),
        ] {
            let reply = Reply::parse(line.as_bytes()).map(|r| (r.status, r.code));
            assert_eq!(reply, Ok((status, code)), "{line}");
        }
        for line in ["", "OK", "+OKAY", "-ERROR", "* OK", "220 mail", "HTTP/1.1 400 Bad Request", "+ok", "\u{fffd}"] {
            assert_eq!(Reply::parse(line.as_bytes()), Err(Nonsense::NotAReply), "{line}");
        }
    }

    #[test]
    fn a_timestamp_is_a_message_id_and_nothing_else() {
        assert_eq!(
            timestamp(b"+OK ready <1896.697170952@dbc.mtview.ca.us>"),
            Some(&b"<1896.697170952@dbc.mtview.ca.us>"[..])
        );
        for greeting in ["+OK", "+OK <>", "+OK <no-at>", "+OK <a@b@c>", "+OK <a b@c>", "+OK <\u{e9}@c>", "+OK >a@b<"] {
            assert_eq!(timestamp(greeting.as_bytes()), None, "{greeting}");
        }
    }

    #[test]
    fn capabilities_are_read_whatever_their_case() {
        let mut found = Capabilities::default();
        for line in ["TOP", "user", "SASL CRAM-MD5 plain", "STLS", "AUTH-RESP-CODE", "XCLIENT ADDR PORT", ""] {
            found.add(line.as_bytes());
        }
        let all = Capabilities { known: false, user: true, stls: true, plain: true, xclient: true, auth_code: true };
        assert_eq!(found, all);
        let mut none = Capabilities::default();
        none.add(b"PLAIN SASL");
        assert_eq!(none, Capabilities::default());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_lines_or_nonsense(bytes: Vec<u8>, piece in 1..64_usize) {
            exercise(&bytes, piece);
        }
    }
}
