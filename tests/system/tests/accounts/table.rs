//! Which kind was shown what: the table of the manual, made of the names of the tests. What must never happen here: a cell for
//! which there is no test.

use std::fmt::Write;
use std::path::Path;

/// What begins the name of a test, and what the table calls it.
const CASES: [(&str, &str); 13] = [
    ("right", "right password"),
    ("wrong", "wrong password"),
    ("unknown", "unknown name"),
    ("disabled", "disabled account"),
    ("groups", "groups to rules"),
    ("outage", "outages"),
    ("restarted", "restarted between"),
    ("failover", "several hosts"),
    ("tls", "TLS faults"),
    ("service_password", "wrong service password"),
    ("rate", "the server's own penalties"),
    ("hostile", "hostile names"),
    ("empty", "empty password"),
];
const KINDS: [(&str, &str); 8] = [
    ("file", include_str!("file.rs")),
    ("imap", include_str!("imap.rs")),
    ("ldap", concat!(include_str!("ldap.rs"), include_str!("ldap_ad.rs"))),
    ("nis", include_str!("nis.rs")),
    ("pop3", include_str!("pop3.rs")),
    ("postgres", include_str!("postgres.rs")),
    ("radius", include_str!("radius.rs")),
    ("sqlite", include_str!("sqlite.rs")),
];
/// Set to write the table where it stands instead of comparing it.
const WRITE: &str = "KMSGATE_WRITE_TABLE";

/// The cases that a file's tests show: each word of a name up to the first that is none.
fn shown(source: &str) -> Vec<&'static str> {
    let mut lines = source.lines();
    let mut found = vec![];
    while let Some(line) = lines.next() {
        if !matches!(line.trim(), "#[tokio::test]" | "#[test]") {
            continue;
        }
        let name = lines.next().unwrap_or_default();
        let mut rest = name.trim_start_matches("async ").trim_start_matches("fn ");
        while let Some((case, _)) = CASES.iter().find(|(case, _)| rest.starts_with(case)) {
            found.push(*case);
            rest = rest.trim_start_matches(case).trim_start_matches('_').trim_start_matches("and_");
        }
    }
    found
}

fn table() -> String {
    let mut text = String::from("| |");
    for (kind, _) in KINDS {
        write!(text, " [`{kind}`]({kind}.md) |").expect("a string takes it");
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(KINDS.len()));
    for (case, title) in CASES {
        write!(text, "\n| {title} |").expect("a string takes it");
        for (_, source) in KINDS {
            text.push_str(if shown(source).contains(&case) { " yes |" } else { " - |" });
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_manuals_table_is_what_the_tests_show() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/account-servers/README.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let start = page.find("| |").expect("the table");
    let end = page[start..].find("\n\n").map_or(page.len(), |end| start + end + 1);
    let wanted = format!("{}{}{}", &page[..start], table(), &page[end..]);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &wanted).expect("written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the page"), wanted, "{WRITE}=1 writes it");
}
