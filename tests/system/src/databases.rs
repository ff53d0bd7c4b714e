//! Real databases with the accounts of another program: PostgreSQL and MariaDB on loopback, each in a directory of its own. What must
//! never happen here: a server that outlives its test, a database of the machine's own that is touched.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::certificates::{Authority, Validity};
use crate::log::Log;
use crate::{available, is_root};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Of our own account there.
pub const SERVICE_PASSWORD: &str = "service-secret";
/// Of `secret`: `openssl passwd -5`.
pub const SECRET: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";

/// The tables of the other program. alice has the password `secret` and the groups staff and lab; carol is locked; dave has none;
/// erin's stands there as it is; frank's is of a weak form; grace is not active.
#[must_use]
pub fn tables() -> String {
    let md5 = "$1$saltsalt$9xy1btjgzLYfb7hivXtC//";
    format!(
        "CREATE TABLE users (name VARCHAR(64) PRIMARY KEY, password_hash VARCHAR(255), active INTEGER NOT NULL DEFAULT 1);
         INSERT INTO users (name, password_hash, active) VALUES ('alice', '{SECRET}', 1), ('carol', '!{SECRET}', 1),
            ('dave', NULL, 1), ('erin', 'secret', 1), ('frank', '{md5}', 1), ('grace', '{SECRET}', 0);
         CREATE TABLE memberships (name VARCHAR(64), grp VARCHAR(64));
         INSERT INTO memberships (name, grp) VALUES ('alice', 'staff'), ('alice', 'lab');
         CREATE TABLE doubles (name VARCHAR(64), password_hash VARCHAR(255));
         INSERT INTO doubles (name, password_hash) VALUES ('alice', '{SECRET}'), ('alice', '{SECRET}');\n"
    )
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
}

/// What kind of database server.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The names in its certificate.
    pub names: Vec<String>,
    /// Whether the certificate is good now.
    pub validity: Validity,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { names: vec!["localhost".into()], validity: Validity::Now }
    }
}

/// A running one, with [`tables`] in the database `accounts` and a user `kmsgate` that may read them. Ended when dropped.
#[derive(Debug)]
pub struct DatabaseServer {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    kind: Kind,
    child: Child,
    log: Log,
    directory: tempfile::TempDir,
}

impl DatabaseServer {
    /// Makes one and waits until it listens. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed; the text says what to do.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(kind: Kind, wanted: &Wanted) -> Result<Option<Self>, String> {
        let (name, program, package) = match kind {
            Kind::Postgres => ("postgresql", bin("postgres"), "postgresql"),
            Kind::Mariadb => ("mariadb", "/usr/sbin/mariadbd".into(), "mariadb-server"),
        };
        if !available(name, &program.display().to_string(), package)? {
            return Ok(None);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        certificates(path, wanted);
        std::fs::write(path.join("secret"), SERVICE_PASSWORD).expect("it is ours");
        let port = free_port();
        make(kind, path, port);
        if is_root() {
            // They refuse to run as root, and to use a key that others own.
            run(Command::new("chown").args(["-R", user(kind)]).arg(path));
        }
        initialise(kind, path);
        let log = Log::default();
        let child = spawn(kind, path, &log);
        let mut server = Self { port, kind, child, log, directory };
        server.until_it_listens();
        server.fill();
        Ok(Some(server))
    }

    /// The authority of its certificate, as a PEM file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A file that holds our own account's password.
    #[must_use]
    pub fn secret_file(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    /// Ends it.
    pub fn stop(&mut self) {
        // SIGINT ends PostgreSQL with its sessions, SIGTERM MariaDB; then nothing is left to be done about a failure.
        let signal = match self.kind {
            Kind::Postgres => rustix::process::Signal::INT,
            Kind::Mariadb => rustix::process::Signal::TERM,
        };
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, signal).ok();
        }
        self.child.wait().ok();
    }

    /// Starts it again where it was, after [`DatabaseServer::stop`].
    pub fn start_again(&mut self) {
        self.child = spawn(self.kind, self.directory.path(), &self.log);
        self.until_it_listens();
    }

    /// Carries out statements as the one who may do anything.
    pub fn execute(&self, statements: &str) {
        let mut command = self.client();
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the client starts");
        std::io::Write::write_all(&mut client.stdin.take().expect("piped"), statements.as_bytes()).expect("it listens");
        assert!(client.wait().expect("it ends").success(), "{statements}\n{}", self.log.text());
    }

    fn client(&self) -> Command {
        let path = self.directory.path();
        match self.kind {
            Kind::Postgres => {
                let mut command = Command::new(bin("psql"));
                command.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "accounts", "-h"]).arg(path);
                command.args(["-p", &self.port.to_string()]);
                command
            }
            Kind::Mariadb => {
                let mut command = Command::new("/usr/bin/mariadb");
                command.arg("--no-defaults").arg("-S").arg(path.join("socket")).args(["-u", "root", "accounts"]);
                command
            }
        }
    }

    fn until_it_listens(&mut self) {
        let (child, log, port) = (&mut self.child, &self.log, self.port);
        let path = self.directory.path();
        log.until("the database to listen", || {
            assert!(matches!(child.try_wait(), Ok(None)), "it ended:\n{}", log.text());
            let ready = match self.kind {
                Kind::Postgres => {
                    let mut asked = Command::new(bin("pg_isready"));
                    let asked = asked.arg("-q").arg("-h").arg(path).args(["-p", &port.to_string()]).status();
                    asked.is_ok_and(|status| status.success())
                }
                Kind::Mariadb => path.join("socket").exists(),
            };
            (ready && TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        });
    }

    fn fill(&self) {
        let grants = match self.kind {
            Kind::Postgres => format!(
                "CREATE ROLE kmsgate LOGIN PASSWORD '{SERVICE_PASSWORD}';
                 GRANT SELECT ON users, memberships, doubles TO kmsgate;\n"
            ),
            Kind::Mariadb => format!(
                "CREATE USER kmsgate@'%' IDENTIFIED BY '{SERVICE_PASSWORD}';
                 GRANT SELECT ON accounts.* TO kmsgate@'%';\n"
            ),
        };
        self.execute(&format!("{}{grants}", tables()));
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of whichever version of PostgreSQL there is.
fn bin(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| Path::new("/usr/lib/postgresql/bin").join(program))
}

fn user(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "postgres",
        Kind::Mariadb => "mysql",
    }
}

