//! What we build on: licences, sources, duplicates, crates that must not come in, and which crate may reach which.
//!
//! All of it is read from `cargo tree`, which tells what is really built; `cargo metadata` also lists what a lock file
//! holds for features that nobody has turned on.

use crate::step::{cargo, none};
use std::collections::{BTreeMap, BTreeSet};

/// Licences that go with `Apache-2.0 OR MIT`, and what each asks of us. One of them must satisfy every crate's expression.
const LICENCES: &[(&str, &str)] = &[
    ("MIT", "ours; keep the notice"),
    ("Apache-2.0", "ours; keep the notice"),
    ("Apache-2.0 WITH LLVM-exception", "asks less than Apache-2.0"),
    ("BSD-2-Clause", "keep the notice"),
    ("BSD-3-Clause", "keep the notice; no endorsement"),
    ("ISC", "keep the notice"),
    ("Zlib", "say what was changed"),
    ("BSL-1.0", "keep the notice in source"),
    ("0BSD", "asks nothing"),
    ("MIT-0", "asks nothing"),
    ("Unlicense", "asks nothing"),
    ("CC0-1.0", "asks nothing"),
    ("Unicode-3.0", "Unicode's tables; keep the notice"),
    ("CDLA-Permissive-2.0", "lists of root certificates; pass the licence on with the data"),
    ("OpenSSL", "parts of AWS-LC; name it where the program is advertised"),
];

/// Crates that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "one TLS library, rustls"),
    ("native-tls", "one TLS library, rustls"),
    ("ring", "one provider of cryptography, aws-lc-rs"),
    ("async-std", "discontinued (RUSTSEC-2025-0052)"),
    ("chrono", "one calendar, jiff"),
];

/// Crates that may be there in several versions, and why. Each costs time to build and one more text to watch for faults.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "reqwest, which only tests use, is a version behind"),
    ("bit-vec", "proptest, which only tests use, is a version behind"),
    ("fallible-iterator", "rusqlite has 0.3, tokio-postgres 0.2"),
    ("getrandom", "jobserver and rand follow the old interface"),
    ("r-efi", "comes with getrandom"),
    ("syn", "derive macros are moving from 2 to 3; only the compiler sees them"),
    ("synstructure", "comes with syn"),
];

/// What does input, output, waiting or chance.
const OUTSIDE: &[&str] =
    &["tokio", "mio", "socket2", "rusqlite", "rustix", "hyper", "axum", "reqwest", "rustls", "getrandom", "rand"];

/// Which of our crates must not reach what, and the promise that this keeps. A crate that is not written yet is passed over.
const EDGES: &[(&str, Edge, &str)] = &[
    ("kmsgate-core", Edge::Never(OUTSIDE), "the core takes facts and returns decisions"),
    (
        "kmsgate-accounts",
        Edge::Never(&["kmsgate-ledger", "kmsgate"]),
        "account servers cannot reach the ledger: what they have of SQLite opens other programs' files, read only",
    ),
    (
        "kmsgate-ledger",
        Edge::Never(&["kmsgate-accounts", "kmsgate", "hyper", "rustls"]),
        "the ledger talks to a disk alone",
    ),
    ("kmsgate-orders", Edge::Nothing, "both ends of an order can read all of it"),
    ("kmsgate-enforcer", Edge::Families(TOO_MUCH), "the holder of the capability is small enough to read"),
];

/// Families of crates that are too much for whoever holds a capability: runtimes, TLS, databases, HTTP, readers of rich
/// formats. A crate is of a family if it bears its name, or one that begins with it and a hyphen or an underscore.
const TOO_MUCH: &[&str] = &[
    // Runtimes and what waits for them.
    "tokio",
    "async",
    "smol",
    "mio",
    "futures",
    "polling",
    "socket2",
    "rayon",
    // TLS and cryptography.
    "rustls",
    "native-tls",
    "openssl",
    "ring",
    "aws-lc",
    // Databases.
    "rusqlite",
    "libsqlite3",
    "sqlx",
    "mysql",
    "postgres",
    // HTTP.
    "hyper",
    "h2",
    "http",
    "axum",
    "tower",
    "reqwest",
    "ureq",
    // Rich formats.
    "serde",
    "toml",
    "regex",
];

/// What a crate may build on.
enum Edge {
    /// Anything but these.
    Never(&'static [&'static str]),
    /// Anything but crates of these families, at build time too.
    Families(&'static [&'static str]),
    /// The standard library alone.
    Nothing,
}

impl Edge {
    /// The crates of a `cargo tree` that must not be in it; its first line is the crate itself.
    fn crossed<'a>(&self, tree: &'a str) -> impl Iterator<Item = &'a str> {
        let reached: BTreeSet<&str> = tree.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        let of = |name: &str, family: &str| {
            name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        };
        reached.into_iter().filter(move |name| match self {
            Self::Never(forbidden) => forbidden.contains(name),
            Self::Families(families) => families.iter().any(|family| of(name, family)),
            Self::Nothing => !name.is_empty(),
        })
    }
}

/// One crate that is built into something of ours.
struct Built<'a> {
    name: &'a str,
    version: &'a str,
    /// Whence, if not from the registry: a path or the address of a repository.
    elsewhere: Option<&'a str>,
    licence: &'a str,
}

