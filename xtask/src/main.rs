//! The project's own commands: `cargo xtask check | test | bench`.

mod check;
mod dependencies;
mod packages;
mod sources;
mod step;

use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check            formatting, lints, documentation, dependencies, the rules of the house
  test [FILTER]    every test; as root, first installs the Debian packages that system tests need
  bench [ARGS]     the figures of bench/README.md, measured here
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", arguments.as_slice()),
    };
    match command {
        "check" => check::run(),
        "test" => test(rest),
        "bench" => {
            pass_on(Command::new("cargo").args(["run", "--release", "--package", "kmsgate-bench", "--"]).args(rest))
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Installs what is missing, or says what is left out; then runs everything.
fn test(filter: &[String]) -> ExitCode {
    let without = match packages::prepare() {
        Ok(without) => without,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let nextest =
        Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let mut cargo = Command::new("cargo");
    cargo.env("KMSGATE_TEST_WITHOUT", without.join(","));
    match nextest {
        true => cargo.args(["nextest", "run", "--workspace"]).args(filter),
        false => cargo.args(["test", "--workspace"]).args(filter),
    };
    pass_on(&mut cargo)
}

fn pass_on(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start {command:?}: {error}");
            ExitCode::FAILURE
        }
    }
}
