//! What somebody typed into the name field, for the log. What must never happen here: a password in the log because it was
//! typed into the wrong field.
//!
//! A name that was accepted before is a name, and is written. Anything else is written as a hash under a key of this process:
//! the same text is seen to be the same until a restart, and nobody can try passwords against it later.

use crate::clock::random;
use kmsgate_core::name::Name;
use kmsgate_ledger::Ledger;
use sha2::{Digest, Sha256};
use std::fmt;

/// The key of one process.
pub struct NameKey([u8; 32]);

/// A name as it may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedName {
    /// It was accepted before.
    Known(Name),
    /// It never was, or the ledger cannot say.
    Hash(String),
}

impl NameKey {
    /// A new one.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }

    /// How `name` may be written.
    pub async fn shown(&self, name: &Name, ledger: &impl Ledger) -> TypedName {
        // A ledger that cannot say is noticed elsewhere; here it is as if it said no.
        if ledger.ever_accepted(name.clone()).await.unwrap_or(false) {
            TypedName::Known(name.clone())
        } else {
            TypedName::Hash(self.hash(name))
        }
    }

    /// Sixteen hexadecimal digits. A key of fixed length in front and a part of the digest make SHA-256 a keyed hash without
    /// its extension of length.
    fn hash(&self, name: &Name) -> String {
        let digest = Sha256::new_with_prefix(self.0).chain_update(name.as_str()).finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_the_same_hash_under_one_key_only() {
        let (key, other) = (NameKey([1; 32]), NameKey([2; 32]));
        let (alice, bob) = (Name::canonical("alice").unwrap(), Name::canonical("bob").unwrap());
        assert_eq!(key.hash(&alice), key.hash(&alice));
        assert_eq!(key.hash(&alice).len(), 16);
        assert_ne!(key.hash(&alice), key.hash(&bob));
        assert_ne!(key.hash(&alice), other.hash(&alice));
    }
}
