//! Counters and health, for machines. What must never happen here: a name or an address of a person.

use crate::event::counters::text;
use crate::gate::Gate;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kmsgate_accounts::breaker::BreakerState;
use kmsgate_ledger::Ledger;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The media type of OpenMetrics text 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/metrics`, `/healthz`, `/readyz`.
pub fn routes(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(gate)
}

/// 200 if a sign-in could succeed now; else 503, with a line for each thing that is missing.
async fn ready(State(gate): State<Arc<Gate>>) -> Response {
    let missing = missing(&gate).await;
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn missing(gate: &Gate) -> Vec<String> {
    let mut missing = Vec::new();
    if gate.ledger.ready().await.is_err() {
        missing.push("ledger: cannot be written".to_owned());
    }
    if !gate.accounts.load().usable() {
        missing.push("accounts: no server is usable".to_owned());
    }
    if !gate.forwarder.ready() {
        missing.push("forwarder: no session with the enforcer".to_owned());
    }
    let (bound, providers) = (gate.forwarder.bound(), gate.forwarder.providers());
    for terms in &gate.policy.load().services {
        let name = &terms.service;
        if !bound.iter().any(|(service, _)| service == name) {
            missing.push(format!("service {name}: not offered before a restart"));
        } else if !providers.iter().any(|provider| provider.service == *name && provider.up && !provider.drained) {
            missing.push(format!("service {name}: no provider is up"));
        }
    }
    missing
}

async fn metrics(State(gate): State<Arc<Gate>>) -> Response {
    let mut registry = gate.counters.registry();
    register(&gate, &mut registry).await;
    match text(&registry) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    server: String,
    verdict: &'static str,
}

/// What is read at the moment of asking.
async fn register(gate: &Gate, registry: &mut Registry) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let open: Gauge = Gauge::default();
    open.set(number(gate.forwarder.open_grants()));
    registry.register("open_grants", "Grants with a way open", open);

    let ledger: Gauge = Gauge::default();
    ledger.set(i64::from(gate.ledger.ready().await.is_ok()));
    registry.register("ledger_ready", "Whether the ledger can be written", ledger);

    let unwritten: Counter = Counter::default();
    unwritten.inc_by(gate.notices.unwritten());
    registry.register("unwritten_notices", "Notices that standard error did not take", unwritten);

    let (providers, up) = (Family::<Service, Gauge>::default(), Family::<Service, Gauge>::default());
    for provider in gate.forwarder.providers() {
        let labels = Service { service: provider.service.to_string() };
        providers.get_or_create(&labels).inc();
        up.get_or_create(&labels).inc_by(i64::from(provider.up && !provider.drained));
    }
    registry.register("providers", "Providers of a service", providers);
    registry.register("providers_up", "Of those, the ones whose last health check succeeded", up);

    let (running, waiting) = (Family::<Server, Gauge>::default(), Family::<Server, Gauge>::default());
    let (breakers, verdicts) = (Family::<Server, Gauge>::default(), Family::<Verdict, Counter>::default());
    for server in gate.accounts.load().snapshot() {
        let labels = Server { server: server.server.to_string() };
        running.get_or_create(&labels).set(number(server.running));
        waiting.get_or_create(&labels).set(number(server.waiting));
        breakers.get_or_create(&labels).set(i64::from(server.breaker != BreakerState::Closed));
        let counts = server.counts;
        for (verdict, count) in [
            ("accepted", counts.accepted),
            ("rejected", counts.rejected),
            ("unusable", counts.unusable),
            ("not_mine", counts.not_mine),
            ("challenged", counts.challenged),
            ("server_outage", counts.server_outages),
            ("account_outage", counts.account_outages),
            ("delayed", counts.delayed),
            ("busy", counts.busy),
        ] {
            verdicts.get_or_create(&Verdict { server: server.server.to_string(), verdict }).inc_by(count);
        }
    }
    registry.register("account_server_running", "Questions that an account server is answering", running);
    registry.register("account_server_waiting", "Questions that wait for an account server", waiting);
    registry.register("account_server_breaker_open", "Whether an account server is given a rest", breakers);
    registry.register("account_server_verdicts", "What account servers said", verdicts);
}
