//! A real Dovecot with POP3 and IMAP, each in clear and with TLS, on loopback, as root or as anybody.

use crate::available;
use crate::certificates::{Authority, Validity};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/sbin/dovecot";
/// Longest wait for something that Dovecot does at once on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// What kind of Dovecot.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// (name, password); in clear, as APOP needs them.
    pub accounts: Vec<(String, String)>,
    /// Whether 127.0.0.1 may tell the person's address (`login_trusted_networks`).
    pub xclient: bool,
    /// What a wrong password costs (`auth_failure_delay`); Dovecot's own default is 2 s.
    pub failure_delay: Duration,
    /// The names in its certificate.
    pub names: Vec<String>,
    /// Whether the certificate is good now.
    pub validity: Validity,
}

impl Default for Wanted {
    /// alice (`secret`) and bob (`pässwörd 2`); our address is trusted; wrong passwords cost nothing; a good certificate
    /// for `localhost`.
    fn default() -> Self {
        Self {
            accounts: vec![("alice".into(), "secret".into()), ("bob".into(), "pässwörd 2".into())],
            xclient: true,
            failure_delay: Duration::ZERO,
            names: vec!["localhost".into()],
            validity: Validity::Now,
        }
    }
}

/// A running Dovecot; it ends when this is dropped.
pub struct Dovecot {
    /// Port of POP3 with STLS; passwords in clear are taken there too.
    pub pop3: u16,
    /// Port of POP3S.
    pub pop3s: u16,
    /// Port of IMAP with STARTTLS; passwords in clear are taken there too.
    pub imap: u16,
    /// Port of IMAPS.
    pub imaps: u16,
    child: Child,
    log: Arc<Log>,
    directory: tempfile::TempDir,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Dovecot {
    /// Starts one and waits until it listens. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text says why.
    pub fn start(wanted: &Wanted) -> Result<Option<Self>, String> {
        if !available("dovecot", PROGRAM, "dovecot-core")? {
            return Ok(None);
        }
        if !available("dovecot", "/usr/lib/dovecot/pop3-login", "dovecot-pop3d")? {
            return Ok(None);
        }
        if !available("dovecot", "/usr/lib/dovecot/imap-login", "dovecot-imapd")? {
            return Ok(None);
        }
        // A free port may be taken by another test before Dovecot has it.
        for _ in 0..4 {
            match Self::try_start(wanted) {
                Err(why) if why.contains("Address already in use") => {}
                other => return other.map(Some),
            }
        }
        Err("no free port for dovecot".to_owned())
    }

    /// The authority of its certificate, as a PEM file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until a line of its log has all of these.
    ///
    /// # Errors
    /// The whole log, if it does not come.
    pub fn wait_for(&self, parts: &[&str]) -> Result<String, String> {
        self.log.wait_for(parts)
    }

    fn try_start(wanted: &Wanted) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|why| why.to_string())?;
        let path = directory.path();
        // Dovecot's login processes are another user's when it is started by root.
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(|why| why.to_string())?;
        write_certificates(path, wanted)?;
        write_users(path, &wanted.accounts)?;
        let mail = path.join("mail");
        std::fs::create_dir(&mail).map_err(|why| why.to_string())?;
        std::fs::set_permissions(&mail, Permissions::from_mode(0o777)).map_err(|why| why.to_string())?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [pop3, pop3s, imap, imaps] = ports;
        let configuration = configuration(path, wanted, ports)?;
        write(&path.join("dovecot.conf"), &configuration)?;
        let (child, log) = spawn(path)?;
        let started = Self { pop3, pop3s, imap, imaps, child, log, directory };
        Ok(started)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        // SIGTERM, so that it ends its children; then nothing is left to be done about a failure.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        self.child.wait().ok();
    }

    /// Starts it again where it was, after [`Dovecot::stop`].
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&mut self) -> Result<(), String> {
        (self.child, self.log) = spawn(self.directory.path())?;
        Ok(())
    }
}

