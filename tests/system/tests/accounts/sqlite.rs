//! A SQLite file of another program.

use crate::common::{Page, ask, is, is_outage};
use crate::sql;
use kmsgate_core::password::Password;
use kmsgate_system_tests::databases::tables;
use rusqlite::Connection;
use std::path::Path;

/// A file with the other program's tables.
fn filled(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&tables()).unwrap();
    connection.execute("INSERT INTO users (name, password_hash) VALUES ('henry', ?)", [sql::SLOW]).unwrap();
    connection
}

fn page(path: &Path) -> Page {
    Page::read("sqlite").with("/srv/accounts.db", &path.display().to_string())
}

#[tokio::test]
async fn right_wrong_and_unknown_f19_with_the_manuals_configuration() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    drop(filled(&path));
    sql::right_wrong_and_unknown(&page(&path), "lite").await;
    sql::unknown_names_take_as_long(&page(&path)).await;
}

#[tokio::test]
async fn disabled_and_hashes_that_are_not_taken() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    drop(filled(&path));
    sql::disabled(&page(&path)).await;
}

#[tokio::test]
async fn groups_of_whoever_comes_in() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    drop(filled(&path));
    sql::groups(&page(&path), "lite").await;
}

#[tokio::test]
async fn hostile_f11_names_change_no_question() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    drop(filled(&path));
    sql::hostile(&page(&path), "lite").await;
}

#[tokio::test]
async fn outage_p8_of_the_question_and_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    is_outage(ask(&page(&path).accounts(), "alice", "secret").await, "No such file");
    let connection = filled(&path);
    sql::outage_of_the_question(&page(&path), "?").await;
    // Nothing was deleted.
    is(ask(&page(&path).accounts(), "alice", "secret").await, "lite/alice");
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    is_outage(ask(&page(&path).accounts(), "alice", "secret").await, "locked");
    connection.execute_batch("ROLLBACK").unwrap();
    is(ask(&page(&path).accounts(), "alice", "secret").await, "lite/alice");
    drop(connection);
    std::fs::write(&path, "this is no database, and long enough to be read as one".repeat(100)).unwrap();
    is_outage(ask(&page(&path).accounts(), "alice", "secret").await, "not a SQLite database");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    is_outage(ask(&page(&path).accounts(), "alice", "secret").await, "not a file");
}

#[tokio::test]
async fn outage_a_question_without_end_ends_with_its_time() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts.db");
    drop(filled(&path));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n WHERE ? <> ''";
    let accounts = page(&path).with_query(endless).and("timeout = \"500ms\"").accounts();
    is_outage(ask(&accounts, "alice", "secret").await, "no answer within 500ms");
}

#[tokio::test]
async fn restarted_another_file_in_its_place_is_read_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (path, other) = (place.path().join("accounts.db"), place.path().join("other.db"));
    drop(filled(&path));
    let accounts = page(&path).accounts();
    is(ask(&accounts, "alice", "secret").await, "lite/alice");
    filled(&other).execute("UPDATE users SET name = 'bob' WHERE name = 'alice'", []).unwrap();
    std::fs::rename(&other, &path).unwrap();
    is(ask(&accounts, "bob", "secret").await, "lite/bob");
}

#[tokio::test]
async fn empty_password_is_never_compared() {
    assert!(Password::new(String::new()).is_err());
}
