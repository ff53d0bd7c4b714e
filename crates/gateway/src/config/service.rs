//! `[[service]]`.

use super::read::{At, Section, Value};
use super::value::{boolean, choice, duration, label, list, number, socket_address};
use super::{Health, Protocol, Provider, Service};
use kmsgate_core::name::ServiceName;
use kmsgate_core::permit::Terms;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Connections of a grant at most: the kernel lets one address have so many at once, half-open ones among them (K10).
pub(super) const MOST_CONNECTIONS: u16 = 256;

/// The preset: a service of this name is a KMS host's unless its keys say otherwise.
const KMS: &str = "kms";

/// Longest window, because the enforcer holds none longer.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// A service, with the place of its port (or of the section) for the check of clashes.
pub(super) fn read(section: &Section<'_, '_>) -> Option<At<Service>> {
    let name = section.need("name", label)?;
    let kms = name == KMS;
    let port_span = section.key_span("port").unwrap_or_else(|| section.span());
    let port = if kms { section.take("port", number(0..=u16::MAX)).unwrap_or(1688) } else { needed_port(section) };
    let protocol = section
        .take("protocol", choice(&[("msrpc", Protocol::Msrpc), ("tcp", Protocol::Tcp)]))
        .unwrap_or(if kms { Protocol::Msrpc } else { Protocol::Tcp });
    let msrpc = protocol == Protocol::Msrpc;
    let second = Duration::from_secs(1);
    let max_connection = section.take("max_connection", duration(second..=LONGEST));
    let terms = Terms {
        service: ServiceName::new(&name),
        window: section.take("window", duration(second..=LONGEST)).unwrap_or(200 * second),
        connections: section.take("connections", number(1..=MOST_CONNECTIONS)).unwrap_or(1),
        close_when_used: section.take("close_when_used", boolean).unwrap_or(true),
        ipv6_prefix: section.take("ipv6_prefix", number(64..=128)).unwrap_or(128),
    };
    let service = Service {
        terms: Arc::new(terms),
        port,
        providers: providers(section),
        protocol,
        calls: calls(section, msrpc),
        max_connection: max_connection.or(kms.then_some(30 * second)),
        max_bytes_in: section.take("max_bytes_in", number(1..=u64::MAX >> 1)),
        health: health(section, msrpc),
    };
    Some(At { value: service, span: port_span })
}

fn needed_port(section: &Section<'_, '_>) -> u16 {
    section.need("port", number(0..=u16::MAX)).unwrap_or(0)
}

fn providers(section: &Section<'_, '_>) -> Vec<Provider> {
    let mut seen = BTreeSet::new();
    let mut providers = Vec::new();
    for At { value: provider, span } in section.need("providers", list(provider)).unwrap_or_default() {
        let address = provider.address;
        if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
            section.fail(&span, format!("providers: nothing can be reached at {address}"));
        } else if seen.insert(address) {
            providers.push(provider);
        } else {
            section.fail(&span, format!("providers: {address} is there twice"));
        }
    }
    providers
}

/// An address, or a table of one and its weight.
fn provider(value: Value<'_, '_>) -> Option<Provider> {
    if value.is_text() {
        return socket_address(value).map(|address| Provider { address, weight: 1 });
    }
    value.table(|table| {
        let weight = table.take("weight", number(1..=100)).unwrap_or(1);
        table.need("address", socket_address).map(|address| Provider { address, weight })
    })?
}

fn calls(section: &Section<'_, '_>, msrpc: bool) -> Option<u32> {
    let calls = section.take("calls", number(1..=1_000_000));
    if let (Some(span), false) = (section.key_span("calls"), msrpc) {
        section.fail(&span, "calls: only protocol = \"msrpc\" has calls that can be counted");
    }
    if msrpc { calls.or(Some(1)) } else { None }
}

fn health(section: &Section<'_, '_>, msrpc: bool) -> Health {
    let words = &[("msrpc", Health::Msrpc), ("tcp", Health::Tcp), ("off", Health::Off)];
    let health = section.take("health", choice(words)).unwrap_or(if msrpc { Health::Msrpc } else { Health::Tcp });
    if let (Health::Msrpc, false, Some(span)) = (health, msrpc, section.key_span("health")) {
        section.fail(&span, "health: \"msrpc\" asks for an RPC bind, but this service has protocol = \"tcp\"");
    }
    health
}
