//! POP3 servers that do what a script says, on loopback.

use kmsgate_accounts::TlsMode;
use kmsgate_accounts::tls::TlsSettings;
use kmsgate_accounts::{Accounts, ChainAnswer, FrameSettings, Host, Pop3Server, Server, Way};
use kmsgate_core::address::Source;
use kmsgate_core::name::{Login, ServerName};
use kmsgate_core::password::Password;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a scripted server does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Reads one line, which must begin so.
    Hear(&'static str),
    /// Shakes hands as a TLS server.
    Tls,
    /// Neither speaks nor closes.
    Hang,
    /// Sends for ever.
    Flood(&'static [u8]),
    /// Closes, as at the end of every script.
    Close,
}

pub(crate) fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// A scripted server. Every connection begins the script anew.
pub(crate) struct Peer {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Peer {
    pub(crate) async fn new(script: Vec<Step>) -> Self {
        Self::with_certificate(script, None).await
    }

    pub(crate) async fn with_certificate(script: Vec<Step>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (to_heard, counter) = (Arc::clone(&heard), Arc::clone(&connections));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(perform(Box::new(stream), script.clone(), tls.clone(), Arc::clone(&to_heard)));
            }
        });
        Self { port, heard, connections }
    }

    /// Every line of every connection.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn perform(
    mut wire: Box<dyn Wire>,
    script: Vec<Step>,
    tls: Option<Arc<rustls::ServerConfig>>,
    heard: Arc<Mutex<Vec<String>>>,
) {
    for step in script {
        match step {
            Step::Say(bytes) => {
                if wire.write_all(&bytes).await.is_err() || wire.flush().await.is_err() {
                    return;
                }
            }
            Step::Hear(start) => {
                let mut line = Vec::new();
                while line.last() != Some(&b'\n') {
                    match wire.read_u8().await {
                        Ok(byte) => line.push(byte),
                        Err(_) => return,
                    }
                }
                let line = String::from_utf8(line).unwrap().trim_end().to_owned();
                heard.lock().unwrap().push(line.clone());
                if !line.starts_with(start) {
                    return;
                }
            }
            Step::Tls => {
                let acceptor =
                    tokio_rustls::TlsAcceptor::from(tls.clone().expect("a script with TLS has a certificate"));
                match acceptor.accept(wire).await {
                    Ok(stream) => wire = Box::new(stream),
                    Err(_) => return,
                }
            }
            Step::Hang => std::future::pending::<()>().await,
            Step::Flood(bytes) => while wire.write_all(bytes).await.is_ok() {},
            Step::Close => return,
        }
    }
}

/// A certificate for `localhost` by an authority of its own, written to `directory/ca.pem`.
pub(crate) fn certificate(directory: &Path) -> Arc<rustls::ServerConfig> {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    std::fs::write(directory.join("ca.pem"), authority_certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    Arc::new(config.unwrap())
}

pub(crate) fn pop3(port: u16, tls: TlsMode, ca: Option<&Path>) -> Server {
    let trust = TlsSettings { ca: ca.map(Path::to_owned), ..TlsSettings::default() };
    let host = if tls == TlsMode::Clear { "127.0.0.1" } else { "localhost" };
    Server::Pop3(Pop3Server::new(&Way { hosts: vec![Host { name: host.to_owned(), port }], tls, trust }).unwrap())
}

/// Long enough for a loaded machine.
pub(crate) fn patient(name: &str) -> FrameSettings {
    FrameSettings { timeout: Duration::from_secs(20), ..FrameSettings::new(name) }
}

/// Short enough for a test to wait for a server that hangs.
pub(crate) fn hasty(name: &str) -> FrameSettings {
    FrameSettings { timeout: Duration::from_millis(300), ..FrameSettings::new(name) }
}

/// Servers asked in the order in which they stand.
pub(crate) fn chain(servers: Vec<(FrameSettings, Server)>) -> Accounts {
    let order: Vec<ServerName> = servers.iter().map(|(frame, _)| frame.name.clone()).collect();
    Accounts::new(servers, &order, &BTreeMap::new()).unwrap()
}

pub(crate) async fn ask(accounts: &Accounts, login: &str, password: &str) -> ChainAnswer {
    ask_from(accounts, login, password, "198.51.100.7").await
}

pub(crate) async fn ask_from(accounts: &Accounts, login: &str, password: &str, source: &str) -> ChainAnswer {
    let login = Login::parse(login).unwrap();
    let password = Password::new(password.to_owned()).unwrap();
    accounts.ask_for(&login, &password, Source::new(source.parse().unwrap())).await
}

pub(crate) fn refused(answer: ChainAnswer) -> kmsgate_accounts::chain::RefusedBy {
    match answer {
        ChainAnswer::Refused(by) => by,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn accepted(answer: ChainAnswer) -> kmsgate_core::identity::Identity {
    match answer {
        ChainAnswer::Accepted(identity) => identity,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Lets other tasks run until the condition holds; the test runner ends what never comes true.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
