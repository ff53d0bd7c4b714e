//! What the manual lists is all that there is, and nothing else.

use crate::file;
use kmsgate_core::reason::{Cause, Reason};
use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::http::{Request, ask};
use kmsgate_system_tests::provider::{Manner, Provider};
use std::collections::BTreeSet;

/// The words in code that begin the rows of the tables below a heading.
fn listed(chapter: &str, heading: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file("docs").join(chapter)).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let words = first.flat_map(|cell| cell.split('`').skip(1).step_by(2).collect::<Vec<_>>());
    words.map(|word| word.split('{').next().unwrap().to_owned()).collect()
}

#[test]
fn every_reason_and_cause_is_explained() {
    let reasons: BTreeSet<String> = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(listed("trouble.md", "A sign-in is refused"), reasons);
    let causes: BTreeSet<String> = Cause::ALL.iter().map(|cause| cause.as_str().to_owned()).collect();
    assert_eq!(listed("trouble.md", "A window ended"), causes);
}

#[test]
fn every_status_of_a_refusal_is_right() {
    let text = std::fs::read_to_string(file("docs/trouble.md")).unwrap();
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Abandoned) {
        let row = format!("| `{}` | {} |", reason.as_str(), reason.status());
        assert!(text.contains(&row), "{row}");
    }
}

#[test]
fn every_metric_is_explained() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).section("operator", "listen = \"127.0.0.1:0\"").start();
    gateway.granted(at(1, 1), "alice");
    drop(gateway.connect(at(1, 1)).through());
    gateway.until("its close", |grants| grants[0].state == "closed");
    let serving = gateway.log.line(&["kmsgate: serving "]);
    let operator =
        serving.split(' ').find_map(|field| field.strip_prefix("operator=")).unwrap().trim().parse().unwrap();
    let request = Request { method: "GET", path: "/metrics", headers: &[], body: b"" };
    let page = ask(at(0, 1), operator, &request).unwrap();
    let there: BTreeSet<String> = page
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
        })
        .collect();
    assert_eq!(listed("operating.md", "Counters and health"), there);
}
