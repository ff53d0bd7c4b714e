//! Which servers are asked, in which order, and which answer stands.

use crate::common::{Peer, Step, accepted, ask, patient, pop3, refused, say};
use kmsgate_accounts::TlsMode;
use kmsgate_accounts::file::edit;
use kmsgate_accounts::file::hash::Cost;
use kmsgate_accounts::{Accounts, BadAccounts, FileServer, FileSettings, FrameSettings, RealmForm, Server};
use kmsgate_core::identity::Voucher;
use kmsgate_core::name::{Domain, Name, ServerName};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use std::collections::BTreeMap;
use std::path::Path;

fn name(text: &str) -> Name {
    Name::canonical(text).unwrap()
}

/// A file with one account `password` each.
fn file(directory: &Path, server: &str, names: &[&str]) -> Server {
    let path = directory.join(server);
    for account in names {
        let password = Password::new(format!("{server} password")).unwrap();
        edit::add(&path, &name(account), &password, &[], Cost { memory: 8, passes: 1, lanes: 1 }).unwrap();
    }
    Server::File(FileServer::new(FileSettings::new(path)))
}

/// A mail server that answers every password alike.
async fn mail(answer: &str) -> (Peer, Server) {
    let mut script = vec![say("+OK\r\n"), Step::Hear("CAPA"), say("+OK\r\nUSER\r\n.\r\n"), Step::Hear("USER")];
    script.extend([say("+OK\r\n"), Step::Hear("PASS"), say(answer), Step::Hear("QUIT")]);
    let peer = Peer::new(script).await;
    let server = pop3(peer.port, TlsMode::Clear, None);
    (peer, server)
}

fn in_domain(server: &str, domain: &str) -> FrameSettings {
    FrameSettings { domain: Domain::new(domain), ..patient(server) }
}

fn accounts(servers: Vec<(FrameSettings, Server)>, order: &[&str], realms: &[(&str, &[&str])]) -> Accounts {
    let order: Vec<ServerName> = order.iter().map(|server| ServerName::new(server)).collect();
    let realms: BTreeMap<Name, Vec<ServerName>> = realms
        .iter()
        .map(|(realm, servers)| (name(realm), servers.iter().map(|server| ServerName::new(server)).collect()))
        .collect();
    Accounts::new(servers, &order, &realms).unwrap()
}

#[tokio::test]
async fn a_server_that_can_tell_ends_the_chain_and_one_that_cannot_passes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (peer, wrong) = mail("-ERR no\r\n").await;
    let staff = file(directory.path(), "staff", &["alice"]);
    let guests = file(directory.path(), "guests", &["alice", "bob"]);
    let servers = vec![(patient("mail"), wrong), (patient("staff"), staff), (patient("guests"), guests)];
    let accounts = accounts(servers, &["mail", "staff", "guests"], &[]);

    let identity = accepted(ask(&accounts, "bob", "guests password").await);
    assert_eq!(identity.person().to_string(), "guests/bob");
    assert_eq!(identity.voucher(), &Voucher::Server(ServerName::new("guests")));
    assert_eq!(peer.connections(), 1, "mail was asked first");

    let by = refused(ask(&accounts, "alice", "guests password").await);
    assert_eq!((by.reason, by.definite), (Reason::InvalidCredentials, true));
    assert_eq!(by.log, "mail: rejected; staff: rejected", "staff holds alice and knows that it is wrong");

    let by = refused(ask(&accounts, "mallory", "x").await);
    assert_eq!(by.log, "mail: rejected; staff: unknown name; guests: unknown name");
}

#[tokio::test]
async fn an_outage_is_never_a_wrong_password_unless_somebody_who_can_tell_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let (_peer, down) = mail("-ERR [SYS/TEMP] down\r\n").await;
    let guests = file(directory.path(), "guests", &["alice"]);
    let accounts = accounts(vec![(patient("mail"), down), (patient("guests"), guests)], &["mail", "guests"], &[]);
    // Accepted behind an outage is accepted.
    accepted(ask(&accounts, "alice", "guests password").await);
    // Unknown behind an outage may be known to the silent one.
    let by = refused(ask(&accounts, "bob", "x").await);
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, false));
    // Surely wrong at the one that answered: still an outage for the person, but a guess for the throttle.
    let by = refused(ask(&accounts, "alice", "x").await);
    assert_eq!((by.reason, by.definite), (Reason::AccountServerUnavailable, true));
}

