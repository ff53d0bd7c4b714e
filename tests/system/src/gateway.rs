//! The program itself, from its configuration to its death. What must never happen here: a test of a program that is older
//! than its sources, a gateway that outlives its test.
//!
//! `cargo test --workspace` and `cargo nextest run --workspace` build the program beside the tests. A run of this package
//! alone does not, and is refused if the program is older than a source of it: `cargo build --package kmsgate` first.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use crate::http::{self, Answer, Request};
use crate::ledger::{self, Grant};
use crate::log::Log;
use crate::namespace::Host;
use crate::net::{Outcome, try_through};
use kmsgate_accounts::file::edit;
use kmsgate_accounts::file::hash::Cost;
use kmsgate_core::name::Name;
use kmsgate_core::password::Password;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Everybody's password, unless a test says otherwise.
pub const PASSWORD: &str = "correct horse";

/// The number of the user nobody.
pub const NOBODY: u32 = 65534;

/// An address of this machine: 127.0.`high`.`low`.
#[must_use]
pub fn at(high: u8, low: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, high, low).into()
}

/// A gateway to be: one service in front of one provider, the accounts of a file, no quota, nobody throttled.
#[derive(Debug)]
pub struct Setup {
    directory: tempfile::TempDir,
    service: BTreeMap<String, String>,
    servers: String,
    order: String,
    rules: String,
    sections: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    /// The namespace in which it runs.
    host: Option<String>,
    /// Whether it starts as nobody.
    as_nobody: bool,
}

