//! Exit codes, manual pages and completions: what scripts and shells depend on.

use kmsgate_system_tests::gateway::command;
use std::path::Path;

const COMMANDS: [&str; 9] = ["serve", "demo", "check", "grants", "report", "explain", "account", "quota", "reload"];

#[test]
fn a_wrong_use_exits_with_2_and_bad_configuration_with_78() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("kmsgate.toml");
    for arguments in [&["nonsense"][..], &["report", "--by", "moon"], &["grants", "open"], &["serve", "--bogus"], &[]] {
        let said = command(&config, arguments, "");
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains("Usage:") || said.err.contains("For more information"), "{said:?}");
    }
    std::fs::write(&config, "[portal]\nlistn = [\"127.0.0.1:1\"]\n").unwrap();
    for arguments in [&["serve"][..], &["check"], &["reload"], &["grants", "list"]] {
        let said = command(&config, arguments, "");
        assert_eq!(said.code, Some(78), "{arguments:?}: {said:?}");
        assert!(said.err.contains("kmsgate.toml:2:") && said.err.contains("listen"), "{said:?}");
    }
    let missing = command(&place.path().join("nowhere.toml"), &["check"], "");
    assert_eq!(missing.code, Some(78), "{missing:?}");
    assert!(missing.err.contains("nowhere.toml"), "{missing:?}");
}

#[test]
fn help_manual_and_completions_name_every_command() {
    let place = tempfile::tempdir().unwrap();
    let help = command(place.path(), &["help"], "");
    let page = command(place.path(), &["man"], "");
    assert_eq!((help.code, page.code), (Some(0), Some(0)));
    let into = place.path().join("man");
    let written = command(place.path(), &["man", &into.display().to_string()], "");
    assert_eq!(written.code, Some(0), "{written:?}");
    for name in COMMANDS {
        assert!(help.out.contains(&format!("\n  {name} ")), "{name}: {}", help.out);
        assert!(page.out.contains(name), "{name}: {}", page.out);
        assert!(into.join(format!("kmsgate-{name}.1")).exists(), "{name}: {:?}", names(&into));
    }
    for shell in ["bash", "zsh", "fish"] {
        let said = command(place.path(), &["completions", shell], "");
        assert_eq!(said.code, Some(0), "{said:?}");
        for name in COMMANDS {
            assert!(said.out.contains(name), "{shell} {name}");
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
