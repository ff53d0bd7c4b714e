//! The JSON interface (contract: `openapi.json`). What must never happen here: a cookie that opens anything.

use crate::answer::{self, Visit};
use crate::portal::fault::{Fault, Malformed, Wrong};
use crate::portal::view::Told;
use crate::portal::visitor::Visitor;
use crate::portal::{Portal, Reply, ask, events};
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kmsgate_core::grant::GrantId;
use kmsgate_core::name::ServiceName;
use kmsgate_core::reason::{Cause, Reason};
use kmsgate_ledger::records::GrantRecord;
use serde_json::json;
use std::sync::Arc;

pub(crate) const GRANTS: &str = "/api/v1/grants";
pub(crate) const GRANT: &str = "/api/v1/grants/{id}";
pub(crate) const EVENTS: &str = "/api/v1/grants/{id}/events";
pub(crate) const STATUS: &str = "/api/v1/status";
pub(crate) const OPENAPI: &str = "/api/v1/openapi.json";

const DESCRIPTION: &str = include_str!("openapi.json");

type Shared = State<Arc<Portal>>;
type Who = Extension<Arc<Visitor>>;

pub(crate) fn routes() -> Router<Arc<Portal>> {
    Router::new()
        .route(GRANTS, post(sign_in))
        .route(GRANT, get(show).delete(cancel))
        .route(EVENTS, get(live))
        .route(STATUS, get(status))
        .route(OPENAPI, get(async || ([(CONTENT_TYPE, "application/json")], DESCRIPTION)))
}

async fn sign_in(State(portal): Shared, Extension(visitor): Who, headers: HeaderMap, body: Body) -> Reply {
    visitor.may_change(&headers)?;
    let body = ask::read(&headers, body, "application/json", portal.limits.body).await?;
    let asked = ask::json(&body)?;
    drop(body);
    let service = visitor.service(asked.service.as_ref().map(ask::Typed::expose))?;
    let source = visitor.source.clone().map_err(Wrong::NoSource)?;
    let granted = portal.desk.admit(asked.sign_in(service, source)?, Visit::Api).await?;
    let status = if granted.new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = told(&portal, &visitor, status, &granted.grant, Some(granted.token.expose()));
    if let Ok(place) = HeaderValue::try_from(format!("{GRANTS}/{}", granted.grant.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

async fn show(State(portal): Shared, Extension(visitor): Who, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let grant = owned(&portal, &id, &headers).await?;
    Ok(told(&portal, &visitor, StatusCode::OK, &grant, None))
}

async fn cancel(State(portal): Shared, Extension(visitor): Who, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    visitor.may_change(&headers)?;
    let grant = owned(&portal, &id, &headers).await?;
    let grant = if grant.state.unfinished() { portal.desk.close(grant.id, Cause::Cancelled).await? } else { grant };
    Ok(told(&portal, &visitor, StatusCode::OK, &grant, None))
}

async fn live(State(portal): Shared, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let grant = owned(&portal, &id, &headers).await?;
    events::stream(&portal, grant.id)
}

async fn status(Extension(visitor): Who) -> Response {
    let host = visitor.gateway_host();
    let services = visitor.site.services.iter().map(|service| {
        json!({
            "name": service.terms.service.as_str(),
            "gateway": format!("{host}:{}", service.port),
            "window_seconds": service.terms.window.as_secs(),
            "connections": service.terms.connections,
        })
    });
    let body = json!({
        "name": "kmsgate",
        "title": visitor.site.portal.title,
        "version": env!("CARGO_PKG_VERSION"),
        "services": services.collect::<Vec<_>>(),
    });
    reply(StatusCode::OK, "application/json", body.to_string())
}

/// The grant that the bearer token opens, if it is the one that was named (RFC 6750 section 2.1).
async fn owned(portal: &Portal, id: &str, headers: &HeaderMap) -> Result<GrantRecord, Fault> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(Wrong::Token.into()) };
    let (scheme, token) = line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or(Wrong::Token)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Wrong::Token.into());
    }
    let grant = portal.desk.grant_by_token(answer::hash(token.trim())).await?.ok_or(Wrong::Token)?;
    match id.parse::<GrantId>() {
        Ok(id) if id == grant.id => Ok(grant),
        _ => Err(Wrong::NotFound.into()),
    }
}

fn told(portal: &Portal, visitor: &Visitor, status: StatusCode, grant: &GrantRecord, token: Option<&str>) -> Response {
    let told = Told::new(grant, token, &visitor.site, &visitor.gateway_host(), portal.desk.now());
    (status, Json(told)).into_response()
}

/// A fault as `application/problem+json` (RFC 9457).
pub(crate) fn problem(visitor: &Visitor, fault: &Fault) -> Response {
    let words = fault.words(visitor);
    let mut body = json!({
        "type": format!("/help#{}", fault.reason()),
        "title": words.title,
        "status": fault.status(),
        "reason": fault.reason().as_str(),
        "detail": words.whole(),
    });
    if let (Some(map), Some(after)) = (body.as_object_mut(), fault.retry_after) {
        map.insert("retry_after".to_owned(), json!(seconds(after)));
    }
    let mut response = reply(status_of(fault), "application/problem+json", body.to_string());
    decorate(fault, &mut response);
    response
}

/// What a refusal says in its head, page or problem.
pub(crate) fn decorate(fault: &Fault, response: &mut Response) {
    if let Some(after) = fault.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    if fault.wrong == Wrong::Token {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kmsgate\""));
    }
}

pub(crate) fn status_of(fault: &Fault) -> StatusCode {
    StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Whole seconds, rounded up: one who waits so long does not come too early.
fn seconds(after: std::time::Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

fn reply(status: StatusCode, media: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

impl Visitor {
    /// The service that was asked for; the first one, if none was named.
    pub(crate) fn service(&self, name: Option<&str>) -> Result<ServiceName, Wrong> {
        let found = match name {
            Some(name) => self.site.service(name),
            None => self.site.services.first(),
        };
        found.map(|service| service.terms.service.clone()).ok_or(Wrong::NoSuchService)
    }
}

/// The words of a fault.
pub(crate) struct Words {
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) message: Option<String>,
    pub(crate) wait: Option<String>,
}

impl Words {
    fn whole(&self) -> String {
        let parts = [Some(&self.detail), self.message.as_ref(), self.wait.as_ref()];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join(" ")
    }
}

impl Fault {
    /// What the person is told.
    pub(crate) fn words(&self, visitor: &Visitor) -> Words {
        let language = visitor.language;
        let key = format!("fault-{}-detail", self.key());
        let detail = match &self.wrong {
            Wrong::Form(Malformed::Json { line, column }) => language.with2(&key, ("line", *line), ("column", *column)),
            Wrong::Form(Malformed::Missing(field) | Malformed::Twice(field)) => language.with(&key, "field", *field),
            Wrong::Misdirected | Wrong::PlainHttp => language.with(&key, "address", visitor.public_address()),
            Wrong::Refused(Reason::SourceBusy) => {
                let source = visitor.source.as_ref().map_or_else(|_| String::new(), ToString::to_string);
                language.with(&key, "source", source)
            }
            _ => language.say(&key),
        };
        Words {
            title: language.say(&format!("fault-{}-title", self.key())),
            detail,
            message: self.message.clone(),
            wait: self.retry_after.map(|after| language.with("fault-wait", "span", language.span(after))),
        }
    }
}
