//! Every bad input has its answer, reaches no account server, and is counted.

use super::*;
use crate::portal::api::GRANTS;

#[tokio::test]
async fn f11_no_form_that_is_not_well_formed_reaches_the_pipeline() {
    let portal = start().await;
    let long = [b"username=".to_vec(), vec![b'x'; 4096], b"&password=secret".to_vec()].concat();
    let long_password = [b"username=alice&password=".to_vec(), vec![b'x'; 4096]].concat();
    let cases: Vec<(&[u8], u16)> = vec![
        (b"", 400),
        (b"username=&password=", 400),
        (b"username=alice&password=", 400),
        (b"username=&password=secret", 400),
        (b"username=alice", 400),
        (&long, 400),
        (&long_password, 400),
        (b"username=alice%0d%0aUSER+bob&password=secret", 400),
        (b"username=alice&password=secret%0d%0aPASS+x", 400),
        (b"username=alice\r\n&password=secret", 400),
        (b"username=alice%00&password=secret", 400),
        (b"username=alice&password=sec%00ret", 400),
        (b"username=al%09ice&password=secret", 400),
        (b"username=%ff%fe&password=secret", 400),
        (b"username=alice&password=\xff\xfe", 400),
        (b"username=alice&username=bob&password=secret", 400),
        (b"username=alice&password=secret&password=other", 400),
        (b"username=alice&password=secret&csrf=other", 400),
        (b"username=alice&password=secret&admin=1", 400),
        (b"username=alice&password=%zz", 400),
        (b"username=alice&password=secret&service=ssh", 400),
    ];
    for (count, (body, status)) in cases.iter().enumerate() {
        let came = portal.form(body, &[]).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(came.status, *status, "{shown:.60}");
        assert!(came.body.contains("<h1>") && !came.body.contains("fault-"), "words for {shown:.60}");
        assert_eq!(portal.desk.turned_away().len(), count + 1, "counted: {shown:.60}");
    }
    assert_eq!(portal.desk.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn f11_no_json_that_is_not_well_formed_reaches_the_pipeline() {
    let portal = start().await;
    let long = format!(r#"{{"username":"{}","password":"secret"}}"#, "x".repeat(4096));
    let cases: Vec<&[u8]> = vec![
        b"null",
        b"[1]",
        b"{",
        br#"{"username":"alice"}"#,
        br#"{"username":"","password":"secret"}"#,
        br#"{"username":"alice","password":""}"#,
        br#"{"username":"alice\r\nUSER bob","password":"secret"}"#,
        br#"{"username":"alice","password":"secret\u0000"}"#,
        br#"{"username":"alice","password":"secret","admin":true}"#,
        br#"{"username":"alice","username":"bob","password":"secret"}"#,
        br#"{"username":"alice","password":["secret"]}"#,
        br#"{"username":"alice","password":"secret","service":"ssh"}"#,
        br#"{"username":"alice","password":"secret"} trailing"#,
        b"{\"username\":\"\xff\",\"password\":\"secret\"}",
        long.as_bytes(),
    ];
    for body in cases {
        let came = portal.api(body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(came.status, 400, "{shown:.60}");
        assert_eq!(came.header("content-type"), Some("application/problem+json"));
        let problem = came.json();
        assert_eq!(problem["reason"], "bad_request", "{shown:.60}");
        assert_eq!(problem["status"], 400);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 15 && !detail.contains("alice")));
    }
    assert_eq!(portal.desk.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_content_type_is_415() {
    let portal = start().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=big5", "json", ""] {
        let came = portal.send("POST", GRANTS, &[("content-type", kind)], ALICE_JSON).await;
        assert_eq!((came.status, came.json()["reason"].as_str()), (415, Some("bad_request")), "{kind}");
    }
    assert_eq!(portal.send("POST", GRANTS, &[], ALICE_JSON).await.status, 415);
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(portal.send("POST", GRANTS, &gzip, ALICE_JSON).await.status, 415);
    assert_eq!(portal.form(ALICE, &[("content-type", "multipart/form-data; boundary=x")]).await.status, 415);
    let utf8 = [("content-type", "application/json; charset=UTF-8")];
    assert_eq!(portal.send("POST", GRANTS, &utf8, ALICE_JSON).await.status, 201);
}

#[tokio::test]
async fn a_form_without_its_token_is_refused() {
    let portal = start().await;
    let kind = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(portal.send("POST", "/", &[kind], ALICE).await.status, 403);
    let (one, other) = (portal.get("/", &[]).await, portal.get("/", &[]).await);
    let body = [format!("csrf={}&", one.csrf()).as_bytes(), ALICE].concat();
    let cookie = format!("kmsgate-form={}", other.cookie("kmsgate-form").unwrap());
    let came = portal.send("POST", "/", &[kind, ("cookie", &cookie)], &body).await;
    assert_eq!(came.status, 403, "the token of another visitor");
    assert!(came.body.contains("name=\"password\""), "the form is there again");
    assert_eq!(portal.desk.asked(), Vec::<String>::new());
    assert_eq!(portal.form(ALICE, &[]).await.status, 303);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let portal = start().await;
    let own = format!("http://{}", portal.at);
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(portal.form(ALICE, &[header]).await.status, 403, "{header:?}");
        let json = [("content-type", "application/json"), header];
        let came = portal.send("POST", GRANTS, &json, ALICE_JSON).await;
        assert_eq!(came.status, 403, "{header:?}");
        assert_eq!(came.header("access-control-allow-origin"), None);
    }
    assert_eq!(portal.desk.asked(), Vec::<String>::new());
    assert_eq!(portal.form(ALICE, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.status, 303);
    assert_eq!(portal.get("/", &[("sec-fetch-site", "cross-site")]).await.status, 200, "a link may lead here");
    assert_eq!(portal.send("OPTIONS", GRANTS, &[("origin", "https://evil.example")], b"").await.status, 405);
}

#[tokio::test]
async fn another_host_is_421() {
    let portal = start().await;
    for path in ["/", GRANTS, "/api/v1/status"] {
        assert_eq!(portal.get(path, &[("host", "evil.example")]).await.status, 421, "{path}");
    }
    let local = format!("localhost:{}", portal.at.port());
    assert_eq!(portal.get("/", &[("host", &local)]).await.status, 200);
    let absolute = format!("GET http://evil.example/ HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", portal.at);
    assert_eq!(portal.raw(absolute.as_bytes()).await.status, 421);
    assert_eq!(portal.raw(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn the_address_is_the_peers_or_what_a_trusted_proxy_says() {
    let portal = start().await;
    let ask = async |from: &str, lines: &[&str]| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(lines.iter().map(|line| ("x-forwarded-for", *line)));
        portal.send_from(from, "POST", GRANTS, &headers, ALICE_JSON).await
    };
    let came = ask("127.0.0.1", &["203.0.113.9"]).await;
    assert_eq!(came.json()["sources"][0], "127.0.0.1", "a stranger's header counts for nothing");
    let came = ask("127.0.0.2", &["6.6.6.6, 203.0.113.9", "127.0.0.2"]).await;
    assert_eq!(came.json()["sources"][0], "203.0.113.9");
    let before = portal.desk.asked().len();
    for lines in [&[][..], &["garbage"], &["127.0.0.2"], &["0.0.0.0"], &["224.0.0.1"], &["10.0.0.2"], &["203.0.113.9,"]]
    {
        let came = ask("127.0.0.2", lines).await;
        assert_eq!((came.status, came.json()["reason"].as_str()), (400, Some("bad_request")), "{lines:?}");
        let turned_away = portal.desk.turned_away();
        let line = turned_away.last().and_then(|(_, fault)| fault.for_operator());
        assert!(line.is_some_and(|line| line.contains("prox")), "the operator is told: {lines:?}");
    }
    assert_eq!(portal.desk.asked().len(), before);
    assert_eq!(portal.send_from("127.0.0.2", "GET", "/api/v1/status", &[], b"").await.status, 200);
}