/// A program as the database's own user, if this is root.
fn as_user(kind: Kind, program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user(kind), "--regid", user(kind), "--clear-groups"]).arg(program);
    command
}

fn make(kind: Kind, path: &Path, port: u16) {
    std::fs::create_dir(path.join("data")).expect("it is ours");
    std::fs::set_permissions(path.join("data"), PermissionsExt::from_mode(0o700)).expect("it is ours");
    let own = path.display();
    let text = match kind {
        Kind::Postgres => format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{own}'\nfsync = off\nssl = on\n\
             ssl_cert_file = '{own}/certificate.pem'\nssl_key_file = '{own}/key.pem'\n"
        ),
        Kind::Mariadb => format!(
            "[mariadbd]\ndatadir = {own}/data\nsocket = {own}/socket\npid-file = {own}/pid\nbind-address = 127.0.0.1\n\
             port = {port}\nssl-ca = {own}/ca.pem\nssl-cert = {own}/certificate.pem\nssl-key = {own}/key.pem\n\
             innodb-flush-log-at-trx-commit = 0\ninnodb-buffer-pool-size = 16M\nskip-name-resolve\n"
        ),
    };
    std::fs::write(path.join("settings"), text).expect("it is ours");
}

fn initialise(kind: Kind, path: &Path) {
    let data = path.join("data");
    match kind {
        Kind::Postgres => {
            let made = as_user(kind, &bin("initdb"))
                .args(["--no-sync", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
                .arg(&data)
                .output();
            let made = made.expect("initdb starts");
            assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
            let settings = std::fs::read_to_string(path.join("settings")).expect("it was written");
            let own = data.join("postgresql.conf");
            let before = std::fs::read_to_string(&own).expect("initdb wrote it");
            std::fs::write(own, before + &settings).expect("it is ours");
            let hosts = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(data.join("pg_hba.conf"), hosts).expect("it is ours");
            let mut single = as_user(kind, &bin("postgres"));
            let single = single.args(["--single", "-D"]).arg(&data).arg("postgres").stdin(Stdio::piped());
            let mut single = single.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            let mut input = single.stdin.take().expect("piped");
            std::io::Write::write_all(&mut input, b"CREATE DATABASE accounts;\n").expect("it listens");
            drop(input);
            assert!(single.wait().expect("it ends").success(), "the database was made");
        }
        Kind::Mariadb => {
            let made = as_user(kind, Path::new("/usr/bin/mariadb-install-db"))
                .arg("--no-defaults")
                .arg(format!("--datadir={}", data.display()))
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
                .output();
            let made = made.expect("mariadb-install-db starts");
            assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
            std::fs::create_dir(data.join("accounts")).expect("it is ours");
            if is_root() {
                run(Command::new("chown").arg(user(kind)).arg(data.join("accounts")));
            }
        }
    }
}

fn spawn(kind: Kind, path: &Path, log: &Log) -> Child {
    let mut command = match kind {
        Kind::Postgres => {
            let mut command = as_user(kind, &bin("postgres"));
            command.arg("-D").arg(path.join("data"));
            command
        }
        Kind::Mariadb => {
            let mut command = as_user(kind, Path::new("/usr/sbin/mariadbd"));
            command.arg(format!("--defaults-file={}", path.join("settings").display()));
            command
        }
    };
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the database starts");
    log.collect(child.stderr.take().expect("piped"));
    child
}

fn certificates(path: &Path, wanted: &Wanted) {
    let authority = Authority::new().expect("an authority");
    let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
    let issued = authority.issue(&names, wanted.validity).expect("a certificate");
    for (name, text) in
        [("ca.pem", authority.pem()), ("certificate.pem", &issued.certificate), ("key.pem", &issued.key)]
    {
        std::fs::write(path.join(name), text).expect("it is ours");
    }
    std::fs::set_permissions(path.join("key.pem"), PermissionsExt::from_mode(0o600)).expect("it is ours");
}

fn run(command: &mut Command) {
    if !command.status().is_ok_and(|status| status.success()) {
        panic!("{command:?} failed");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
