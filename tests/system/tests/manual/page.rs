//! The page of the enforcer names what the program takes, and nothing else; and man(1) has nothing to say against it.

use kmsgate_orders::table::Table;
use kmsgate_system_tests::gateway::built;
use kmsgate_system_tests::need;
use std::collections::BTreeSet;
use std::process::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/kmsgate-enforcer.8");

/// A table with a line of every kind.
const TABLE: &str = "kmsgate-table 1\nexternal eth0\naddress ::1\nrefuse reset\nmasquerade no\nmark_mask 0xffffffff\nlongest_window 1\n\
    opens_per_second 1\ngrants 1\nservice kms port=1688 max_bytes_in=0\nprovider 10.0.0.2:1688 weight=1\nbypass ::/0\n";

fn page() -> String {
    std::fs::read_to_string(PATH).expect("the page")
}

/// What stands behind `mark` in a line of the page that begins so, up to the next space.
fn behind<'a>(page: &'a str, mark: &str) -> BTreeSet<&'a str> {
    page.lines().filter_map(|line| line.strip_prefix(mark)?.split(' ').next()).collect()
}

#[test]
fn the_page_has_every_option_and_no_other() {
    let program = built("kmsgate-enforcer", "kmsgate-enforcer");
    let help = Command::new(program).arg("--help").output().expect("it starts");
    let help = String::from_utf8(help.stdout).expect("text");
    let words = help.split(|letter: char| letter.is_whitespace() || "[]".contains(letter));
    let options: BTreeSet<_> = words.filter_map(|word| word.strip_prefix("--")).collect();
    assert!(options.contains("table"), "{help}");
    assert_eq!(behind(&page(), ".It Fl -"), options);
}

#[test]
fn the_page_has_every_word_of_a_table_and_no_other() {
    let table = Table::parse(TABLE).expect("a table").write();
    let words = table.lines().skip(1).filter_map(|line| line.split(' ').next());
    assert_eq!(behind(&page(), ".It Ic "), words.collect());
}

#[test]
fn man_has_nothing_to_say_against_the_page() {
    need!("man", "/usr/bin/man", "man-db");
    for arguments in [&["man", "--warnings", "--local-file"][..], &["groff", "-ww", "-z", "-mandoc", "-Tutf8"][..]] {
        let (program, rest) = arguments.split_first().expect("a program");
        let output = Command::new(program).args(rest).arg(PATH).env("LC_ALL", "C.UTF-8").output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{program}: {said}");
    }
}
