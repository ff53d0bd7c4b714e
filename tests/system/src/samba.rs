//! A real Active Directory domain controller: Samba's, with its LDAP service alone, in a network namespace of its own. What must never
//! happen here: a controller that outlives its test, a file of the machine's own Samba that is touched.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::available;
use crate::certificates::{Authority, Validity};
use crate::log::Log;
use crate::namespace::Host;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/sbin/samba";
const TOOL: &str = "/usr/bin/samba-tool";

/// A running controller of `ad.example.edu`. Its people have the password `secret`: alice, of the group staff, which is in everyone;
/// carol, disabled; dave, expired; erin, who must change it; frank. Ended when dropped.
#[derive(Debug)]
pub struct Samba {
    /// Where it listens, at 127.0.0.1 and `localhost`, ports 389 and 636.
    pub host: Host,
    child: Child,
    directory: tempfile::TempDir,
}

impl Samba {
    /// Makes a domain and starts its controller. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed; the text says what to do.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Result<Option<Self>, String> {
        for (program, package) in [
            (PROGRAM, "samba-ad-dc"),
            (TOOL, "samba-common-bin"),
            ("/usr/share/samba/setup/provision.ldif", "samba-ad-provision"),
        ] {
            if !available("samba", program, package)? {
                return Ok(None);
            }
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        provision(path);
        fill(path);
        certificates(path);
        let host = Host::new("dc");
        let mut child = host
            .command(PROGRAM)
            .args(["-i", "-M", "single", "--debug-stdout", "-s"])
            .arg(configuration(path))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip starts");
        let log = Log::default();
        log.collect(child.stdout.take().expect("piped"));
        log.until("the controller to listen", || {
            assert!(matches!(child.try_wait(), Ok(None)), "it ended:\n{}", log.text());
            host.within(|| TcpStream::connect(("127.0.0.1", 636)).is_ok()).then_some(())
        });
        Ok(Some(Self { host, child, directory }))
    }

    /// The authority of its certificate, as a PEM file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        // SIGTERM, so that it closes its databases; then nothing is left to be done about a failure.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}

fn provision(path: &Path) {
    let target = format!("--targetdir={}", path.display());
    tool(&[
        "domain",
        "provision",
        &target,
        "--realm=AD.EXAMPLE.EDU",
        "--domain=AD",
        "--host-name=dc1",
        "--server-role=dc",
        "--adminpass=Passw0rd.1",
        "--dns-backend=NONE",
        // Without them it would want extended attributes of the file system that are root's alone.
        "--option=vfs objects = acl_xattr xattr_tdb",
    ]);
    let file = configuration(path);
    let text = std::fs::read_to_string(&file).expect("it was provisioned");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("server services"));
    let own = path.display();
    let ours = format!(
        "[global]\n\tserver services = ldap\n\tpid directory = {own}\n\tncalrpc dir = {own}/ncalrpc\n\ttls keyfile = {own}/key.pem\n\t\
         tls certfile = {own}/certificate.pem\n\ttls cafile = {own}/ca.pem"
    );
    let text: Vec<String> = lines.map(|line| if line == "[global]" { ours.clone() } else { line.to_owned() }).collect();
    std::fs::write(&file, text.join("\n")).expect("it is ours");
}

fn fill(path: &Path) {
    let (file, base) = (configuration(path).display().to_string(), path.join("private/sam.ldb").display().to_string());
    let tool = |arguments: &[&str]| tool(&[arguments, &["-s", &file, "-H", &base]].concat());
    tool(&[
        "domain",
        "passwordsettings",
        "set",
        "--complexity=off",
        "--min-pwd-length=1",
        "--min-pwd-age=0",
        "--history-length=0",
        "--account-lockout-threshold=3",
    ]);
    for name in ["alice", "carol", "dave", "erin", "frank"] {
        tool(&["user", "create", name, "secret"]);
    }
    for group in ["staff", "everyone"] {
        tool(&["group", "add", group]);
    }
    tool(&["group", "addmembers", "staff", "alice"]);
    tool(&["group", "addmembers", "everyone", "staff"]);
    tool(&["user", "disable", "carol"]);
    tool(&["user", "setexpiry", "dave", "--days=-1"]);
    tool(&["user", "setpassword", "erin", "--newpassword=secret", "--must-change-at-next-login"]);
}

fn certificates(path: &Path) {
    let authority = Authority::new().expect("an authority");
    let issued = authority.issue(&["localhost", "127.0.0.1"], Validity::Now).expect("a certificate");
    for (name, text) in
        [("ca.pem", authority.pem()), ("certificate.pem", &issued.certificate), ("key.pem", &issued.key)]
    {
        std::fs::write(path.join(name), text).expect("it is ours");
    }
    // It refuses a key that others may read.
    let key: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path.join("key.pem"), key).expect("it is ours");
}

fn configuration(path: &Path) -> PathBuf {
    path.join("etc/smb.conf")
}

#[track_caller]
fn tool(arguments: &[&str]) {
    let ended = Command::new(TOOL).args(arguments).stdin(Stdio::null()).output().expect("samba-tool starts");
    if !ended.status.success() {
        panic!("samba-tool {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}
