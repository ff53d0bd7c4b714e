//! One conversation with a POP3 server, from the connection to the server's word on a password. What must never happen
//! here: a word that came before TLS believed after it, a reply taken for the answer to another command, a server's text
//! in a log after it has seen a password.

use crate::lines::Conversation;
use crate::pop3::line::{Capabilities, LONGEST_LINE, MOST_CAPABILITIES, Nonsense, Reply, Status, timestamp};
use crate::reach::Target;
use crate::tls::Tls;
use crate::verdict::{Outage, Progress};

/// A conversation.
pub(super) struct Talk<'a>(Conversation<'a>);

/// What a greeting says.
pub(super) struct Greeting {
    /// For APOP.
    pub(super) timestamp: Option<Vec<u8>>,
    /// The server takes the person's address from us.
    pub(super) xclient: bool,
}

impl<'a> Talk<'a> {
    /// Connects, and for POP3S shakes hands.
    pub(super) async fn open(target: &Target<'_>, progress: &'a Progress) -> Result<Self, Outage> {
        Conversation::open(target, LONGEST_LINE, progress).await.map(Self)
    }

    /// Reads the greeting.
    pub(super) async fn greeting(&mut self) -> Result<Greeting, Outage> {
        self.0.progress.at("waiting for the greeting");
        let line = self.0.line().await?;
        let reply = self.understood(Reply::parse(&line))?;
        if reply.status != Status::Ok {
            return Err(Outage::server(format!("the server turned us away: {}", reply.text)));
        }
        Ok(Greeting { timestamp: timestamp(&line).map(<[u8]>::to_vec), xclient: reply.offers_xclient() })
    }

    /// CAPA (RFC 2449 section 5). A server that does not know it is a server of which nothing is known.
    pub(super) async fn capabilities(&mut self) -> Result<Capabilities, Outage> {
        self.0.progress.at("waiting for its capabilities");
        let mut found = Capabilities::default();
        if self.ask(b"CAPA\r\n").await?.status != Status::Ok {
            return Ok(found);
        }
        found.known = true;
        for _ in 0..=MOST_CAPABILITIES {
            let line = self.0.line().await?;
            if line == b"." {
                return Ok(found);
            }
            found.add(&line);
        }
        Err(self.0.nonsense(&Nonsense::TooMany))
    }

    /// STLS (RFC 2595 section 4).
    pub(super) async fn start_tls(mut self, tls: &Tls) -> Result<Self, Outage> {
        self.0.progress.at("waiting for the answer to STLS");
        let reply = self.ask(b"STLS\r\n").await?;
        if reply.status != Status::Ok {
            return Err(Outage::server(format!("the server does not start TLS: {}", reply.text)));
        }
        self.0.start_tls(tls).await.map(Self)
    }

    /// Sends one command and reads the first line of its reply.
    pub(super) async fn ask(&mut self, command: &[u8]) -> Result<Reply, Outage> {
        self.0.tell(command).await?;
        let line = self.0.line().await?;
        self.understood(Reply::parse(&line))
    }

    /// Ends the conversation.
    pub(super) async fn quit(self) {
        self.0.leave(b"QUIT\r\n").await;
    }

    /// The version of TLS in use.
    pub(super) fn tls_version(&self) -> Option<String> {
        self.0.tls_version()
    }

    fn understood(&self, reply: Result<Reply, Nonsense>) -> Result<Reply, Outage> {
        reply.map_err(|why| self.0.nonsense(&why))
    }
}
