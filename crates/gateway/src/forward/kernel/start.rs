//! Starts the enforcer while we are root. What must never happen here: a table that somebody else could have written.

use super::{Enforcer, Whence};
use crate::config::Config;
use kmsgate_orders::table::Table;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The enforcer for a table: started by root, looked for by everybody else. Called before any thread is started and before
/// rights are given up.
///
/// # Errors
/// What went wrong, in words.
pub fn enforcer(config: &Config, table: Table) -> Result<Enforcer, String> {
    let whence = if rustix::process::getuid().is_root() {
        Whence::Started(start(&table)?)
    } else {
        Whence::Listens(config.node.enforcer_socket())
    };
    Ok(Enforcer { whence, table })
}

/// The table is handed over in memory: a file could be changed by whoever may write beside it.
fn start(table: &Table) -> Result<UnixStream, String> {
    let program = program()?;
    let cannot = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    let memory = memfd_create("kmsgate-table", MemfdFlags::empty()).map_err(std::io::Error::from);
    let mut memory = File::from(memory.map_err(cannot("hand over the enforcer's table"))?);
    memory.write_all(table.write().as_bytes()).map_err(cannot("hand over the enforcer's table"))?;
    let (ours, theirs) = UnixStream::pair().map_err(cannot("make the enforcer's session"))?;
    // It leaves when its session ends, which it does with us; nobody has to wait for it.
    Command::new(&program)
        .arg("--table")
        .arg(format!("/proc/self/fd/{}", memory.as_raw_fd()))
        .arg("--session-on-stdin")
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        // What a terminal sends to the gateway is the gateway's to heed: the enforcer leaves when its session ends.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    Ok(ours)
}

/// It is installed beside us.
fn program() -> Result<PathBuf, String> {
    let ours = std::env::current_exe().map_err(|error| format!("cannot find out where this program is: {error}"))?;
    Ok(ours.with_file_name("kmsgate-enforcer"))
}
