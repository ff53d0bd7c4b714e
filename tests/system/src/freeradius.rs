//! A real FreeRADIUS on loopback, as root or as anybody. What must never happen here: a server that outlives its test.

use crate::available;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/sbin/freeradius";
/// Longest wait for something that it does at once on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// What kind of FreeRADIUS.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its `users` file.
    pub users: String,
    /// The secret of its client 127.0.0.1.
    pub secret: String,
    /// `reject_delay`, in seconds; its own default is 1.
    pub reject_delay: u32,
    /// The port; a free one if none.
    pub port: Option<u16>,
}

impl Default for Wanted {
    fn default() -> Self {
        let users = "alice Cleartext-Password := \"secret\"\n\tFilter-Id = \"staff\",\n\tFilter-Id += \"lab\",\n\t\
                     Class = \"campus\"\nbob Cleartext-Password := \"p\u{e4}ssw\u{f6}rd 2\"\n\
                     carol Auth-Type := Reject\n\tReply-Message = \"disabled\"\n";
        Self { users: users.to_owned(), secret: "testing-secret".to_owned(), reject_delay: 0, port: None }
    }
}

/// A running one. Ended when dropped.
#[derive(Debug)]
pub struct FreeRadius {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    child: Child,
    log: Arc<Log>,
    directory: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl FreeRadius {
    /// Starts one and waits until it listens. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text says why.
    pub fn start(wanted: &Wanted) -> Result<Option<Self>, String> {
        if !available("freeradius", PROGRAM, "freeradius")? {
            return Ok(None);
        }
        // A free port may be taken by another test before it has it.
        for _ in 0..4 {
            match Self::try_start(wanted) {
                Err(why) if why.contains("Address already in use") && wanted.port.is_none() => {}
                other => return other.map(Some),
            }
        }
        Err("no free port for freeradius".to_owned())
    }

    /// Waits until a line of its log has all of these.
    ///
    /// # Errors
    /// The whole log, if it does not come.
    pub fn wait_for(&self, parts: &[&str]) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return Ok(line.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.last().is_some_and(|line| line == "(end)") {
                return Err(format!("freeradius does not log {parts:?}, but:\n{}", lines.join("\n")));
            }
            lines = self.log.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A file that holds its client's secret.
    #[must_use]
    pub fn secret_file(&self) -> String {
        self.directory.path().join("secret").display().to_string()
    }

    fn try_start(wanted: &Wanted) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|why| why.to_string())?;
        let port = match wanted.port {
            Some(port) => port,
            None => free_port()?,
        };
        let path = directory.path();
        let files = [
            ("radiusd.conf", configuration(&path.display().to_string(), port, wanted)),
            ("users", wanted.users.clone()),
            ("secret", format!("{}\n", wanted.secret)),
        ];
        for (name, text) in files {
            std::fs::write(path.join(name), text).map_err(|why| format!("{name}: {why}"))?;
        }
        let mut child = Command::new(PROGRAM)
            .args(["-f", "-l", "stdout", "-xx", "-d"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| format!("{PROGRAM}: {why}"))?;
        let log = Arc::<Log>::default();
        if let Some(output) = child.stdout.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || log.collect(BufReader::new(output)));
        }
        let started = Self { port, child, log, directory };
        started.wait_for(&["Ready to process requests"])?;
        Ok(started)
    }
}

impl Drop for FreeRadius {
    fn drop(&mut self) {
        // Nothing is left to be done about a failure.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Log {
    fn collect(&self, from: impl BufRead) {
        for line in from.split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            self.more.notify_all();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push("(end)".to_owned());
        self.more.notify_all();
    }
}

fn configuration(path: &str, port: u16, wanted: &Wanted) -> String {
    let Wanted { secret, reject_delay, .. } = wanted;
    format!(
        "name = radiusd
confdir = {path}
raddbdir = {path}
logdir = {path}
run_dir = {path}
libdir = /usr/lib/freeradius
max_request_time = 5
log {{
  destination = stdout
}}
security {{
  reject_delay = {reject_delay}
  status_server = yes
}}
thread pool {{
  start_servers = 2
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 2
}}
client gateway {{
  ipaddr = 127.0.0.1
  secret = {secret}
  require_message_authenticator = yes
}}
modules {{
  pap {{
  }}
  mschap {{
    use_mppe = no
  }}
  files {{
    usersfile = {path}/users
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    mschap
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type MS-CHAP {{
      mschap
    }}
  }}
}}
"
    )
}

fn free_port() -> Result<u16, String> {
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
    socket.local_addr().map(|address| address.port()).map_err(|why| why.to_string())
}