impl Setup {
    /// In front of this provider, with the accounts alice, bob and carol.
    ///
    /// # Panics
    /// If the directory cannot be made.
    #[must_use]
    pub fn new(provider: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("run")).unwrap();
        let text = |value: &str| format!("{value:?}");
        let service = BTreeMap::from([
            ("port".to_owned(), "0".to_owned()),
            ("providers".to_owned(), format!("[\"{provider}\"]")),
            ("protocol".to_owned(), text("tcp")),
            ("health".to_owned(), text("off")),
        ]);
        let shown = path.display();
        let sections = [
            ("portal", "listen = [\"127.0.0.1:0\"]\nconnections_per_address = 4096".to_owned()),
            ("forward", "addresses = [\"127.0.0.1\"]".to_owned()),
            ("ledger", format!("url = \"sqlite://{shown}/ledger.db\"")),
            ("node", format!("name = \"gw1\"\nuser = \"root\"\nrun_dir = \"{shown}/run\"")),
            ("throttle", throttle(1000, 1000)),
        ];
        let setup = Self {
            service,
            servers: format!(
                "[[account_server]]\nname = \"people\"\ndomain = \"campus\"\nkind = \"file\"\npath = \"{shown}/accounts\"\n"
            ),
            order: "\"people\"".to_owned(),
            rules: "[[rule]]\nname = \"everybody\"\nusers = [\"*\"]\n".to_owned(),
            sections: sections.map(|(name, keys)| (name.to_owned(), keys)).into(),
            environment: Vec::new(),
            host: None,
            as_nobody: false,
            directory,
        };
        setup.account("alice", PASSWORD).account("bob", PASSWORD).account("carol", PASSWORD)
    }

    /// One more account, or another password for one. Its hash costs nothing, so that no test waits for it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn account(self, name: &str, password: &str) -> Self {
        let name = Name::canonical(name).unwrap();
        let password = Password::new(password.to_owned()).unwrap();
        let cheap = Cost { memory: 8, passes: 1, lanes: 1 };
        edit::add(&self.path().join("accounts"), &name, &password, &[], cheap).unwrap();
        self
    }

    /// A key of `[[service]]`, its value as TOML.
    #[must_use]
    pub fn service(mut self, key: &str, value: &str) -> Self {
        self.service.insert(key.to_owned(), value.to_owned());
        self
    }

    /// No connection ends by itself: what ends one is what a test is about.
    #[must_use]
    pub fn without_limits(self) -> Self {
        let keys = "addresses = [\"127.0.0.1\"]\nidle_timeout = \"1h\"";
        self.service("max_connection", "\"1h\"").section("forward", keys)
    }

    /// One more account server, as TOML, asked after the others.
    #[must_use]
    pub fn server(mut self, name: &str, keys: &str) -> Self {
        self.servers.push_str(&format!("[[account_server]]\nname = {name:?}\n{keys}\n"));
        self.order.push_str(&format!(", {name:?}"));
        self
    }

    /// This account server, as TOML, and no other.
    #[must_use]
    pub fn only_server(mut self, name: &str, keys: &str) -> Self {
        self.servers = format!("[[account_server]]\nname = {name:?}\n{keys}\n");
        self.order = format!("{name:?}");
        self
    }

    /// Rules, as TOML, in place of the one that lets everybody in without end.
    #[must_use]
    pub fn rules(mut self, rules: &str) -> Self {
        rules.clone_into(&mut self.rules);
        self
    }

    /// A section, as TOML, in place of what it had.
    #[must_use]
    pub fn section(mut self, name: &str, keys: &str) -> Self {
        self.sections.insert(name.to_owned(), keys.to_owned());
        self
    }

    /// A variable of the program's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// It runs on this host.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.name().to_owned());
        self
    }

    /// It starts as [`NOBODY`], as systemd starts it, and becomes nobody else.
    #[must_use]
    pub fn as_nobody(mut self) -> Self {
        self.as_nobody = true;
        self
    }

    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The socket at which it looks for an enforcer that it did not start.
    #[must_use]
    pub fn enforcer_socket(&self) -> PathBuf {
        self.path().join("run/enforcer.sock")
    }

    /// The table that its enforcer reads, as the program writes it.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn table(&self) -> String {
        self.write();
        let said = command(&self.path().join("kmsgate.toml"), &["ruleset", "--table"], "");
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Gateway {
        self.write();
        if crate::is_root() {
            // Whoever it becomes must get in.
            std::fs::set_permissions(self.path(), PermissionsExt::from_mode(0o711)).unwrap();
        }
        if self.as_nobody {
            // Where it was built perhaps nobody but us may read.
            std::fs::copy(program(), self.path().join("kmsgate")).unwrap();
            for name in ["", "run", "accounts", "kmsgate.toml"] {
                std::os::unix::fs::chown(self.path().join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let log = Log::default();
        let (child, portals, service) = spawn(&self, &log);
        Gateway { portals, service, log, child, setup: self }
    }

    fn write(&self) {
        std::fs::write(self.path().join("kmsgate.toml"), self.text()).unwrap();
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n[accounts]\norder = [{}]\n\n", self.servers, self.order);
        text.push_str("[[service]]\nname = \"kms\"\n");
        for (key, value) in &self.service {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text.push_str(&format!("\n{}\n", self.rules));
        for (name, keys) in &self.sections {
            text.push_str(&format!("[{name}]\n{keys}\n\n"));
        }
        text
    }
}

/// The keys of `[throttle]`: failures a minute for an address, an hour for a name.
#[must_use]
pub fn throttle(per_address: u32, per_user: u32) -> String {
    format!(
        "per_address = {{ attempts = {per_address}, every = \"1m\" }}\nper_user = {{ attempts = {per_user}, every = \"1h\" }}"
    )
}

/// A gateway that serves; it ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    portals: Vec<SocketAddr>,
    /// Where its service is.
    pub service: SocketAddr,
    /// What it says on both outputs.
    pub log: Log,
    child: Child,
    setup: Setup,
}

impl Gateway {
    /// Where its portal is.
    #[must_use]
    pub fn portal(&self) -> SocketAddr {
        self.portals[0]
    }

    fn portal_for(&self, source: IpAddr) -> SocketAddr {
        let same = |portal: &&SocketAddr| portal.is_ipv4() == source.is_ipv4();
        *self.portals.iter().find(same).unwrap_or(&self.portals[0])
    }

    /// Signs in by the API from this address.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    #[must_use]
    #[track_caller]
    pub fn sign_in(&self, source: IpAddr, username: &str, password: &str) -> Answer {
        self.post(source, &http::credentials(username, password))
    }

    /// Signs in by the API of a program that may end meanwhile; none if there is no whole answer.
    #[must_use]
    pub fn try_sign_in(&self, source: IpAddr, username: &str, password: &str) -> Option<Answer> {
        let headers = [("Content-Type", "application/json")];
        let body = http::credentials(username, password);
        let request = Request { method: "POST", path: "/api/v1/grants", headers: &headers, body: body.as_bytes() };
        http::ask(source, self.portal_for(source), &request).ok().filter(|answer| answer.json().is_object())
    }

    /// Signs in, and is let in.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn granted(&self, source: IpAddr, username: &str) -> Answer {
        let answer = self.sign_in(source, username, PASSWORD);
        assert!(matches!(answer.status, 200 | 201), "{username} from {source}: {answer:?}\n{}", self.log.text());
        answer
    }

    /// Sends a body to where sign-ins go.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    #[must_use]
    #[track_caller]
    pub fn post(&self, source: IpAddr, body: &str) -> Answer {
        let headers = [("Content-Type", "application/json")];
        let request = Request { method: "POST", path: "/api/v1/grants", headers: &headers, body: body.as_bytes() };
        self.ask(source, &request)
    }

    /// A grant as its owner sees it.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    #[must_use]
    #[track_caller]
    pub fn show(&self, source: IpAddr, granted: &Answer) -> Answer {
        self.of_grant(source, granted, "GET")
    }

    /// Its owner ends it.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    #[must_use]
    #[track_caller]
    pub fn cancel(&self, source: IpAddr, granted: &Answer) -> Answer {
        self.of_grant(source, granted, "DELETE")
    }

    #[track_caller]
    fn of_grant(&self, source: IpAddr, granted: &Answer, method: &str) -> Answer {
        let bearer = format!("Bearer {}", granted.text("token"));
        let path = format!("/api/v1/grants/{}", granted.text("id"));
        let headers = [("Authorization", bearer.as_str())];
        self.ask(source, &Request { method, path: &path, headers: &headers, body: b"" })
    }

    /// Its owner ends it, at a program that may end meanwhile; none if there is no whole answer.
    #[must_use]
    pub fn try_cancel(&self, source: IpAddr, granted: &Answer) -> Option<Answer> {
        let bearer = format!("Bearer {}", granted.text("token"));
        let path = format!("/api/v1/grants/{}", granted.text("id"));
        let headers = [("Authorization", bearer.as_str())];
        let request = Request { method: "DELETE", path: &path, headers: &headers, body: b"" };
        http::ask(source, self.portal_for(source), &request).ok().filter(|answer| answer.json().is_object())
    }

    /// Any request.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, source: IpAddr, request: &Request<'_>) -> Answer {
        match http::ask(source, self.portal_for(source), request) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer: {error}\n{}", self.log.text()),
        }
    }

    /// Runs a command of the program on this gateway's configuration, with `input` at its standard input.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str], input: &str) -> Said {
        command(&self.path().join("kmsgate.toml"), arguments, input)
    }

    /// Writes another rule into the configuration of a gateway that runs.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn rewrite(&mut self, change: impl FnOnce(Setup) -> Setup) {
        let setup = std::mem::replace(&mut self.setup, Setup::new(self.service));
        self.setup = change(setup);
        self.setup.write();
    }

    /// Connects to the service from this address.
    #[must_use]
    pub fn connect(&self, source: IpAddr) -> Outcome {
        try_through(source, self.service)
    }

    /// Every grant in the ledger, oldest first.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        ledger::grants(&self.ledger())
    }

    /// The only grant in the ledger.
    ///
    /// # Panics
    /// If there is none, or another.
    #[must_use]
    #[track_caller]
    pub fn only_grant(&self) -> Grant {
        let mut grants = self.grants();
        assert_eq!(grants.len(), 1, "{grants:?}");
        grants.remove(0)
    }

    /// The ledger's file.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path().join("ledger.db")
    }

    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.setup.path()
    }

    /// Waits until the grants in the ledger are so.
    ///
    /// # Panics
    /// If they do not become so.
    #[track_caller]
    pub fn until(&self, what: &str, so: impl Fn(&[Grant]) -> bool) -> Vec<Grant> {
        self.log.until(what, || Some(self.grants()).filter(|grants| so(grants)))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and it is gone.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for its end.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// A signal.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Starts again what has ended, on the same files. Its ports are others.
    ///
    /// # Panics
    /// If it does not serve.
    #[track_caller]
    pub fn start_again(&mut self) {
        (self.child, self.portals, self.service) = spawn(&self.setup, &self.log);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        self.child.kill().unwrap_or(());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log.text());
        }
    }
}

