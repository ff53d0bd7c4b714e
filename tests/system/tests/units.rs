//! The units that are shipped: systemd understands them, they leave little open, and what they leave open they name.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use kmsgate_system_tests::gateway::built;
use kmsgate_system_tests::need;
use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: [(&str, &str); 3] = [
    ("kmsgate.service", include_str!("../../../etc/kmsgate.service")),
    ("kmsgate-enforcer.service", include_str!("../../../etc/kmsgate-enforcer.service")),
    ("kmsgate-guard.service", include_str!("../../../etc/kmsgate-guard.service")),
];

/// The greatest exposure of a unit, in tenths, as `systemd-analyze security` counts it.
const EXPOSURE: &str = "--threshold=15";

/// The units with the programs of this build, for systemd looks whether they are there.
fn placed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let built_in = |program| built(program, program).parent().map(Path::to_owned).expect("a directory");
    let programs = built_in("kmsgate");
    assert_eq!(programs, built_in("kmsgate-enforcer"));
    for (name, text) in UNITS {
        let text = text.replace("/usr/local/bin", programs.to_str().expect("a plain path"));
        fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

/// Whether systemd-analyze is content, and what it said.
fn analyze(arguments: &[&str], directory: &Path, units: &[&str]) -> (bool, String) {
    let paths = units.iter().map(|unit| directory.join(unit));
    let output = Command::new("systemd-analyze").args(arguments).args(paths).output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    need!("systemd", "/usr/bin/systemd-analyze", "systemd");
    let directory = placed();
    let (content, said) = analyze(&["verify", "--man=no"], directory.path(), &UNITS.map(|(name, _)| name));
    // Only of our units: a machine's others may have faults of their own.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("kmsgate")).collect();
    assert!(content && ours.is_empty(), "{said}");
}

#[test]
fn the_units_leave_little_open_and_name_what_they_leave() {
    need!("systemd", "/usr/bin/systemd-analyze", "systemd");
    let directory = placed();
    for (name, text) in UNITS {
        let arguments = ["security", "--offline=true", "--no-pager", EXPOSURE];
        let (little, said) = analyze(&arguments, directory.path(), &[name]);
        assert!(little && said.contains("Overall exposure level"), "{name}: {said}");
        let open = said.lines().filter_map(|line| line.split_once('✗')?.1.trim().split('=').next());
        for directive in open {
            let named = text.contains(directive);
            assert!(named, "{name}: {directive} is neither used nor named: {said}");
        }
    }
}
