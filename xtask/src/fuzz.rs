//! `cargo xtask fuzz [SECONDS]`: every target of fuzz/ for a while, what it has found before first.

use crate::{has, pass_on};
use std::path::Path;
use std::process::{Command, ExitCode};

/// How long each target runs, unless told.
const SECONDS: &str = "60";

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let seconds = arguments.first().map_or(SECONDS, String::as_str);
    if seconds.parse::<u32>().is_err() {
        eprintln!("{seconds:?} is no number of seconds");
        return ExitCode::from(2);
    }
    let targets = match targets() {
        Ok(targets) => targets,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut worst = ExitCode::SUCCESS;
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        let ended = pass_on(Command::new("cargo").args(["fuzz", "run", &target, "--", &limit]));
        if ended != ExitCode::SUCCESS {
            eprintln!("FAILED  {target}");
            worst = ExitCode::FAILURE;
        }
    }
    worst
}

fn targets() -> Result<Vec<String>, String> {
    let directory = Path::new("fuzz/fuzz_targets");
    if !has("fuzz") {
        return Err("cargo-fuzz is not installed: `cargo install cargo-fuzz`, and a nightly toolchain".to_owned());
    }
    let entries = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", directory.display()))?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|end| end.to_str())) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
