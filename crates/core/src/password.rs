//! A password: never empty, never printed, wiped when dropped. There is no way to copy one.

use std::fmt;
use zeroize::Zeroizing;

/// Longest password taken, in bytes. Longer than any account system here accepts; shorter than a way to waste memory.
pub const LONGEST: usize = 1024;

/// What somebody typed as their password. Non-empty (RFC 4513 section 6.3.1: an empty one is no proof), UTF-8, and
/// without control characters, so that no protocol encoder can be led out of its line (F11).
pub struct Password(Zeroizing<String>);

/// Why a text is no password. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAPassword {
    /// Nothing was given.
    Empty,
    /// More than [`LONGEST`] bytes.
    TooLong,
    /// A control character (general category Cc).
    Control,
}

impl Password {
    /// Takes the text over; on refusal it is wiped too.
    ///
    /// # Errors
    /// [`NotAPassword`] says which rule the text breaks.
    pub fn new(text: String) -> Result<Self, NotAPassword> {
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return Err(NotAPassword::Empty);
        }
        if text.len() > LONGEST {
            return Err(NotAPassword::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NotAPassword::Control);
        }
        Ok(Self(text))
    }

    /// The secret itself, for the one line of code that sends or verifies it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Display for NotAPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the password is empty",
            Self::TooLong => "the password is longer than 1024 bytes",
            Self::Control => "the password has a control character",
        })
    }
}

impl std::error::Error for NotAPassword {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f11_a_password_cannot_carry_a_line_end_or_be_empty() {
        for (text, why) in [
            ("", NotAPassword::Empty),
            ("a\r\nUSER bob", NotAPassword::Control),
            ("a\0", NotAPassword::Control),
            ("a\u{85}", NotAPassword::Control),
        ] {
            assert_eq!(Password::new(text.into()).err(), Some(why), "{text:?}");
        }
        assert_eq!(Password::new("x".repeat(LONGEST + 1)).err(), Some(NotAPassword::TooLong));
        assert_eq!(Password::new("pä ss".into()).map(|p| p.expose().to_owned()), Ok("pä ss".to_owned()));
    }

    #[test]
    fn p6_a_password_does_not_print() {
        let shown = Password::new("secret".into()).map(|p| format!("{p:?}"));
        assert_eq!(shown, Ok("Password(..)".to_owned()));
    }
}
