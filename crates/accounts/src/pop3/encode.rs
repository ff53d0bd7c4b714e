//! What we send to a POP3 server. What must never happen here: a control character from a value in a command (F11), a
//! password in a buffer that is not wiped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use std::fmt;
use zeroize::Zeroizing;

/// Longest command with its end (RFC 2449 section 4); a longer AUTH sends its response on a line of its own (RFC 5034
/// section 4).
pub const LONGEST_COMMAND: usize = 255;

/// A value that no command can carry. Names and passwords are such that this never happens; the encoder does not rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannotSay {
    /// A control character, or a space where a word was wanted.
    Character,
    /// More than [`LONGEST_COMMAND`] bytes.
    TooLong,
}

/// A command: its words, one space between them, then CRLF. The last may have spaces, the others not.
///
/// # Errors
/// [`CannotSay`].
pub fn command(words: &[&str]) -> Result<Zeroizing<Vec<u8>>, CannotSay> {
    let length = words.iter().map(|word| word.len() + 1).sum::<usize>() + 1;
    if length > LONGEST_COMMAND {
        return Err(CannotSay::TooLong);
    }
    let (_, words_before) = words.split_last().ok_or(CannotSay::Character)?;
    if words.iter().any(|word| word.chars().any(char::is_control)) || words_before.iter().any(|word| word.contains(' '))
    {
        return Err(CannotSay::Character);
    }
    let mut line = Zeroizing::new(Vec::with_capacity(length));
    for (n, word) in words.iter().enumerate() {
        if n > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(word.as_bytes());
    }
    line.extend_from_slice(b"\r\n");
    Ok(line)
}

/// `USER name`.
///
/// # Errors
/// [`CannotSay`], also for a name with a space.
pub fn user(name: &str) -> Result<Zeroizing<Vec<u8>>, CannotSay> {
    if name.contains(' ') { Err(CannotSay::Character) } else { command(&["USER", name]) }
}

/// The response of SASL PLAIN without authorization identity (RFC 4616 section 2), in base64 and with CRLF.
///
/// # Errors
/// [`CannotSay`] for a control character, NUL above all.
pub fn plain(name: &str, password: &str) -> Result<Zeroizing<Vec<u8>>, CannotSay> {
    if name.chars().chain(password.chars()).any(char::is_control) {
        return Err(CannotSay::Character);
    }
    let mut message = Zeroizing::new(Vec::with_capacity(name.len() + password.len() + 2));
    for part in [name, password] {
        message.push(0);
        message.extend_from_slice(part.as_bytes());
    }
    let length = message.len().div_ceil(3) * 4;
    let mut line = Zeroizing::new(vec![0; length + 2]);
    // The buffer has the length of the text by construction, so that this cannot fail.
    let written = STANDARD.encode_slice(message.as_slice(), &mut line).map_err(|_| CannotSay::TooLong)?;
    line.truncate(written);
    line.extend_from_slice(b"\r\n");
    Ok(line)
}

/// `AUTH PLAIN response` in one line, if it fits.
#[must_use]
pub fn auth_plain(response: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const VERB: &[u8] = b"AUTH PLAIN ";
    let length = VERB.len() + response.len();
    (length <= LONGEST_COMMAND).then(|| {
        let mut line = Zeroizing::new(Vec::with_capacity(length));
        line.extend_from_slice(VERB);
        line.extend_from_slice(response);
        line
    })
}

/// `APOP name digest` (RFC 1939 section 7).
///
/// # Errors
/// [`CannotSay`].
pub fn apop(name: &str, password: &str, timestamp: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotSay> {
    let mut secret = Zeroizing::new(Vec::with_capacity(timestamp.len() + password.len()));
    secret.extend_from_slice(timestamp);
    secret.extend_from_slice(password.as_bytes());
    let digest = Md5::digest(secret.as_slice());
    let mut text = Zeroizing::new(String::with_capacity(32));
    for byte in &digest {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    command(&["APOP", name, &text])
}

impl fmt::Display for CannotSay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "a value has a character that POP3 cannot carry",
            Self::TooLong => "a value is longer than a POP3 command can be",
        })
    }
}

impl std::error::Error for CannotSay {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(line: Result<Zeroizing<Vec<u8>>, CannotSay>) -> Result<String, CannotSay> {
        line.map(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn f11_no_value_can_end_its_line() {
        for bad in ["bob\r\nUSER bob", "bob\n", "bob\r", "bob\0", "bob\u{85}", "bob\t"] {
            assert_eq!(text(user(bad)), Err(CannotSay::Character), "{bad:?}");
            assert_eq!(text(command(&["PASS", bad])), Err(CannotSay::Character), "{bad:?}");
            assert_eq!(text(plain("bob", bad)), Err(CannotSay::Character), "{bad:?}");
            assert_eq!(text(plain(bad, "secret")), Err(CannotSay::Character), "{bad:?}");
            assert_eq!(text(apop(bad, "secret", b"<a@b>")), Err(CannotSay::Character), "{bad:?}");
        }
        assert_eq!(text(user("bob bob")), Err(CannotSay::Character));
        assert_eq!(text(apop("bob bob", "secret", b"<a@b>")), Err(CannotSay::Character));
    }

    #[test]
    fn commands_are_as_the_rfcs_show_them() {
        assert_eq!(text(command(&["PASS", "se cret"])), Ok("PASS se cret\r\n".into()));
        // RFC 1939 section 7.
        let stamp = b"<1896.697170952@dbc.mtview.ca.us>";
        assert_eq!(
            text(apop("mrose", "tanstaaf", stamp)),
            Ok("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n".into())
        );
        // RFC 4616 section 4, without the authorization identity.
        assert_eq!(text(plain("tim", "tanstaaftanstaaf")), Ok("AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n".into()));
    }

    #[test]
    fn a_command_has_at_most_255_bytes() {
        assert!(command(&["PASS", &"x".repeat(248)]).is_ok());
        assert_eq!(text(command(&["PASS", &"x".repeat(249)])), Err(CannotSay::TooLong));
        assert!(auth_plain(&[b'x'; 244]).is_some());
        assert!(auth_plain(&[b'x'; 245]).is_none());
    }

    proptest! {
        #[test]
        fn f11_one_command_is_one_line(name: String, password: String) {
            let pass = command(&["PASS", &password]);
            let said = [user(&name), pass, plain(&name, &password), apop(&name, &password, b"<a@b>")];
            for line in said.into_iter().flatten() {
                prop_assert!(line.ends_with(b"\r\n"));
                prop_assert_eq!(line.iter().filter(|byte| matches!(**byte, b'\r' | b'\n' | 0)).count(), 2);
            }
        }
    }
}
