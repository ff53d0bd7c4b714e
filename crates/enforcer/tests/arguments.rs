//! What is asked wrongly ends at once, with the exit code and a line that says what was wrong.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::process::Command;

/// The exit code, and what was said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kmsgate-enforcer")).args(arguments).output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_argument_is_named_and_the_exit_code_is_2() {
    for (arguments, named) in [
        (&[][..], "--table is needed"),
        (&["--table", "x"][..], "--socket is needed"),
        (&["--user"][..], "--user needs a value"),
        (&["--user", "nobody:of:this:name"][..], "no user nobody:of:this:name"),
        (&["--table", "x", "--socket", "y", "--user", "root", "--load-only"][..], "goes with --table alone"),
        (&["--open"][..], "unknown argument --open"),
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(named) && said.contains("Usage:"), "{said}");
    }
}

#[test]
fn a_bad_table_is_named_with_its_line_and_the_exit_code_is_78() {
    let arguments = |table| ["--table", table, "--socket", "/nonexistent/socket", "--user", "1"];
    let (code, said) = run(&arguments("/nonexistent/table"));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("cannot read /nonexistent/table"), "{said}");
    let (code, said) = run(&arguments("/proc/self/cmdline"));
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("line 1: must be `kmsgate-table 1`"), "{said}");
}
