//! Files that are no ledgers, disks that are full, copies.

use super::Place;
use crate::Ledger;
use crate::conformance::{BOOT, Store, ask, at, claim, open, reserve};
use crate::records::{Filter, GrantRecord, LedgerError, Reserved};
use crate::sqlite::writer::Durability::Written;
use crate::sqlite::{Sqlite, schema};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Every file of a directory but the lock, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_str().unwrap().ends_with("-lock"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

async fn filled() -> Place {
    let place = Place::empty();
    let ledger = place.open().await;
    ledger.recover(BOOT, at(0)).await.unwrap();
    for n in 0..20 {
        let grant = open(&ledger, &ask("alice", &format!("198.51.100.{n}")), n, at(n)).await;
        ledger.claim(claim(grant.id, 1), at(n)).await.unwrap();
    }
    place
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_left_as_it_is() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 7] = [
        ("is no ledger", |path| std::fs::write(path, "root:x:0:0:root:/root:/bin/sh\n").unwrap()),
        ("is empty", |path| std::fs::write(path, "").unwrap()),
        ("is a database, but no ledger", |path| {
            std::fs::remove_file(path).unwrap();
            Connection::open(path).unwrap().execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
        }),
        ("newer kmsgate (schema 99", |path| {
            Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        }),
        ("is damaged", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            for page in 1..8 {
                file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
            }
        }),
        ("its end is missing", |path| {
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5 * 4096).unwrap();
        }),
        ("its log (-wal) is there", |path| {
            std::fs::rename(path, path.with_extension("db-wal")).unwrap();
        }),
    ];
    for (why, spoil) in spoil {
        let place = filled().await;
        spoil(&place.path());
        let before = files(place.folder.path());
        let refused = Sqlite::open(&place.path()).map(drop).unwrap_err();
        let LedgerError::Unreadable(said) = &refused else { panic!("{why}: {refused:?}") };
        assert!(said.contains(why), "{said}");
        assert!(said.contains(place.path().to_str().unwrap()), "{said}");
        assert!(files(place.folder.path()) == before, "{why}: a file was changed, or one was left behind");
        assert!(Sqlite::open(&place.path()).is_err(), "{why}: it stays so");
    }
}

