//! What every database is asked, whichever it is: each kind's own file calls these.

use crate::common::{Page, Somebody, ask, hostile_names, is, is_outage, is_wrong};
use kmsgate_core::reason::Reason;
use std::time::{Duration, Instant};

/// Right and wrong passwords, and names that it has or has not.
pub(crate) async fn right_wrong_and_unknown(page: &Page, domain: &str) {
    let accounts = page.accounts();
    is(ask(&accounts, "alice", "secret").await, &format!("{domain}/alice"));
    is(ask(&accounts, "ALICE", "secret").await, &format!("{domain}/alice"));
    for (name, password) in [("alice", "Secret"), ("mallory", "secret"), ("alice", "secret "), ("dave", "secret")] {
        is_wrong(ask(&accounts, name, password).await);
    }
    let found = accounts.probe().await.remove(0).1.unwrap();
    assert!(found.contains("it answers"), "{found}");
}

/// Accounts that nobody may use, and hashes that are not taken.
pub(crate) async fn disabled(page: &Page) {
    let accounts = page.accounts();
    is_wrong(ask(&accounts, "carol", "wrong").await);
    let by = ask(&accounts, "carol", "secret").await.expect_err("let in");
    assert_eq!(by.reason, Reason::AccountUnusable, "{}", by.log);
    is_outage(ask(&accounts, "erin", "secret").await, "plain text");
    is_outage(ask(&accounts, "frank", "secret").await, "name its form in `hashes`");
}

/// Groups of whoever comes in.
pub(crate) async fn groups(page: &Page, domain: &str) {
    let groups = vec!["lab".to_owned(), "staff".to_owned()];
    let person = format!("{domain}/alice");
    assert_eq!(ask(&page.accounts(), "alice", "secret").await, Ok(Somebody { person, groups }));
    let wrong = page.clone().with("FROM memberships", "FROM elsewhere").accounts();
    is_outage(ask(&wrong, "alice", "secret").await, "groups_query");
    assert!(wrong.probe().await.remove(0).1.unwrap_err().contains("groups_query"));
}

/// Names that would be part of a statement if anything of them were.
pub(crate) async fn hostile(page: &Page, domain: &str) {
    let accounts = page.accounts();
    for name in hostile_names() {
        is_wrong(ask(&accounts, &name, "secret").await);
    }
    for name in ["'", "\\'", "\"", "$1", "?", "alice'--", "%", "_lice", "a%", "alice\\"] {
        is_wrong(ask(&accounts, name, "secret").await);
    }
    is(ask(&accounts, "alice", "secret").await, &format!("{domain}/alice"));
}

/// Questions that cannot be asked, and an answer that names two: `place` is where the name stands.
pub(crate) async fn outage_of_the_question(page: &Page, place: &str) {
    for (query, why) in [
        (format!("SELECT password_hash FROM nowhere WHERE name = {place}"), "query"),
        (format!("SELECT nothing FROM users WHERE name = {place}"), "query"),
        (format!("SELECT password_hash, name, active FROM users WHERE name = {place}"), "must give one column"),
        (format!("DELETE FROM users WHERE name = {place}"), "query"),
        (format!("SELECT active FROM users WHERE name = {place}"), "must be the hash"),
        (format!("SELECT password_hash FROM doubles WHERE name = {place}"), "more than one row"),
    ] {
        let accounts = page.with_query(&query).and("failures = 1000").accounts();
        is_outage(ask(&accounts, "alice", "secret").await, why);
    }
    let everybody = page.with_query(&format!("SELECT password_hash FROM users WHERE name <> {place}")).accounts();
    assert!(everybody.probe().await.remove(0).1.unwrap_err().contains("compare the name"));
}

/// A name that it has not takes as long as one that it has, within what a wide margin tells: a hash of 300,000 rounds.
pub(crate) async fn unknown_names_take_as_long(page: &Page) {
    let accounts = page.accounts();
    is_wrong(ask(&accounts, "henry", "wrong").await);
    let mut took = [Duration::MAX; 2];
    for _ in 0..3 {
        for (place, name) in ["henry", "mallory"].into_iter().enumerate() {
            let begun = Instant::now();
            is_wrong(ask(&accounts, name, "wrong").await);
            took[place] = took[place].min(begun.elapsed());
        }
    }
    let [known, unknown] = took;
    assert!(unknown > known / 3 && known > unknown / 3, "known {known:?}, unknown {unknown:?}");
}

/// `secret`, with 300,000 rounds.
pub(crate) const SLOW: &str =
    "$6$rounds=300000$saltsalt$8eg/BVk4pUuhXG8kncI0tXGpi3GoMG9je.8eL.4jvjSJsNmQ0NlUCC7nkcyxOkbWc/iVyZKlWG7M/1ojtiCFF.";
