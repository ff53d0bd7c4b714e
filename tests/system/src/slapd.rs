//! A real OpenLDAP server on loopback, as root or as anybody. What must never happen here: a server that outlives its test.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use crate::available;
use crate::certificates::{Authority, Validity};
use crate::log::Log;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/sbin/slapd";
/// Of our own account there.
pub const SERVICE_PASSWORD: &str = "service-secret";

/// What kind of slapd.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The names in its certificate.
    pub names: Vec<String>,
    /// Whether the certificate is good now.
    pub validity: Validity,
    /// Lines of its configuration behind the others, of its database.
    pub more: String,
    /// Only this version of TLS and newer (`TLSProtocolMin`); 3.3 is TLS 1.2.
    pub tls_least: &'static str,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { names: vec!["localhost".into()], validity: Validity::Now, more: String::new(), tls_least: "3.3" }
    }
}

/// A running one, with alice (`secret`), bob (`pässwörd 2`), two people of one mail address, and groups. Ended when dropped.
#[derive(Debug)]
pub struct Slapd {
    /// Port with StartTLS; it takes passwords in clear, too.
    pub ldap: u16,
    /// Port with TLS.
    pub ldaps: u16,
    /// What it says (`stats`).
    pub log: Log,
    child: Child,
    directory: tempfile::TempDir,
}

impl Slapd {
    /// Starts one and waits until it listens. None if it is left out by `KMSGATE_TEST_WITHOUT`.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text says why.
    ///
    /// # Panics
    /// If its files cannot be written.
    pub fn start(wanted: &Wanted) -> Result<Option<Self>, String> {
        if !available("slapd", PROGRAM, "slapd")? {
            return Ok(None);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        std::fs::create_dir(path.join("data")).expect("it is ours");
        let authority = Authority::new().expect("an authority");
        let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
        let issued = authority.issue(&names, wanted.validity).expect("a certificate");
        for (name, text) in [
            ("ca.pem", authority.pem()),
            ("certificate.pem", &issued.certificate),
            ("key.pem", &issued.key),
            ("secret", SERVICE_PASSWORD),
            ("people.ldif", PEOPLE),
            ("slapd.conf", &configuration(&path.display().to_string(), wanted)),
        ] {
            std::fs::write(path.join(name), text).expect("it is ours");
        }
        let filled = Command::new("/usr/sbin/slapadd")
            .arg("-q")
            .arg("-f")
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("people.ldif"))
            .output()
            .map_err(|why| format!("slapadd: {why}"))?;
        if !filled.status.success() {
            return Err(format!("slapadd: {}", String::from_utf8_lossy(&filled.stderr)));
        }
        // A free port may be taken by another test before slapd has it.
        for _ in 0..4 {
            let ports = [free_port(), free_port()];
            let [ldap, ldaps] = ports;
            match spawn(path, ports) {
                Ok((child, log)) => return Ok(Some(Self { ldap, ldaps, log, child, directory })),
                Err(why) if why.contains("Address already in use") => {}
                Err(why) => return Err(why),
            }
        }
        Err("no free ports for slapd".to_owned())
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
        // SIGTERM, so that it closes its database; then nothing is left to be done about a failure.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        }
        self.child.wait().ok();
    }

    /// Starts it again where it was, after [`Slapd::stop`].
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&mut self) -> Result<(), String> {
        (self.child, self.log) = spawn(self.directory.path(), [self.ldap, self.ldaps])?;
        Ok(())
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts what is configured here, and waits until it listens.
fn spawn(path: &Path, [ldap, ldaps]: [u16; 2]) -> Result<(Child, Log), String> {
    let mut child = Command::new(PROGRAM)
        .args(["-d", "stats", "-f"])
        .arg(path.join("slapd.conf"))
        .args(["-h", &format!("ldap://127.0.0.1:{ldap}/ ldaps://127.0.0.1:{ldaps}/")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{PROGRAM}: {why}"))?;
    let log = Log::default();
    log.collect(child.stderr.take().expect("piped"));
    let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    let ended = log.until("slapd to listen", || match child.try_wait() {
        Ok(None) => (listens(ldap) && listens(ldaps)).then_some(false),
        _ => Some(true),
    });
    if ended { Err(format!("slapd ended:\n{}", log.text())) } else { Ok((child, log)) }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn configuration(path: &str, wanted: &Wanted) -> String {
    let Wanted { more, tls_least, .. } = wanted;
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload memberof
pidfile {path}/slapd.pid
TLSCACertificateFile {path}/ca.pem
TLSCertificateFile {path}/certificate.pem
TLSCertificateKeyFile {path}/key.pem
TLSProtocolMin {tls_least}
database mdb
suffix \"dc=example,dc=edu\"
rootdn \"cn=admin,dc=example,dc=edu\"
directory {path}/data
maxsize 16777216
overlay memberof
overlay ppolicy
ppolicy_default \"cn=policy,dc=example,dc=edu\"
ppolicy_use_lockout
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree=\"ou=groups,dc=example,dc=edu\" by dn=\"cn=kmsgate,dc=example,dc=edu\" read by * none
access to dn.subtree=\"ou=people,dc=example,dc=edu\" by self read by dn=\"cn=kmsgate,dc=example,dc=edu\" read by * none
access to * by dn=\"cn=kmsgate,dc=example,dc=edu\" read by * none
{more}
"
    )
}

/// `memberOf` is written by the overlay only for groups that are added while it runs, so it stands here.
const PEOPLE: &str = "dn: dc=example,dc=edu
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: cn=kmsgate,dc=example,dc=edu
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: kmsgate
userPassword: service-secret

dn: cn=policy,dc=example,dc=edu
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 3
pwdMaxAge: 86400
pwdMustChange: TRUE

dn: ou=people,dc=example,dc=edu
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=edu
objectClass: organizationalUnit
ou: groups

dn: uid=alice,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.edu
mail: alice.a@example.edu
userPassword: secret
memberOf: cn=staff,ou=groups,dc=example,dc=edu
memberOf: cn=lab\\2C 2,ou=groups,dc=example,dc=edu

dn: uid=bob,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: bob
uid: robert
cn: Bob
sn: B
mail: shared@example.edu
userPassword:: cMOkc3N3w7ZyZCAy

dn: uid=carol,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: C
mail: shared@example.edu
userPassword: secret
pwdChangedTime: 20200101000000Z

dn: uid=dave,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: dave
cn: Dave
sn: D
userPassword: secret
pwdReset: TRUE

dn: uid=erin,ou=people,dc=example,dc=edu
objectClass: inetOrgPerson
uid: erin
cn: Erin
sn: E
userPassword: secret
pwdAccountLockedTime: 000001010000Z

dn: cn=staff,ou=groups,dc=example,dc=edu
objectClass: groupOfNames
cn: staff
member: uid=alice,ou=people,dc=example,dc=edu

dn: cn=lab\\2C 2,ou=groups,dc=example,dc=edu
objectClass: groupOfNames
cn: lab, 2
member: uid=alice,ou=people,dc=example,dc=edu
";
