//! Rules of the house that a machine can see.

use crate::step::none;
use std::path::{Path, PathBuf};

/// Longest file, tests apart.
const LONGEST: usize = 700;

/// A proof's maker, and the only files in which it may be called.
const MAKERS: &[(&str, &[&str])] = &[
    ("Identity::accepted(", &["crates/accounts/src/chain.rs", "crates/accounts/src/chain/"]),
    ("Identity::vouched(", &["crates/gateway/src/operator/"]),
];

/// Lines that no source may have, and why.
const NEVER: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or is removed"),
    ("thread::sleep", "wait for a condition, not for time"),
    ("#[allow(", "use #[expect(.., reason = ..)]"),
];

/// Length, first lines, and what must never be written.
pub(crate) fn rules() -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in sources()? {
        let shown = path.display();
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = own.lines().count();
        if lines > LONGEST && !is_test(&path) {
            findings.push(format!("{shown}: {lines} lines; past {LONGEST} it wants to be two"));
        }
        if !text.starts_with("//!") {
            findings.push(format!("{shown}: the first line says what the file is for"));
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (never, why) in NEVER.iter().filter(|(never, _)| code.contains(never)) {
                findings.push(format!("{shown}:{}: {never}: {why}", number + 1));
            }
        }
    }
    none(findings)
}

/// Proofs are made where they are proved, and nowhere else.
pub(crate) fn makers() -> Result<(), String> {
    let mut findings = Vec::new();
    for (path, text) in sources()? {
        let shown = path.to_string_lossy().into_owned();
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (maker, homes) in MAKERS {
            let at_home = is_test(&path) || homes.iter().any(|home| shown.starts_with(home));
            if !at_home && own.contains(maker) {
                findings.push(format!("{shown} calls {maker}..): only {} may", homes.join(", ")));
            }
        }
    }
    none(findings)
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/tests/")
        || text.starts_with("tests/")
        || text.ends_with("/tests.rs")
        || text.starts_with("xtask/")
        || text.contains("/testing/")
        || text.ends_with("conformance.rs")
        || text.contains("/conformance/")
}

/// Every Rust file of ours with its text, by its path from the root.
fn sources() -> Result<Vec<(PathBuf, String)>, String> {
    let mut found = Vec::new();
    for root in ["crates", "tests", "bench", "xtask"] {
        walk(Path::new(root), &mut found)?;
    }
    found.retain(|(path, _)| path != Path::new("xtask/src/sources.rs"));
    found.sort();
    Ok(found)
}

fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
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
