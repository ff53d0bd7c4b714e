//! The JSON interface as the contract has it.

use super::*;
use crate::portal::api::{EVENTS, GRANT, GRANTS, OPENAPI, STATUS};
use kmsgate_core::reason::Reason;
use tokio_stream::StreamExt as _;

#[tokio::test]
async fn a_sign_in_is_201_and_the_same_again_200_with_a_fresh_token() {
    let portal = start().await;
    let came = portal.api(ALICE_JSON).await;
    assert_eq!(came.status, 201);
    assert_eq!(came.header("cache-control"), Some("no-store"));
    let grant = came.json();
    let mut keys: Vec<&str> = grant.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let contract = [
        "connections",
        "connections_left",
        "expires_at",
        "gateway",
        "id",
        "opened_at",
        "service",
        "sources",
        "state",
        "token",
    ];
    assert_eq!(keys, contract);
    assert_eq!(grant["sources"], serde_json::json!(["127.0.0.1"]));
    assert_eq!((grant["state"].as_str(), grant["connections_left"].as_u64()), (Some("open"), Some(1)));
    assert_eq!(grant["gateway"], "127.0.0.1:1688");
    for time in ["opened_at", "expires_at"] {
        let text = grant[time].as_str().unwrap();
        assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    }
    assert_eq!(came.header("location").unwrap(), format!("{GRANTS}/{}", grant["id"].as_str().unwrap()));
    let again = portal.api(ALICE_JSON).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["id"], grant["id"]);
    assert_ne!(again.json()["token"], grant["token"]);
    assert_eq!(portal.desk.asked()[0], "alice secret kms 127.0.0.1");
}

#[tokio::test]
async fn a_token_opens_its_own_grant_and_nothing_else() {
    let portal = start().await;
    let one = portal.api(ALICE_JSON).await.json();
    let other = portal.api(br#"{"username":"bob","password":"secret","service":"kms"}"#).await.json();
    let at = |grant: &serde_json::Value| format!("{GRANTS}/{}", grant["id"].as_str().unwrap());
    let bearer = |grant: &serde_json::Value| format!("Bearer {}", grant["token"].as_str().unwrap());
    let came = portal.get(&at(&one), &[("authorization", &bearer(&one))]).await;
    assert_eq!((came.status, came.json()["id"].as_str()), (200, one["id"].as_str()));
    assert_eq!(came.json().get("token"), None);
    assert_eq!(portal.get(&at(&one), &[("authorization", &bearer(&other))]).await.status, 404);
    for token in ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi"] {
        let came = portal.get(&at(&one), &[("authorization", token)]).await;
        assert_eq!(came.status, 401, "{token}");
        assert_eq!(came.header("www-authenticate"), Some("Bearer realm=\"kmsgate\""));
    }
    assert_eq!(portal.get(&at(&one), &[]).await.status, 401);
    assert_eq!(portal.send("DELETE", &at(&one), &[("authorization", &bearer(&other))], b"").await.status, 404);
    let foreign = [("authorization", bearer(&one)), ("origin", "https://evil.example".to_owned())];
    let foreign: Vec<(&str, &str)> = foreign.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(portal.send("DELETE", &at(&one), &foreign, b"").await.status, 403);
    for _ in 0..2 {
        let came = portal.send("DELETE", &at(&one), &[("authorization", &bearer(&one))], b"").await;
        assert_eq!((came.status, came.json()["cause"].as_str()), (200, Some("cancelled")));
    }
}

