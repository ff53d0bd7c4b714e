//! The figures of bench/README.md. What must never happen here: a figure without its spread, a process left behind.
//!
//! Everything is measured in one run on one machine: the program, what people would use instead of it, and the disk. Rounds
//! of what is compared follow each other in turn, and ratios are taken round by round.

mod disk;
mod fill;
mod http;
mod kernel;
mod kills;
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
usage: cargo xtask bench [--full] [--markdown] [--kills] [PART]...

  --full       with 1,000,000 open grants and a ledger of 1,000,000 grants; takes long
  --markdown   the table as bench/README.md has it
  --kills      nothing but the random-kill test of the kernel forwarder, 500 rounds of it
  PART         sign-ins | relay | report | kernel; all of them without one. Parts of kernel alone:
               kernel-connections | kernel-opens | kernel-sign-ins | kernel-restart
";

/// What is to be measured.
struct Wanted {
    full: bool,
    markdown: bool,
    kills: bool,
    parts: Vec<String>,
}

impl Wanted {
    /// Whether this part is to be measured.
    fn is_wanted(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| part == name)
    }
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
    let mut wanted = Wanted { full: false, markdown: false, kills: false, parts: Vec::new() };
    for argument in given {
        match argument.as_str() {
            "--full" => wanted.full = true,
            "--markdown" => wanted.markdown = true,
            "--kills" => wanted.kills = true,
            "sign-ins" | "relay" | "report" | "kernel" => wanted.parts.push(argument),
            part if kernel::PARTS.contains(&part) => wanted.parts.push(argument),
            other => return Err(format!("bench: {other:?} is nothing to measure")),
        }
    }
    Ok(wanted)
}

fn run(wanted: &Wanted) -> Result<Table, Failure> {
    let mut table = Table::default();
    if wanted.kills {
        kills::measure(&mut table)?;
        return Ok(table);
    }
    place::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let fsync = disk::fsync()?;
    table.row("fsync of 4 KiB, p50", &fsync.shown(), "", "");
    if wanted.is_wanted("sign-ins") {
        runtime.block_on(sign_ins::measure(&mut table, wanted.full, fsync.median))?;
    }
    if wanted.is_wanted("relay") {
        runtime.block_on(relay::measure(&mut table))?;
    }
    if wanted.is_wanted("report") {
        runtime.block_on(report::measure(&mut table, wanted.full))?;
    }
    kernel::measure(&mut table, wanted)?;
    Ok(table)
}

/// Says on standard error what is being done.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
