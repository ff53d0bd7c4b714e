//! Carries the bytes of an open grant. What must never happen here: a byte for an address without an open grant, a
//! connection that outlives its window, more claims than the grant has.

use std::fmt;

/// Why a grant was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// No provider of the service is up.
    NoProvider,
    /// The forwarder can hold no more grants.
    Full,
    /// The forwarder cannot open now; why.
    Unavailable(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str("no provider of the service is up"),
            Self::Full => f.write_str("the forwarder can hold no more grants; see [forward] grants"),
            Self::Unavailable(why) => write!(f, "the forwarder cannot open: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}
