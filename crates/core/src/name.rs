//! Names, canonical before anything is counted: ten spellings of one account are one account (P4).
//!
//! UsernameCaseMapped (RFC 8265 section 3.3): width mapping, lower case, NFC, no spaces, no controls.

use precis_core::profile::Profile;
use precis_profiles::UsernameCaseMapped;
use std::fmt;
use std::sync::Arc;

/// Longest name taken, in bytes, before and after it is made canonical.
pub const LONGEST: usize = 256;

/// Why a text is no account name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAName {
    /// Nothing was given.
    Empty,
    /// More than [`LONGEST`] bytes.
    TooLong,
    /// A character that RFC 8265 keeps out of user names: control, space, bidi mark, unassigned.
    Character,
}

/// A user name in its canonical form, without a realm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The canonical form of what was typed. White space around it is a slip of the hand and is dropped.
    ///
    /// # Errors
    /// [`NotAName`] says which rule the text breaks.
    pub fn canonical(text: &str) -> Result<Self, NotAName> {
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Err(NotAName::Empty);
        }
        if text.len() > LONGEST {
            return Err(NotAName::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NotAName::Character);
        }
        let name = UsernameCaseMapped::new().enforce(text).map_err(|_| NotAName::Character)?;
        if name.len() > LONGEST {
            return Err(NotAName::TooLong);
        }
        Ok(Self(name.as_ref().into()))
    }

    /// A name as it was stored before; the ledger's way back, nobody else's.
    #[must_use]
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name as somebody signs in with it: the account and, after the last `@`, its realm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The account.
    pub name: Name,
    /// The realm, canonical like a name, if one was given.
    pub realm: Option<Name>,
}

impl Login {
    /// Splits and makes canonical.
    ///
    /// # Errors
    /// [`NotAName`] if either part is none.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let whole = Name::canonical(text)?;
        match whole.as_str().rsplit_once('@') {
            None => Ok(Self { name: whole, realm: None }),
            Some((name, realm)) => Ok(Self { name: Name::canonical(name)?, realm: Some(Name::canonical(realm)?) }),
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.realm {
            Some(realm) => write!(f, "{}@{realm}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the user name is empty",
            Self::TooLong => "the user name is longer than 256 bytes",
            Self::Character => "the user name has a character that no account name can have",
        })
    }
}

impl std::error::Error for NotAName {}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text from the configuration or the ledger, where it was checked.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(
    /// Whose people an account server holds.
    Domain
);
label!(
    /// An account server's own name in the configuration.
    ServerName
);
label!(
    /// A group as the account server names it.
    Group
);
label!(
    /// A guarded service's name.
    ServiceName
);
label!(
    /// The rule that allowed or refused.
    RuleName
);

/// Who somebody is for quota, rules, busy check and throttle: a name within a domain. Prints as `campus/alice`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    /// Whose people.
    pub domain: Domain,
    /// Which of them.
    pub name: Name,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_ten_spellings_are_one_name() {
        for spelling in [
            "josé",
            "JOSÉ",
            "José",
            "jose\u{301}",
            "JOSE\u{301}",
            " josé",
            "josé ",
            "ｊｏｓé",
            "ＪＯＳＥ\u{301}",
            "jOsÉ",
        ] {
            assert_eq!(Name::canonical(spelling).map(|n| n.to_string()), Ok("josé".into()), "{spelling:?}");
        }
    }

    #[test]
    fn f11_a_name_cannot_carry_what_a_protocol_could_obey() {
        for text in ["bob\r\nUSER bob", "bob\0", "bob bob", "bob\u{202e}", "\u{200b}", "bob\t"] {
            assert_eq!(Name::canonical(text), Err(NotAName::Character), "{text:?}");
        }
        assert_eq!(Name::canonical(""), Err(NotAName::Empty));
        assert_eq!(Name::canonical(&"x".repeat(4096)), Err(NotAName::TooLong));
    }

    #[test]
    fn a_realm_is_what_follows_the_last_at_sign() {
        let login = Login::parse("A@b@C.example").map(|l| (l.name.to_string(), l.realm.map(|r| r.to_string())));
        assert_eq!(login, Ok(("a@b".into(), Some("c.example".into()))));
        assert!(Login::parse("alice@").is_err());
        assert!(Login::parse("@example.edu").is_err());
    }
}
