//! `kmsgate check`: the file, then the world around it. What must never happen here: a person's password sent unasked, a fault
//! without what to do about it, anything that is changed.
//!
//! * [`sign_in`]: one sign-in, tried at one account server; [`penalty`]: what wrong passwords cost everybody there.
//! * [`kernel`]: what the kernel's forwarder needs of the machine.
//! * [`ways`]: how packets get to providers and back.
//! * [`names`]: what computers are told by DNS.

mod kernel;
mod names;
mod penalty;
pub mod sign_in;
mod ways;

use super::CliError;
use super::table::{put, width};
use crate::config::{Config, Health, Kind, Protocol};
use crate::forward::health;
use jiff::Timestamp;
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A provider that takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(3);
/// A certificate with fewer days left is a fault.
const SHORT: i64 = 14;

/// What was looked at, and what was seen.
struct Finding {
    what: String,
    seen: Seen,
}

/// What was seen.
enum Seen {
    Well(String),
    /// With what to do about it.
    Fault(String),
    /// It could not be looked at, or is not there yet: nothing is known to be wrong.
    Unseen(String),
}

impl Finding {
    fn well(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { what: what.into(), seen: Seen::Well(seen.into()) }
    }

    fn new(what: impl Into<String>, seen: impl Into<Seen>) -> Self {
        Self { what: what.into(), seen: seen.into() }
    }
}

impl From<Result<String, String>> for Seen {
    fn from(seen: Result<String, String>) -> Self {
        seen.map_or_else(Self::Fault, Self::Well)
    }
}

/// Looks at everything, whatever fails.
///
/// # Errors
/// If the configuration is not accepted, or standard output is gone.
pub fn run(path: &Path, json: bool) -> Result<ExitCode, CliError> {
    let config = Config::load(path).map_err(CliError::Config)?;
    let (services, servers) = (config.services.len(), config.accounts.servers.len());
    let mut findings = vec![Finding::well(
        format!("configuration {}", path.display()),
        format!("services: {services}; account servers: {servers}"),
    )];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    runtime.block_on(async {
        findings.extend(kernel::findings(&config));
        findings.push(certificate(&config));
        findings.extend(addresses(&config));
        findings.extend(ports(&config));
        findings.extend(bypasses(&config));
        findings.push(directory("ledger", config.ledger.path.parent()));
        findings.push(directory("control socket", Some(&config.node.run_dir)));
        findings.extend(account_servers(&config).await);
        findings.extend(providers(&config).await);
        findings.extend(ways::findings(&config));
        findings.extend(names::findings(&config).await);
    });
    let well = !findings.iter().any(|finding| matches!(finding.seen, Seen::Fault(_)));
    put(&if json { as_json(&findings) } else { as_text(&findings) })?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn certificate(config: &Config) -> Finding {
    let seen = match &config.portal.tls {
        None => Ok("none: plain HTTP".to_owned()),
        Some(files) => crate::portal::tls::Certificate::load(files)
            .map_err(|error| error.to_string())
            .and_then(|certificate| lasts(certificate.ends(), crate::clock::Clock.now().utc)),
    };
    Finding::new("certificate", seen)
}

/// A certificate is a fault before it ends, while there is time to renew it.
fn lasts(ends: Option<Timestamp>, now: Timestamp) -> Result<String, String> {
    let Some(ends) = ends else { return Err("its end cannot be read; is it a certificate?".to_owned()) };
    let days = ends.duration_since(now).as_hours() / 24;
    let renew = "renew it, then `kmsgate reload`";
    match days {
        _ if ends <= now => Err(format!("it ended at {ends}; {renew}")),
        0..SHORT => Err(format!("{days} days left, it ends at {ends}; {renew}")),
        _ => Ok(format!("the key belongs to it, {days} days left")),
    }
}

/// The addresses that services listen at: this machine's or all of it.
fn addresses(config: &Config) -> Vec<Finding> {
    let look = |address: &std::net::IpAddr| {
        let seen = std::net::UdpSocket::bind((*address, 0))
            .map(|_| "is this machine's".to_owned())
            .map_err(|error| format!("{error}; name an address of this machine in [forward].addresses"));
        Finding::new(format!("address {address}"), seen)
    };
    config.forward.addresses.iter().map(look).collect()
}

/// A KMS host tells its clients the port at which it listens itself, and they come back to that one: a gateway that offers it
/// at another is passed by at the next renewal.
fn ports(config: &Config) -> Vec<Finding> {
    let rpc = config.services.iter().filter(|service| service.protocol == Protocol::Msrpc);
    let look = |service: &crate::config::Service| {
        let (name, port) = (&service.terms.service, service.port);
        let others = service.providers.iter().map(|provider| provider.address).filter(|at| at.port() != port);
        let others: Vec<String> = others.map(|at| at.to_string()).collect();
        let seen = match (port, others.as_slice()) {
            (0, _) => Ok("any free one: for trials, because providers tell their clients another".to_owned()),
            (_, []) => Ok(format!("{port}, which its providers tell their clients")),
            (_, others) => Err(format!(
                "{port}, but {} tells its clients its own port, and they come back to that one: offer it at the same",
                others.join(", ")
            )),
        };
        Finding::new(format!("port of {name}"), seen)
    };
    rpc.map(look).collect()
}

/// Networks that a bypass names and nothing carries.
fn bypasses(config: &Config) -> Vec<Finding> {
    let kernel = config.forward.kernel.is_some();
    let look = |(name, network): &(kmsgate_core::name::RuleName, ipnet::IpNet)| {
        let why = if kernel {
            "has no provider of its family: people there sign in, and go through the relay"
        } else {
            "people there sign in: only mode = \"nftables\" lets anybody in without"
        };
        Finding::new(format!("bypass {name}, {network}"), Seen::Unseen(why.to_owned()))
    };
    config.not_bypassed.iter().map(look).collect()
}

fn directory(whose: &str, path: Option<&Path>) -> Finding {
    use rustix::fs::{Access, access};
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Finding::well(format!("directory of the {whose}"), "the current one");
    };
    let seen = match access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok("can be written".to_owned()),
        Err(error) => Err(format!("{error}; make it, and give it to the user that runs `kmsgate serve`")),
    };
    Finding::new(format!("directory of the {whose} {}", path.display()), seen)
}