#[tokio::test]
async fn a_grant_is_told_as_it_changes_until_it_is_closed() {
    let portal = start().await;
    let granted = portal.api(ALICE_JSON).await.json();
    let id: GrantId = granted["id"].as_str().unwrap().parse().unwrap();
    let request = format!(
        "GET {GRANTS}/{id}/events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        portal.at,
        granted["token"].as_str().unwrap()
    );
    let mut stream = portal.connect_from("127.0.0.1").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    let hear = async |heard: &mut String, stream: &mut TcpStream, what: &str| {
        while !heard.contains(what) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "ended before {what}: {heard}");
            heard.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    hear(&mut heard, &mut stream, "\"connections_left\":1").await;
    assert!(heard.contains("text/event-stream") && heard.contains("event: state"));
    portal.desk.change(id, |grant| (grant.claims, grant.alive) = (1, 1)).unwrap();
    hear(&mut heard, &mut stream, "\"alive\":1").await;
    portal.desk.change(id, |grant| grant.state = State::Closed(Cause::Used, Totals::default())).unwrap();
    hear(&mut heard, &mut stream, "\"cause\":\"used\"").await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn so_many_watch_at_once_and_who_goes_away_makes_room() {
    let portal = start_with(TestDesk::new(site()), Limits { views: 1, ..limits() }, None).await;
    let granted = portal.api(ALICE_JSON).await.json();
    let (path, token) = (
        format!("{GRANTS}/{}/events", granted["id"].as_str().unwrap()),
        format!("Bearer {}", granted["token"].as_str().unwrap()),
    );
    let mut first = portal.connect_from("127.0.0.1").await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {token}\r\n\r\n", portal.at);
    first.write_all(request.as_bytes()).await.unwrap();
    assert!(first.read(&mut [0; 4096]).await.unwrap() > 0);
    let bearer = [("authorization", token.as_str())];
    let too_many = portal.get(&path, &bearer);
    let came = tokio::time::timeout(Duration::from_secs(10), too_many).await.expect("a second one is not let in");
    assert_eq!((came.status, came.json()["reason"].as_str()), (503, Some("gateway_full")));
    assert_eq!(portal.desk.news.listeners(), 1);
    drop(first);
    let gone = async {
        while portal.desk.news.listeners() > 0 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the listener ends with its connection");
    // Nobody listens: there is room for the next.
    let mut next = portal.connect_from("127.0.0.1").await;
    next.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let count = next.read(&mut buffer).await.unwrap();
    assert_eq!(Came::of(&buffer[..count]).status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_live_view_reads_the_ledger_only_when_the_bell_rings_or_the_window_ends() {
    let desk = TestDesk::new(site());
    let source = Source::new("198.51.100.7".parse().unwrap());
    let grant = record(person("alice"), source, ServiceName::new("kms"), desk.now());
    desk.memory.lock().unwrap().grants.push(grant.clone());
    let portal = Arc::new(crate::portal::Portal {
        desk: Arc::clone(&desk) as Arc<dyn Desk>,
        limits: limits(),
        views: Arc::new(tokio::sync::Semaphore::new(1)),
        stop: CancellationToken::new(),
    });
    let reads = || desk.memory.lock().unwrap().reads;
    let mut told = crate::portal::events::stream(&portal, grant.id).unwrap().into_body().into_data_stream();
    let mut next = async |what: &str| loop {
        let bytes = told.next().await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.contains("event: state") {
            assert!(text.contains(what), "{text}");
            return;
        }
    };
    next("\"connections_left\":1").await;
    // The test's clock of the grant stands still meanwhile: the window does not end.
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(reads(), 1, "a minute in which nothing happened");
    for _ in 0..1000 {
        desk.news.notify();
        tokio::task::yield_now().await;
    }
    assert!(reads() <= 3, "{} reads for a thousand rings at one moment", reads());
    desk.change(grant.id, |grant| (grant.claims, grant.alive) = (1, 1)).unwrap();
    next("\"alive\":1").await;
    desk.change(grant.id, |grant| grant.state = State::Closed(Cause::Used, Totals::default())).unwrap();
    next("\"cause\":\"used\"").await;
    assert!(told.next().await.is_none(), "the end of the grant is the end of the stream");
}

#[tokio::test]
async fn every_refusal_has_its_status_reason_and_words_in_the_readers_language() {
    let portal = start().await;
    let table = [
        (Reason::BadRequest, 400),
        (Reason::InvalidCredentials, 401),
        (Reason::AccountUnusable, 403),
        (Reason::NotPermitted, 403),
        (Reason::NotNeeded, 409),
        (Reason::SourceBusy, 409),
        (Reason::TooManyAttempts, 429),
        (Reason::QuotaExhausted, 429),
        (Reason::Internal, 500),
        (Reason::AccountServerUnavailable, 503),
        (Reason::NoProvider, 503),
        (Reason::GatewayFull, 503),
        (Reason::LedgerUnavailable, 503),
        (Reason::ForwarderUnavailable, 503),
    ];
    for (reason, status) in table {
        portal.desk.say(Say::Refuse(Refusal {
            retry_after: Some(Duration::from_millis(170_400)),
            message: Some("Please call the service desk.".into()),
            ..Refusal::plain(reason)
        }));
        let mut details = Vec::new();
        for (language, waits) in [("en", "in 3 minutes"), ("zh-Hant-TW", "3 分鐘")] {
            let headers = [("content-type", "application/json"), ("accept-language", language)];
            let came = portal.send("POST", GRANTS, &headers, ALICE_JSON).await;
            assert_eq!(came.status, status, "{reason}");
            assert_eq!(came.header("content-type"), Some("application/problem+json"));
            assert_eq!(came.header("retry-after"), Some("171"));
            let problem = came.json();
            assert_eq!(problem["reason"], reason.as_str());
            assert_eq!(problem["type"], format!("/help#{reason}"));
            let detail = problem["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(waits) && detail.contains("Please call the service desk."), "{detail}");
            assert!(!detail.contains("{") && !detail.contains("fault-"), "{detail}");
            details.push((problem["title"].clone(), detail));
        }
        assert_ne!(details[0], details[1], "{reason}");
    }
}

#[tokio::test]
async fn f17_the_second_person_is_told_why_and_for_how_long_but_not_who() {
    let portal = start().await;
    assert_eq!(portal.api(ALICE_JSON).await.status, 201);
    portal.desk.say(Say::Refuse(Refusal {
        retry_after: Some(Duration::from_secs(150)),
        ..Refusal::plain(Reason::SourceBusy)
    }));
    let came = portal.api(br#"{"username":"bob","password":"secret"}"#).await;
    assert_eq!((came.status, came.header("retry-after")), (409, Some("150")));
    assert!(came.body.contains("127.0.0.1") && came.body.contains("3 minutes") && !came.body.contains("alice"));
    let page = portal.form(b"username=bob&password=secret", &[]).await;
    assert_eq!((page.status, page.header("retry-after")), (409, Some("150")));
    assert!(page.body.contains("127.0.0.1") && page.body.contains("3 minutes") && !page.body.contains("alice"));
}

#[tokio::test]
async fn the_status_says_what_there_is_without_a_sign_in() {
    let portal = start().await;
    let status = portal.get(STATUS, &[]).await.json();
    assert_eq!(status["name"], "kmsgate");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["services"][0]["name"], "kms");
}

#[tokio::test]
async fn the_description_names_every_path_and_method_and_no_other() {
    let portal = start().await;
    let description = portal.get(OPENAPI, &[]).await.json();
    let paths = description["paths"].as_object().unwrap();
    let mut described: Vec<&str> = paths.keys().map(String::as_str).collect();
    described.sort_unstable();
    let mut served = [GRANTS, GRANT, EVENTS, STATUS, OPENAPI];
    served.sort_unstable();
    assert_eq!(described, served);
    for (path, methods) in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let status =
                portal.send(method, &path.replace("{id}", "01JD4Y0V7Q8ZK3M5N9RXWATB2C"), &[], b"").await.status;
            let is_described = methods.get(method.to_lowercase()).is_some();
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
        }
    }
    let reasons = &description["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"];
    let known: Vec<&str> =
        Reason::ALL.iter().filter(|reason| **reason != Reason::Abandoned).map(|reason| reason.as_str()).collect();
    assert_eq!(*reasons, serde_json::json!(known));
}
