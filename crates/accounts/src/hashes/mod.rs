//! Password hashes that other systems stored: read, bounded, verified. What must never happen here: a hash whose cost the
//! machine cannot bear, computed because a row asked for it; a weak form taken that nobody named.

mod held;
mod old;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use held::Held;

/// Longest text of a hash, in bytes.
pub const LONGEST: usize = 512;
/// Most memory of one hash, in KiB: 128 MiB.
pub const MOST_MEMORY: u32 = 128 << 10;
/// Most passes over it (argon2), and most lanes.
pub const MOST_PASSES: u32 = 16;
/// Highest cost of bcrypt: 2^14 rounds.
pub const MOST_BCRYPT: u32 = 14;
/// Most rounds of SHA-crypt.
pub const MOST_SHA_ROUNDS: u32 = 1_000_000;
/// Most rounds of PBKDF2.
pub const MOST_PBKDF2_ROUNDS: u32 = 4_000_000;
/// Highest cost of phpass: 2^18 rounds.
pub const MOST_PHPASS: u32 = 18;

/// A form, as `hashes` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `$argon2id$`, `$argon2i$`, `$argon2d$` (RFC 9106).
    Argon2,
    /// `$2a$`, `$2b$`, `$2y$`.
    Bcrypt,
    /// `$5$`, `$6$` of crypt(5).
    ShaCrypt,
    /// `$y$` of crypt(5).
    Yescrypt,
    /// Django's `pbkdf2_sha256$rounds$salt$hash` (RFC 8018 section 5.2).
    Pbkdf2,
    /// `$P$`, `$H$`: weak.
    Phpass,
    /// `$1$`, `$apr1$`: weak.
    Md5Crypt,
    /// `{SSHA}`, `{SSHA256}`, `{SSHA512}`: weak.
    Ssha,
}

impl Form {
    /// Every form with its name in the configuration.
    pub const ALL: [(&'static str, Self); 8] = [
        ("argon2", Self::Argon2),
        ("bcrypt", Self::Bcrypt),
        ("sha-crypt", Self::ShaCrypt),
        ("yescrypt", Self::Yescrypt),
        ("pbkdf2", Self::Pbkdf2),
        ("phpass", Self::Phpass),
        ("md5-crypt", Self::Md5Crypt),
        ("ssha", Self::Ssha),
    ];

    fn of(text: &str) -> Option<Self> {
        let starts = [
            ("$argon2", Self::Argon2),
            ("$2a$", Self::Bcrypt),
            ("$2b$", Self::Bcrypt),
            ("$2y$", Self::Bcrypt),
            ("$5$", Self::ShaCrypt),
            ("$6$", Self::ShaCrypt),
            ("$y$", Self::Yescrypt),
            ("pbkdf2_sha256$", Self::Pbkdf2),
            ("$P$", Self::Phpass),
            ("$H$", Self::Phpass),
            ("$1$", Self::Md5Crypt),
            ("$apr1$", Self::Md5Crypt),
            ("{SSHA", Self::Ssha),
        ];
        starts.iter().find(|(start, _)| text.starts_with(start)).map(|(_, form)| *form)
    }
}

/// The forms that are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(pub Vec<Form>);

impl Default for Allowed {
    /// All but the weak ones.
    fn default() -> Self {
        Self(vec![Form::Argon2, Form::Bcrypt, Form::ShaCrypt, Form::Yescrypt, Form::Pbkdf2])
    }
}

/// Why a text is not taken as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAHash {
    /// No form that is known.
    Unknown,
    /// A form that `hashes` does not name.
    NotAllowed(Form),
    /// Of a known form, but damaged.
    Damaged,
    /// Costs more than the bounds allow.
    Cost,
}

impl fmt::Display for NotAHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no form of password hash that is known"),
            Self::NotAllowed(form) => write!(f, "a hash of the form {form:?}, which `hashes` does not name"),
            Self::Damaged => f.write_str("a damaged password hash"),
            Self::Cost => f.write_str("a password hash that costs more than is borne"),
        }
    }
}

