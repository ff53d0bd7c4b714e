//! Jobs that share a transaction: what one of them leaves to the others.

use super::Place;
use crate::Ledger;
use crate::conformance::{BOOT, DAY, Store, ask, at, claim, end, open};
use crate::records::{GrantRecord, LedgerError, ReportBy, ReportQuery};
use crate::sqlite::Sqlite;
use crate::sqlite::sums::{Axis, Sums};
use crate::sqlite::writer::Durability::Written;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;

/// A ledger with an open grant.
async fn begin() -> (Place, Arc<Sqlite>, GrantRecord) {
    let place = Place::empty();
    let ledger = Arc::new(place.open().await);
    ledger.recover(BOOT, at(0)).await.unwrap();
    let grant = open(&*ledger, &ask("alice", "198.51.100.7"), 1, at(0)).await;
    (place, ledger, grant)
}

/// Keeps the writer busy, so that what is handed in until it is let go comes together.
async fn hold(ledger: &Arc<Sqlite>) -> (Sender<()>, JoinHandle<()>) {
    let (go, wait) = channel();
    let (begun, running) = tokio::sync::oneshot::channel();
    let ledger = Arc::clone(ledger);
    let held = tokio::spawn(async move {
        let job = move |_: &mut _| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        };
        ledger.writer.submit_checked(Written, job).await.unwrap();
    });
    running.await.unwrap();
    (go, held)
}

async fn connections(ledger: &Sqlite) -> u64 {
    let query = ReportQuery { by: ReportBy::Day, from: at(0).utc, to: at(2 * DAY).utc };
    ledger.report(query).await.unwrap().iter().map(|line| line.connections).sum()
}

/// Polled in the order of its writing, each hands in its job before the next: one transaction has them all.
#[tokio::test]
async fn p1_a_claim_of_a_transaction_that_was_undone_is_nowhere() {
    let (_place, ledger, grant) = begin().await;
    let (go, held) = hold(&ledger).await;
    let half = ledger.writer.submit_checked(Written, |desk| {
        desk.conn.execute("INSERT INTO cursors VALUES ('half', 1)", ())?;
        Err::<(), _>(LedgerError::Spent.into())
    });
    let release = async { go.send(()).unwrap() };
    let (claimed, half, ()) = tokio::join!(biased; ledger.claim(claim(grant.id, 1), at(1)), half, release);
    held.await.unwrap();
    assert!(matches!((claimed, half), (Err(LedgerError::State(_)), Err(LedgerError::State(_)))));
    assert_eq!((ledger.grant(grant.id).await.unwrap().unwrap().claims, connections(&ledger).await), (0, 0));
    ledger.claim(claim(grant.id, 1), at(2)).await.unwrap();
    assert_eq!((ledger.grant(grant.id).await.unwrap().unwrap().claims, connections(&ledger).await), (1, 1));
}

#[tokio::test]
async fn a_job_that_is_refused_takes_its_sums_back() {
    let (_place, ledger, grant) = begin().await;
    let (go, held) = hold(&ledger).await;
    let refused = ledger.writer.submit(Written, |desk| {
        desk.sums.add(at(0).utc, Axis::Service, "kms", Sums { connections: 7, ..Sums::default() });
        Err::<(), _>(LedgerError::Spent.into())
    });
    let release = async { go.send(()).unwrap() };
    let (claimed, refused, ()) = tokio::join!(biased; ledger.claim(claim(grant.id, 1), at(1)), refused, release);
    held.await.unwrap();
    assert_eq!((claimed, refused), (Ok(()), Err(LedgerError::Spent)));
    assert_eq!(connections(&ledger).await, 1);
}

/// A row that connections changed is the one that every other job finds, in the same transaction too.
#[tokio::test]
async fn p1_a_close_behind_a_claim_has_it() {
    let (_place, ledger, grant) = begin().await;
    let (go, held) = hold(&ledger).await;
    let release = async { go.send(()).unwrap() };
    let (claimed, begun, ended, ()) = tokio::join!(biased;
        ledger.claim(claim(grant.id, 1), at(1)),
        ledger.closing(grant.id, kmsgate_core::reason::Cause::Used, at(1)),
        ledger.claims_ended(vec![end(grant.id, 9), end(grant.id, 1)], at(1)),
        release,
    );
    held.await.unwrap();
    assert_eq!((claimed, ended), (Ok(()), Ok(vec![end(grant.id, 9)])));
    assert!(begun.is_ok());
    let record = ledger.grant(grant.id).await.unwrap().unwrap();
    assert_eq!((record.state.as_str(), record.claims, record.alive), ("closing", 1, 0));
    assert_eq!(record.totals.bytes_in, end(grant.id, 1).bytes_in);
}
