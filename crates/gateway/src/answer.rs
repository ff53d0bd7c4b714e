//! What a sign-in ends with. What must never happen here: a second way to say no, a token that prints itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmsgate_core::decide::Refusal;
use kmsgate_core::random::SecretHash;
use kmsgate_ledger::records::GrantRecord;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Every sign-in ends in one of these.
pub type Answer = Result<Granted, Refusal>;

/// A grant is open, and the forwarder confirmed it.
#[derive(Debug)]
pub struct Granted {
    /// As the ledger has it.
    pub grant: GrantRecord,
    /// Opens this grant's resource in the API.
    pub token: Secret,
    /// The browser's session, if one was asked for.
    pub cookie: Option<Secret>,
    /// Whether it is new (201) or the one that this identity had here already (200).
    pub new: bool,
}

/// 256 random bits, base64url: a bearer token or a session cookie. Only its hash is stored.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Draws a new one.
    ///
    /// # Errors
    /// If the kernel gives no randomness.
    pub fn draw() -> Result<Self, getrandom::Error> {
        let bytes = Zeroizing::new(crate::clock::random::<32>()?);
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))))
    }

    /// The text, for the one answer that hands it out.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        hash(&self.0)
    }
}

/// What is stored of a token or cookie that somebody presents.
#[must_use]
pub fn hash(text: &str) -> SecretHash {
    SecretHash(Sha256::digest(text.as_bytes()).into())
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// By a browser: the answer opens a session.
    Browser,
    /// By the API: the bearer token is enough.
    Api,
}
