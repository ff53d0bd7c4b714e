//! The portal through its own listener and raw bytes, with a desk that says what the test wants. The desk is the only part
//! that is not real.

mod api;
mod bad_input;
mod limits;
mod pages;

use crate::answer::{Answer, Granted, Secret, Visit};
use crate::clock::Clock;
use crate::config::{Health, Portal as PortalConfig, PortalLimits, Protocol, Service};
use crate::event::news::News;
use crate::portal::Limits;
use crate::portal::desk::{Desk, Site, Work};
use crate::portal::fault::Fault;
use kmsgate_core::address::Source;
use kmsgate_core::decide::Refusal;
use kmsgate_core::grant::{GrantId, State, Totals, Window};
use kmsgate_core::name::{Domain, Name, Person, RuleName, ServiceName};
use kmsgate_core::permit::Terms;
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::sign_in::SignIn;
use kmsgate_core::time::Now;
use kmsgate_ledger::records::{GrantRecord, LedgerError, Session};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) fn service(name: &str, port: u16) -> Service {
    Service {
        terms: Arc::new(Terms {
            service: ServiceName::new(name),
            window: Duration::from_secs(200),
            connections: 1,
            close_when_used: true,
            ipv6_prefix: 128,
        }),
        port,
        providers: vec![crate::config::Provider { address: "10.0.0.2:1688".parse().unwrap(), weight: 1 }],
        protocol: Protocol::Msrpc,
        calls: Some(1),
        max_connection: None,
        max_bytes_in: None,
        health: Health::Off,
    }
}

pub(crate) fn site() -> Site {
    let portal = PortalConfig {
        listen: Vec::new(),
        public_url: None,
        tls: None,
        insecure_http: false,
        trusted_proxies: vec!["127.0.0.2/32".parse().unwrap()],
        languages: vec!["en".into(), "zh-TW".into()],
        title: "Campus activation".into(),
        limits: PortalLimits::default(),
    };
    Site::new(portal, vec![service("kms", 1688)], &[])
}

pub(crate) fn limits() -> Limits {
    Limits { stop: Duration::from_millis(300), ..PortalLimits::default().into() }
}

/// What `admit` answers.
#[derive(Clone)]
enum Say {
    Grant,
    Refuse(Refusal),
    Panic,
    /// Nothing, ever; tells when it was begun and when it was dropped.
    Nothing(Arc<tokio::sync::Notify>, Arc<tokio::sync::Notify>),
}

#[derive(Default)]
struct Memory {
    say: Option<Say>,
    grants: Vec<GrantRecord>,
    tokens: HashMap<[u8; 32], GrantId>,
    sessions: HashMap<[u8; 32], Session>,
    asked: Vec<String>,
    reads: usize,
    turned_away: Vec<(IpAddr, Fault)>,
}

/// A gate of memory.
struct TestDesk {
    site: Mutex<Arc<Site>>,
    memory: Mutex<Memory>,
    bypassed: bool,
    news: News,
}

impl TestDesk {
    fn new(site: Site) -> Arc<Self> {
        Arc::new(Self {
            site: Mutex::new(Arc::new(site)),
            memory: Mutex::default(),
            bypassed: false,
            news: News::default(),
        })
    }

    fn say(&self, say: Say) {
        self.memory.lock().unwrap().say = Some(say);
    }

    fn change(&self, id: GrantId, change: impl FnOnce(&mut GrantRecord)) -> Option<GrantRecord> {
        let mut memory = self.memory.lock().unwrap();
        let grant = memory.grants.iter_mut().find(|grant| grant.id == id)?;
        change(grant);
        let grant = grant.clone();
        drop(memory);
        self.news.notify();
        Some(grant)
    }

    fn find(&self, id: GrantId) -> Option<GrantRecord> {
        self.memory.lock().unwrap().grants.iter().find(|grant| grant.id == id).cloned()
    }

