//! Files, our own and those of other programs.

use crate::common::{Page, Somebody, ask, hostile_names, is, is_outage, is_wrong};
use kmsgate_accounts::file::{edit::add, hash::Cost};
use kmsgate_core::name::Name;
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;

/// Of `secret`: `openssl passwd -5`, `-1` and `-apr1`, and crypt(3) of libxcrypt for bcrypt.
const SHA: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
const MD5: &str = "$1$saltsalt$9xy1btjgzLYfb7hivXtC//";
const APR1: &str = "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0";
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

#[tokio::test]
async fn right_and_wrong_f19_a_web_servers_file_lets_its_people_in_by_every_form_that_is_named() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("htpasswd");
    std::fs::write(&path, format!("sha:{SHA}\nmd5:{MD5}\napr:{APR1}\nbc:{BCRYPT}\n")).unwrap();
    let page = Page::nth("file", 1).with("/srv/web/htpasswd", &path.display().to_string());
    let accounts = page.accounts();
    for name in ["sha", "md5", "apr", "bc"] {
        is(ask(&accounts, name, "secret").await, &format!("list/{name}"));
        is_wrong(ask(&accounts, name, "Secret").await);
    }
    let found = accounts.probe().await.remove(0).1.unwrap();
    assert!(found.contains("4 accounts"), "{found}");

    // The weak form is not taken where it is not named: an outage for its account, and no wrong password.
    let strong = page.with("hashes = [\"bcrypt\", \"sha-crypt\", \"md5-crypt\"]\n", "").accounts();
    is(ask(&strong, "sha", "secret").await, "list/sha");
    is_outage(ask(&strong, "apr", "secret").await, "which `hashes` does not name");
    assert!(strong.probe().await.remove(0).1.unwrap_err().contains("line 2"));
}

#[tokio::test]
async fn disabled_and_unknown_a_passwd_file_says_who_is_locked_and_whom_it_does_not_have() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("shadow");
    std::fs::write(
        &path,
        format!("alice:{SHA}:19000:0:99999:7:::\nbob:!{SHA}:19000::::::\nroot:*:19000::::::\nopen::1:::::::\n"),
    )
    .unwrap();
    let page = Page::nth("file", 1)
        .with("/srv/web/htpasswd", &path.display().to_string())
        .with("format = \"htpasswd\"", "format = \"passwd\"");
    let accounts = page.accounts();
    is(ask(&accounts, "alice", "secret").await, "list/alice");
    let locked = ask(&accounts, "bob", "secret").await.unwrap_err();
    assert_eq!(locked.reason, Reason::AccountUnusable, "{}", locked.log);
    for name in ["bob", "root", "open", "mallory"] {
        is_wrong(ask(&accounts, name, "*").await);
    }
    // Changed, it is read again; unreadable, what it held stays in force.
    std::fs::write(&path, format!("carol:{SHA}:\n")).unwrap();
    is(ask(&accounts, "carol", "secret").await, "list/carol");
    std::fs::write(&path, "no colon here\n").unwrap();
    is(ask(&accounts, "carol", "secret").await, "list/carol");
    assert!(accounts.probe().await.remove(0).1.unwrap_err().contains("line 1: no colon"));
}

#[tokio::test]
async fn groups_f19_of_our_own_form_are_those_of_its_line() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts");
    let (name, password) = (Name::canonical("alice").unwrap(), Password::new("secret".to_owned()).unwrap());
    add(&path, &name, &password, &["staff".to_owned(), "lab".to_owned()], Cost { memory: 8, passes: 1, lanes: 1 })
        .unwrap();
    let accounts = Page::read("file").with("/etc/kmsgate/accounts", &path.display().to_string()).accounts();
    let groups = vec!["lab".to_owned(), "staff".to_owned()];
    assert_eq!(ask(&accounts, "alice", "secret").await, Ok(Somebody { person: "guests/alice".into(), groups }));
    is_wrong(ask(&accounts, "alice", "Secret").await);
}

#[tokio::test]
async fn outage_p8_a_file_that_is_not_there_or_is_none_of_ours() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("accounts");
    let page = Page::read("file").with("/etc/kmsgate/accounts", &path.display().to_string());
    is_outage(ask(&page.accounts(), "alice", "secret").await, "No such file");
    for text in ["garbage\n".to_owned(), "\0\u{1}\n".to_owned(), "x".repeat(1 << 20)] {
        std::fs::write(&path, text).unwrap();
        is_outage(ask(&page.accounts(), "alice", "secret").await, "line 1");
    }
}

#[tokio::test]
async fn restarted_a_file_that_is_away_for_a_while_stays_in_force_and_is_read_when_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("htpasswd");
    let page = Page::nth("file", 1).with("/srv/web/htpasswd", &path.display().to_string());
    std::fs::write(&path, format!("alice:{SHA}\n")).unwrap();
    let accounts = page.accounts();
    is(ask(&accounts, "alice", "secret").await, "list/alice");
    std::fs::remove_file(&path).unwrap();
    is(ask(&accounts, "alice", "secret").await, "list/alice");
    std::fs::write(&path, format!("bob:{SHA}\n")).unwrap();
    is(ask(&accounts, "bob", "secret").await, "list/bob");
    is_wrong(ask(&accounts, "alice", "secret").await);
}

#[tokio::test]
async fn hostile_names_find_nobody() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("htpasswd");
    std::fs::write(&path, format!("alice:{SHA}\n")).unwrap();
    let accounts = Page::nth("file", 1).with("/srv/web/htpasswd", &path.display().to_string()).accounts();
    for name in hostile_names() {
        is_wrong(ask(&accounts, &name, "secret").await);
    }
}

#[tokio::test]
async fn empty_password_is_never_compared() {
    assert!(Password::new(String::new()).is_err());
}
