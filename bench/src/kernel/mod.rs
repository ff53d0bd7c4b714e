//! The kernel forwarder: what its ruleset costs a connection, how fast grants are opened in it, and how it is found again
//! after a restart. What must never happen here: a packet that leaves the namespaces made for it.
//!
//! * [`connections`]: new connections beside one bare DNAT rule; [`load`]: the clients and the provider for it.
//! * [`grants`]: very many grants, and the kernel memory that they take.
//! * [`opens`]: opening them, beside what is in [`others`].
//! * [`sign_ins`]: the whole way from a sign-in on, beside the relay.
//! * [`restart`]: killed and started again.

mod connections;
mod grants;
mod load;
mod opens;
mod others;
mod restart;
mod sign_ins;

use crate::table::Table;
use crate::{Failure, Wanted};
use std::path::Path;

/// What is measured, by the name that a command line has for it.
pub(crate) const PARTS: [&str; 4] = ["kernel-connections", "kernel-opens", "kernel-sign-ins", "kernel-restart"];

/// Measures those parts that are wanted, or says why that cannot be.
pub(crate) fn measure(table: &mut Table, wanted: &Wanted) -> Result<(), Failure> {
    let [connections, opens, sign_ins, restart] =
        PARTS.map(|part| wanted.is_wanted("kernel") || wanted.is_wanted(part));
    if !(connections || opens || sign_ins || restart) {
        return Ok(());
    }
    if let Some(why) = missing() {
        table.row("kernel forwarder", &format!("not measured: {why}"), "", "");
        return Ok(());
    }
    if connections {
        connections::measure(table, wanted.full)?;
    }
    if opens {
        opens::measure(table)?;
    }
    if sign_ins {
        sign_ins::measure(table)?;
    }
    if restart {
        restart::measure(table, wanted.full)?;
    }
    Ok(())
}

/// What this machine or this user lacks.
fn missing() -> Option<String> {
    if !kmsgate_system_tests::is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let needed = [("/usr/sbin/ip", "iproute2"), ("/usr/sbin/nft", "nftables")];
    let (program, package) = needed.into_iter().find(|(program, _)| !Path::new(program).exists())?;
    Some(format!("needs {program}: install the Debian package {package}"))
}
