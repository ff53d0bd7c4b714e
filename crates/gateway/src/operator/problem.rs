//! What an operator is told when something is not done (RFC 9457). What must never happen here: a refusal without a way
//! out.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use kmsgate_core::decide::Refusal;
use kmsgate_core::reason::Reason;
use kmsgate_ledger::records::LedgerError;
use serde_json::json;
use std::time::Duration;

/// A refusal or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: u16,
    reason: &'static str,
    detail: String,
}

impl Problem {
    /// What was asked is malformed, and how it should be.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self { status: 400, reason: Reason::BadRequest.as_str(), detail: detail.into() }
    }

    /// There is no such thing.
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self { status: 404, reason: "not_found", detail: detail.into() }
    }

    /// It is there, and not in a state for it.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self { status: 409, reason: "conflict", detail: detail.into() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut detail = told(refusal.reason).to_owned();
        if let Some(rule) = &refusal.rule {
            detail.push_str(&format!("; rule {rule}"));
        }
        if let Some(after) = refusal.retry_after {
            detail.push_str(&format!("; another try can succeed in {}", rounded_up(after)));
        }
        Self { status: refusal.reason.status(), reason: refusal.reason.as_str(), detail }
    }
}

/// In the unit that suits its size.
fn rounded_up(duration: Duration) -> String {
    let seconds = duration.as_secs().saturating_add(1);
    match seconds {
        0..=120 => format!("{seconds} seconds"),
        121..=7200 => format!("{} minutes", seconds.div_ceil(60)),
        7201..=172_800 => format!("{} hours", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Missing => Self::missing("no such grant; `kmsgate grants list --all` shows them"),
            LedgerError::State(_) | LedgerError::Spent => Self::conflict(error.to_string()),
            LedgerError::Unavailable(_) | LedgerError::Unreadable(_) => {
                let reason = Reason::LedgerUnavailable;
                Self { status: reason.status(), reason: reason.as_str(), detail: error.to_string() }
            }
        }
    }
}

/// The operator's words for a refusal.
fn told(reason: Reason) -> &'static str {
    match reason {
        Reason::BadRequest => "there is no such service",
        Reason::NotPermitted => "policy does not permit it; `kmsgate explain` says which rule decides",
        Reason::NotNeeded => "a bypass covers this address: it needs no grant",
        Reason::SourceBusy => "another person's grant is open for this address; wait for its end or revoke it",
        Reason::QuotaExhausted => "the quota is used up; `kmsgate quota reset` forgives it",
        Reason::NoProvider => "no provider of the service is up; `kmsgate check` says what is wrong with each",
        Reason::GatewayFull => "the forwarder can hold no more grants; see [forward] grants",
        Reason::LedgerUnavailable => "the ledger cannot be written; the gateway's standard error says why",
        Reason::ForwarderUnavailable => "the forwarder cannot open; the gateway's standard error says why",
        Reason::InvalidCredentials
        | Reason::AccountUnusable
        | Reason::TooManyAttempts
        | Reason::AccountServerUnavailable
        | Reason::Internal
        | Reason::Abandoned => "the gateway could not do it; its standard error says why",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "status": self.status, "reason": self.reason, "detail": self.detail });
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