impl std::error::Error for NotAHash {}

/// A hash whose form is allowed and whose cost is within the bounds.
#[derive(Clone)]
pub struct Stored {
    form: Form,
    text: Zeroizing<String>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({:?})", self.form)
    }
}

impl Stored {
    /// Reads a hash; computes nothing.
    ///
    /// # Errors
    /// [`NotAHash`] says why it is not taken.
    pub fn parse(text: &str, allowed: &Allowed) -> Result<Self, NotAHash> {
        let form = Form::of(text).ok_or(NotAHash::Unknown)?;
        if !allowed.0.contains(&form) {
            return Err(NotAHash::NotAllowed(form));
        }
        if text.len() > LONGEST || !text.is_ascii() {
            return Err(NotAHash::Damaged);
        }
        bounded(form, text)?;
        Ok(Self { form, text: Zeroizing::new(text.to_owned()) })
    }
}

fn bounded(form: Form, text: &str) -> Result<(), NotAHash> {
    let field = |number: usize| text.split('$').nth(number).ok_or(NotAHash::Damaged);
    let number = |text: &str| text.parse::<u32>().map_err(|_| NotAHash::Damaged);
    let within = |good: bool| if good { Ok(()) } else { Err(NotAHash::Cost) };
    match form {
        Form::Argon2 => {
            let phc = PasswordHash::new(text).map_err(|_| NotAHash::Damaged)?;
            let params = Params::try_from(&phc).map_err(|_| NotAHash::Damaged)?;
            if phc.salt.is_none() || phc.hash.is_none() {
                return Err(NotAHash::Damaged);
            }
            let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
            within(memory <= MOST_MEMORY && passes <= MOST_PASSES && lanes <= MOST_PASSES)
        }
        Form::Bcrypt if text.len() == 60 => within(number(field(2)?)? <= MOST_BCRYPT),
        Form::ShaCrypt => match field(2)?.strip_prefix("rounds=") {
            Some(rounds) => within(number(rounds)? <= MOST_SHA_ROUNDS),
            None => field(3).map(|_| ()),
        },
        // Flavour, log2 N from 1, r from 1, each one character: all that crypt(5) writes.
        Form::Yescrypt => {
            let [b'j', n, r] = field(2)?.as_bytes() else { return Err(NotAHash::Damaged) };
            let digit = |c: &u8| old::ALPHABET.iter().position(|other| other == c).filter(|digit| *digit < 48);
            let (Some(n), Some(r)) = (digit(n), digit(r)) else { return Err(NotAHash::Damaged) };
            field(4)?;
            within(n < 24 && (r as u64 + 1) << (n + 1) <= u64::from(MOST_MEMORY) * 8)
        }
        Form::Pbkdf2 => {
            let rounds = number(field(1)?)?;
            if STANDARD.decode(field(3)?).map_err(|_| NotAHash::Damaged)?.len() != 32 {
                return Err(NotAHash::Damaged);
            }
            within((1..=MOST_PBKDF2_ROUNDS).contains(&rounds))
        }
        Form::Phpass if text.len() == 34 => within(old::phpass_cost(text).ok_or(NotAHash::Damaged)? <= MOST_PHPASS),
        Form::Md5Crypt => field(3).map(|_| ()),
        Form::Ssha => ssha(text).map(|_| ()).ok_or(NotAHash::Damaged),
        Form::Bcrypt | Form::Phpass => Err(NotAHash::Damaged),
    }
}

/// Length of the digest, and digest with salt behind it.
fn ssha(text: &str) -> Option<(usize, Vec<u8>)> {
    let (scheme, rest) = text.strip_prefix('{')?.split_once('}')?;
    let length = match scheme {
        "SSHA" => 20,
        "SSHA256" => 32,
        "SSHA512" => 64,
        _ => return None,
    };
    STANDARD.decode(rest).ok().filter(|bytes| bytes.len() >= length).map(|bytes| (length, bytes))
}

