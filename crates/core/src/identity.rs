//! The proof that an account server accepted a sign-in.

use crate::name::{Group, Person, ServerName};

/// Who somebody is, proved. Policy, quota and the ledger work only for one of these.
///
/// It has two constructors and no public field. Both call sites are kept by `cargo xtask check`: a third one would be a
/// second way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    person: Person,
    groups: Vec<Group>,
    voucher: Voucher,
}

/// Who vouches for an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voucher {
    /// An account server took the password.
    Server(ServerName),
    /// An operator opens for somebody else's machine; their reason is recorded with the grant.
    Operator {
        /// Which operator.
        operator: String,
        /// Why.
        reason: String,
    },
}

impl Identity {
    /// An account server accepted. Called by the accounts' chain alone.
    #[must_use]
    pub fn accepted(person: Person, groups: Vec<Group>, server: ServerName) -> Self {
        Self { person, groups, voucher: Voucher::Server(server) }
    }

    /// An operator answers for it instead of a password: the weaker of the two. Called by `grants open` and `explain` alone.
    #[must_use]
    pub fn vouched(person: Person, groups: Vec<Group>, operator: String, reason: String) -> Self {
        Self { person, groups, voucher: Voucher::Operator { operator, reason } }
    }

    /// Who.
    #[must_use]
    pub fn person(&self) -> &Person {
        &self.person
    }

    /// The groups that the account server named.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Who vouches.
    #[must_use]
    pub fn voucher(&self) -> &Voucher {
        &self.voucher
    }
}
