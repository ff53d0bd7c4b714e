//! Everything that the portal can answer with besides what was asked: one table from the fault to status, reason and
//! text. What must never happen here: a refusal without a way out, a value that somebody typed.

use crate::portal::source::NoSource;
use kmsgate_core::decide::Refusal;
use kmsgate_core::name::NotAName;
use kmsgate_core::password::NotAPassword;
use kmsgate_core::reason::Reason;
use std::time::Duration;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The pipeline said no.
    Refused(Reason),
    /// There is no address to open for.
    NoSource(NoSource),
    /// The user name is none.
    Name(NotAName),
    /// The password is none.
    Password(NotAPassword),
    /// The name of a service that is not offered.
    NoSuchService,
    /// Not well-formed: cannot be read as what its media type says, a field missing, unknown or given twice.
    Form(Malformed),
    /// Not UTF-8.
    NotText,
    /// The form has no valid token: cookies are off, or the page is too old.
    FormToken,
    /// Sent by a page of another site.
    Foreign,
    /// A body longer than 16 KiB.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// Not the media type that is taken here.
    MediaType,
    /// A Host that is not ours.
    Misdirected,
    /// A second Host, or none.
    NoHost,
    /// Plain HTTP from somewhere that must use HTTPS.
    PlainHttp,
    /// No such page or resource.
    NotFound,
    /// The page or resource has no such method.
    Method,
    /// No token, or none that opens this grant.
    Token,
    /// Too many live views at once.
    TooManyViews,
}

/// How a body is malformed. Field names are ours, never the person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not JSON, or not an object of strings; where.
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A percent escape without two hexadecimal digits.
    Escape,
    /// This field is missing.
    Missing(&'static str),
    /// This field is there twice.
    Twice(&'static str),
    /// A field that nobody asked for.
    Unknown,
    /// The connection ended in the middle of the body.
    CutShort,
}

/// What is wrong, and what the person may be told besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub wrong: Wrong,
    /// After how long another try can succeed, where waiting helps.
    pub retry_after: Option<Duration>,
    /// The site's own words.
    pub message: Option<String>,
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Self { wrong, retry_after: None, message: None }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { wrong: Wrong::Refused(refusal.reason), retry_after: refusal.retry_after, message: refusal.message }
    }
}

impl From<kmsgate_ledger::records::LedgerError> for Fault {
    fn from(error: kmsgate_ledger::records::LedgerError) -> Self {
        use kmsgate_ledger::records::LedgerError as E;
        match error {
            E::Missing => Wrong::NotFound.into(),
            E::Unavailable(_) | E::Unreadable(_) => Wrong::Refused(Reason::LedgerUnavailable).into(),
            E::State(_) | E::Spent => Wrong::Refused(Reason::Internal).into(),
        }
    }
}

impl Fault {
    /// One of each kind, for the test of the texts.
    #[cfg(test)]
    pub(crate) fn one_of_each() -> Vec<Self> {
        let mut all: Vec<Wrong> = Reason::ALL.iter().map(|reason| Wrong::Refused(*reason)).collect();
        all.extend([NotAName::Empty, NotAName::TooLong, NotAName::Character].map(Wrong::Name));
        all.extend([NotAPassword::Empty, NotAPassword::TooLong, NotAPassword::Control].map(Wrong::Password));
        all.extend(
            [
                Malformed::Json { line: 1, column: 2 },
                Malformed::Escape,
                Malformed::Missing("username"),
                Malformed::Twice("password"),
                Malformed::Unknown,
                Malformed::CutShort,
            ]
            .map(Wrong::Form),
        );
        all.extend([
            Wrong::NoSource(NoSource::Missing),
            Wrong::NoSuchService,
            Wrong::NotText,
            Wrong::FormToken,
            Wrong::Foreign,
            Wrong::TooLarge,
            Wrong::TooSlow,
            Wrong::MediaType,
            Wrong::Misdirected,
            Wrong::NoHost,
            Wrong::PlainHttp,
            Wrong::NotFound,
            Wrong::Method,
            Wrong::Token,
            Wrong::TooManyViews,
        ]);
        all.into_iter().map(Self::from).collect()
    }

    /// The status (RFC 9110 section 15).
    #[must_use]
    pub fn status(&self) -> u16 {
        match &self.wrong {
            Wrong::Refused(reason) => reason.status(),
            Wrong::Token => 401,
            Wrong::FormToken | Wrong::Foreign | Wrong::PlainHttp => 403,
            Wrong::NotFound => 404,
            Wrong::Method => 405,
            Wrong::TooSlow => 408,
            Wrong::TooLarge => 413,
            Wrong::MediaType => 415,
            Wrong::Misdirected => 421,
            Wrong::TooManyViews => 503,
            Wrong::NoSource(_)
            | Wrong::Name(_)
            | Wrong::Password(_)
            | Wrong::NoSuchService
            | Wrong::Form(_)
            | Wrong::NotText
            | Wrong::NoHost => 400,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match &self.wrong {
            Wrong::Refused(reason) => *reason,
            Wrong::Token => Reason::InvalidCredentials,
            Wrong::TooManyViews => Reason::GatewayFull,
            _ => Reason::BadRequest,
        }
    }

    /// The key of its texts: `fault-KEY-title` and `fault-KEY-detail`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match &self.wrong {
            Wrong::Refused(reason) => reason.as_str(),
            Wrong::NoSource(_) => "no-source",
            Wrong::Name(NotAName::Empty) => "name-empty",
            Wrong::Name(NotAName::TooLong) => "name-long",
            Wrong::Name(NotAName::Character) => "name-character",
            Wrong::Password(NotAPassword::Empty) => "password-empty",
            Wrong::Password(NotAPassword::TooLong) => "password-long",
            Wrong::Password(NotAPassword::Control) => "password-control",
            Wrong::NoSuchService => "no-such-service",
            Wrong::Form(Malformed::Json { .. }) => "json",
            Wrong::Form(Malformed::Escape) => "escape",
            Wrong::Form(Malformed::Missing(_)) => "field-missing",
            Wrong::Form(Malformed::Twice(_)) => "field-twice",
            Wrong::Form(Malformed::Unknown) => "field-unknown",
            Wrong::Form(Malformed::CutShort) => "cut-short",
            Wrong::NotText => "not-text",
            Wrong::FormToken => "form-token",
            Wrong::Foreign => "foreign",
            Wrong::TooLarge => "too-large",
            Wrong::TooSlow => "too-slow",
            Wrong::MediaType => "media-type",
            Wrong::Misdirected => "misdirected",
            Wrong::NoHost => "no-host",
            Wrong::PlainHttp => "plain-http",
            Wrong::NotFound => "not-found",
            Wrong::Method => "method",
            Wrong::Token => "token",
            Wrong::TooManyViews => "too-many-views",
        }
    }

    /// Whether the person mends it in the form that they just sent.
    #[must_use]
    pub fn mended_in_form(&self) -> bool {
        matches!(
            self.wrong,
            Wrong::Name(_)
                | Wrong::Password(_)
                | Wrong::NotText
                | Wrong::FormToken
                | Wrong::NoSuchService
                | Wrong::Refused(Reason::InvalidCredentials)
        )
    }

    /// The operator's line, where only the operator can mend it.
    #[must_use]
    pub fn for_operator(&self) -> Option<String> {
        match &self.wrong {
            Wrong::NoSource(why) => Some(why.to_string()),
            _ => None,
        }
    }
}