impl Stored {
    /// Is it this password? Takes its time on the calling thread.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        self.compute(password).unwrap_or(false)
    }

    fn compute(&self, password: &[u8]) -> Option<bool> {
        let text = self.text.as_str();
        let same = |one: &[u8], other: &[u8]| bool::from(one.ct_eq(other));
        Some(match self.form {
            Form::Argon2 => {
                let phc = PasswordHash::new(text).ok()?;
                Argon2::default().verify_password(password, &phc).is_ok()
            }
            Form::Bcrypt => bcrypt::verify(password, text).ok()?,
            Form::ShaCrypt => sha_crypt::ShaCrypt::default().verify_password(password, text).is_ok(),
            Form::Yescrypt => yescrypt::Yescrypt::default().verify_password(password, text).is_ok(),
            Form::Pbkdf2 => {
                let mut fields = text.split('$').skip(1);
                let (rounds, salt) = (fields.next()?.parse().ok()?, fields.next()?);
                let wanted = STANDARD.decode(fields.next()?).ok()?;
                let mut output = Zeroizing::new([0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt.as_bytes(), rounds, output.as_mut());
                same(output.as_ref(), &wanted)
            }
            Form::Phpass => same(old::phpass(password, text)?.as_bytes(), text.as_bytes()),
            Form::Md5Crypt => same(old::md5_crypt(password, text)?.as_bytes(), text.as_bytes()),
            Form::Ssha => {
                let (length, bytes) = ssha(text)?;
                let (wanted, salt) = bytes.split_at_checked(length)?;
                match length {
                    20 => same(&Sha1::new().chain_update(password).chain_update(salt).finalize(), wanted),
                    32 => same(&Sha256::new().chain_update(password).chain_update(salt).finalize(), wanted),
                    _ => same(&Sha512::new().chain_update(password).chain_update(salt).finalize(), wanted),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all() -> Allowed {
        Allowed(Form::ALL.iter().map(|(_, form)| *form).collect())
    }

    #[test]
    fn what_libxcrypt_openssl_and_django_stored_is_verified() {
        for text in [
            "$y$j9T$saltsaltsaltsalt$.Zt5W26jjocuW0wIHGgB6AJelofw6GEpOypHGyow2y5",
            "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            "pbkdf2_sha256$1000$salt$qN+JnzxPIE2WfgrWPAkph8EAVeuwF7PZ0ordIY1Peq0=",
            "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
            "{SSHA512}E491yrR9AdCoE7rbOPYS3EZgSuZpVE65AD9xko08s6floNesY/Zpe9zMVvLix4S2FiQSJ99RIkNvhHomNO9uL3NhbHQ=",
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
            "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
        ] {
            let stored = Stored::parse(text, &all()).unwrap();
            assert!(stored.verify(b"secret"), "{text}");
            assert!(!stored.verify(b"Secret") && !stored.verify(b""), "{text}");
        }
        let stored = Stored::parse("$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", &all()).unwrap();
        assert!(stored.verify(b"test12345") && !stored.verify(b"test"));
    }

    #[test]
    fn the_weak_must_be_named_and_the_dear_are_refused() {
        let none = Allowed::default();
        for text in ["$1$s$x", "$apr1$s$x", "{SSHA}x", "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"] {
            assert!(matches!(Stored::parse(text, &none), Err(NotAHash::NotAllowed(_))), "{text}");
        }
        let many = format!("$2b$31${}", "a".repeat(53));
        for text in [
            "$argon2id$v=19$m=4194304,t=1000,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$6$rounds=999999999$salt$x",
            "$y$jXT$salt$x",
            "pbkdf2_sha256$4000000000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            &many,
        ] {
            assert_eq!(Stored::parse(text, &all()).err(), Some(NotAHash::Cost), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(start in 0..8_usize, text in ".{0,80}") {
            let starts = ["", "$argon2id$", "$2b$31$", "$6$rounds=", "$y$", "pbkdf2_sha256$", "$P$", "{SSHA}"];
            drop(Stored::parse(&format!("{}{text}", starts[start]), &all()));
        }
    }
}
