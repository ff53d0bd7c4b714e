//! The one (outcome, reason) in which every sign-in ends, and the cause in which every grant ends. Stable names: the
//! API, the page, the log, the ledger and the counters all read them from here.

use std::fmt;
use std::str::FromStr;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every one, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(UnknownName(text.to_owned())) }
            }
        }
    };
}

names!(
    /// Why a sign-in was refused.
    Reason {
        /// The form of what was asked.
        BadRequest = "bad_request",
        /// No account server accepted the name and password.
        InvalidCredentials = "invalid_credentials",
        /// The password was right but the account is disabled, expired or must be changed first.
        AccountUnusable = "account_unusable",
        /// The throttle: too many failures from this address or for this name.
        TooManyAttempts = "too_many_attempts",
        /// No rule allows it, or one denies it.
        NotPermitted = "not_permitted",
        /// A bypass network needs no sign-in.
        NotNeeded = "not_needed",
        /// Another identity's grant is open for this address and service.
        SourceBusy = "source_busy",
        /// The quota of this identity is used up.
        QuotaExhausted = "quota_exhausted",
        /// An account server that may hold this name did not answer.
        AccountServerUnavailable = "account_server_unavailable",
        /// No provider of the service is up.
        NoProvider = "no_provider",
        /// The forwarder can hold no more grants.
        GatewayFull = "gateway_full",
        /// The ledger cannot write.
        LedgerUnavailable = "ledger_unavailable",
        /// The forwarder cannot open.
        ForwarderUnavailable = "forwarder_unavailable",
        /// A fault of ours.
        Internal = "internal",
        /// The person went away before anything was reserved; log only.
        Abandoned = "abandoned",
    }
);

names!(
    /// Why a grant ended.
    Cause {
        /// Its window passed.
        Expired = "expired",
        /// Its connections are used and none is alive.
        Used = "used",
        /// The person ended it.
        Cancelled = "cancelled",
        /// An operator ended it.
        Revoked = "revoked",
        /// A connection broke its limit of bytes, calls or time.
        Limit = "limit",
        /// The forwarder did not open it.
        Failed = "failed",
        /// Found unfinished at start and not adopted.
        Swept = "swept",
    }
);

/// How a sign-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A grant is open.
    Granted,
    /// It is not, and why.
    Refused(Reason),
}

impl Reason {
    /// The HTTP status that carries this reason (the contract's table; RFC 9110 section 15).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::Abandoned => 400,
            Self::InvalidCredentials => 401,
            Self::AccountUnusable | Self::NotPermitted => 403,
            Self::NotNeeded | Self::SourceBusy => 409,
            Self::TooManyAttempts | Self::QuotaExhausted => 429,
            Self::Internal => 500,
            Self::AccountServerUnavailable
            | Self::NoProvider
            | Self::GatewayFull
            | Self::LedgerUnavailable
            | Self::ForwarderUnavailable => 503,
        }
    }
}

/// A text that is none of the stable names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName(pub String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a name that kmsgate knows", self.0)
    }
}

impl std::error::Error for UnknownName {}
