//! The control socket and the listener for machines, as the command line and a monitor use them.

use kmsgate::cli::control::Gateway;
use kmsgate::config::Config;
use kmsgate::operator::control::Control;
use kmsgate::serve::{Running, Sockets};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// A gateway with two providers, one of them in nobody's hands.
struct Site {
    running: Running,
    asked: Arc<Gateway>,
    health: SocketAddr,
    place: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().display();
        std::fs::write(place.path().join("accounts"), "").unwrap();
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            r#"
            [portal]
            listen = ["127.0.0.1:0"]
            [[account_server]]
            name = "guests"
            domain = "campus"
            kind = "file"
            path = "{directory}/accounts"
            [[service]]
            name = "kms"
            port = 0
            providers = ["127.0.0.1:9"]
            health = "off"
            [[deny]]
            name = "blocked"
            users = ["campus/mallory"]
            [[rule]]
            name = "staff"
            groups = ["staff"]
            quota = {{ week = 20 }}
            [[rule]]
            name = "everybody"
            users = ["*"]
            quota = {{ week = 1 }}
            [quota]
            counts = "logins"
            [forward]
            addresses = ["127.0.0.1"]
            [ledger]
            url = "sqlite://{directory}/ledger.db"
            [log]
            syslog = "unix:{directory}/log"
            [operator]
            listen = "{health}"
            [node]
            run_dir = "{directory}"
            "#
        );
        let path = place.path().join("kmsgate.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let asked = Arc::new(Gateway::of(&config));
        let sockets = Sockets::bind(&config).unwrap();
        let running = Running::start(config, Some(path), sockets, None).await.unwrap();
        Self { running, asked, health, place }
    }

    /// What the command line would get.
    async fn ask(&self, method: &'static str, path: &str, body: Value) -> Result<Value, String> {
        let (gateway, path) = (Arc::clone(&self.asked), path.to_owned());
        let asking = tokio::task::spawn_blocking(move || match method {
            "GET" => gateway.get(&path),
            "POST" => gateway.post(&path, &body),
            _ => gateway.delete(&path),
        });
        asking.await.unwrap().map_err(|error| error.to_string())
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, Value::Null).await.unwrap()
    }

    async fn open(&self, user: &str, source: &str) -> Result<Value, String> {
        let body = json!({ "user": user, "source": source, "service": "kms", "reason": "call 4711" });
        self.ask("POST", "/api/v1/grants", body).await
    }

    async fn health(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.health)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn an_operator_opens_lists_shows_and_revokes() {
    let site = Site::start().await;
    let opened = site.open("campus/Alice", "198.51.100.7").await.unwrap();
    assert_eq!((&opened["state"], &opened["user"]), (&json!("open"), &json!("campus/alice")));
    assert!(opened["voucher"].as_str().unwrap().starts_with("operator:"), "{opened}");
    assert_eq!(opened["note"], json!("call 4711"));
    let id = opened["id"].as_str().unwrap();
    let listed = site.get("/api/v1/grants?unfinished=1&limit=50&user=campus/alice&source=198.51.100.7").await;
    assert_eq!(listed["grants"][0]["id"], opened["id"]);
    assert_eq!(site.get("/api/v1/grants?user=campus/bob").await["grants"], json!([]));
    assert_eq!(site.get("/api/v1/status").await["services"][0]["open_grants"], json!(1));
    let busy = site.open("campus/bob", "198.51.100.7").await.unwrap_err();
    assert!(busy.contains("another person's grant") && !busy.contains("alice"), "{busy}");
    let closed = site.ask("DELETE", &format!("/api/v1/grants/{id}"), Value::Null).await.unwrap();
    assert_eq!((&closed["state"], &closed["cause"]), (&json!("closed"), &json!("revoked")));
    assert_eq!(site.get(&format!("/api/v1/grants/{id}")).await["cause"], json!("revoked"));
    assert_eq!(site.get("/api/v1/grants?unfinished=1").await["grants"], json!([]));
    let report = site.get("/api/v1/report?by=user").await;
    assert_eq!((&report["lines"][0]["key"], &report["lines"][0]["grants"]), (&json!("campus/alice"), &json!(1)));
    site.running.stop().await;
}

#[tokio::test]
async fn explain_says_what_would_be_decided_and_writes_nothing() {
    let site = Site::start().await;
    let explain = |user: &str, groups: Value| {
        site.ask("POST", "/api/v1/explain", json!({ "user": user, "source": "198.51.100.7", "groups": groups }))
    };
    let denied = explain("campus/mallory", json!([])).await.unwrap();
    assert_eq!((&denied["reason"], &denied["rule"]), (&json!("not_permitted"), &json!("blocked")));
    let staff = explain("campus/alice", json!(["staff"])).await.unwrap();
    assert_eq!((&staff["decision"], &staff["rule"]), (&json!("open"), &json!("staff")));
    assert!(staff["steps"].as_array().unwrap().contains(&json!("rule staff: matches")), "{staff}");
    assert_eq!(site.get("/api/v1/grants").await["grants"], json!([]), "nothing was written");
    let opened = site.open("campus/alice", "198.51.100.7").await.unwrap();
    let same = explain("campus/alice", json!([])).await.unwrap();
    assert_eq!((&same["decision"], &same["grant"]), (&json!("same"), &opened["id"]));
    let busy = explain("campus/bob", json!([])).await.unwrap();
    assert_eq!(busy["reason"], json!("source_busy"));
    site.running.stop().await;
}