/// Starts what is configured here, and waits until it has bound its ports.
fn spawn(path: &Path) -> Result<(Child, Arc<Log>), String> {
    let mut child = Command::new(PROGRAM)
        .arg("-F")
        .arg("-c")
        .arg(path.join("dovecot.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{PROGRAM}: {why}"))?;
    let log = Arc::<Log>::default();
    if let Some(errors) = child.stderr.take() {
        let log = Arc::clone(&log);
        std::thread::spawn(move || log.collect(BufReader::new(errors)));
    }
    log.wait_for(&["starting up"])?;
    Ok((child, log))
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Log {
    fn collect(&self, from: impl BufRead) {
        for line in from.lines() {
            let Ok(line) = line else { break };
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            self.more.notify_all();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push("(end)".to_owned());
        self.more.notify_all();
    }

    fn wait_for(&self, parts: &[&str]) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return Ok(line.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.last().is_some_and(|line| line == "(end)") {
                return Err(format!("dovecot does not log {parts:?}, but:\n{}", lines.join("\n")));
            }
            lines = self.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn configuration(path: &Path, wanted: &Wanted, ports: [u16; 4]) -> Result<String, String> {
    let [pop3, pop3s, imap, imaps] = ports;
    let me = rustix::process::getuid();
    // Dovecot gives root no mailbox.
    let owner = if me.is_root() { number_of("dovecot")? } else { me.as_raw() };
    let directory = path.display();
    let trusted = if wanted.xclient { "127.0.0.1/32 ::1/128" } else { "" };
    let delay = wanted.failure_delay.as_secs();
    let mut text = format!(
        "base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
protocols = pop3 imap
ssl = yes
ssl_cert = <{directory}/certificate.pem
ssl_key = <{directory}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain apop
auth_failure_delay = {delay} secs
login_trusted_networks = {trusted}
first_valid_uid = 1
first_valid_gid = 0
mail_location = maildir:{directory}/mail/%u
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={gid} home={directory}/mail/%u
}}
service anvil {{
  chroot =
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    address = 127.0.0.1 ::1
    port = {pop3}
  }}
  inet_listener pop3s {{
    address = 127.0.0.1 ::1
    port = {pop3s}
    ssl = yes
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1 ::1
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1 ::1
    port = {imaps}
    ssl = yes
  }}
}}
",
        gid = rustix::process::getgid().as_raw(),
    );
    if !me.is_root() {
        // Everything as ourselves; as root it takes the users of its Debian package.
        let name = by_number("/etc/passwd", me.as_raw())?;
        let more = write!(
            text,
            "default_internal_user = {name}\ndefault_login_user = {name}\ndefault_internal_group = {gid}\n",
            gid = by_number("/etc/group", rustix::process::getgid().as_raw())?
        );
        more.map_err(|why| why.to_string())?;
    }
    Ok(text)
}

/// The name of a number in a file of lines `name:x:number:...`.
fn by_number(file: &str, number: u32) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?;
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, found) = (fields.next()?, fields.nth(1)?);
        (found.parse() == Ok(number)).then(|| name.to_owned())
    });
    name.ok_or_else(|| format!("{file} has no name for {number}"))
}

fn number_of(name: &str) -> Result<u32, String> {
    let text = std::fs::read_to_string("/etc/passwd").map_err(|why| format!("/etc/passwd: {why}"))?;
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| format!("/etc/passwd has no {name}"))
}

fn write_certificates(path: &Path, wanted: &Wanted) -> Result<(), String> {
    let authority = Authority::new().map_err(|why| why.to_string())?;
    let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
    let issued = authority.issue(&names, wanted.validity).map_err(|why| why.to_string())?;
    write(&path.join("ca.pem"), authority.pem())?;
    write(&path.join("certificate.pem"), &issued.certificate)?;
    write(&path.join("key.pem"), &issued.key)
}

fn write_users(path: &Path, accounts: &[(String, String)]) -> Result<(), String> {
    let text: String = accounts.iter().map(|(name, password)| format!("{name}:{{PLAIN}}{password}\n")).collect();
    write(&path.join("users"), &text)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|why| why.to_string())
}
