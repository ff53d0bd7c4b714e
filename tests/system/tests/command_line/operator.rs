//! `grants`, `report`, `explain`, `quota`, `check` against a gateway that runs.

use kmsgate_system_tests::certificates::{Authority, Validity};
use kmsgate_system_tests::gateway::{Gateway, Said, Setup, at};
use kmsgate_system_tests::net::Outcome;
use kmsgate_system_tests::provider::{Down, Manner, Provider};
use serde_json::Value;

const TWO_A_WEEK: &str = "[[deny]]\nname = \"shut-out\"\nusers = [\"mallory\"]\n\n[[rule]]\nname = \"students\"\nusers = [\"*\"]\nquota = { week = 2 }\n";

#[track_caller]
fn well(gateway: &Gateway, arguments: &[&str]) -> String {
    let said = gateway.command(arguments, "");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}: {said:?}");
    said.out
}

#[track_caller]
fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    serde_json::from_str(&well(gateway, arguments)).unwrap()
}

#[track_caller]
fn refused(gateway: &Gateway, arguments: &[&str], says: &str) {
    let said = gateway.command(arguments, "");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("kmsgate: ") && said.err.contains(says), "{said:?}");
}

#[test]
fn grants_are_listed_shown_and_revoked() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    assert_eq!(well(&gateway, &["grants", "list"]), "none\n");
    let granted = gateway.granted(at(1, 1), "alice");
    let id = granted.text("id");

    let table = well(&gateway, &["grants", "list"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert_eq!(lines[0].find("USER"), lines[1].find("campus/alice"), "columns line up: {table}");
    let row = &json(&gateway, &["grants", "list", "--json"])[0];
    assert_eq!((row["id"].as_str(), row["state"].as_str()), (Some(id.as_str()), Some("open")));
    assert_eq!(row["expires_at"].as_str(), Some(granted.text("expires_at").as_str()));

    let shown = well(&gateway, &["grants", "show", &id]);
    assert!(shown.contains("campus/alice") && !shown.contains(&granted.text("token")), "{shown}");
    refused(&gateway, &["grants", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], "");

    assert_eq!(well(&gateway, &["grants", "revoke", &id]), format!("{id} is closed (revoked)\n"));
    assert!(matches!(gateway.connect(at(1, 1)), Outcome::Reset));
    assert_eq!(well(&gateway, &["grants", "list"]), "none\n");
    assert!(well(&gateway, &["grants", "list", "--all", "--user", "alice"]).contains("revoked"));
}

#[test]
fn an_operator_opens_for_somebody_elses_machine_and_it_is_recorded() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).rules(TWO_A_WEEK).start();
    let source = at(3, 3).to_string();
    let open = ["grants", "open", "--user", "dave", "--source", &source, "--reason", "ticket 4711"];
    let shown = well(&gateway, &open);
    assert!(shown.contains("ticket 4711") && shown.contains("operator:root"), "{shown}");
    assert!(gateway.connect(at(3, 3)).is_through());
    gateway.log.line(&["granted user=campus/dave", "voucher=operator:root", "note=\"ticket 4711\""]);

    // Rules and quotas hold for operators too.
    refused(&gateway, &["grants", "open", "--user", "mallory", "--source", &source, "--reason", "x"], "shut-out");
    let elsewhere = at(3, 4).to_string();
    well(&gateway, &["grants", "open", "--user", "dave", "--source", &elsewhere, "--reason", "second"]);
    assert!(gateway.connect(at(3, 4)).is_through());
    let third = at(3, 5).to_string();
    refused(
        &gateway,
        &["grants", "open", "--user", "dave", "--source", &third, "--reason", "third"],
        "quota is used up",
    );
    let without = gateway.command(&["grants", "open", "--user", "dave", "--source", &third], "");
    assert_eq!(without.code, Some(2), "a reason is needed");
}

#[test]
fn reports_count_in_three_formats() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    gateway.granted(at(1, 1), "alice");
    drop(gateway.connect(at(1, 1)).through());
    gateway.until("its close", |grants| grants[0].state == "closed");
    gateway.granted(at(1, 2), "bob");
    assert_eq!(gateway.sign_in(at(1, 3), "carol", "wrong").verdict(), "401 invalid_credentials");

    let by_user = json(&gateway, &["report", "--by", "user", "--format", "json"]);
    assert_eq!(by_user[0]["key"], "campus/alice");
    assert_eq!((&by_user[0]["grants"], &by_user[0]["used"]), (&1.into(), &1.into()));
    assert_eq!((&by_user[1]["key"], &by_user[1]["used"]), (&"campus/bob".into(), &0.into()));

    let csv = well(&gateway, &["report", "--by", "service", "--format", "csv"]);
    assert!(csv.starts_with("key,grants,used,connections,refused,bytes in,bytes out\r\n"), "{csv}");
    assert!(csv.contains("\r\nkms,2,1,1,0,17,17\r\n"), "{csv}");

    let table = well(&gateway, &["report", "--by", "reason"]);
    assert!(table.contains("used") && table.contains("invalid_credentials"), "counted at once: {table}");
    let by_source = well(&gateway, &["report", "--by", "source"]);
    assert!(by_source.contains("127.0.1.1") && by_source.contains("127.0.1.2"), "{by_source}");
    let today = well(&gateway, &["report", "--by", "day", "--format", "csv"]);
    assert_eq!(today.lines().count(), 2, "{today}");

    assert_eq!(well(&gateway, &["report", "--by", "user", "--from", "2001-01-01", "--to", "2001-02-01"]), "none\n");
    refused(&gateway, &["report", "--by", "user", "--from", "2001-02-01", "--to", "2001-01-01"], "from");
    refused(&gateway, &["report", "--by", "user", "--from", "yesterday"], "yesterday");
}