/// Licences, sources, banned crates, duplicates of everything that is built here, tests and build scripts included.
pub(crate) fn review() -> Result<(), String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--workspace",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ])?;
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let lines: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        let Some(Built { name, version, elsewhere, licence }) = built(line) else {
            findings.push(format!("cargo tree says something new: {line:?}"));
            continue;
        };
        versions.entry(name).or_default().insert(version);
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!("{name} must not come in: {why}; `cargo tree --invert {name}` tells who brings it"));
        }
        if !satisfied(licence) {
            findings.push(format!("{name} {version}: licence {licence:?} is not on the list"));
        }
        if let Some(elsewhere) = elsewhere.filter(|place| !place.starts_with('/')) {
            findings.push(format!("{name} comes from {elsewhere}, not from the registry"));
        }
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    for (name, versions) in twice.filter(|(name, _)| !DUPLICATES.iter().any(|(known, _)| known == *name)) {
        let versions: Vec<&str> = versions.iter().copied().collect();
        findings.push(format!("{name} in versions {}: bring them together or give a reason", versions.join(" and ")));
    }
    none(findings)
}

/// A line `name v1.2.3 (proc-macro) (/path or https://...)|licence`.
fn built(line: &str) -> Option<Built<'_>> {
    let (package, licence) = line.split_once('|')?;
    let package = package.trim_end_matches(" (*)");
    let mut words = package.splitn(3, ' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let rest = words.next().unwrap_or_default().replace("(proc-macro)", "");
    let elsewhere = (!rest.trim().is_empty()).then(|| package.rsplit_once('(')).flatten();
    Some(Built { name, version, elsewhere: elsewhere.map(|(_, place)| place.trim_end_matches(')')), licence })
}

/// Whether an SPDX expression can be met from [`LICENCES`]: every part of an AND, one part of an OR. Parentheses are not
/// read, which can only make the answer stricter.
fn satisfied(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    let known = |licence: &str| LICENCES.iter().any(|(known, _)| *known == licence.trim());
    !expression.is_empty() && expression.split(" AND ").all(|part| part.split(" OR ").any(known))
}

/// Which crate reaches which, as cargo tree sees it.
pub(crate) fn edges() -> Result<(), String> {
    let mut findings = Vec::new();
    for (part, edge, why) in EDGES {
        if !std::path::Path::new("crates").join(part.trim_start_matches("kmsgate-")).exists() {
            continue;
        }
        let kinds = if matches!(edge, Edge::Families(_)) { "normal,build" } else { "normal" };
        let tree = cargo(&["tree", "--package", part, "--edges", kinds, "--prefix", "none", "--format", "{p}"])?;
        findings.extend(edge.crossed(&tree).map(|name| format!("{part} reaches {name}: {why}")));
    }
    none(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_met_by_every_part_of_an_and_and_one_of_an_or() {
        for met in ["MIT", "MIT/Apache-2.0", "Apache-2.0 OR GPL-2.0-only", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(satisfied(met), "{met}");
        }
        for unmet in ["", "GPL-3.0-or-later", "MIT AND GPL-2.0-only", "MPL-2.0"] {
            assert!(!satisfied(unmet), "{unmet}");
        }
    }

    #[test]
    fn a_tree_with_a_runtime_is_refused() {
        let tree = "kmsgate-enforcer v0.1.0 (/src)\nkmsgate-orders v0.1.0 (/src)\nlibc v0.2.1\nrustix v1.1.6\nlibc v0.2.1 (*)\n";
        let edge = Edge::Families(TOO_MUCH);
        let with = |more: &str| format!("{tree}{more}");
        assert_eq!(edge.crossed(tree).count(), 0);
        for name in ["tokio", "async-std", "smol", "mio", "rustls", "openssl-sys", "ring", "rusqlite", "sqlx-core"] {
            let tree = with(&format!("{name} v1.0.0\n"));
            assert_eq!(edge.crossed(&tree).collect::<Vec<_>>(), [name]);
        }
        let alike = with("mionic v1.0.0\nstring v1.0.0\n");
        assert_eq!(edge.crossed(&alike).count(), 0, "a name that only begins alike");
        assert_eq!(Edge::Nothing.crossed(tree).collect::<Vec<_>>(), ["kmsgate-orders", "libc", "rustix"]);
        assert_eq!(Edge::Never(&["libc"]).crossed(tree).collect::<Vec<_>>(), ["libc"]);
    }

    #[test]
    fn a_line_of_cargo_tree_tells_name_version_place_and_licence() {
        let all = |line| built(line).map(|built| (built.name, built.version, built.elsewhere, built.licence));
        assert_eq!(all("serde v1.0.2|MIT"), Some(("serde", "1.0.2", None, "MIT")));
        assert_eq!(all("askama_derive v0.16.0 (proc-macro)|MIT"), Some(("askama_derive", "0.16.0", None, "MIT")));
        assert_eq!(all("kmsgate v0.1.0 (/src/kmsgate)|MIT"), Some(("kmsgate", "0.1.0", Some("/src/kmsgate"), "MIT")));
        let git = "x v2.0.0 (https://example.org/x.git?rev=1#1)|MIT";
        assert_eq!(all(git), Some(("x", "2.0.0", Some("https://example.org/x.git?rev=1#1"), "MIT")));
        assert_eq!(all("nothing"), None);
    }
}
