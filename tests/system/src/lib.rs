//! What the system tests share: real servers, started by the test itself in a directory and on ports of its own. What must
//! never happen here: a test that is skipped without being told to, or a server that outlives its test.
//!
//! * [`browser`]: a person's browser, driven as a person does it.
//! * [`certificates`]: an authority and what it issues, good and bad.
//! * [`dovecot`]: the mail server.
//! * [`freeradius`]: the RADIUS server.
//! * [`ypserv`]: the server of NIS, with a portmapper.
//! * [`gateway`]: the program itself, from its configuration to its death.
//! * [`provider`]: what stands behind it, well or ill.
//! * [`kernel`]: a site of four hosts whose gateway forwards in the kernel.
//! * [`namespace`]: hosts of the test's own, each with its network.
//! * [`raw`]: packets made by hand, and what goes by on a cable; [`scene`]: what attacks on that site share.
//! * [`http`], [`net`]: a person's programs, from any address of 127.0.0.0/8.
//! * [`ledger`]: what the record says, read past the program.
//! * [`log`]: what the program says, line by line.
//! * [`mail`]: a mail server that misbehaves on purpose; [`proxy`]: a door to a real one that does.

pub mod browser;
pub mod certificates;
pub mod databases;
pub mod dovecot;
pub mod freeradius;
pub mod gateway;
pub mod http;
pub mod kernel;
pub mod ledger;
pub mod log;
pub mod mail;
pub mod middle;
pub mod namespace;
pub mod net;
pub mod pair;
pub mod provider;
pub mod proxy;
pub mod raw;
pub mod samba;
pub mod scene;
pub mod slapd;
pub mod ypserv;

use std::path::Path;
use std::time::Duration;

/// The longest wait for anything that happens at once on a machine that is not overloaded. Nothing is shown by its length:
/// a test that gets there has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a test needs and a machine may lack: ends the test, with a line that says so, if `KMSGATE_TEST_WITHOUT` leaves it
/// out; fails it if the thing is neither there nor left out.
///
/// Takes the name, a file that shows that it is there, and the Debian package that has it.
#[macro_export]
macro_rules! need {
    ($name:literal, $file:literal, $package:literal) => {
        match $crate::available($name, $file, $package) {
            Ok(true) => {}
            Ok(false) => {
                eprintln!("left out: needs {}", $name);
                return;
            }
            Err(why) => panic!("{why}"),
        }
    };
}

/// Ends the test, with a line that says so, if this is not root's and `KMSGATE_TEST_WITHOUT` leaves `root` out.
#[macro_export]
macro_rules! need_root {
    () => {
        if !$crate::is_root() {
            assert!($crate::left_out("root"), "this test needs root, or KMSGATE_TEST_WITHOUT=root");
            eprintln!("left out: needs root");
            return;
        }
    };
}

/// Whether this process is root's.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `KMSGATE_TEST_WITHOUT` leaves out what needs this.
#[must_use]
pub fn left_out(name: &str) -> bool {
    let without = std::env::var("KMSGATE_TEST_WITHOUT").unwrap_or_default();
    without.split(',').any(|left_out| left_out.trim() == name)
}

/// Whether the test can run: true if the program is there; false if it is not and `KMSGATE_TEST_WITHOUT` (names with
/// commas between them, set by `cargo xtask test`) leaves out what needs it.
///
/// # Errors
/// It is neither there nor left out; the text says what to install.
pub fn available(name: &str, program: &str, package: &str) -> Result<bool, String> {
    if left_out(name) {
        return Ok(false);
    }
    if Path::new(program).exists() {
        return Ok(true);
    }
    Err(format!(
        "this test needs {program}: install the Debian package {package}, or leave it out with KMSGATE_TEST_WITHOUT={name}"
    ))
}

/// Ends the test if what tests in network namespaces need is left out.
#[macro_export]
macro_rules! kernel_needs {
    () => {
        $crate::need_root!();
        $crate::need!("iproute2", "/usr/sbin/ip", "iproute2");
        $crate::need!("nft", "/usr/sbin/nft", "nftables");
    };
}
