//! The grant is on disk before it opens; the claim is in the ledger before its first byte (P3).

use kmsgate_system_tests::gateway::{PASSWORD, Setup, at};
use kmsgate_system_tests::need_root;
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn p3_what_was_answered_stands_in_the_ledger_after_kill_9() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    gateway.kill9();
    assert_eq!(gateway.only_grant().state, "open");
}

#[test]
fn p3_a_claim_is_written_before_its_first_byte() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).service("close_when_used", "false").start();
    gateway.granted(at(1, 1), "alice");
    let held = gateway.connect(at(1, 1)).through();
    gateway.kill9();
    drop(held);
    assert_eq!(gateway.only_grant().claims, 1);
    gateway.start_again();
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset), "an answered claim stays spent");
    assert_eq!(gateway.only_grant().claims, 1);
}

/// A file system of a megabyte and a half; it goes with this.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1536k", "tmpfs"]).arg(at).status();
        assert!(mounted.unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the gateway may still have its files open.
        Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
    }
}

#[test]
fn p3_a_full_disk_opens_nothing_and_loses_nothing() {
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address);
    let small = Small::mount(&setup.path().join("small"));
    let url = format!("url = \"sqlite://{}/ledger.db\"", small.0.display());
    let gateway = setup.section("ledger", &url).start();
    gateway.granted(at(1, 1), "alice");

    let filler = small.0.join("filler");
    let full = std::fs::write(&filler, vec![1; 4 << 20]);
    assert_eq!(full.unwrap_err().raw_os_error(), Some(28), "no space is left");

    // What is left of the last page of the ledger's log may still take a few.
    let refused = (2..=200).find(|low| {
        let answer = gateway.sign_in(at(1, *low), "bob", PASSWORD);
        let through = gateway.connect(at(1, *low)).is_through();
        assert_eq!(answer.status == 201, through, "{answer:?}");
        answer.verdict() == "503 ledger_unavailable"
    });
    assert!(refused.is_some(), "the disk never was full");
    assert_eq!(gateway.sign_in(at(2, 1), "bob", PASSWORD).verdict(), "503 ledger_unavailable");
    assert!(matches!(gateway.connect(at(2, 1)), Outcome::Reset));

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(gateway.sign_in(at(2, 1), "bob", PASSWORD).verdict(), "201 granted");
    assert!(gateway.connect(at(2, 1)).is_through());
    let file = small.0.join("ledger.db");
    let alice = "SELECT count(*) FROM grants WHERE name = 'alice'";
    assert_eq!(kmsgate_system_tests::ledger::number(&file, alice), 1);
}
