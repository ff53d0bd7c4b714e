//! A password is in no log, no argument, no file, and a second after the answer in no memory (P6).

use kmsgate_system_tests::gateway::{Gateway, Setup, at};
use kmsgate_system_tests::http::Request;
use kmsgate_system_tests::provider::{Manner, Provider};
use kmsgate_system_tests::{need, need_root};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Like no other text in the program or this test's way to it.
const SECRET: &str = "Zw6-uncommon-Qk9-words-Vx3";
/// What somebody typed who got it wrong.
const WRONG: &str = "Hb4-mistaken-Lr7-words-Gd2";

fn holds(bytes: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    bytes.windows(secret.len()).any(|window| window == secret)
}

fn assert_nowhere(gateway: &Gateway, but: &[&str]) {
    for secret in [SECRET, WRONG] {
        assert!(!gateway.log.text().contains(secret), "in the log");
        for entry in std::fs::read_dir(gateway.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_file() && !but.contains(&name.as_str()) {
                assert!(!holds(&std::fs::read(&path).unwrap(), secret), "in {}", path.display());
            }
        }
        for file in ["cmdline", "environ", "status"] {
            let bytes = std::fs::read(format!("/proc/{}/{file}", gateway.pid())).unwrap();
            assert!(!holds(&bytes, secret), "in its {file}");
        }
    }
}

fn form(gateway: &Gateway, password: &str) {
    let page = gateway.ask(at(1, 3), &Request { method: "GET", path: "/", headers: &[], body: b"" });
    let cookie = page.header("Set-Cookie").first().unwrap().split(';').next().unwrap().to_owned();
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("csrf={csrf}&username=carol&password={password}");
    let headers = [("Cookie", cookie.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let request = Request { method: "POST", path: "/", headers: &headers, body: body.as_bytes() };
    let answer = gateway.ask(at(1, 3), &request);
    assert!(!answer.body.contains(password) && !answer.head.contains(password), "{answer:?}");
}

fn dump(gateway: &Gateway, to: &Path) -> Vec<u8> {
    let pid = gateway.pid().to_string();
    let dumped = Command::new("gcore").arg("-a").arg("-o").arg(to).arg(&pid).output().unwrap();
    let file = to.with_extension(&pid);
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {dumped:?}"));
    std::fs::remove_file(file).unwrap();
    bytes
}

#[test]
fn p6_a_password_is_in_no_file_log_argument_or_memory() {
    need!("gcore", "/usr/bin/gcore", "gdb");
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).account("alice", SECRET).account("carol", SECRET).start();
    assert_eq!(gateway.sign_in(at(1, 1), "alice", SECRET).verdict(), "201 granted");
    assert_eq!(gateway.sign_in(at(1, 2), "alice", WRONG).verdict(), "401 invalid_credentials");
    // People type passwords into the field of the name.
    assert_eq!(gateway.sign_in(at(1, 2), WRONG, SECRET).verdict(), "401 invalid_credentials");
    form(&gateway, SECRET);
    form(&gateway, WRONG);
    let answered = Instant::now();
    assert_nowhere(&gateway, &["accounts", "kmsgate.toml"]);
    let outside = tempfile::tempdir().unwrap();
    let core = loop {
        let age = answered.elapsed();
        let core = dump(&gateway, &outside.path().join("core"));
        if age >= Duration::from_secs(1) {
            break core;
        }
    };
    assert!(holds(&core, "kmsgate.toml"), "the dump has the program's memory");
    assert!(!holds(&core, SECRET), "the right password is in memory");
    assert!(!holds(&core, WRONG), "the wrong password is in memory");
    assert_nowhere(&gateway, &["accounts", "kmsgate.toml"]);
}

#[test]
fn p6_the_process_is_not_dumpable() {
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address);
    let shown = setup.path().display().to_string();
    let node = format!("name = \"gw1\"\nuser = \"nobody\"\nrun_dir = \"{shown}/run\"");
    let setup = setup.section("node", &node);
    let chown = Command::new("chown").args(["-R", "nobody", &shown]).status().unwrap();
    assert!(chown.success());
    let gateway = setup.start();
    let own = |file: &str| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(format!("/proc/{}{file}", gateway.pid())).unwrap().uid()
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uid.split_whitespace().skip(1).all(|uid| uid != "0"), "it is nobody's: {uid}");
    // proc(5): the files of a process that is not dumpable are root's, whoever it is.
    assert_eq!(own("/environ"), 0);
}

/// People type their password into the wrong field.
#[test]
fn p6_what_is_typed_into_the_name_field_is_written_only_if_it_was_a_name_before() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    assert_eq!(gateway.sign_in(at(1, 1), "hunter2-in-the-wrong-field", "x").verdict(), "401 invalid_credentials");
    gateway.log.line(&["kmsgate: not_accepted name_hash=", "source=127.0.1.1"]);
    assert_eq!(gateway.sign_in(at(1, 2), "alice", "wrong").verdict(), "401 invalid_credentials");
    gateway.log.line(&["kmsgate: not_accepted name_hash=", "source=127.0.1.2"]);
    gateway.granted(at(1, 3), "alice");
    assert_eq!(gateway.sign_in(at(1, 4), "ALICE", "wrong").verdict(), "401 invalid_credentials");
    gateway.log.line(&["kmsgate: not_accepted user=alice", "source=127.0.1.4"]);
    assert!(!gateway.log.text().contains("hunter2"), "{}", gateway.log.text());
}
