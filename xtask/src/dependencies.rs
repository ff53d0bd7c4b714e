//! What we build on: licences, duplicates, crates that must not come in, and which crate may reach which.

use crate::step::{cargo, none};
use serde_json::Value;
use std::collections::BTreeMap;

/// Licences that go with Apache-2.0 OR MIT. One of them must satisfy every crate's expression.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "MIT-0",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "OpenSSL",
    "BSL-1.0",
];

/// Crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "one TLS library, rustls"),
    ("native-tls", "one TLS library, rustls"),
    ("ring", "one provider of cryptography, aws-lc-rs"),
    ("async-std", "discontinued (RUSTSEC-2025-0052)"),
    ("chrono", "one calendar, jiff"),
];

/// Crates that a part must not reach, and the promise that this keeps.
const EDGES: &[(&str, &[&str], &str)] = &[
    (
        "kmsgate-core",
        &["tokio", "rusqlite", "rustix", "hyper", "rustls", "getrandom", "mio", "socket2", "axum"],
        "the core takes facts and returns decisions",
    ),
    ("kmsgate-accounts", &["kmsgate-ledger", "rusqlite", "kmsgate"], "account servers cannot reach the ledger"),
    ("kmsgate-orders", &["tokio", "serde", "rusqlite"], "orders depend on nothing"),
];

/// Two versions of one crate are accepted where they come from outside; more than this many say that something is wrong.
const MOST_DUPLICATES: usize = 24;

/// Licences, banned crates, sources, duplicates of everything in the lock file that is built for Linux.
pub(crate) fn review() -> Result<(), String> {
    let answer =
        cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let metadata: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
    let built = built(&metadata);
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for package in list(&metadata, "/packages") {
        let name = text(package, "/name").unwrap_or_default();
        if !built.contains(&text(package, "/id").unwrap_or_default()) {
            continue;
        }
        *versions.entry(name).or_default() += 1;
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!("{name} must not come in: {why}"));
        }
        let licence = text(package, "/license").unwrap_or_default();
        if !satisfied(licence) {
            findings.push(format!("{name}: licence {licence:?} is not on the list"));
        }
        let source = text(package, "/source").unwrap_or("path");
        if source != "path" && !source.starts_with("registry+") && !source.starts_with("sparse+") {
            findings.push(format!("{name} comes from {source}, not from the registry"));
        }
    }
    let twice: Vec<&str> = versions.iter().filter(|(_, count)| **count > 1).map(|(name, _)| *name).collect();
    if twice.len() > MOST_DUPLICATES {
        findings.push(format!("{} crates in more than one version: {}", twice.len(), twice.join(" ")));
    }
    none(findings)
}

/// Identifiers of the packages that the resolved graph really reaches.
fn built(metadata: &Value) -> Vec<&str> {
    let nodes = list(metadata, "/resolve/nodes");
    let reached = nodes.flat_map(|node| list(node, "/deps"));
    reached.filter_map(|dependency| text(dependency, "/pkg")).collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Whether an SPDX expression can be met from [`LICENCES`]: every part of an AND, one part of an OR.
fn satisfied(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    let known = |licence: &str| LICENCES.contains(&licence.trim());
    !expression.is_empty() && expression.split(" AND ").all(|part| part.split(" OR ").any(known))
}

/// Which crate reaches which, as cargo tree sees it.
pub(crate) fn edges() -> Result<(), String> {
    let mut findings = Vec::new();
    for (part, forbidden, why) in EDGES {
        let tree = cargo(&["tree", "--package", part, "--edges", "normal", "--prefix", "none", "--format", "{p}"])?;
        let reached = tree.lines().filter_map(|line| line.split(' ').next());
        let mut wrong: Vec<&str> = reached.filter(|name| forbidden.contains(name)).collect();
        wrong.sort_unstable();
        wrong.dedup();
        findings.extend(wrong.iter().map(|name| format!("{part} reaches {name}: {why}")));
    }
    none(findings)
}
