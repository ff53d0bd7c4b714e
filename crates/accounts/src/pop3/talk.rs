//! One conversation with a POP3 server, from the connection to the server's word on a password. What must never happen
//! here: a word that came before TLS believed after it, a reply taken for the answer to another command, a server's text
//! in a log after it has seen a password.

use crate::pop3::line::{Capabilities, LONGEST_LINE, Lines, MOST_CAPABILITIES, Nonsense, Reply, Status, timestamp};
use crate::tls::Tls;
use crate::verdict::{Outage, Progress};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// Between one address of a host and the next, unless the one before failed at once (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 8;

/// A conversation.
pub(super) struct Talk<'a> {
    stream: Stream,
    lines: Lines,
    progress: &'a Progress,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a greeting says.
pub(super) struct Greeting {
    /// For APOP.
    pub(super) timestamp: Option<Vec<u8>>,
    /// The server takes the person's address from us.
    pub(super) xclient: bool,
}

impl<'a> Talk<'a> {
    /// Connects, and for POP3S shakes hands.
    pub(super) async fn open(host: &str, port: u16, tls: Option<&Tls>, progress: &'a Progress) -> Result<Self, Outage> {
        let stream = connect(host, port, progress).await?;
        let talk = Self { stream: Stream::Clear(stream), lines: Lines::default(), progress };
        match tls {
            Some(tls) => talk.secure(tls).await,
            None => Ok(talk),
        }
    }

    /// Reads the greeting.
    pub(super) async fn greeting(&mut self) -> Result<Greeting, Outage> {
        self.progress.at("waiting for the greeting");
        let line = self.line().await?;
        let reply = self.understood(Reply::parse(&line))?;
        if reply.status != Status::Ok {
            return Err(Outage::server(format!("the server turned us away: {}", reply.text)));
        }
        Ok(Greeting { timestamp: timestamp(&line).map(<[u8]>::to_vec), xclient: reply.offers_xclient() })
    }

    /// CAPA (RFC 2449 section 5). A server that does not know it is a server of which nothing is known.
    pub(super) async fn capabilities(&mut self) -> Result<Capabilities, Outage> {
        self.progress.at("waiting for its capabilities");
        let mut found = Capabilities::default();
        if self.ask(b"CAPA\r\n").await?.status != Status::Ok {
            return Ok(found);
        }
        found.known = true;
        for _ in 0..=MOST_CAPABILITIES {
            let line = self.line().await?;
            if line == b"." {
                return Ok(found);
            }
            found.add(&line);
        }
        Err(self.nonsense(Nonsense::TooMany))
    }

    /// STLS (RFC 2595 section 4). What came in clear behind the server's consent might be anybody's: refused.
    pub(super) async fn start_tls(mut self, tls: &Tls) -> Result<Self, Outage> {
        self.progress.at("waiting for the answer to STLS");
        let reply = self.ask(b"STLS\r\n").await?;
        if reply.status != Status::Ok {
            return Err(Outage::server(format!("the server does not start TLS: {}", reply.text)));
        }
        if !self.lines.is_empty() {
            return Err(Outage::server(
                "the server went on in clear behind its consent to TLS: somebody may be in between",
            ));
        }
        self.secure(tls).await
    }

    /// Sends one command and reads the first line of its reply.
    pub(super) async fn ask(&mut self, command: &[u8]) -> Result<Reply, Outage> {
        self.tell(command).await?;
        let line = self.line().await?;
        self.understood(Reply::parse(&line))
    }

    /// Ends the conversation. The answer is known by now, so that nothing depends on how this goes.
    pub(super) async fn quit(mut self) {
        if self.tell(b"QUIT\r\n").await.is_ok() {
            let done = match &mut self.stream {
                Stream::Clear(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
            };
            drop(done);
        }
    }

    /// The version of TLS in use.
    pub(super) fn tls_version(&self) -> Option<String> {
        match &self.stream {
            Stream::Clear(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.protocol_version().map(|version| format!("{version:?}")),
        }
    }

    async fn secure(self, tls: &Tls) -> Result<Self, Outage> {
        self.progress.at("shaking hands for TLS");
        let Stream::Clear(stream) = self.stream else { return Err(Outage::server("TLS was started already")) };
        let (connector, name) = tls.connector();
        let shown = name.to_str().into_owned();
        let stream = connector.connect(name, stream).await.map_err(|why| {
            Outage::server(format!("TLS with {shown} failed: {why} (`ca` names the authority, `server_name` the name)"))
        })?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), lines: Lines::default(), progress: self.progress })
    }

    /// Nothing may have come unasked: it would be taken for the answer to this command (F11).
    async fn tell(&mut self, command: &[u8]) -> Result<(), Outage> {
        if !self.lines.is_empty() {
            return Err(self.outage("the server spoke without being asked"));
        }
        let sent = match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(command).await,
            Stream::Tls(stream) => match stream.write_all(command).await {
                Ok(()) => stream.flush().await,
                Err(why) => Err(why),
            },
        };
        sent.map_err(|why| self.outage(&format!("the connection broke: {why}")))
    }

    async fn line(&mut self) -> Result<Vec<u8>, Outage> {
        let mut buffer = [0; LONGEST_LINE];
        loop {
            match self.lines.take() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(why) => return Err(self.nonsense(why)),
            }
            let read = match &mut self.stream {
                Stream::Clear(stream) => stream.read(&mut buffer).await,
                Stream::Tls(stream) => stream.read(&mut buffer).await,
            };
            match read {
                Ok(0) => return Err(self.outage("the server closed the connection")),
                Ok(length) => self.lines.push(buffer.get(..length).unwrap_or(&[])),
                Err(why) => return Err(self.outage(&format!("the connection broke: {why}"))),
            }
        }
    }

    fn understood(&self, reply: Result<Reply, Nonsense>) -> Result<Reply, Outage> {
        reply.map_err(|why| self.nonsense(why))
    }

    fn nonsense(&self, why: Nonsense) -> Outage {
        self.outage(&format!("the server sent {why}"))
    }

    /// Once it has the password the server is alive, whatever it does then: that is this account's trouble and not the
    /// breaker's, or somebody with a broken mailbox could shut it for all.
    fn outage(&self, what: &str) -> Outage {
        let detail = format!("{what}, {}", self.progress.step());
        if self.progress.waited().is_some() { Outage::account(detail) } else { Outage::server(detail) }
    }
}

/// Tries the host's addresses one after another, a quarter of a second apart, and takes the first that answers.
async fn connect(host: &str, port: u16, progress: &Progress) -> Result<TcpStream, Outage> {
    progress.at("looking up its address");
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|why| Outage::server(format!("{host} has no address: {why}")))?;
    let mut left = found.take(MOST_ADDRESSES).collect::<Vec<_>>().into_iter();
    progress.at("connecting");
    let mut trying = JoinSet::new();
    let mut failed = String::new();
    loop {
        if let Some(address) = left.next() {
            trying.spawn(async move { try_one(address).await });
        } else if trying.is_empty() {
            return Err(Outage::server(format!("{host} port {port} cannot be reached{failed}")));
        }
        tokio::select! {
            Some(tried) = trying.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => failed = format!("{failed}; {why}"),
                Err(why) => failed = format!("{failed}; {why}"),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if left.len() > 0 => {}
        }
    }
}

async fn try_one(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await.map_err(|why| format!("{address}: {why}"))?;
    stream.set_nodelay(true).map_err(|why| format!("{address}: {why}"))?;
    Ok(stream)
}
