//! What another program keeps in place of a password. What must never happen here: an account without a password that lets
//! somebody in.

use super::{Allowed, Form, NotAHash, Stored};
use crate::verdict::Rejection;

/// What stands for a password.
#[derive(Debug, Clone)]
pub enum Held {
    /// A hash.
    Hash(Stored),
    /// A hash behind `!`: the account is locked (usermod(8), passwd(1)).
    Locked(Stored),
    /// `*`, `!`, `x` or nothing: no password is right.
    Nothing,
    /// A hash that is not taken.
    NotTaken(NotAHash),
}

impl Held {
    /// Reads what stands for a password; computes nothing.
    #[must_use]
    pub fn parse(text: &str, allowed: &Allowed) -> Self {
        let text = text.trim();
        if matches!(text, "" | "x" | "*" | "!" | "!!" | "!*" | "*LK*" | "*NP*") {
            return Self::Nothing;
        }
        let (locked, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        match Stored::parse(text, allowed) {
            Ok(stored) if locked => Self::Locked(stored),
            Ok(stored) => Self::Hash(stored),
            Err(why) => Self::NotTaken(why),
        }
    }

    /// The hash, of a locked account too.
    #[must_use]
    pub fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Hash(stored) | Self::Locked(stored) => Some(stored),
            Self::Nothing | Self::NotTaken(_) => None,
        }
    }

    /// Is it this password? None: it is, and the account may be used. Takes the time that the hash asks for.
    ///
    /// # Errors
    /// [`NotAHash`]: nobody knows.
    pub fn verify(&self, password: &[u8]) -> Result<Option<Rejection>, NotAHash> {
        Ok(match self {
            Self::Hash(stored) if stored.verify(password) => None,
            Self::Locked(stored) if stored.verify(password) => {
                Some(Rejection::Unusable("locked: `!` before its hash".to_owned()))
            }
            Self::Hash(_) | Self::Locked(_) | Self::Nothing => Some(Rejection::Credentials),
            Self::NotTaken(why) => return Err(*why),
        })
    }
}

impl Stored {
    /// A hash of nobody's password, of the form that is named first, with its program's usual cost: for names of which no hash
    /// is known, so that time does not tell.
    #[must_use]
    pub fn nobodys(allowed: &Allowed) -> Option<Self> {
        let text = match allowed.0.first()? {
            Form::Argon2 => {
                "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            }
            Form::Bcrypt => "$2b$10$nobodynobodynobodynobO3uvL4F5Zp7dIu2zwqmTQwYo0bT8Yw2K",
            Form::ShaCrypt => {
                "$6$nobody$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            }
            Form::Yescrypt => "$y$j9T$nobodynobody$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.",
            Form::Pbkdf2 => "pbkdf2_sha256$600000$nobody$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            Form::Phpass => "$P$BnobodynoAAAAAAAAAAAAAAAAAAAAA0",
            Form::Md5Crypt => "$1$nobodyno$AAAAAAAAAAAAAAAAAAAAA/",
            Form::Ssha => "{SSHA}AAAAAAAAAAAAAAAAAAAAAAAAAABub2JvZHk=",
        };
        Self::parse(text, allowed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_of_every_form_is_computed_and_is_nobodys() {
        for (name, form) in Form::ALL {
            let stored = Stored::nobodys(&Allowed(vec![form])).unwrap_or_else(|| panic!("{name} has none"));
            assert_eq!(stored.compute(b"secret"), Some(false), "{name}");
        }
        assert!(Stored::nobodys(&Allowed(vec![])).is_none());
    }

    #[test]
    fn what_stands_for_a_password_lets_in_or_says_why_not() {
        let sha = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
        let held = |text: &str| Held::parse(text, &Allowed::default());
        assert_eq!(held(sha).verify(b"secret"), Ok(None));
        assert_eq!(held(&format!("{sha}   ")).verify(b"secret"), Ok(None), "padded by CHAR(n)");
        assert_eq!(held(sha).verify(b"Secret"), Ok(Some(Rejection::Credentials)));
        let locked = held(&format!("!{sha}"));
        assert!(matches!(locked.verify(b"secret"), Ok(Some(Rejection::Unusable(_)))));
        assert_eq!(locked.verify(b"Secret"), Ok(Some(Rejection::Credentials)));
        for nothing in ["", " ", "x", "*", "!", "!!"] {
            assert_eq!(held(nothing).verify(nothing.as_bytes()), Ok(Some(Rejection::Credentials)), "{nothing:?}");
        }
        assert_eq!(held("secret").verify(b"secret"), Err(NotAHash::Unknown));
    }
}
