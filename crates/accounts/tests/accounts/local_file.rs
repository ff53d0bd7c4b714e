//! The local account file.

use crate::common::{accepted, ask, chain, patient, refused};
use kmsgate_accounts::file::edit::{self, Added, EditError};
use kmsgate_accounts::file::hash::Cost;
use kmsgate_accounts::{Accounts, FileServer, FileSettings, Server};
use kmsgate_core::name::{Group, Name};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

fn add(path: &Path, name: &str, password: &str, groups: &[&str]) -> Result<Added, EditError> {
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let password = Password::new(password.to_owned()).unwrap();
    edit::add(path, &Name::canonical(name).unwrap(), &password, &groups, CHEAP)
}

fn remove(path: &Path, name: &str) -> Result<(), EditError> {
    edit::remove(path, &Name::canonical(name).unwrap())
}

fn accounts(path: &Path) -> Accounts {
    chain(vec![(patient("guests"), Server::File(FileServer::new(FileSettings::new(path))))])
}

#[tokio::test]
async fn an_account_signs_in_with_its_groups_until_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    assert_eq!(add(&path, "Alice", "secret", &["staff", "it"]).unwrap(), Added::New);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let accounts = accounts(&path);
    let identity = accepted(ask(&accounts, "ALICE", "secret").await);
    assert_eq!(identity.person().to_string(), "guests/alice");
    assert_eq!(identity.groups(), [Group::new("staff"), Group::new("it")]);
    for (login, password) in [("alice", "wrong"), ("bob", "secret"), ("alice", "Secret")] {
        let by = refused(ask(&accounts, login, password).await);
        assert_eq!((by.reason, by.definite), (Reason::InvalidCredentials, true), "{login}");
        assert!(!by.log.contains(login) && !by.log.contains(password), "{}", by.log);
    }
    // Changed while it is in use: the next question sees it.
    assert_eq!(add(&path, "alice", "new", &[]).unwrap(), Added::Changed);
    assert_eq!(add(&path, "bob", "secret", &[]).unwrap(), Added::New);
    assert_eq!(refused(ask(&accounts, "alice", "secret").await).reason, Reason::InvalidCredentials);
    assert_eq!(accepted(ask(&accounts, "alice", "new").await).groups().len(), 2);
    remove(&path, "alice").unwrap();
    assert!(matches!(remove(&path, "alice"), Err(EditError::Missing(_))));
    assert_eq!(refused(ask(&accounts, "alice", "new").await).reason, Reason::InvalidCredentials);
    let names: Vec<String> = edit::list(&path).unwrap().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["bob"]);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["accounts"], "nothing is left beside the file");
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_one_in_force_and_is_an_outage_only_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    let fresh = accounts(&path);
    let by = refused(ask(&fresh, "alice", "secret").await);
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false));
    assert!(by.log.contains("No such file"), "{}", by.log);

    add(&path, "alice", "secret", &[]).unwrap();
    accepted(ask(&fresh, "alice", "secret").await);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}bob:plain text\n")).unwrap();
    accepted(ask(&fresh, "alice", "secret").await);
    let fault = fresh.snapshot().remove(0).fault.unwrap();
    assert!(fault.contains("line 2") && fault.contains("accounts"), "{fault}");
    assert!(fresh.probe().await.remove(0).1.unwrap_err().contains("still in force"));

    let late = accounts(&path);
    let by = refused(ask(&late, "alice", "secret").await);
    assert_eq!(by.reason, Reason::AccountServerUnavailable);
    assert!(by.log.contains("line 2") && !by.log.contains("plain text"), "{}", by.log);

    std::fs::write(&path, good).unwrap();
    for accounts in [fresh, late] {
        accepted(ask(&accounts, "alice", "secret").await);
        assert_eq!(accounts.snapshot().remove(0).fault, None);
        assert!(accounts.probe().await.remove(0).1.unwrap().contains("1 accounts"));
    }
}

#[test]
fn an_edit_keeps_remarks_and_refuses_a_file_it_does_not_understand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    add(&path, "alice", "secret", &["staff"]).unwrap();
    let line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# our guests\n\n{line}# end\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    add(&path, "bob", "secret", &[]).unwrap();
    remove(&path, "bob").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("# our guests\n\n{line}# end\n"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640, "nobody else reads it any more");

    let odd = format!("{line}what is this\n");
    std::fs::write(&path, &odd).unwrap();
    for result in [add(&path, "bob", "secret", &[]).map(drop), remove(&path, "alice"), edit::list(&path).map(drop)] {
        let why = result.unwrap_err().to_string();
        assert!(why.contains("line 2"), "{why}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), odd);
    assert!(matches!(add(&path, "a:b", "secret", &[]), Err(EditError::Name)));
    assert!(matches!(add(&path, "#a", "secret", &[]), Err(EditError::Name)));
    assert!(matches!(add(&path, "bob", "secret", &["a,b"]), Err(EditError::Group(_))));
}

#[test]
fn ten_edits_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    std::thread::scope(|scope| {
        for n in 0..10 {
            let path = &path;
            scope.spawn(move || add(path, &format!("user{n}"), "secret", &[]).unwrap());
        }
    });
    assert_eq!(edit::list(&path).unwrap().len(), 10);
}

#[tokio::test]
async fn unknown_names_cost_as_much_as_the_dearest_known_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts");
    add(&path, "alice", "secret", &[]).unwrap();
    let dear = Cost { memory: 64, passes: 2, lanes: 1 };
    let password = Password::new("secret".to_owned()).unwrap();
    edit::add(&path, &Name::canonical("bob").unwrap(), &password, &[], dear).unwrap();
    let file = kmsgate_accounts::file::format::AccountFile::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(file.dearest().unwrap().work(), 128);
    let by = refused(ask(&accounts(&path), "mallory", "secret").await);
    assert_eq!((by.reason, by.definite), (Reason::InvalidCredentials, true), "an unknown name counts like a known one");
}
