//! The demo's temporary directory: configuration, account, ledger. Removed when dropped.

use super::DemoError;
use kmsgate_accounts::file::hash::Cost;
use kmsgate_core::name::Name;
use kmsgate_core::password::Password;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// How many ports after the wished one are tried.
const TRIES: u16 = 50;

/// A directory of the demo's own.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    portal: u16,
    relay: u16,
}

impl Place {
    /// Makes the directory and finds free ports; 0 means any.
    ///
    /// # Errors
    /// If the directory or the account cannot be written, or no port is free.
    pub fn make(portal: u16, relay: u16) -> Result<Self, DemoError> {
        let random = crate::clock::random::<8>()
            .map_err(|error| DemoError::Io("draw a name for", PathBuf::new(), std::io::Error::other(error)))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let directory = std::env::temp_dir().join(format!("kmsgate-demo-{name}"));
        make_private(&directory)?;
        let place = Self { portal: free_port(portal)?, relay: free_port(relay)?, directory };
        place.add_account()?;
        Ok(place)
    }

    /// Where everything is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `demo` with the password `demo`, at a cost that nobody waits for.
    fn add_account(&self) -> Result<(), DemoError> {
        let name = Name::canonical("demo").map_err(|error| DemoError::Account(error.to_string()))?;
        let password = Password::new("demo".to_owned()).map_err(|error| DemoError::Account(error.to_string()))?;
        kmsgate_accounts::file::edit::add(&self.accounts(), &name, &password, &["students".to_owned()], Cost::default())
            .map(drop)
            .map_err(|error| DemoError::Account(error.to_string()))
    }

    fn accounts(&self) -> PathBuf {
        self.directory.join("accounts")
    }

    /// Writes the configuration of a gateway in front of `provider`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_config(&self, provider: SocketAddr) -> Result<PathBuf, DemoError> {
        let path = self.directory.join("kmsgate.toml");
        let directory = self.directory.display();
        let text = format!(
            r#"[portal]
listen = ["127.0.0.1:{portal}"]
title = "kmsgate demo"

[[account_server]]
name = "demo"
kind = "file"
path = "{directory}/accounts"

[accounts]
order = ["demo"]

[[service]]
name = "kms"
port = {relay}
providers = ["{provider}"]
window = "200s"
connections = 1
protocol = "msrpc"
health = "msrpc"

[[rule]]
name = "everybody"
users = ["*"]
services = ["kms"]
quota = {{ week = 2, month = 4 }}

[forward]
addresses = ["127.0.0.1"]

[ledger]
url = "sqlite://{directory}/ledger.db"

[log]
format = "text"

[node]
user = "root"
run_dir = "{directory}"
"#,
            portal = self.portal,
            relay = self.relay,
        );
        std::fs::write(&path, text).map_err(|error| DemoError::Io("write", path.clone(), error))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("kmsgate: {} is left behind: {error}", self.directory.display());
        }
    }
}

fn make_private(directory: &Path) -> Result<(), DemoError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .map_err(|error| DemoError::Io("make", directory.to_owned(), error))
}

/// The wished port, or the next free one.
fn free_port(wished: u16) -> Result<u16, DemoError> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if wished == 0 {
        return Ok(0);
    }
    (wished..wished.saturating_add(TRIES)).find(|port| free(*port)).ok_or_else(|| {
        let taken = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        DemoError::Io("find a free port; name one with --portal-port or --port", PathBuf::new(), taken)
    })
}
