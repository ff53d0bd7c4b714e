//! Debian packages that the tests need. A test whose package is missing is left out by name, never by chance.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names of what is left out, with commas between them: told to the tests.
pub(crate) const WITHOUT: &str = "KMSGATE_TEST_WITHOUT";

/// What tests ask for by name, the file that shows it is there, and the package that has it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("dovecot", "/usr/sbin/dovecot", "dovecot-core"),
    ("dovecot", "/usr/lib/dovecot/pop3-login", "dovecot-pop3d"),
    ("dovecot", "/usr/lib/dovecot/imap-login", "dovecot-imapd"),
    ("freeradius", "/usr/sbin/freeradius", "freeradius"),
    ("postgresql", "/usr/share/postgresql-common/pg_wrapper", "postgresql"),
    ("samba", "/usr/sbin/samba", "samba-ad-dc"),
    ("samba", "/usr/share/samba/setup/provision.ldif", "samba-ad-provision"),
    ("slapd", "/usr/sbin/slapd", "slapd"),
    ("ypserv", "/usr/sbin/ypserv", "ypserv"),
    ("ypserv", "/usr/sbin/rpcbind", "rpcbind"),
    ("faketime", "/usr/bin/faketime", "faketime"),
    ("gcore", "/usr/bin/gcore", "gdb"),
    ("curl", "/usr/bin/curl", "curl"),
    ("chromium", "/usr/bin/chromium", "chromium"),
    ("iproute2", "/usr/sbin/ip", "iproute2"),
    ("nft", "/usr/sbin/nft", "nftables"),
    ("dnsmasq", "/usr/sbin/dnsmasq", "dnsmasq-base"),
    ("setpriv", "/usr/bin/setpriv", "util-linux"),
    ("systemd", "/usr/bin/systemd-analyze", "systemd"),
    ("man", "/usr/bin/man", "man-db"),
];

/// Makes the packages be there if this is root; else says what is missing. Returns the names of what is left out: what
/// stays missing, and what whoever calls has left out already.
///
/// # Errors
/// If the installation fails.
pub(crate) fn prepare() -> Result<BTreeSet<String>, String> {
    let mut without = told();
    let missing = NEEDED.iter().filter(|(name, file, _)| !without.contains(*name) && !Path::new(file).exists());
    let missing: Vec<_> = missing.copied().collect();
    if missing.is_empty() {
        return Ok(without);
    }
    let packages: Vec<&str> = missing.iter().map(|(_, _, package)| *package).collect();
    if is_root() {
        install(&packages)?;
        return Ok(without);
    }
    let names: BTreeSet<&str> = missing.iter().map(|(name, ..)| *name).collect();
    let shown: Vec<&str> = names.iter().copied().collect();
    eprintln!("Not installed: {}. As root this command installs them itself.", packages.join(" "));
    eprintln!("Left out: every test that needs {}.", shown.join(", "));
    without.extend(names.into_iter().map(str::to_owned));
    Ok(without)
}

fn told() -> BTreeSet<String> {
    let told = std::env::var(WITHOUT).unwrap_or_default();
    told.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn install(packages: &[&str]) -> Result<(), String> {
    eprintln!("Installing {} ...", packages.join(" "));
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start apt-get: {error}; this installation is meant for Debian"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("apt-get {} failed:\n{said}", arguments.join(" ")))
}
