//! What the system tests share: real servers, started by the test itself in a directory and on ports of its own. What must
//! never happen here: a test that is skipped without being told to, or a server that outlives its test.
//!
//! * [`certificates`]: an authority and what it issues, good and bad.
//! * [`dovecot`]: the mail server.

pub mod certificates;
pub mod dovecot;

use std::path::Path;

/// Whether the test can run: true if the program is there; false if it is not and `KMSGATE_TEST_WITHOUT` (names with
/// commas between them, set by `cargo xtask test`) leaves out what needs it.
///
/// # Errors
/// It is neither there nor left out; the text says what to install.
pub fn available(name: &str, program: &str, package: &str) -> Result<bool, String> {
    let without = std::env::var("KMSGATE_TEST_WITHOUT").unwrap_or_default();
    if without.split(',').any(|left_out| left_out.trim() == name) {
        return Ok(false);
    }
    if Path::new(program).exists() {
        return Ok(true);
    }
    Err(format!(
        "this test needs {program}: install the Debian package {package}, or leave it out with KMSGATE_TEST_WITHOUT={name}"
    ))
}
