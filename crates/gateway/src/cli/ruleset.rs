//! `kmsgate ruleset`: the kernel's rules, for eyes and for the end.

use super::control::Gateway;
use super::table::put;
use super::{CliError, providers};
use crate::config::Config;
use crate::forward::kernel::table;
use crate::forward::nft::Text;
use kmsgate_enforcer::marks::Marks;
use kmsgate_enforcer::netlink::{Failed, Socket};
use kmsgate_enforcer::rule::Ruleset;
use kmsgate_enforcer::{conntrack, load, ruleset};
use kmsgate_orders::table::Table;
use serde_json::Value;

/// Prints the ruleset as it is loaded: with the providers that are up, if a gateway runs, else with all of them. `of_enforcer`
/// prints the enforcer's table instead; `remove` takes everything out of the kernel.
///
/// # Errors
/// If the kernel does not forward by this configuration, or a gateway runs while the ruleset is to be removed.
pub fn run(config: &Config, of_enforcer: bool, remove: bool) -> Result<(), CliError> {
    let Some(table) = table::of(config, &[]) else {
        return Err(CliError::Failed(
            "the relay needs no ruleset; set [forward] mode = \"nftables\" to forward in the kernel".to_owned(),
        ));
    };
    let status = Gateway::of(config).get("/api/v1/status").ok();
    if remove {
        return match status {
            Some(_) => Err(CliError::Failed(
                "a gateway runs and would load the ruleset again at once; stop it, and the enforcer if it runs by itself"
                    .to_owned(),
            )),
            None => {
                take_out(&table).map_err(|failed| CliError::Failed(cannot(&failed)))?;
                put("nothing of kmsgate is left in the kernel\n")
            }
        };
    }
    if of_enforcer {
        return put(&table.write());
    }
    match expected(config, &table, status.as_ref()) {
        Some(rules) => put(&Text(&rules).to_string()),
        None => Err(CliError::Failed("mark_mask must have at least 24 bits in a row".to_owned())),
    }
}

/// What should be loaded: with the providers that a gateway says take new connections, or with all of them if none runs. None
/// if the table's mask holds no marks.
pub(super) fn expected(config: &Config, table: &Table, status: Option<&Value>) -> Option<Ruleset> {
    ruleset::of(table, &status.map_or_else(|| ruleset::all_up(table), |status| up(table, config, status)))
}

/// Which providers of the table take new connections, as the gateway says.
fn up(table: &Table, config: &Config, status: &Value) -> ruleset::Up {
    let of_service = |(entry, service): (&kmsgate_orders::table::ServiceEntry, &crate::config::Service)| {
        let takes_new = |address: String| {
            providers::all(status).any(|(name, provider)| {
                name == service.terms.service.as_str()
                    && super::grants::text(provider, "address") == address
                    && providers::takes_new(provider)
            })
        };
        entry.providers.iter().map(|provider| takes_new(provider.address.to_string())).collect()
    };
    table.services.iter().zip(&config.services).map(of_service).collect()
}

/// The rules first, so that nothing is carried in between.
fn take_out(table: &Table) -> Result<(), Failed> {
    let mut socket = Socket::open(&[]).map_err(|errno| Failed { errno, sequence: 0 })?;
    load::remove(&mut socket)?;
    if let Some(marks) = Marks::within(table.mark_mask) {
        for ours in [marks.claimed(), marks.any_pending(), marks.any_bypass()] {
            conntrack::forget(&mut socket, ours)?;
        }
    }
    Ok(())
}

fn cannot(failed: &Failed) -> String {
    match failed.errno {
        rustix::io::Errno::PERM => "the kernel refuses; do it as root".to_owned(),
        _ => format!("the kernel refuses: {failed}"),
    }
}
