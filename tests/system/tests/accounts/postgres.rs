//! A PostgreSQL database of another program.

use crate::common::{Page, ask, is, is_outage};
use crate::sql;
use kmsgate_core::password::Password;
use kmsgate_system_tests::certificates::{Authority, Validity};
use kmsgate_system_tests::databases::{DatabaseServer, Kind, SERVICE_PASSWORD, Wanted};
use kmsgate_system_tests::proxy::{Fault, Proxy};

fn page(server: &DatabaseServer, port: u16) -> Page {
    Page::read("postgres")
        .with("db.example.edu", &format!("localhost:{port}"))
        .with("/etc/kmsgate/campus-ca.pem", &server.ca().display().to_string())
        .with("/etc/kmsgate/pg-secret", &server.secret_file().display().to_string())
}

fn usual(server: &DatabaseServer) -> Page {
    page(server, server.port)
}

fn started() -> Option<DatabaseServer> {
    DatabaseServer::start(Kind::Postgres, &Wanted::default()).unwrap()
}

#[tokio::test]
async fn right_wrong_and_unknown_f19_with_the_manuals_configuration() {
    let Some(server) = started() else { return };
    server.execute(&format!("INSERT INTO users (name, password_hash) VALUES ('henry', '{}');\n", sql::SLOW));
    sql::right_wrong_and_unknown(&usual(&server), "pg").await;
    sql::right_wrong_and_unknown(&usual(&server).with("ca = ", "tls = \"none\" #"), "pg").await;
    sql::unknown_names_take_as_long(&usual(&server)).await;
}

#[tokio::test]
async fn disabled_and_hashes_that_are_not_taken() {
    let Some(server) = started() else { return };
    sql::disabled(&usual(&server)).await;
}

#[tokio::test]
async fn groups_of_whoever_comes_in() {
    let Some(server) = started() else { return };
    sql::groups(&usual(&server), "pg").await;
}

#[tokio::test]
async fn hostile_f11_names_change_no_question() {
    let Some(server) = started() else { return };
    sql::hostile(&usual(&server), "pg").await;
}

#[tokio::test]
async fn outage_p8_of_the_question() {
    let Some(server) = started() else { return };
    sql::outage_of_the_question(&usual(&server), "$1").await;
    server.execute("REVOKE SELECT ON users FROM kmsgate;\n");
    is_outage(ask(&usual(&server).accounts(), "alice", "secret").await, "GRANT SELECT");
    server.execute("GRANT ALL ON users TO kmsgate;\n");
    let accounts = usual(&server).with_query("DELETE FROM users WHERE name = $1 RETURNING password_hash").accounts();
    is_outage(ask(&accounts, "alice", "secret").await, "must be a SELECT");
    is(ask(&usual(&server).accounts(), "alice", "secret").await, "pg/alice");
}

#[tokio::test]
async fn service_password_p8_a_wrong_one_or_a_wrong_database_is_an_outage_that_says_so() {
    let Some(server) = started() else { return };
    let file = format!("{{ file = \"{}\" }}", server.secret_file().display());
    let wrong = usual(&server).with(&file, "\"another\"").accounts();
    is_outage(ask(&wrong, "alice", "secret").await, "mend the user");
    assert!(wrong.probe().await.remove(0).1.unwrap_err().contains("mend the user"));
    is_outage(
        ask(&usual(&server).with("/accounts\"", "/other\"").accounts(), "alice", "secret").await,
        "mend the database",
    );
    let right = usual(&server).with(&file, &format!("\"{SERVICE_PASSWORD}\"")).accounts();
    is(ask(&right, "alice", "secret").await, "pg/alice");
}

#[tokio::test]
async fn tls_a_certificate_that_is_not_good_is_an_outage() {
    let other = tempfile::tempdir().unwrap();
    let other_ca = other.path().join("ca.pem").display().to_string();
    std::fs::write(&other_ca, Authority::new().unwrap().pem()).unwrap();
    let good = Wanted::default;
    let expired = Wanted { validity: Validity::Expired, ..good() };
    let misnamed = Wanted { names: vec!["db.example.edu".into()], ..good() };
    for (wanted, ca, says) in [
        (good(), Some(&other_ca), "invalid peer certificate"),
        (expired, None, "expired"),
        (misnamed, None, "db.example.edu"),
    ] {
        let Some(server) = DatabaseServer::start(Kind::Postgres, &wanted).unwrap() else { return };
        let own = server.ca().display().to_string();
        let accounts = usual(&server).with(&own, ca.unwrap_or(&own)).accounts();
        is_outage(ask(&accounts, "alice", "secret").await, says);
        assert!(accounts.probe().await.remove(0).1.unwrap_err().contains(says));
    }
}

#[tokio::test]
async fn outage_p8_refused_hanging_at_each_stage_slow_garbage_endless() {
    let Some(server) = started() else { return };
    let proxy = Proxy::to(server.port);
    let page = page(&server, proxy.address.port())
        .with("ca = ", "tls = \"none\" #")
        .and("timeout = \"500ms\"\nfailures = 1000");
    is(ask(&page.accounts(), "alice", "secret").await, "pg/alice");
    for bytes in (0..proxy.answered()).step_by(61) {
        for fault in
            [Fault::HangsAfter(bytes), Fault::EndsAfter(bytes), Fault::GarbageAfter(bytes), Fault::EndlessAfter(bytes)]
        {
            proxy.set(fault);
            // Each with sessions of its own.
            let answer = ask(&page.accounts(), "alice", "secret").await;
            // What comes behind the last row changes nothing.
            if answer.is_err() {
                is_outage(answer, "");
            }
        }
    }
    proxy.set(Fault::Slow);
    is_outage(ask(&page.accounts(), "alice", "secret").await, "no answer within 500ms");
    proxy.set(Fault::None);
    is(ask(&page.accounts(), "alice", "secret").await, "pg/alice");
}

#[tokio::test]
async fn restarted_between_two_questions_the_second_is_asked_in_a_new_session() {
    let Some(mut server) = started() else { return };
    let accounts = usual(&server).accounts();
    is(ask(&accounts, "alice", "secret").await, "pg/alice");
    server.stop();
    is_outage(ask(&accounts, "alice", "secret").await, "cannot be reached");
    server.start_again();
    is(ask(&accounts, "alice", "secret").await, "pg/alice");
    server.stop();
    server.start_again();
    is(ask(&accounts, "alice", "secret").await, "pg/alice");
}

#[tokio::test]
async fn failover_two_hosts_down_the_third_up() {
    let Some(server) = started() else { return };
    let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = |port| format!("\"postgres://kmsgate@localhost:{port}/accounts\"");
    let three = format!("[{}, {}, {}]", url(nobody()), url(nobody()), url(server.port));
    let accounts = usual(&server).with(&url(server.port), &three).accounts();
    for _ in 0..3 {
        is(ask(&accounts, "alice", "secret").await, "pg/alice");
    }
}

#[tokio::test]
async fn empty_password_is_never_compared() {
    assert!(Password::new(String::new()).is_err());
}
