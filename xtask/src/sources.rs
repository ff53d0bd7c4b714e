//! Rules of the house that a machine can see in the text.

use crate::step::none;
use std::path::{Path, PathBuf};

/// Longest file, tests apart.
const LONGEST: usize = 700;

/// What must stay small enough to be read in an afternoon: lines of code, without blank lines, comments, tests, and lines
/// that only close what another began, of which the formatter decides.
const SMALL: &[(&str, usize, &str)] =
    &[("crates/enforcer/", 2500, "who holds a capability is read by whoever installs it")];

/// A proof's maker, and the only file in which it may be called: once, and nowhere else outside tests.
const MAKERS: &[(&str, &str)] = &[
    // An identity is proved where an account server's answer is read.
    ("Identity::accepted(", "crates/accounts/src/chain.rs"),
];

/// The weaker maker: an operator's word instead of an account server's. Only the operator's rooms have it.
const VOUCHED: (&str, &[&str]) = ("Identity::vouched(", &["crates/gateway/src/operator/", "crates/gateway/src/cli/"]);

/// Files that may hold `unsafe`, each with the reason.
const UNSAFE: &[(&str, &str)] = &[];

/// What no source may have, and why.
const NEVER: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or is removed"),
    ("thread::sleep", "wait for a condition, not for time"),
    ("#[allow(", "use #[expect(.., reason = ..)]"),
    ("#![allow(", "use #![expect(.., reason = ..)]"),
];

/// What no test may have beside [`NEVER`].
const NEVER_IN_TESTS: &[(&str, &str)] = &[("sleep(", "wait for a condition, not for time")];

/// A file of ours.
struct Source {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    /// Whether all of it is test, or measures: nothing of it is in the program.
    fn is_test(&self) -> bool {
        let path = &self.path;
        let named = path.ends_with("/tests.rs") || path.ends_with("/conformance.rs");
        let measures = path.starts_with("bench/");
        path.starts_with("tests/") || named || measures || path.contains("/tests/") || path.contains("/conformance/")
    }

    /// The lines that are built into the program.
    fn own(&self) -> &str {
        if self.is_test() { "" } else { self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default() }
    }

    /// (number, line without its comment, whether it is of a test).
    fn code(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let own = self.own().lines().count();
        let lines = self.text.lines().enumerate();
        lines.map(move |(index, line)| (index + 1, line.split("//").next().unwrap_or_default(), index >= own))
    }

    /// Whether this file is one of those that look for the words, and therefore have them.
    fn looks_for_words(&self) -> bool {
        self.path == "xtask/src/sources.rs"
    }
}

/// Length, first lines, and what must never be written.
pub(crate) fn rules() -> Result<(), String> {
    let mut findings = Vec::new();
    for source in sources()? {
        let path = &source.path;
        let lines = source.own().lines().count();
        if lines > LONGEST {
            findings.push(format!("{path}: {lines} lines; past {LONGEST} it wants to be two"));
        }
        if !source.text.starts_with("//!") {
            findings.push(format!("{path}: the first line says what the file is for"));
        }
        if source.looks_for_words() {
            continue;
        }
        for (number, code, test) in source.code() {
            let more = NEVER_IN_TESTS.iter().filter(|_| test);
            for (never, why) in NEVER.iter().chain(more).filter(|(never, _)| code.contains(never)) {
                findings.push(format!("{path}:{number}: {never}: {why}"));
            }
            if is_unsafe(code) && !UNSAFE.iter().any(|(known, _)| known == path) {
                findings.push(format!("{path}:{number}: unsafe: only the files on the list in xtask/src/sources.rs"));
            }
        }
    }
    none(findings)
}

/// What must stay small is small.
pub(crate) fn small() -> Result<(), String> {
    none(too_large(&sources()?, SMALL))
}

fn too_large(sources: &[Source], limits: &[(&str, usize, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    for (place, most, why) in limits {
        let files = sources.iter().filter(|source| source.path.starts_with(place));
        let lines: usize = files.map(|source| source.own().lines().filter(|line| is_code(line)).count()).sum();
        if lines > *most {
            findings.push(format!("{place} has {lines} lines of code, {most} at most: {why}"));
        }
    }
    findings
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    let closes = line.chars().all(|letter| "])}>;,".contains(letter));
    !closes && !line.starts_with("//")
}

/// Proofs are made where they are proved, and nowhere else.
pub(crate) fn makers() -> Result<(), String> {
    let mut findings = Vec::new();
    let sources = sources()?;
    let sources = || sources.iter().filter(|source| !source.looks_for_words());
    for (maker, home) in MAKERS {
        let calls: Vec<String> = sources().flat_map(|source| calls(source, maker)).collect();
        let (at_home, astray): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|call| call.starts_with(&format!("{home}:")));
        if at_home.len() != 1 {
            findings.push(format!("{home} calls {maker}..) {} times; there is one way to the proof", at_home.len()));
        }
        findings.extend(astray.iter().map(|call| format!("{call} calls {maker}..): only {home} may")));
    }
    let (maker, homes) = VOUCHED;
    let calls = sources().flat_map(|source| calls(source, maker));
    let astray = calls.filter(|call| !homes.iter().any(|home| call.starts_with(home)));
    findings.extend(astray.map(|call| format!("{call} calls {maker}..): only {} may", homes.join(", "))));
    none(findings)
}

/// Where the program, tests apart, has this: `path:line`.
fn calls(source: &Source, what: &str) -> Vec<String> {
    let own = source.code().filter(|(_, code, test)| !test && code.contains(what));
    own.map(|(number, ..)| format!("{}:{number}", source.path)).collect()
}

/// Whether the keyword stands here, and not the word in a text.
fn is_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "unsafe("]
        .iter()
        .any(|begin| code.contains(begin))
}

/// Every Rust file of ours with its text, by its path from the root.
fn sources() -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    for root in ["crates", "tests", "bench", "xtask", "fuzz"] {
        walk(Path::new(root), &mut found)?;
    }
    found.sort();
    let source = |(path, text): (PathBuf, String)| Source { path: path.to_string_lossy().into_owned(), text };
    Ok(found.into_iter().map(source).collect())
}

fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    if !directory.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            found.push((path, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_are_counted_and_no_others() {
        let text = "//! What.\n\n/// Why.\nfn a() {\n    // How.\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        let file = |path: &str| Source { path: path.into(), text: text.into() };
        let sources = [file("crates/x/src/a.rs"), file("crates/x/src/b.rs"), file("crates/x/tests/c.rs"), file("d.rs")];
        assert_eq!(too_large(&sources, &[("crates/x/", 4, "")]), [""; 0]);
        let said = too_large(&sources, &[("crates/x/", 3, "it is read")]);
        assert_eq!(said, ["crates/x/ has 4 lines of code, 3 at most: it is read"]);
    }

    #[test]
    fn what_is_of_a_test_is_told_apart() {
        let text = "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        let source = Source { path: "crates/x/src/lib.rs".into(), text: text.into() };
        let tests: Vec<usize> = source.code().filter(|(.., test)| *test).map(|(number, ..)| number).collect();
        assert_eq!(tests, [3, 4, 5, 6, 7]);
        assert_eq!(calls(&source, "fn "), ["crates/x/src/lib.rs:2"]);
        let whole = Source { path: "tests/system/tests/a.rs".into(), text: text.into() };
        assert!(whole.is_test() && whole.own().is_empty());
    }
}
