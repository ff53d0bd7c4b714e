//! The transcript in the README is what the program prints, names of grants and ports aside.

use std::process::Command;

const README: &str = include_str!("../../../README.md");

#[test]
fn the_tour_in_the_readme_is_the_tour() {
    let output = Command::new(env!("CARGO_BIN_EXE_kmsgate")).args(["demo", "--tour"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let (_, from_tour) = README.split_once("<!-- tour -->\n```text\n").unwrap();
    let (transcript, _) = from_tour.split_once("```\n<!-- /tour -->").unwrap();
    assert_eq!(masked(transcript), masked(printed.trim_start_matches('\n')));
}

/// Without what differs at every run: names of grants, ports, durations.
fn masked(text: &str) -> String {
    text.lines().map(|line| line.split(' ').map(masked_word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn masked_word(word: &str) -> String {
    match word.split_once('=') {
        Some((key @ ("grant" | "client" | "provider" | "seconds"), _)) => format!("{key}=..."),
        _ => word.to_owned(),
    }
}

/// `cargo run` at the root must know which program is meant.
#[test]
fn the_first_command_of_the_readme_runs_the_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let asked = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = std::process::Command::new(env!("CARGO")).args(asked).current_dir(root).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let default = metadata["workspace_default_members"].as_array().unwrap();
    assert_eq!(default.len(), 1, "{default:?}");
    assert!(default[0].as_str().unwrap().contains("crates/gateway"), "{default:?}");
}
