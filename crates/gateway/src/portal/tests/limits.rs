//! Nothing that somebody sends, or does not send, costs for ever.

use super::*;
use crate::portal::api::GRANTS;
use crate::portal::tls::{BadCertificate, Certificate};

/// Reads until the other end closes.
async fn rest(mut stream: TcpStream) -> Came {
    let mut answer = Vec::new();
    // A reset is an end too.
    drop(stream.read_to_end(&mut answer).await);
    Came::of(&answer)
}

#[tokio::test]
async fn a_huge_body_is_413_however_it_is_announced() {
    let portal = start().await;
    let kind = [("content-type", "application/json")];
    let huge = vec![b' '; 1024 * 1024];
    let came = portal.send("POST", GRANTS, &kind, &huge).await;
    assert_eq!((came.status, came.json()["reason"].as_str()), (413, Some("bad_request")));
    let head = format!(
        "POST {GRANTS} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        portal.at
    );
    let mut chunked = head.into_bytes();
    for _ in 0..5 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(portal.raw(&chunked).await.status, 413);
    let padded = [ALICE_JSON, &vec![b' '; 16 * 1024 - ALICE_JSON.len()]].concat();
    assert_eq!(portal.api(&padded).await.status, 201, "16 KiB are taken");
}

#[tokio::test]
async fn a_slow_body_ends_in_408_and_a_slow_head_in_nothing() {
    let short = Limits { body: Duration::from_millis(100), head: Duration::from_millis(200), ..limits() };
    let portal = start_with(TestDesk::new(site()), short, None).await;
    let mut slow = portal.connect_from("127.0.0.1").await;
    let head = format!(
        "POST {GRANTS} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{{",
        portal.at
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let came = rest(slow).await;
    assert_eq!((came.status, came.json()["reason"].as_str()), (408, Some("bad_request")));
    for start in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: "] {
        let mut slow = portal.connect_from("127.0.0.1").await;
        slow.write_all(start.as_bytes()).await.unwrap();
        assert_ne!(rest(slow).await.status, 200, "{start:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_length_and_a_number_of_fields() {
    let portal = start().await;
    let many: Vec<(String, String)> = (0..80).map(|number| (format!("x-{number}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(portal.get("/", &many).await.status, 431);
    let line = format!("GET /{} HTTP/1.1\r\nconnection: close\r\nhost: {}\r\n\r\n", "x".repeat(12_000), portal.at);
    assert!(matches!(portal.raw(line.as_bytes()).await.status, 404 | 414 | 431));
    let mut stream = portal.connect_from("127.0.0.1").await;
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
    // The far end may close in the middle of it.
    drop(stream.write_all(endless.as_bytes()).await);
    assert!(matches!(rest(stream).await.status, 0 | 431));
    assert_eq!(portal.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_answered_without_a_word_that_a_header_could_guard() {
    let portal = start().await;
    let many: String = (0..80).map(|number| format!("x-{number}: y\r\n")).collect();
    for (request, status) in
        [("NO HTTP\r\n\r\n".to_owned(), 400), (format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431)]
    {
        let came = portal.raw(request.as_bytes()).await;
        assert_eq!((came.status, came.header("content-length"), came.body.as_str()), (status, Some("0"), ""));
        assert_eq!((came.header("content-type"), came.header("connection")), (None, Some("close")));
    }
}

#[tokio::test]
async fn whoever_asks_and_never_reads_is_let_go() {
    let short = Limits { write: Duration::from_millis(100), connections: 1, ..limits() };
    let portal = start_with(TestDesk::new(site()), short, None).await;
    let mut deaf = portal.connect_from("127.0.0.1").await;
    let request = format!("GET /help HTTP/1.1\r\nhost: {}\r\n\r\n", portal.at).repeat(100);
    // Asks on until both ways are full; the connection is ended from the other side.
    let asked = async { while deaf.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an answer that nobody reads waits for ever");
}

#[tokio::test]
async fn over_the_limit_a_connection_is_dropped_at_once() {
    let portal = start_with(TestDesk::new(site()), Limits { connections: 2, ..limits() }, None).await;
    let (one, two) = (portal.connect_from("127.0.0.1").await, portal.connect_from("127.0.0.1").await);
    let mut three = portal.connect_from("127.0.0.1").await;
    assert!(!matches!(three.read(&mut [0; 1]).await, Ok(1..)), "closed without a word");
    drop((one, two));
    // As soon as the two are gone there is room again.
    let request = format!("GET /help HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", portal.at);
    let came = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let mut stream = portal.connect_from("127.0.0.1").await;
            drop(stream.write_all(request.as_bytes()).await);
            let came = rest(stream).await;
            if came.status != 0 {
                return came;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(came.await.unwrap().status, 200);
}

#[tokio::test]
async fn p6_a_connection_ends_with_the_sign_in_that_it_carried() {
    let portal = start().await;
    let request = |kind: &str, body: &[u8]| {
        let head = format!(
            "POST {GRANTS} HTTP/1.1\r\nhost: {}\r\nx-forwarded-for: 203.0.113.9\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            portal.at,
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    for (kind, body, status) in
        [("application/json", ALICE_JSON, 201), ("application/json", b"{}", 400), ("x/y", b"x", 415)]
    {
        let came = portal.raw(&request(kind, body)).await;
        assert_eq!((came.status, came.header("connection")), (status, Some("close")), "raw() read to the end");
    }
    let mut proxy = portal.connect_from("127.0.0.2").await;
    for _ in 0..2 {
        proxy.write_all(&request("application/json", ALICE_JSON)).await.unwrap();
        let mut buffer = vec![0; 8192];
        let count = proxy.read(&mut buffer).await.unwrap();
        let came = Came::of(&buffer[..count]);
        assert!(matches!(came.status, 200 | 201) && came.header("connection").is_none(), "a trusted proxy keeps it");
    }
}

#[tokio::test]
async fn a_panic_ends_one_answer_and_nothing_else() {
    let portal = start().await;
    portal.desk.say(Say::Panic);
    let came = portal.api(ALICE_JSON).await;
    assert_eq!((came.status, came.json()["reason"].as_str()), (500, Some("internal")));
    portal.desk.say(Say::Grant);
    assert_eq!(portal.api(ALICE_JSON).await.status, 201);
}

#[tokio::test]
async fn a_visitor_who_goes_away_ends_the_work_that_was_begun() {
    let portal = start().await;
    let (begun, dropped) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    portal.desk.say(Say::Nothing(Arc::clone(&begun), Arc::clone(&dropped)));
    let mut stream = portal.connect_from("127.0.0.1").await;
    let head = format!(
        "POST {GRANTS} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        portal.at,
        ALICE_JSON.len()
    );
    stream.write_all(&[head.as_bytes(), ALICE_JSON].concat()).await.unwrap();
    begun.notified().await;
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), dropped.notified()).await.unwrap();
}

#[tokio::test]
async fn told_to_stop_it_stops_though_somebody_watches() {
    let mut portal = start().await;
    let granted = portal.api(ALICE_JSON).await.json();
    let (id, token) = (granted["id"].as_str().unwrap(), granted["token"].as_str().unwrap());
    let mut watching = portal.connect_from("127.0.0.1").await;
    let request =
        format!("GET {GRANTS}/{id}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n", portal.at);
    watching.write_all(request.as_bytes()).await.unwrap();
    assert!(watching.read(&mut [0; 1024]).await.unwrap() > 0);
    portal.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut portal.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(portal.at).await.is_err(), "no listener is left");
}

struct Pair {
    certificate: String,
    files: crate::config::TlsFiles,
    _directory: tempfile::TempDir,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let files = crate::config::TlsFiles {
        certificate: directory.path().join("certificate.pem"),
        private_key: directory.path().join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
    Pair { certificate: made.cert.pem(), files, _directory: directory }
}

async fn over_tls(portal: &Running, trusted: &str, request: &str) -> std::io::Result<Came> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, TcpStream::connect(portal.at).await?).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(Came::of(&answer))
}

#[tokio::test]
async fn under_tls_cookies_are_bound_to_the_host_and_the_certificate_can_be_changed() {
    let (first, second) = (pair(), pair());
    let certificate = Certificate::load(&first.files).unwrap();
    let portal = start_with(TestDesk::new(site()), limits(), Some(Arc::clone(&certificate))).await;
    let request = format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", portal.at);
    let came = over_tls(&portal, &first.certificate, &request).await.unwrap();
    assert_eq!(came.status, 200);
    assert_eq!(came.header("strict-transport-security"), Some("max-age=31536000"));
    let cookie = came.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-kmsgate-form=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"));
    certificate.reload(&second.files).unwrap();
    assert!(over_tls(&portal, &first.certificate, &request).await.is_err());
    assert_eq!(over_tls(&portal, &second.certificate, &request).await.unwrap().status, 200);
    let mixed = crate::config::TlsFiles {
        certificate: first.files.certificate.clone(),
        private_key: second.files.private_key.clone(),
    };
    assert!(matches!(certificate.reload(&mixed), Err(BadCertificate::Pair(..))));
    std::fs::write(&first.files.certificate, "nothing").unwrap();
    assert!(matches!(certificate.reload(&first.files), Err(BadCertificate::File(..))));
    assert_eq!(over_tls(&portal, &second.certificate, &request).await.unwrap().status, 200, "the good one stays");
    assert_ne!(portal.raw(request.as_bytes()).await.status, 200, "no plain HTTP on a TLS port");
}