#[tokio::test]
async fn a_quota_holds_for_operators_too_until_it_is_forgiven() {
    let site = Site::start().await;
    site.open("campus/alice", "198.51.100.7").await.unwrap();
    let refused = site.open("campus/alice", "198.51.100.8").await.unwrap_err();
    assert!(refused.contains("quota") && refused.contains("everybody"), "{refused}");
    let used = site.get("/api/v1/quota?user=campus/alice&service=kms").await;
    assert_eq!((&used["uses"][0]["limit"], &used["uses"][0]["used"]), (&json!(1), &json!(1)), "{used}");
    let staff = site.get("/api/v1/quota?user=campus/alice&service=kms&group=it&group=staff").await;
    assert_eq!(staff["uses"][0]["limit"], json!(20));
    site.ask("DELETE", "/api/v1/quota?user=campus/alice", Value::Null).await.unwrap();
    site.open("campus/alice", "198.51.100.8").await.unwrap();
    site.running.stop().await;
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_form() {
    let site = Site::start().await;
    for (method, path, body, said) in [
        ("GET", "/api/v1/grants?user=/alice", Value::Null, "whose"),
        ("GET", "/api/v1/grants?source=gw1", Value::Null, "IP address"),
        ("GET", "/api/v1/grants?colour=red", Value::Null, "colour"),
        ("GET", "/api/v1/grants/01", Value::Null, "26 characters"),
        ("GET", "/api/v1/grants/01JD4Y0V7Q8ZK3M5N9RXWATB2C", Value::Null, "no such grant"),
        ("DELETE", "/api/v1/grants/01JD4Y0V7Q8ZK3M5N9RXWATB2C", Value::Null, "no such grant"),
        ("GET", "/api/v1/report?by=moon", Value::Null, "user, day, source"),
        ("GET", "/api/v1/report?by=day&from=2026-02-02&to=2026-02-01", Value::Null, "before"),
        ("GET", "/api/v1/quota", Value::Null, "DOMAIN/NAME"),
        ("POST", "/api/v1/explain", json!({ "user": "campus/alice" }), "source"),
        ("POST", "/api/v1/explain", json!({ "user": "a/b", "source": "::1", "service": "x" }), "there are: kms"),
        ("POST", "/api/v1/grants", json!({ "user": "a/b", "source": "::1", "reason": " " }), "reason"),
        ("GET", "/nothing", Value::Null, "/api/v1"),
    ] {
        let error = site.ask(method, path, body).await.unwrap_err();
        assert!(error.contains(said), "{method} {path}: {error}");
    }
    site.running.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_the_old_configuration_if_the_new_one_is_bad() {
    let site = Site::start().await;
    let file = site.place.path().join("kmsgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("week = 1", "week = 7")).unwrap();
    let read = site.ask("POST", "/api/v1/reload", Value::Null).await.unwrap();
    assert_eq!(read["needs_restart"], json!([]));
    let limit = || async { site.get("/api/v1/quota?user=campus/alice").await["uses"][0]["limit"].clone() };
    assert_eq!(limit().await, json!(7));
    std::fs::write(&file, text.replace("week = 1", "weak = 9")).unwrap();
    let error = site.ask("POST", "/api/v1/reload", Value::Null).await.unwrap_err();
    assert!(error.contains("weak"), "{error}");
    assert_eq!(limit().await, json!(7));
    site.running.stop().await;
}

#[tokio::test]
async fn machines_learn_numbers_and_health_and_no_names() {
    let site = Site::start().await;
    site.open("campus/alice", "198.51.100.7").await.unwrap();
    assert_eq!(site.health("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(site.health("/readyz").await, (200, "ok\n".to_owned()));
    let (status, metrics) = site.health("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "kmsgate_open_grants 1",
        "kmsgate_ledger_ready 1",
        "kmsgate_providers_up{service=\"kms\"} 1",
        "kmsgate_sign_ins_total{outcome=\"granted\",reason=\"granted\"} 1",
        "kmsgate_account_server_verdicts_total{server=\"guests\",verdict=\"accepted\"} 0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|had| had == line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("alice") && !metrics.contains("198.51") && !metrics.contains("127.0.0.1"), "{metrics}");
    assert_eq!(site.health("/api/v1/grants").await.0, 404);
    site.running.stop().await;
}

#[tokio::test]
async fn the_control_socket_is_its_owners_and_is_not_taken_from_a_running_gateway() {
    let site = Site::start().await;
    let path = site.place.path().join("control.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = Control::bind(&path).unwrap_err();
    assert!(taken.to_string().contains("another gateway answers"), "{taken}");
    site.running.stop().await;
    assert!(!path.exists());
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Control::bind(&path).unwrap());
    std::fs::write(&path, "precious").unwrap();
    Control::bind(&path).unwrap_err();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
