//! A gateway in a temporary directory. It ends with the value that holds it.

use crate::Failure;
use kmsgate_accounts::file::edit;
use kmsgate_accounts::file::hash::Cost;
use kmsgate_core::name::Name;
use kmsgate_core::password::Password;
use kmsgate_system_tests::namespace::Host;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// So many people sign in, in turn.
pub(crate) const PEOPLE: u32 = 100;
/// Everybody's.
pub(crate) const PASSWORD: &str = "correct horse";

/// Where a gateway's files are.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// Behind a proxy on this machine that names the client.
    Proxy,
    /// By the client itself.
    Direct,
}

/// Who carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The program itself.
    Relay,
    /// The kernel, on a host whose people come by its interface `ext`.
    Kernel,
}

/// Grants for which a gateway has room that forwards in the kernel: its sets take memory for all of them at once.
pub(crate) const ROOM: u32 = 1_100_000;

/// So much is shown of what a program said that did not start, in bytes.
const SHOWN: usize = 16 << 10;

/// A gateway that runs.
pub(crate) struct Gateway {
    child: Child,
    /// Where people sign in.
    pub(crate) portal: SocketAddr,
    /// What is guarded.
    pub(crate) service: SocketAddr,
}

/// Builds the program as it is shipped.
pub(crate) fn build() -> Result<(), Failure> {
    crate::progress("building the program");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", "kmsgate", "--package", "kmsgate-enforcer"]);
    let built = cargo.status()?;
    if built.success() { Ok(()) } else { Err("the program does not build".into()) }
}

/// The program, beside this one.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?.with_file_name("kmsgate"))
}

impl Place {
    /// With accounts whose passwords cost nothing to prove.
    pub(crate) fn make() -> Result<Self, Failure> {
        let place = Self { directory: tempfile::tempdir()? };
        std::fs::create_dir(place.path().join("run"))?;
        let cheap = Cost { memory: 8, passes: 1, lanes: 1 };
        for number in 0..PEOPLE {
            let name = Name::canonical(&format!("person{number}"))?;
            let password = Password::new(PASSWORD.to_owned())?;
            edit::add(&place.path().join("accounts"), &name, &password, &[], cheap)?;
        }
        Ok(place)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path().join("ledger.db")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("kmsgate.toml")
    }

    /// Starts the program in front of this provider and waits until it serves.
    pub(crate) fn start(&self, provider: SocketAddr, front: Front) -> Result<Gateway, Failure> {
        self.configure(provider, front, Mode::Relay)?;
        wait(Command::new(program()?), &self.config(), provider)
    }

    /// The same on another host, behind a proxy there.
    pub(crate) fn start_on(&self, host: &Host, provider: SocketAddr, mode: Mode) -> Result<Gateway, Failure> {
        self.configure(provider, Front::Proxy, mode)?;
        let program = program()?;
        // It becomes the program: the process is the same.
        wait(host.command(program.to_str().ok_or("a path that is no text")?), &self.config(), provider)
    }

    fn configure(&self, provider: SocketAddr, front: Front, mode: Mode) -> Result<(), Failure> {
        let here = self.path().display();
        let proxies = if front == Front::Proxy { "trusted_proxies = [\"127.0.0.1/32\"]" } else { "" };
        let (port, forward) = match mode {
            Mode::Relay => (0, "addresses = [\"127.0.0.1\"]\ngrants = 2000000\nconnections = 4000".to_owned()),
            Mode::Kernel => {
                let more = "mode = \"nftables\"\nexternal = [\"ext\"]\nopens_per_second = 1000000";
                (1688, format!("{more}\ngrants = {ROOM}"))
            }
        };
        let text = format!(
            r#"[portal]
listen = ["127.0.0.1:0"]
connections_per_address = 4096
{proxies}

[[account_server]]
name = "people"
kind = "file"
path = "{here}/accounts"

[accounts]
order = ["people"]

[[service]]
name = "kms"
port = {port}
providers = ["{provider}"]
protocol = "tcp"
health = "off"
window = "12h"
connections = 256
max_connection = "1h"

[[rule]]
name = "everybody"
users = ["*"]

[throttle]
per_address = {{ attempts = 100000, every = "1m" }}
per_user = {{ attempts = 100000, every = "1h" }}

[forward]
{forward}
idle_timeout = "1h"

[ledger]
url = "sqlite://{here}/ledger.db"

[node]
name = "bench"
user = "root"
run_dir = "{here}/run"
"#
        );
        Ok(std::fs::write(self.config(), text)?)
    }
}

/// Starts the program and waits until it serves.
fn wait(mut command: Command, config: &Path, provider: SocketAddr) -> Result<Gateway, Failure> {
    let mut child = command
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = child.stderr.take().ok_or("no standard error")?;
    let mut gateway = Gateway { child, portal: provider, service: provider };
    let mut said = BufReader::new(said);
    let mut all = String::new();
    loop {
        let mut line = String::new();
        if said.read_line(&mut line)? == 0 {
            return Err(format!("the program ended at once:\n{all}").into());
        }
        if line.contains("kmsgate: serving ") {
            gateway.portal = field(&line, "portal=")?;
            gateway.service = field(&line, "service=")?;
            break;
        }
        // An enforcer says a line for every grant that it finds again.
        if all.len() < SHOWN {
            all.push_str(&line);
        }
    }
    // What it says later is read, so that it never waits for a reader.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    Ok(gateway)
}

fn field(line: &str, key: &str) -> Result<SocketAddr, Failure> {
    let value = line.split_whitespace().find_map(|field| field.strip_prefix(key)).ok_or("a field is missing")?;
    Ok(value.rsplit('@').next().unwrap_or(value).parse()?)
}

impl Gateway {
    /// Memory of its own that it has in use, in kilobytes.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        memory(self.child.id())
    }
}

/// `VmRSS` of a process (proc_pid_status(5)), in kilobytes.
pub(crate) fn memory(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

impl Drop for Gateway {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process that was started here.
pub(crate) fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}