#[tokio::test]
async fn a_realm_goes_to_its_own_servers_and_to_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let servers = vec![
        (in_domain("staff", "campus"), file(directory.path(), "staff", &["alice"])),
        (in_domain("students", "campus"), file(directory.path(), "students", &["alice", "bob"])),
        (patient("legacy"), file(directory.path(), "legacy", &["carol"])),
        (
            FrameSettings { realm: Some(name("guests.example.edu")), ..patient("guests") },
            file(directory.path(), "guests", &["dave"]),
        ),
    ];
    let accounts = accounts(servers, &["staff", "students"], &[("alumni.example.edu", &["legacy"])]);
    for (login, password, person) in [
        ("alice", "staff password", "campus/alice"),
        ("alice@campus", "staff password", "campus/alice"),
        ("ALICE@Campus", "staff password", "campus/alice"),
        ("bob@campus", "students password", "campus/bob"),
        ("carol@alumni.example.edu", "legacy password", "legacy/carol"),
        ("dave@guests.example.edu", "guests password", "guests/dave"),
    ] {
        assert_eq!(accepted(ask(&accounts, login, password).await).person().to_string(), person, "{login}");
    }
    for (login, password, log) in [
        ("carol", "legacy password", "staff: unknown name; students: unknown name"),
        ("carol@legacy", "legacy password", "no account server holds this realm"),
        ("alice@alumni.example.edu", "staff password", "legacy: unknown name"),
        ("alice@nowhere.example", "staff password", "no account server holds this realm"),
        ("dave@guests", "guests password", "no account server holds this realm"),
    ] {
        let by = refused(ask(&accounts, login, password).await);
        assert_eq!((by.reason, by.definite, by.log.as_str()), (Reason::InvalidCredentials, true, log), "{login}");
    }
}

#[tokio::test]
async fn p4_with_or_without_the_servers_own_realm_it_is_one_person() {
    let (peer, right) = mail("+OK\r\n").await;
    let settings =
        FrameSettings { realm: Some(name("example.edu")), realm_form: RealmForm::Keep, ..in_domain("mail", "campus") };
    let accounts = accounts(vec![(settings, right)], &["mail"], &[]);
    for login in ["alice", "alice@example.edu", "Alice@CAMPUS"] {
        assert_eq!(accepted(ask(&accounts, login, "x").await).person().to_string(), "campus/alice", "{login}");
    }
    let asked: Vec<String> = peer.heard().into_iter().filter(|line| line.starts_with("USER")).collect();
    assert_eq!(asked, ["USER alice@example.edu"; 3]);
}

#[tokio::test]
async fn p4_realms_that_tell_people_apart_at_one_server_are_kept_in_the_name() {
    let (peer, right) = mail("+OK\r\n").await;
    let settings = FrameSettings { realm_form: RealmForm::Keep, ..patient("mail") };
    let accounts = accounts(vec![(settings, right)], &["mail"], &[("a.example", &["mail"]), ("b.example", &["mail"])]);
    for (login, person) in [("alice@a.example", "mail/alice@a.example"), ("alice@b.example", "mail/alice@b.example")] {
        assert_eq!(accepted(ask(&accounts, login, "x").await).person().to_string(), person);
    }
    assert!(peer.heard().contains(&"USER alice@b.example".to_owned()));
}

#[test]
fn servers_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = |name: &str| (FrameSettings::new(name), file(directory.path(), name, &[]));
    let order = |name: &str| vec![ServerName::new(name)];
    let none = BTreeMap::new();
    let twice = Accounts::new(vec![server("a"), server("a")], &order("a"), &none).unwrap_err();
    assert_eq!(twice, BadAccounts::Twice(ServerName::new("a")));
    let unknown = Accounts::new(vec![server("a")], &order("b"), &none).unwrap_err();
    assert_eq!(unknown.to_string(), "order: there is no account server b");
    assert_eq!(Accounts::new(vec![server("a")], &[], &none).unwrap_err(), BadAccounts::Empty);
    let realms = BTreeMap::from([(name("r.example"), order("c"))]);
    let unknown = Accounts::new(vec![server("a")], &order("a"), &realms).unwrap_err();
    assert_eq!(unknown.to_string(), "realms, r.example: there is no account server c");
}
