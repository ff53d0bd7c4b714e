//! `kmsgate providers`: who is up, and who is kept from new connections.

use super::CliError;
use super::arguments::Providers;
use super::control::Gateway;
use super::grants::text;
use super::table::{Cell, Table, put};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Does it.
///
/// # Errors
/// As the gateway refuses.
pub fn run(gateway: &Gateway, what: Providers) -> Result<(), CliError> {
    match what {
        Providers::List { json } => list(&gateway.get("/api/v1/status")?, json),
        Providers::Drain { provider, service } => drain(gateway, provider, service, true),
        Providers::Undrain { provider, service } => drain(gateway, provider, service, false),
    }
}

fn list(status: &Value, json: bool) -> Result<(), CliError> {
    let mut table = Table::new(&["service", "provider", "state"]);
    for (service, provider) in all(status) {
        table.row(vec![Cell::text(service), Cell::text(text(provider, "address")), Cell::text(state(provider))]);
    }
    table.print(json)
}

/// Every provider of a gateway's status, with its service.
pub(super) fn all(status: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let services = status.get("services").and_then(Value::as_array).into_iter().flatten();
    services.flat_map(|service| {
        let providers = service.get("providers").and_then(Value::as_array).into_iter().flatten();
        providers.map(|provider| (text(service, "name"), provider))
    })
}

/// Whether new connections go to it, as of the gateway's status.
pub(super) fn takes_new(provider: &Value) -> bool {
    state(provider) == "up"
}

fn state(provider: &Value) -> &'static str {
    let is = |key| provider.get(key).and_then(Value::as_bool).unwrap_or(false);
    match (is("up"), is("drained")) {
        (true, false) => "up",
        (true, true) => "drained",
        (false, false) => "down",
        (false, true) => "drained, down",
    }
}

fn drain(gateway: &Gateway, provider: SocketAddr, service: Option<String>, drained: bool) -> Result<(), CliError> {
    let service = service.or_else(|| gateway.first_service.clone());
    let body = json!({ "service": service, "provider": provider, "drained": drained });
    gateway.post("/api/v1/providers", &body)?;
    let what = if drained { "gets no new connections; those that run go on" } else { "gets new connections again" };
    put(&format!("{provider} {what}\n"))
}