#[test]
fn explain_says_what_would_be_decided_and_does_nothing() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).rules(TWO_A_WEEK).start();
    let explain =
        |user: &str| well(&gateway, &["explain", "--user", user, "--source", "192.0.2.9", "--service", "kms"]);
    let alice = explain("alice");
    assert!(alice.contains("students") && alice.lines().last().unwrap().starts_with("open rule=students"), "{alice}");
    let mallory = explain("mallory");
    assert!(mallory.contains("refused reason=not_permitted rule=shut-out"), "{mallory}");
    assert!(gateway.grants().is_empty());

    for low in 1..=2 {
        gateway.granted(at(1, low), "alice");
        drop(gateway.connect(at(1, low)).through());
    }
    gateway.until("both used", |grants| grants.iter().all(|grant| grant.state == "closed"));
    let spent = explain("alice");
    assert!(spent.contains("refused reason=quota_exhausted rule=students"), "{spent}");
    let answer = json(&gateway, &["explain", "--user", "alice", "--source", "192.0.2.9", "--json"]);
    assert_eq!(answer["reason"], "quota_exhausted");
    assert!(answer["retry_after"].as_u64().is_some_and(|seconds| seconds > 6 * 86_400), "{answer}");
}

#[test]
fn a_quota_is_shown_and_forgiven() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).rules(TWO_A_WEEK).start();
    for low in 1..=2 {
        gateway.granted(at(1, low), "alice");
        drop(gateway.connect(at(1, low)).through());
    }
    gateway.until("both used", |grants| grants.iter().all(|grant| grant.state == "closed"));
    let table = well(&gateway, &["quota", "show", "--user", "alice"]);
    assert!(table.contains("week") && table.contains('2'), "{table}");
    let row = &json(&gateway, &["quota", "show", "--user", "campus/alice", "--json"])[0];
    assert_eq!((&row["limit"], &row["used"]), (&2.into(), &2.into()));
    assert_eq!(gateway.sign_in(at(1, 3), "alice", kmsgate_system_tests::gateway::PASSWORD).status, 429);

    assert_eq!(well(&gateway, &["quota", "reset", "--user", "alice"]), "alice begins anew\n");
    gateway.granted(at(1, 3), "alice");
    gateway.log.line(&["quota_reset user=campus/alice"]);
}

#[test]
fn a_bare_name_needs_a_single_domain() {
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address);
    let path = setup.path().join("accounts").display().to_string();
    let second = format!("domain = \"staff\"\nkind = \"file\"\npath = {path:?}");
    let gateway = setup.server("others", &second).start();
    refused(&gateway, &["quota", "reset", "--user", "alice"], "campus/NAME or staff/NAME");
    well(&gateway, &["quota", "reset", "--user", "staff/alice"]);
}

#[test]
fn check_looks_at_the_file_and_then_at_the_world() {
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let lines = well(&gateway, &["check"]);
    assert!(lines.lines().all(|line| line.starts_with("ok  ")), "{lines}");
    let found = json(&gateway, &["check", "--json"]);
    assert!(found.as_array().unwrap().iter().all(|finding| finding["ok"] == true), "{found}");

    let down = Down::new();
    let gateway = Setup::new(down.address).start();
    let Said { code, out, .. } = gateway.command(&["check"], "");
    assert_eq!(code, Some(1));
    let fault = out.lines().find(|line| line.starts_with("FAULT")).unwrap();
    assert!(fault.contains(&down.address.to_string()) && fault.contains("is the provider running"), "{fault}");
}

#[test]
fn without_a_gateway_a_command_says_what_to_do() {
    let provider = Provider::start(Manner::Echo);
    let mut gateway = Setup::new(provider.address).start();
    assert!(gateway.stop().success());
    refused(&gateway, &["grants", "list"], "start it with `kmsgate serve`");
}

#[test]
fn check_reads_when_a_certificate_ends() {
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address);
    let (certificate, key) = (setup.path().join("certificate.pem"), setup.path().join("key.pem"));
    let portal = format!("listen = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nprivate_key = {key:?}");
    let authority = Authority::new().unwrap();
    let write = |validity| {
        let issued = authority.issue(&["localhost"], validity).unwrap();
        std::fs::write(&certificate, issued.certificate).unwrap();
        std::fs::write(&key, issued.key).unwrap();
    };
    write(Validity::Now);
    let gateway = setup.section("portal", &portal).start();
    let lines = well(&gateway, &["check"]);
    assert!(lines.contains("days left"), "{lines}");
    write(Validity::Expired);
    let Said { code, out, .. } = gateway.command(&["check"], "");
    assert_eq!(code, Some(1));
    assert!(out.contains("it ended at 2001-01-01T00:00:00Z; renew it"), "{out}");
}

#[test]
fn a_quota_is_asked_from_the_address_that_a_rule_names() {
    let provider = Provider::start(Manner::Echo);
    let rules = "[[rule]]\nname = \"lab\"\nusers = [\"*\"]\nnetworks = [\"127.0.1.0/24\"]\nquota = { week = 3 }\n";
    let gateway = Setup::new(provider.address).rules(rules).start();
    let show = ["quota", "show", "--user", "campus/alice", "--json"];
    refused(&gateway, &show, "");
    let lab = json(&gateway, &[&show[..], &["--source", "127.0.1.1"]].concat());
    assert_eq!(lab[0]["limit"], 3);
}