#[track_caller]
fn spawn(setup: &Setup, log: &Log) -> (Child, Vec<SocketAddr>, SocketAddr) {
    let before = log.len();
    let mut command = match &setup.host {
        None => Command::new(program()),
        Some(host) => {
            // It becomes the program: the process is the same.
            let mut command = Command::new("ip");
            command.args(["netns", "exec", host]);
            match setup.as_nobody {
                false => command.arg(program()),
                true => {
                    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
                    command.arg("setpriv").args(user).arg("--clear-groups").arg(setup.path().join("kmsgate"))
                }
            };
            command
        }
    };
    let mut child = command
        .arg("serve")
        .arg("--config")
        .arg(setup.path().join("kmsgate.toml"))
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(setup.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    log.collect(child.stdout.take().unwrap());
    log.collect(child.stderr.take().unwrap());
    let line = log.until("the line that says where it serves", || {
        let line = log.after(before, &["kmsgate: serving "]);
        if let (None, Some(status)) = (&line, child.try_wait().unwrap()) {
            panic!("it ended at once, {status}:\n{}\n{}", log.text(), setup.text());
        }
        line
    });
    let fields = |key: &str| -> Vec<SocketAddr> {
        let values = line.split(' ').filter_map(|field| field.strip_prefix(key));
        let values = values.map(|value| value.trim_matches('"')).map(|value| value.rsplit('@').next().unwrap_or(value));
        values.map(|value| value.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))).collect()
    };
    let service = fields("service=")[0];
    (child, fields("portal="), service)
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a command of the program on this configuration.
///
/// # Panics
/// If it cannot be run.
#[must_use]
#[track_caller]
pub fn command(config: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(program())
        .args(arguments)
        .env("KMSGATE_CONFIG", config)
        .env("COLUMNS", "80")
        .current_dir(config.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended already.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or(());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The program, built in the same directory as this test or benchmark.
///
/// # Panics
/// If it is not there or older than a source of it.
#[must_use]
#[track_caller]
pub fn program() -> PathBuf {
    built("kmsgate", "kmsgate")
}

/// Another program of ours, and the package that it is in.
///
/// # Panics
/// If it is not there or older than a source of it.
#[must_use]
#[track_caller]
pub fn built(name: &str, package: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // A test stands in `deps`, a program beside it.
    let directory = test.parent().unwrap();
    let directory = if directory.ends_with("deps") { directory.parent().unwrap() } else { directory };
    let program = directory.join(name);
    let how = format!("build it first: cargo build --package {package}; or test the workspace");
    let Ok(built) = program.metadata().and_then(|metadata| metadata.modified()) else {
        panic!("{} is not there; {how}", program.display());
    };
    // What cargo says that it was built from: `PROGRAM: SOURCE SOURCE ...`.
    let sources = std::fs::read_to_string(directory.join(format!("{name}.d"))).unwrap_or_default();
    for source in sources.split_whitespace().skip(1) {
        let changed = std::fs::metadata(source).and_then(|metadata| metadata.modified());
        assert!(changed.is_ok_and(|changed| changed <= built), "{} is older than {source}; {how}", program.display());
    }
    program
}