    fn asked(&self) -> Vec<String> {
        self.memory.lock().unwrap().asked.clone()
    }

    fn turned_away(&self) -> Vec<(IpAddr, Fault)> {
        self.memory.lock().unwrap().turned_away.clone()
    }
}

pub(crate) fn person(name: &str) -> Person {
    Person { domain: Domain::new("campus"), name: Name::canonical(name).unwrap() }
}

fn record(person: Person, source: Source, service: ServiceName, now: Now) -> GrantRecord {
    GrantRecord {
        id: GrantId::new(now.utc, crate::clock::entropy().unwrap()),
        person,
        voucher: "guests".into(),
        note: None,
        source,
        key: source.key(128),
        service,
        rule: RuleName::new("everybody"),
        window: Window::from(now, Duration::from_secs(200)),
        state: State::Open,
        closed_at: None,
        connections: 1,
        claims: 0,
        given_back: 0,
        alive: 0,
        last_claim: 0,
        close_when_used: true,
        provider: None,
        totals: Totals::default(),
        shared: false,
    }
}

impl Desk for TestDesk {
    fn now(&self) -> Now {
        Clock.now()
    }

    fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.lock().unwrap())
    }

    fn admit(&self, sign_in: SignIn, visit: Visit) -> Work<'_, Answer> {
        if let Some(Say::Nothing(begun, dropped)) = self.memory.lock().unwrap().say.clone() {
            struct Told(Arc<tokio::sync::Notify>);
            impl Drop for Told {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            return Box::pin(async move {
                let _told = Told(dropped);
                begun.notify_one();
                std::future::pending().await
            });
        }
        Box::pin(async move {
            let mut memory = self.memory.lock().unwrap();
            let SignIn { login, password, service, source } = sign_in;
            memory.asked.push(format!("{login} {} {service} {source}", password.expose()));
            match memory.say.clone().unwrap_or(Say::Grant) {
                Say::Refuse(refusal) => return Err(refusal),
                Say::Panic => {
                    drop(memory);
                    panic!("a fault in the pipeline, on purpose")
                }
                Say::Grant | Say::Nothing(..) => {}
            }
            let now = self.now();
            let standing = memory
                .grants
                .iter()
                .find(|grant| grant.state.unfinished() && grant.source == source && grant.person.name == login.name);
            let new = standing.is_none();
            let grant = standing.cloned().unwrap_or_else(|| record(person(login.name.as_str()), source, service, now));
            let (token, cookie) = (Secret::draw().unwrap(), Secret::draw().unwrap());
            memory.tokens.insert(token.hash().0, grant.id);
            if visit == Visit::Browser {
                let session =
                    Session { hash: cookie.hash(), person: grant.person.clone(), grant: grant.id, since: now.utc };
                memory.sessions.insert(cookie.hash().0, session);
            }
            if new {
                memory.grants.push(grant.clone());
            }
            Ok(Granted { grant, token, cookie: (visit == Visit::Browser).then_some(cookie), new })
        })
    }

    fn close(&self, id: GrantId, cause: Cause) -> Work<'_, Result<GrantRecord, LedgerError>> {
        Box::pin(async move {
            self.change(id, |grant| grant.state = State::Closed(cause, Totals::default())).ok_or(LedgerError::Missing)
        })
    }

    fn grant(&self, id: GrantId) -> Work<'_, Result<Option<GrantRecord>, LedgerError>> {
        self.memory.lock().unwrap().reads += 1;
        Box::pin(async move { Ok(self.find(id)) })
    }

    fn grant_by_token(&self, token: SecretHash) -> Work<'_, Result<Option<GrantRecord>, LedgerError>> {
        let id = self.memory.lock().unwrap().tokens.get(&token.0).copied();
        Box::pin(async move { Ok(id.and_then(|id| self.find(id))) })
    }

    fn history(&self, person: Person, limit: usize) -> Work<'_, Result<Vec<GrantRecord>, LedgerError>> {
        let memory = self.memory.lock().unwrap();
        let grants = memory.grants.iter().rev().filter(|grant| grant.person == person).take(limit).cloned().collect();
        Box::pin(async move { Ok(grants) })
    }

    fn session(&self, cookie: SecretHash) -> Work<'_, Result<Option<Session>, LedgerError>> {
        let session = self.memory.lock().unwrap().sessions.get(&cookie.0).cloned();
        Box::pin(async move { Ok(session) })
    }

    fn session_end(&self, cookie: SecretHash) -> Work<'_, Result<(), LedgerError>> {
        self.memory.lock().unwrap().sessions.remove(&cookie.0);
        Box::pin(async move { Ok(()) })
    }

    fn news(&self) -> tokio::sync::watch::Receiver<u64> {
        self.news.listen()
    }

    fn bypasses(&self, _: Source, _: &ServiceName) -> bool {
        self.bypassed
    }

    fn turned_away(&self, peer: IpAddr, fault: &Fault) {
        self.memory.lock().unwrap().turned_away.push((peer, fault.clone()));
    }
}

