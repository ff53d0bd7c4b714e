//! `kmsgate check`: the file, then the world around it. What must never happen here: a password sent, a fault without what
//! to do about it.

use super::CliError;
use super::table::{put, width};
use crate::config::{Config, Health};
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
    seen: Result<String, String>,
}

/// Looks at everything, whatever fails.
///
/// # Errors
/// If the configuration is not accepted, or standard output is gone.
pub fn run(path: &Path, json: bool) -> Result<ExitCode, CliError> {
    let config = Config::load(path).map_err(CliError::Config)?;
    let mut findings = vec![Finding {
        what: format!("configuration {}", path.display()),
        seen: Ok(format!("services: {}; account servers: {}", config.services.len(), config.accounts.servers.len())),
    }];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    runtime.block_on(async {
        findings.push(kernel());
        findings.push(certificate(&config));
        findings.extend(addresses(&config));
        findings.push(directory("ledger", config.ledger.path.parent()));
        findings.push(directory("control socket", Some(&config.node.run_dir)));
        findings.extend(account_servers(&config).await);
        findings.extend(providers(&config).await);
    });
    let well = findings.iter().all(|finding| finding.seen.is_ok());
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
    Finding { what: "certificate".to_owned(), seen }
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
        Finding { what: format!("address {address}"), seen }
    };
    config.forward.addresses.iter().map(look).collect()
}

/// The relay asks nothing of the kernel; its version belongs into every report of a fault.
fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Finding { what: "kernel".to_owned(), seen: Ok(format!("{release}; the relay needs no rights of it")) }
}

fn directory(whose: &str, path: Option<&Path>) -> Finding {
    use rustix::fs::{Access, access};
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Finding { what: format!("directory of the {whose}"), seen: Ok("the current one".to_owned()) };
    };
    let seen = match access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok("can be written".to_owned()),
        Err(error) => Err(format!("{error}; make it, and give it to the user that runs `kmsgate serve`")),
    };
    Finding { what: format!("directory of the {whose} {}", path.display()), seen }
}

async fn account_servers(config: &Config) -> Vec<Finding> {
    let accounts = match config.accounts.build() {
        Ok(accounts) => accounts,
        Err(error) => return vec![Finding { what: "account servers".to_owned(), seen: Err(error.to_string()) }],
    };
    let probed = accounts.probe().await;
    probed.into_iter().map(|(name, seen)| Finding { what: format!("account server {name}"), seen }).collect()
}

async fn providers(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &config.services {
        for provider in &service.providers {
            // What is not watched while it runs is looked at here all the same.
            let how = if service.health == Health::Off { Health::Tcp } else { service.health };
            let seen = health::check(*provider, how, PATIENCE)
                .await
                .map_err(|error| format!("{error}; is the provider running, and may this machine reach it?"));
            findings.push(Finding { what: format!("provider {provider} of {}", service.terms.service), seen });
        }
    }
    findings
}

fn as_json(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            let (Ok(detail) | Err(detail)) = &finding.seen;
            json!({ "what": finding.what, "ok": finding.seen.is_ok(), "detail": detail })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

fn as_text(findings: &[Finding]) -> String {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let widest = findings.iter().map(|finding| width(&finding.what)).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let (mark, colour, detail) = match &finding.seen {
            Ok(detail) => ("ok   ", "32", detail),
            Err(detail) => ("FAULT", "31;1", detail),
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
