//! The figures of bench/README.md. What must never happen here: a figure without its spread, a process left behind.
//!
//! Everything is measured in one run on one machine: the program, what people would use instead of it, and the disk. Rounds
//! of what is compared follow each other in turn, and ratios are taken round by round.

mod disk;
mod fill;
mod http;
mod peers;
mod place;
mod relay;
mod report;
mod sign_ins;
mod stats;
mod table;

use std::error::Error;
use std::process::ExitCode;
use table::Table;

/// Anything that ends a run.
type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "\
usage: cargo xtask bench [--full] [--markdown] [PART]...

  --full       with 1,000,000 open grants and a ledger of 1,000,000 grants; takes long
  --markdown   the table as bench/README.md has it
  PART         sign-ins | relay | report; all of them without one
";

/// What is to be measured.
struct Wanted {
    full: bool,
    markdown: bool,
    parts: Vec<String>,
}

fn main() -> ExitCode {
    let wanted = match arguments(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(wrong) => {
            eprint!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&wanted) {
        Ok(table) => {
            print!("{}", if wanted.markdown { table.markdown() } else { table.text() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(given: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { full: false, markdown: false, parts: Vec::new() };
    for argument in given {
        match argument.as_str() {
            "--full" => wanted.full = true,
            "--markdown" => wanted.markdown = true,
            "sign-ins" | "relay" | "report" => wanted.parts.push(argument),
            other => return Err(format!("bench: {other:?} is nothing to measure")),
        }
    }
    Ok(wanted)
}

fn run(wanted: &Wanted) -> Result<Table, Failure> {
    place::build()?;
    let mut table = Table::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let part = |name: &str| wanted.parts.is_empty() || wanted.parts.iter().any(|part| part == name);
    let fsync = disk::fsync()?;
    table.row("fsync of 4 KiB, p50", &fsync.shown(), "", "");
    if part("sign-ins") {
        runtime.block_on(sign_ins::measure(&mut table, wanted.full, fsync.median))?;
    }
    if part("relay") {
        runtime.block_on(relay::measure(&mut table))?;
    }
    if part("report") {
        runtime.block_on(report::measure(&mut table, wanted.full))?;
    }
    Ok(table)
}

/// Says on standard error what is being done.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
