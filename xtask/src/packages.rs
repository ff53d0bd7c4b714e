//! Debian packages that the system tests need. A test whose package is missing is left out by name, never by chance.

use std::path::Path;
use std::process::Command;

/// What tests ask for by name, the program that shows it is there, and the package that has it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("dovecot", "/usr/sbin/dovecot", "dovecot-core"),
    ("dovecot", "/usr/lib/dovecot/pop3-login", "dovecot-pop3d"),
    ("faketime", "/usr/bin/faketime", "faketime"),
    ("gcore", "/usr/bin/gcore", "gdb"),
];

/// Makes the packages be there if this is root; else says what is missing. Returns the names of what stays missing.
///
/// # Errors
/// If the installation fails.
pub(crate) fn prepare() -> Result<Vec<&'static str>, String> {
    let missing: Vec<_> = NEEDED.iter().filter(|(_, program, _)| !Path::new(program).exists()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, _, package)| *package).collect();
    if is_root() {
        install(&packages)?;
        return Ok(Vec::new());
    }
    let mut names: Vec<&str> = missing.iter().map(|(name, _, _)| *name).collect();
    names.dedup();
    eprintln!("Not installed: {}.", packages.join(" "));
    eprintln!("Left out: every test that needs {}. As root this command installs them itself.", names.join(", "));
    Ok(names)
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
        .map_err(|error| format!("cannot start apt-get: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("apt-get {} failed:\n{said}", arguments.join(" ")))
}
