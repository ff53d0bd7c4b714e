//! The random-kill test of the kernel forwarder, many more rounds of it than `cargo xtask test` has time for. What must never
//! happen here: a run that is reported whole and was not.

use crate::Failure;
use crate::stats::number;
use crate::table::Table;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Rounds: each kills serve, the enforcer or both.
pub(crate) const ROUNDS: u16 = 500;
/// The test, in `tests/system/tests/kernel`. It reads its rounds from `KMSGATE_KILLS`, and `KMSGATE_SEED` repeats a run.
const TEST: &str = "random_kills::cut_at_random_points";

/// Builds the programs and the test as tests are built, and runs it.
pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let name = format!("killed at random moments under load, {ROUNDS} times");
    if !kmsgate_system_tests::is_root() {
        table.row(&name, "not run: network namespaces need root", "", "");
        return Ok(());
    }
    let programs = ["build", "--locked", "--package", "kmsgate", "--package", "kmsgate-enforcer"];
    if !Command::new("cargo").args(programs).status()?.success() {
        return Err("the programs do not build".into());
    }
    let mut child = Command::new("cargo")
        .args(["test", "--locked", "--package", "kmsgate-system-tests", "--test", "kernel"])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env("KMSGATE_KILLS", ROUNDS.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(child.stderr.take().ok_or("no standard error")?);
    let (mut rounds, mut seed, mut first) = (0_u16, String::new(), None);
    let mut rest = String::new();
    for line in said.lines() {
        let line = line?;
        if let Some(own) = line.strip_prefix("KMSGATE_SEED=") {
            own.clone_into(&mut seed);
            first = Some(Instant::now());
        } else if line.starts_with("round ") {
            rounds += 1;
            rest.clear();
            if rounds % 50 == 0 {
                crate::progress(&format!("killed {rounds} of {ROUNDS} times"));
            }
        } else {
            rest.push_str(&line);
            rest.push('\n');
        }
    }
    let well = child.wait()?.success() && rounds == ROUNDS;
    let seconds = number(first.map_or(0.0, |first| first.elapsed().as_secs_f64()));
    let what = if well { "no promise broken" } else { "a promise broken, or cut short" };
    table.row(&name, &format!("{what}; {rounds} rounds in {seconds} s, seed {seed}"), "none broken", "");
    if well { Ok(()) } else { Err(format!("round {rounds} of the random kills, seed {seed}:\n{rest}").into()) }
}
