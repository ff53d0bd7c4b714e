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
/// Rounds of one run: each looks at every grant of its run, so that many short ones take less time than a long one.
const BATCH: u16 = 50;
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
    let begun = Instant::now();
    let mut rounds = 0;
    let mut seeds = vec![];
    while rounds < ROUNDS {
        let (survived, seed, rest) = batch(rounds)?;
        rounds += survived;
        seeds.push(seed);
        if survived < BATCH {
            table.row(&name, &format!("a promise broken, or cut short, in round {rounds}"), "none broken", "");
            return Err(format!("round {rounds} of the random kills, seeds {}:\n{rest}", seeds.join(", ")).into());
        }
        crate::progress(&format!("killed {rounds} of {ROUNDS} times"));
    }
    let seconds = number(begun.elapsed().as_secs_f64());
    let what = format!("no promise broken; {rounds} rounds in {seconds} s, seeds {}", seeds.join(", "));
    table.row(&name, &what, "none broken", "");
    Ok(())
}

/// One run of the test, with a site and a ledger of its own: rounds that it survived, its seed, and what it said last.
fn batch(before: u16) -> Result<(u16, String, String), Failure> {
    let mut child = Command::new("cargo")
        .args(["test", "--locked", "--package", "kmsgate-system-tests", "--test", "kernel"])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env("KMSGATE_KILLS", BATCH.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(child.stderr.take().ok_or("no standard error")?);
    let (mut rounds, mut seed, mut rest) = (0_u16, String::new(), String::new());
    for line in said.lines() {
        let line = line?;
        if let Some(own) = line.strip_prefix("KMSGATE_SEED=") {
            own.clone_into(&mut seed);
        } else if line.starts_with("round ") {
            rounds += 1;
            rest.clear();
        } else {
            rest.push_str(&line);
            rest.push('\n');
        }
    }
    let well = child.wait()?.success() && rounds == BATCH;
    // A run that failed behind its last round has survived none of it.
    Ok((if well { rounds } else { rounds.min(BATCH - 1) }, seed, format!("{rest}(behind round {before})")))
}