/// A portal that runs, until dropped.
struct Running {
    desk: Arc<TestDesk>,
    at: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start() -> Running {
    start_with(TestDesk::new(site()), limits(), None).await
}

async fn start_with(
    desk: Arc<TestDesk>,
    limits: Limits,
    certificate: Option<Arc<crate::portal::tls::Certificate>>,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving =
        super::accept::serve(Arc::clone(&desk) as Arc<dyn Desk>, vec![listener], certificate, limits, stop.clone());
    let ended = tokio::spawn(async move { serving.await.unwrap() });
    Running { desk, at, stop, ended }
}

/// What came back.
#[derive(Debug)]
struct Came {
    status: u16,
    head: String,
    body: String,
}

impl Came {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of the first cookie set whose name ends so.
    fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers("set-cookie").into_iter().filter_map(|line| line.split(';').next());
        lines.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    fn csrf(&self) -> String {
        let after = self.body.split("name=\"csrf\" value=\"").nth(1).expect("a form with a token");
        after.split('"').next().unwrap().to_owned()
    }
}

impl Running {
    /// Sends a request without a body and reads to the end.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Came {
        self.send("GET", path, headers, b"").await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Came {
        self.send_from("127.0.0.1", method, path, headers, body).await
    }

    async fn send_from(&self, from: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Came {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str(&format!("host: {}\r\n", self.at));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.raw_from(from, &[head.as_bytes(), body].concat()).await
    }

    async fn raw(&self, bytes: &[u8]) -> Came {
        self.raw_from("127.0.0.1", bytes).await
    }

    async fn raw_from(&self, from: &str, bytes: &[u8]) -> Came {
        let mut stream = self.connect_from(from).await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Came::of(&answer)
    }

    async fn connect_from(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(self.at).await.unwrap()
    }

    async fn api(&self, body: &[u8]) -> Came {
        self.send("POST", super::api::GRANTS, &[("content-type", "application/json")], body).await
    }

    /// Opens the form, then sends it as a browser does. `more` goes into the body after the token.
    async fn form(&self, more: &[u8], headers: &[(&str, &str)]) -> Came {
        let page = self.get("/", &[]).await;
        let cookie = format!("kmsgate-form={}", page.cookie("kmsgate-form").unwrap());
        let body = [format!("csrf={}&", page.csrf()).as_bytes(), more].concat();
        let all = [&[("cookie", cookie.as_str())], headers].concat();
        let plain = all.iter().any(|(name, _)| *name == "content-type");
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let all = if plain { all } else { [&kind[..], &all].concat() };
        self.send("POST", "/", &all, &body).await
    }
}

const ALICE: &[u8] = b"username=alice&password=secret";
const ALICE_JSON: &[u8] = br#"{"username":"alice","password":"secret"}"#;