#[tokio::test]
async fn what_cannot_be_used_says_what_to_do() {
    let place = Place::empty();
    let said = |path: &Path| match Sqlite::open(path).map(drop) {
        Err(LedgerError::Unavailable(said)) => said,
        other => panic!("{other:?}"),
    };
    assert!(said(&place.folder.path().join("not/there/ledger.db")).contains("there is no directory"));
    let folder = place.folder.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(said(&folder).contains("directory"), "{}", said(&folder));
    std::fs::remove_dir(&folder).unwrap();
    let ledger = place.open().await;
    assert!(said(&place.path()).contains("in use by another kmsgate"));
    drop(ledger);
    let ledger = place.open().await;
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-lock"] {
        let mode = std::fs::metadata(place.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(ledger);
    let left: Vec<_> = files(place.folder.path()).into_keys().collect();
    assert_eq!(left, ["ledger.db"], "closed, it is one file");
    // Half a ledger of a start that was cut is begun anew.
    std::fs::rename(place.path(), place.folder.path().join("ledger.db-new")).unwrap();
    drop(place.open().await);
}

#[tokio::test]
async fn a_backup_while_running_is_a_ledger() {
    let place = filled().await;
    let ledger = place.open().await;
    ledger.recover(BOOT, at(30)).await.unwrap();
    let copy = Place::empty();
    let writing = async {
        for n in 100..120 {
            open(&ledger, &ask("bob", &format!("198.51.100.{n}")), n, at(n)).await;
        }
    };
    let to = copy.path();
    let (copied, ()) = tokio::join!(ledger.backup(&to), writing);
    copied.unwrap();
    let before = std::fs::read(copy.path()).unwrap();
    let again = ledger.backup(&copy.path()).await.unwrap_err();
    assert!(again.to_string().contains("not overwritten"), "{again}");
    assert!(std::fs::read(copy.path()).unwrap() == before);
    assert_eq!(std::fs::metadata(copy.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let nowhere = ledger.backup(Path::new("/nowhere/at/all.db")).await.unwrap_err();
    assert!(matches!(nowhere, LedgerError::Unavailable(_)));
    let all = |ledger: Sqlite| async move { ledger.grants(Filter { limit: 1000, ..Filter::default() }).await.unwrap() };
    let (original, copied) = (all(ledger).await, all(copy.open().await).await);
    assert!(copied.len() >= 20);
    // The newest in it may have been opened since.
    let ids = |grants: &[GrantRecord]| grants.iter().map(|grant| grant.id).collect::<Vec<_>>();
    assert!(ids(&original).ends_with(&ids(&copied)), "it is the ledger as it was at some moment");
    assert_eq!(original[20..], copied[copied.len() - 20..]);
}

/// Signs people in until there is no room, then makes room. Nothing that was answered may be missing, nothing that was refused
/// be there.
async fn fill_up(ledger: &Sqlite, make_room: impl AsyncFnOnce()) {
    ledger.recover(BOOT, at(0)).await.unwrap();
    let (mut granted, mut full) = (vec![], 0);
    for n in 0.. {
        let asked = ask("alice", &format!("10.0.{}.{}", n / 250, n % 250));
        match reserve(ledger, &asked, n, at(n)).await {
            Ok(Reserved::New { grant, .. }) => granted.push(grant.id),
            Err(LedgerError::Unavailable(why)) => {
                assert!(why.contains("full"), "{why}");
                full += 1;
            }
            other => panic!("{other:?}"),
        }
        if full == 3 {
            break;
        }
    }
    assert!(granted.len() > 3, "it was full from the beginning");
    let stand = async || {
        let mut ids: Vec<_> =
            ledger.grants(Filter { limit: 100_000, ..Filter::default() }).await.unwrap().iter().map(|g| g.id).collect();
        ids.reverse();
        ids
    };
    assert_eq!(stand().await, granted);
    make_room().await;
    let more = open(ledger, &ask("bob", "198.51.100.7"), 1_000_000, at(2_000_000)).await;
    granted.push(more.id);
    assert_eq!(stand().await, granted);
}

#[tokio::test]
async fn p3_no_room_refuses_and_loses_nothing() {
    let place = Place::empty();
    let ledger = place.open().await;
    let limit = async |pages: i64| {
        let set = move |desk: &mut crate::sqlite::writer::Desk| {
            desk.conn.query_row("PRAGMA page_count", (), |row| row.get::<_, i64>(0)).and_then(|now| {
                desk.conn.query_row(&format!("PRAGMA max_page_count = {}", now + pages), (), |_| Ok(()))
            })?;
            Ok(())
        };
        ledger.writer.submit(Written, set).await.unwrap();
    };
    limit(10).await;
    fill_up(&ledger, async || limit(10_000).await).await;
}

/// The same on a disk that is really full: in a mount namespace of its own, where the machine allows one.
#[test]
fn p3_a_full_disk_refuses_and_loses_nothing() {
    const INSIDE: &str = "KMSGATE_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = Path::new(&folder);
        let ballast = folder.join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
        let ledger = Sqlite::open(&folder.join("ledger.db")).unwrap();
        runtime.block_on(fill_up(&ledger, async || std::fs::remove_file(&ballast).unwrap()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let namespace = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("left out: no mount namespace can be made here");
        return;
    }
    let run = "mount -t tmpfs -o size=3m none \"$KMSGATE_TEST_FULL_DISK\" && exec \"$0\" --exact \"$1\" --nocapture";
    let status = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", run])
        .arg(std::env::current_exe().unwrap())
        .arg("sqlite::tests::faults::p3_a_full_disk_refuses_and_loses_nothing")
        .env(INSIDE, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn events_are_neither_changed_nor_deleted() {
    let place = filled().await;
    let ledger = place.open().await;
    let before = ledger.events_after(0, 1000).await.unwrap();
    for sql in ["UPDATE events SET at = 0", "DELETE FROM events", "DELETE FROM events WHERE number = 3"] {
        let tried = ledger.writer.submit(Written, move |desk| Ok(desk.conn.execute(sql, ())?)).await;
        assert!(tried.unwrap_err().to_string().contains("events are"), "{sql}");
    }
    assert_eq!(ledger.events_after(0, 1000).await.unwrap(), before);
}

#[tokio::test]
async fn a_job_that_fails_takes_back_what_it_wrote_and_no_more() {
    let place = Place::empty();
    let ledger = place.open().await;
    let half = ledger.writer.submit(Written, |desk| {
        desk.conn.execute("INSERT INTO cursors VALUES ('half', 1)", ())?;
        Err::<(), _>(LedgerError::Spent.into())
    });
    let (before, half, after) = tokio::join!(ledger.set_cursor("before", 1), half, ledger.set_cursor("after", 1));
    assert_eq!((before, half, after), (Ok(()), Err(LedgerError::Spent), Ok(())));
    for (reader, stands) in [("before", 1), ("half", 0), ("after", 1)] {
        assert_eq!(ledger.cursor(reader).await.unwrap(), stands, "{reader}");
    }
}

#[tokio::test]
async fn p3_what_was_only_written_is_synced_soon_after() {
    let place = Place::empty();
    let ledger = place.open().await;
    let beat = async || {
        let read = |conn: &Connection| Ok(conn.query_row("SELECT beat FROM pulse", (), |row| row.get::<_, i64>(0))?);
        ledger.quick.ask(read).await.unwrap()
    };
    let before = beat().await;
    ledger.set_cursor("syslog", 1).await.unwrap();
    // Nobody asks for anything more: the writer does it by itself.
    while beat().await == before {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_schema_step_is_whole_or_not_at_all() {
    let conn = Connection::open_in_memory().unwrap();
    let version = || conn.query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0)).unwrap();
    schema::migrate(&conn, &["CREATE TABLE one (a)"]).unwrap();
    assert_eq!(version(), 1);
    let steps = ["CREATE TABLE one (a)", "ALTER TABLE one ADD COLUMN b", "CREATE TABLE one (again)"];
    assert!(schema::migrate(&conn, &steps).is_err());
    assert_eq!(version(), 1);
    assert!(conn.prepare("SELECT b FROM one").is_err(), "the step before the bad one is undone too");
    schema::migrate(&conn, &steps[..2]).unwrap();
    assert_eq!(version(), 2);
    conn.prepare("SELECT b FROM one").unwrap();
}
