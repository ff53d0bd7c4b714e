//! One attempt of a person to be let in, checked for its form and nothing else.

use crate::address::Source;
use crate::name::{Login, ServiceName};
use crate::password::Password;

/// What somebody asks. Exists only with a well-formed name and password; ends in exactly one (outcome, reason).
#[derive(Debug)]
pub struct SignIn {
    /// Who they say they are.
    pub login: Login,
    /// Their proof.
    pub password: Password,
    /// The service they want.
    pub service: ServiceName,
    /// The address that is to be let in.
    pub source: Source,
}
