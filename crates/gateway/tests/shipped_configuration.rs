//! The shipped configuration names every key that the parser knows, and no other, and is accepted as it stands.

use kmsgate::config::{Config, known_keys};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const SHIPPED: &str = include_str!("../../../etc/kmsgate.toml");

#[test]
fn it_is_accepted_as_it_stands() {
    let accepted = Config::parse(Path::new("etc/kmsgate.toml"), SHIPPED);
    assert!(accepted.is_ok(), "{}", accepted.err().map(|errors| errors.to_string()).unwrap_or_default());
}

#[test]
fn it_names_every_key_and_no_other() {
    let mut known = known_keys();
    // Tables in one line are compared as the key that holds them.
    known.retain(|section, _| !section.contains('.') && !section.is_empty());
    let mut faults = Vec::new();
    let shipped = shipped();
    for section in known.keys().chain(shipped.keys()).collect::<BTreeSet<_>>() {
        let none = BTreeSet::new();
        let (parser, file) = (known.get(section).unwrap_or(&none), shipped.get(section).unwrap_or(&none));
        faults.extend(parser.difference(file).map(|key| format!("[{section}] {key} is not in the file")));
        faults.extend(file.difference(parser).map(|key| format!("[{section}] {key} is not known to the parser")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Keys by section, commented out or not.
fn shipped() -> BTreeMap<String, BTreeSet<String>> {
    let mut section = String::new();
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in SHIPPED.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            keys.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}