async fn account_servers(config: &Config) -> Vec<Finding> {
    let accounts = match config.accounts.build() {
        Ok(accounts) => accounts,
        Err(error) => return vec![Finding::new("account servers", Err(error.to_string()))],
    };
    let mut findings = vec![];
    for (name, seen) in accounts.probe().await {
        let answers = seen.is_ok();
        findings.push(Finding::new(format!("account server {name}"), seen));
        let settings = config.accounts.servers.iter().find(|server| server.frame.name == name);
        // A file of our own has nobody to penalise us.
        if answers && settings.is_some_and(|server| !matches!(server.kind, Kind::File(_))) {
            findings.push(penalty::finding(&accounts, &name).await);
        }
    }
    findings
}

async fn providers(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &config.services {
        for provider in service.providers.iter().map(|provider| provider.address) {
            // What is not watched while it runs is looked at here all the same.
            let how = if service.health == Health::Off { Health::Tcp } else { service.health };
            let seen = health::check(provider, how, PATIENCE)
                .await
                .map_err(|error| format!("{error}; is the provider running, and may this machine reach it?"));
            findings.push(Finding::new(format!("provider {provider} of {}", service.terms.service), seen));
        }
    }
    findings
}

fn as_json(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            let (ok, detail) = match &finding.seen {
                Seen::Well(detail) => (Some(true), detail),
                Seen::Fault(detail) => (Some(false), detail),
                Seen::Unseen(detail) => (None, detail),
            };
            json!({ "what": finding.what, "ok": ok, "detail": detail })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

fn as_text(findings: &[Finding]) -> String {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let widest = findings.iter().map(|finding| width(&finding.what)).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let (mark, colour, detail) = match &finding.seen {
            Seen::Well(detail) => ("ok   ", "32", detail),
            Seen::Fault(detail) => ("FAULT", "31;1", detail),
            Seen::Unseen(detail) => ("-    ", "33", detail),
        };
        let mark = if colours { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
        let room = " ".repeat(widest.saturating_sub(width(&finding.what)));
        format!("{mark}  {}{room}  {}\n", finding.what, detail.replace(char::is_control, " "))
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_fault_two_weeks_before_its_end() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let at = |text: &str| lasts(Some(text.parse().unwrap()), now);
        assert_eq!(at("2026-12-07T12:00:00Z").unwrap(), "the key belongs to it, 14 days left");
        assert!(at("2026-12-07T11:00:00Z").unwrap_err().starts_with("13 days left"));
        assert!(at("2026-11-23T12:00:01Z").unwrap_err().starts_with("0 days left"));
        assert!(at("2026-11-23T12:00:00Z").unwrap_err().starts_with("it ended"));
        lasts(None, now).unwrap_err();
    }
}
