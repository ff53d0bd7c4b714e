//! Randomness as a value: the caller draws it, the core only shapes it.

/// Eighty random bits, the random part of a [`crate::grant::GrantId`].
#[derive(Debug, Clone, Copy)]
pub struct Entropy(pub [u8; 10]);

/// SHA-256 of a bearer token or a session cookie: all that is ever stored of either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHash(..)")
    }
}
