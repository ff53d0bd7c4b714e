//! A process that is killed in the middle of its work (P3, P5).

use super::Place;
use crate::Ledger;
use crate::conformance::{BOOT, Store, ask, at, claim, reserve};
use crate::records::{Filter, Reserved};
use crate::sqlite::Sqlite;
use kmsgate_core::grant::{GrantId, State};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const INSIDE: &str = "KMSGATE_TEST_KILLED";
/// People who sign in at the same time.
const PEOPLE: u64 = 16;

/// Every acknowledged write is there after `kill -9`, and no more than one each of the people was waiting for besides.
#[test]
fn p3_killed_at_any_moment_nothing_acknowledged_is_lost() {
    if let Some(path) = std::env::var_os(INSIDE) {
        sign_in_for_ever(Path::new(&path));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for lines in [1, 40, 300, 1500] {
        let place = Place::empty();
        let said = killed_after(lines, &place.path());
        runtime.block_on(async {
            let ledger = place.open().await;
            let all = ledger.grants(Filter { limit: 1_000_000, ..Filter::default() }).await.unwrap();
            let stands: HashMap<GrantId, _> = all.into_iter().map(|grant| (grant.id, grant)).collect();
            let mut reserved = 0;
            for line in &said {
                let (what, id) = line.split_once(' ').unwrap();
                let grant = &stands[&id.parse().unwrap()];
                match what {
                    "reserved" => reserved += 1,
                    "opened" => assert_eq!(grant.state, State::Open),
                    "claimed" => assert_eq!(grant.claims, 1),
                    other => panic!("{other}"),
                }
            }
            let extra = stands.len() - reserved;
            assert!(extra <= PEOPLE as usize, "{extra} more than were acknowledged");
            let found = ledger.recover(BOOT, at(10)).await.unwrap();
            assert_eq!(found.swept.len() + found.adopt.len(), stands.len());
            for id in found.adopt {
                let grant = ledger.grant(id).await.unwrap().unwrap();
                assert_eq!((grant.state, grant.alive), (State::Open, 0));
            }
        });
    }
}

/// What a process said until it was killed, after so many lines.
fn killed_after(lines: usize, path: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::kill::p3_killed_at_any_moment_nothing_acknowledged_is_lost", "--nocapture"])
        .env(INSIDE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = vec![];
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let known = ["reserved ", "opened ", "claimed "].iter().any(|word| line.starts_with(word));
        // A line that the kill cut in two acknowledges nothing.
        if known && line.split_once(' ').is_some_and(|(_, id)| id.len() == 26) {
            said.push(line);
        }
        if said.len() == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said.len() >= lines);
    said
}

fn sign_in_for_ever(path: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = Arc::new(Sqlite::open(path).unwrap());
        ledger.recover(BOOT, at(0)).await.unwrap();
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..PEOPLE {
            let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let bytes = (u32::from_be_bytes([10, 0, 0, 0]) + u32::try_from(n).unwrap()).to_be_bytes();
                    let asked = ask("alice", &std::net::Ipv4Addr::from(bytes).to_string());
                    let Ok(Reserved::New { grant, .. }) = reserve(&*ledger, &asked, n, at(1)).await else { panic!() };
                    acknowledge("reserved", grant.id);
                    drop(ledger.opened(grant.id, None, at(2)).await.unwrap());
                    acknowledge("opened", grant.id);
                    ledger.claim(claim(grant.id, 1), at(3)).await.unwrap();
                    acknowledge("claimed", grant.id);
                }
            });
        }
        std::future::pending().await
    })
}

/// One write(2) a line.
fn acknowledge(what: &str, id: GrantId) {
    std::io::stdout().write_all(format!("{what} {id}\n").as_bytes()).unwrap();
}
