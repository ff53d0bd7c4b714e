//! The project's own commands: `cargo xtask check | test | bench | fuzz`.

mod check;
mod dependencies;
mod fuzz;
mod packages;
mod sources;
mod step;

use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check            formatting, lints, documentation, dependencies, the rules of the house
  test [FILTER]    every test; as root, first installs the Debian packages that tests need,
                   otherwise says which are missing and what is left out
  bench [ARGS]     the figures of bench/README.md, measured here
  fuzz [SECONDS]   every parser against random input, so long each (60); needs cargo-fuzz
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", arguments.as_slice()),
    };
    if let Err(error) = to_the_root() {
        eprintln!("cannot go to the root of the project: {error}");
        return ExitCode::FAILURE;
    }
    match command {
        "check" => check::run(),
        "test" => test(rest),
        "bench" => {
            pass_on(Command::new("cargo").args(["run", "--release", "--package", "kmsgate-bench", "--"]).args(rest))
        }
        "fuzz" => fuzz::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The commands name files from the root, wherever they are called.
fn to_the_root() -> std::io::Result<()> {
    std::env::set_current_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}

/// Installs what is missing, or says what is left out; then runs everything.
fn test(filter: &[String]) -> ExitCode {
    let without = match packages::prepare() {
        Ok(without) => without.into_iter().collect::<Vec<_>>().join(","),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut cargo = Command::new("cargo");
    cargo.env(packages::WITHOUT, without);
    // Workspace: the system tests start the program that is built in the same run.
    match has("nextest") {
        true => cargo.args(["nextest", "run", "--locked", "--workspace"]).args(filter),
        false => cargo.args(["test", "--locked", "--workspace"]).args(filter),
    };
    pass_on(&mut cargo)
}

/// Whether cargo has this command.
fn has(command: &str) -> bool {
    Command::new("cargo").args([command, "--version"]).output().is_ok_and(|output| output.status.success())
}

fn pass_on(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("cannot start {command:?}: {error}");
            ExitCode::FAILURE
        }
    }
}
