//! Every command of the manual is run, in its order, chapter by chapter, each chapter against a gateway of its own.

use crate::block::{Shown, is_as_shown, read};
use crate::file;
use kmsgate_system_tests::gateway::{Gateway, PASSWORD, Setup, at};
use kmsgate_system_tests::need;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::collections::BTreeSet;
use std::process::Command;

/// What stands for something that is known only when the commands run.
struct Known {
    grant: String,
    token: String,
    portal: String,
    provider: String,
}

impl Known {
    fn put_into(&self, text: &str) -> String {
        text.replace("https://kms.example.edu", &self.portal)
            .replace("GRANT", &self.grant)
            .replace("PROVIDER", &self.provider)
            .replace("TOKEN", &self.token)
            .replace("PASSWORD", PASSWORD)
    }

    /// Takes up what a command printed.
    fn learn(&mut self, printed: &str) {
        if let Ok(answer) = serde_json::from_str::<serde_json::Value>(printed)
            && let (Some(id), Some(token)) = (answer["id"].as_str(), answer["token"].as_str())
        {
            (self.grant, self.token) = (id.to_owned(), token.to_owned());
        }
    }
}

fn chapter_is_true(name: &str) {
    let chapter = std::fs::read_to_string(file("docs").join(name)).unwrap();
    let (run, _) = read(&chapter);
    assert!(!run.is_empty(), "{name} shows no command");
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let granted = gateway.granted(at(1, 1), "alice");
    let mut known = Known {
        grant: granted.text("id"),
        token: granted.text("token"),
        portal: format!("http://{}", gateway.portal()),
        provider: provider.address.to_string(),
    };
    for shown in run {
        let words: Vec<String> = shown.words.iter().map(|word| known.put_into(word)).collect();
        // A table for spreadsheets ends its lines as RFC 4180 has it.
        let printed = carry_out(&gateway, &words, &shown).replace("\r\n", "\n");
        known.learn(&printed);
        let expected = known.put_into(&shown.output);
        assert!(is_as_shown(&printed, &expected), "{name}: {words:?} printed\n{printed}\nbut shown is\n{expected}");
    }
}

/// What it printed.
#[track_caller]
fn carry_out(gateway: &Gateway, words: &[String], shown: &Shown) -> String {
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match words[0].as_str() {
        "kmsgate" => {
            let said = gateway.command(&arguments, &format!("{}\n", shown.input));
            assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
            said.out
        }
        "curl" => {
            let output = Command::new("curl").args(&arguments).output().unwrap();
            assert!(output.status.success(), "{words:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        }
        other => panic!("{other}: only kmsgate and curl are run"),
    }
}

#[test]
fn installing() {
    chapter_is_true("install.md");
}

#[test]
fn account_servers() {
    chapter_is_true("accounts.md");
}

#[test]
fn rules_and_quotas() {
    chapter_is_true("rules.md");
}

#[test]
fn relay_or_kernel() {
    chapter_is_true("forwarders.md");
}

#[test]
fn operating() {
    chapter_is_true("operating.md");
}

#[test]
fn the_http_interface() {
    need!("curl", "/usr/bin/curl", "curl");
    chapter_is_true("api.md");
}

#[test]
fn every_chapter_with_commands_has_its_test_and_root_does_only_what_is_known() {
    let own = std::fs::read_to_string(file("tests/system/tests/manual/commands.rs")).unwrap();
    let known =
        BTreeSet::from(["cargo", "useradd", "install", "modprobe", "systemctl", "journalctl", "sqlite3", "sysctl"]);
    for entry in std::fs::read_dir(file("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let (run, roots) = read(&std::fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(run.is_empty() || own.contains(&format!("chapter_is_true({name:?})")), "{name} is not run");
        for line in roots {
            for part in line.split("&&").map(str::trim) {
                // As root, as it writes and removes what root alone may; the kernel's tests run both.
                let ruled = part.starts_with("kmsgate ruleset --table") || part.starts_with("kmsgate ruleset --remove");
                assert!(ruled || known.contains(part.split(' ').next().unwrap()), "{name}: {line}");
            }
        }
    }
}
