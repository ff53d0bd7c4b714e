//! What is asked at the control socket, in JSON. What must never happen here: an answer to somebody who did not come by
//! that socket.

use super::control::Peer;
use super::explain::{self, Asked};
use super::problem::Problem;
use super::shape;
use crate::close::close;
use crate::event::flush;
use crate::event::notice::Notice;
use crate::gate::Gate;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kmsgate_accounts::Snapshot;
use kmsgate_accounts::breaker::BreakerState;
use kmsgate_core::name::ServiceName;
use kmsgate_core::reason::Cause;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Filter, ReportQuery};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Most grants in one answer.
const MOST: usize = 10_000;
/// Unless a number is asked for.
const USUAL: usize = 100;
/// Longest note of an operator, in bytes.
const LONGEST_NOTE: usize = 256;

type Answer = Result<Json<Value>, Problem>;
type Parsed<T> = Result<T, QueryRejection>;
type Body<T> = Result<Json<T>, JsonRejection>;

struct Operator {
    gate: Arc<Gate>,
    path: Option<PathBuf>,
}

type Shared = State<Arc<Operator>>;
type Who = ConnectInfo<Peer>;

/// The control socket's routes. `path` is the file that a reload reads.
pub fn routes(gate: Arc<Gate>, path: Option<PathBuf>) -> Router {
    Router::new()
        .route("/api/v1/grants", get(grants).post(open))
        .route("/api/v1/grants/{id}", get(show).delete(revoke))
        .route("/api/v1/report", get(report))
        .route("/api/v1/explain", post(explain))
        .route("/api/v1/quota", get(quota).delete(reset))
        .route("/api/v1/providers", post(drain))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/status", get(status))
        .fallback(async || Problem::missing("there is nothing here; the interface is below /api/v1"))
        .with_state(Arc::new(Operator { gate, path }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    unfinished: Option<u8>,
    user: Option<String>,
    source: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

async fn grants(State(operator): Shared, query: Parsed<Query<Listed>>) -> Answer {
    let Query(asked) = query?;
    let filter = Filter {
        unfinished: asked.unfinished.is_some_and(|unfinished| unfinished != 0),
        person: asked.user.as_deref().map(|user| shape::person(&operator.gate, user)).transpose()?,
        source: asked.source.as_deref().map(shape::source).transpose()?.map(|source| source.ip()),
        before: asked.before.as_deref().map(shape::id).transpose()?,
        limit: asked.limit.unwrap_or(USUAL).min(MOST),
    };
    let (found, now) = (operator.gate.ledger.grants(filter).await?, operator.gate.clock.now());
    let found = found.into_iter().map(|grant| operator.gate.forwarder.as_carried(grant));
    let grants: Vec<Value> = found.map(|grant| shape::grant(&grant, now)).collect();
    Ok(Json(json!({ "grants": grants })))
}

async fn show(State(operator): Shared, Path(id): Path<String>) -> Answer {
    let id = shape::id(&id)?;
    let found = operator.gate.ledger.grant(id).await?.ok_or(kmsgate_ledger::records::LedgerError::Missing)?;
    Ok(Json(shape::grant(&operator.gate.forwarder.as_carried(found), operator.gate.clock.now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    user: String,
    source: String,
    service: Option<String>,
    reason: String,
    #[serde(default)]
    groups: Vec<String>,
}

/// For somebody else's machine: rules and quotas hold, the reason is recorded.
async fn open(State(operator): Shared, ConnectInfo(peer): Who, body: Body<Opened>) -> Result<Response, Problem> {
    let Json(asked) = body?;
    let gate = &operator.gate;
    let note = asked.reason.trim();
    if note.is_empty() || note.len() > LONGEST_NOTE {
        return Err(Problem::malformed(format!("reason: 1 to {LONGEST_NOTE} bytes; it is recorded with the grant")));
    }
    let identity = explain::vouched(gate, &asked.user, &asked.groups, &peer.operator(), note)?;
    let (source, service) = (shape::source(&asked.source)?, explain::service(gate, asked.service.as_deref())?);
    let granted = crate::admit::open_vouched(gate, identity, source, service).await?;
    let status = if granted.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shape::grant(&granted.grant, gate.clock.now()))).into_response())
}

async fn revoke(State(operator): Shared, Path(id): Path<String>) -> Answer {
    let closed = close(&operator.gate, shape::id(&id)?, Cause::Revoked).await?;
    Ok(Json(shape::grant(&closed, operator.gate.clock.now())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reported {
    by: String,
    from: Option<String>,
    to: Option<String>,
}

/// From 30 days ago to the end of today, unless it is said.
async fn report(State(operator): Shared, query: Parsed<Query<Reported>>) -> Answer {
    let Query(asked) = query?;
    let today = operator.gate.clock.now().utc;
    let from = asked.from.as_deref().map(shape::moment).transpose()?.unwrap_or_else(|| shape::day_from(today, -30));
    let to = asked.to.as_deref().map(shape::moment).transpose()?.unwrap_or_else(|| shape::day_from(today, 1));
    if from >= to {
        return Err(Problem::malformed("from must be before to"));
    }
    // What was counted since the last full minute belongs to it too.
    flush::flush(&*operator.gate.ledger, &operator.gate.refusals, operator.gate.clock, &operator.gate.notices, true)
        .await;
    let lines = operator.gate.ledger.report(ReportQuery { by: shape::by(&asked.by)?, from, to }).await?;
    let (from, to) = (shape::rfc3339(from), shape::rfc3339(to));
    Ok(Json(json!({ "by": asked.by, "from": from, "to": to, "lines": lines })))
}

async fn explain(State(operator): Shared, ConnectInfo(peer): Who, body: Body<Asked>) -> Answer {
    let Json(asked) = body?;
    explain::explain(&operator.gate, &asked, &peer.operator()).await.map(Json)
}

/// `group` may be there many times, which the other extractor cannot read.
async fn quota(State(operator): Shared, ConnectInfo(peer): Who, RawQuery(query): RawQuery) -> Answer {
    let (mut user, mut service, mut from, mut groups) = (None, None, None, Vec::new());
    let text = query.unwrap_or_default();
    let uri = format!("/?{text}").parse().map_err(|_| Problem::malformed("the query cannot be read"))?;
    let Query(fields) = Query::<Vec<(String, String)>>::try_from_uri(&uri)?;
    for (key, value) in fields {
        match key.as_str() {
            "user" => user = Some(value),
            "service" => service = Some(value).filter(|service| !service.is_empty()),
            "source" => from = Some(shape::source(&value)?),
            "group" => groups.push(value),
            _ => return Err(Problem::malformed(format!("{key:?} is none of user, service, source, group"))),
        }
    }
    let user = user.ok_or_else(|| Problem::malformed("user: whose quota? DOMAIN/NAME, or NAME"))?;
    let identity = explain::vouched(&operator.gate, &user, &groups, &peer.operator(), "quota")?;
    explain::quota(&operator.gate, identity, service.as_deref(), from).await.map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    user: String,
}

async fn reset(State(operator): Shared, ConnectInfo(peer): Who, query: Parsed<Query<Reset>>) -> Answer {
    let Query(Reset { user }) = query?;
    let (gate, person) = (&operator.gate, shape::person(&operator.gate, &user)?);
    gate.ledger.quota_reset(person.clone(), peer.operator(), gate.clock.now()).await?;
    gate.news.notify();
    Ok(Json(json!({ "user": person.to_string() })))
}

async fn reload(State(operator): Shared) -> Answer {
    let Some(path) = operator.path.clone() else {
        return Err(Problem::conflict("this gateway runs without a configuration file (demo)"));
    };
    let gate = Arc::clone(&operator.gate);
    // Reads files: the account file and certificates may lie on a slow disk.
    let read = tokio::task::spawn_blocking(move || crate::serve::reload(&gate, &path)).await;
    let read = read.unwrap_or_else(|error| Err(error.to_string()));
    operator.gate.notices.say(match &read {
        Ok(restart) => Notice::Reloaded { restart: restart.clone() },
        Err(errors) => Notice::NotReloaded { errors: errors.clone() },
    });
    match read {
        Ok(restart) => Ok(Json(json!({ "needs_restart": restart }))),
        Err(errors) => Err(Problem::malformed(format!("the old configuration stays in force:\n{errors}"))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drained {
    service: String,
    provider: SocketAddr,
    drained: bool,
}

async fn drain(State(operator): Shared, body: Body<Drained>) -> Answer {
    let Json(Drained { service, provider, drained }) = body?;
    if operator.gate.forwarder.drain(&ServiceName::new(&service), provider, drained) {
        Ok(Json(json!({ "service": service, "provider": provider, "drained": drained })))
    } else {
        Err(Problem::missing(format!(
            "there is no provider {provider} of a service {service}; see `kmsgate providers list`"
        )))
    }
}

async fn status(State(operator): Shared) -> Answer {
    let gate = &operator.gate;
    let (mut services, bound, providers) = (Vec::new(), gate.forwarder.bound(), gate.forwarder.providers());
    let policy = gate.policy.load_full();
    for terms in &policy.services {
        let name = &terms.service;
        let listens = bound.iter().filter(|(service, _)| service == name).map(|(_, address)| address.to_string());
        let providers = providers.iter().filter(|provider| provider.service == *name);
        services.push(json!({
            "name": name.as_str(),
            "listens": listens.collect::<Vec<_>>(),
            "window_seconds": terms.window.as_secs(),
            "connections": terms.connections,
            "open_grants": gate.ledger.count_open(name.clone()).await?,
            "providers": providers
                .map(|provider| json!({
                    "address": provider.address.to_string(), "up": provider.up, "drained": provider.drained
                }))
                .collect::<Vec<_>>(),
        }));
    }
    let servers: Vec<Value> = gate.accounts.load().snapshot().iter().map(server).collect();
    Ok(Json(json!({
        "name": gate.config.load().node.name,
        "version": env!("CARGO_PKG_VERSION"),
        "open_grants": gate.forwarder.open_grants(),
        "services": services,
        "account_servers": servers,
        "ledger": gate.ledger.ready().await.err().map_or_else(|| "ready".to_owned(), |error| error.to_string()),
        "unwritten_notices": gate.notices.unwritten(),
    })))
}

fn server(server: &Snapshot) -> Value {
    let counts = server.counts;
    json!({
        "name": server.server.as_str(),
        "domain": server.domain.as_str(),
        "kind": server.kind,
        "running": server.running,
        "waiting": server.waiting,
        "breaker": match server.breaker {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        },
        "delaying_seconds": server.delaying.map(|delay| delay.as_secs_f64()),
        "last_outage": server.last_outage,
        "fault": server.fault,
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "unusable": counts.unusable,
        "not_mine": counts.not_mine,
        "outages": counts.server_outages + counts.account_outages,
        "delayed": counts.delayed,
        "busy": counts.busy,
    })
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}
