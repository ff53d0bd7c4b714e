//! One step of a check: a name, a verdict, the time it took.

use std::process::Command;
use std::time::Instant;

/// Runs a step and prints its line; what is wrong follows it.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<(), String>) -> bool {
    let began = Instant::now();
    let result = work();
    let seconds = began.elapsed().as_secs_f32();
    match result {
        Ok(()) => println!("ok      {name:<44} {seconds:6.1} s"),
        Err(ref fault) => {
            println!("FAILED  {name:<44} {seconds:6.1} s");
            for line in fault.lines() {
                println!("        {line}");
            }
        }
    }
    result.is_ok()
}

/// Runs cargo; its words are the fault if it fails.
pub(crate) fn cargo(arguments: &[&str]) -> Result<String, String> {
    cargo_with(&[], arguments)
}

/// As [`cargo`], with variables of the environment.
pub(crate) fn cargo_with(environment: &[(&str, &str)], arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("cargo")
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// No findings is well; else they are the fault.
pub(crate) fn none(findings: Vec<String>) -> Result<(), String> {
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}
