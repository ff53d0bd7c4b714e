//! A conversation with one directory server. What must never happen here: a word that came before TLS believed after it, an answer
//! taken for that of another request, a buffer that grows with what a peer sends.

use super::ber;
use super::judge::{SUCCESS, shown};
use super::message::{Entry, Outcome, Request, Said, Search};
use crate::reach::{Stream, Target};
use crate::verdict::{Outage, Progress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message, in bytes.
const LONGEST: usize = 1 << 20;
/// Most bytes of one conversation.
const MOST: usize = 8 << 20;
/// Most entries of one search.
const MOST_ENTRIES: usize = 5000;

/// A connection over which messages go.
#[derive(Debug)]
pub struct Talk<'a> {
    stream: Stream,
    input: Vec<u8>,
    heard: usize,
    number: u32,
    pub(super) progress: &'a Progress,
}

impl<'a> Talk<'a> {
    /// Connects, up to and with TLS.
    ///
    /// # Errors
    /// [`Outage`] of the server.
    pub async fn open(target: Target<'_>, progress: &'a Progress) -> Result<Self, Outage> {
        let stream = target.open(progress).await?;
        let mut talk = Self { stream, input: vec![], heard: 0, number: 0, progress };
        if let Some(tls) = target.later {
            progress.at("waiting for the answer to StartTLS");
            match talk.ask(Request::StartTls).await? {
                Said::Extended(Outcome { code: SUCCESS, .. }) if talk.input.is_empty() => {}
                Said::Extended(Outcome { code: SUCCESS, .. }) => {
                    return Err(Outage::server("words in clear behind the consent to TLS: somebody may be in between"));
                }
                Said::Extended(outcome) => {
                    let why = shown(&outcome);
                    return Err(Outage::server(format!("the server does not start TLS ({why}): use ldaps://")));
                }
                _ => return Err(talk.nonsense()),
            }
            talk.stream = talk.stream.secure(tls, progress).await?;
        }
        Ok(talk)
    }

    /// The version of TLS; none in clear.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.stream.tls_version()
    }

    /// Binds, and says how that ended.
    ///
    /// # Errors
    /// [`Outage`] if there was no answer.
    pub async fn bind(&mut self, name: &str, password: &str, policy: bool) -> Result<Outcome, Outage> {
        match self.ask(Request::Bind { name, password, policy }).await? {
            Said::Bound(outcome) => Ok(outcome),
            _ => Err(self.nonsense()),
        }
    }

    /// Every entry that matches, and how the search ended.
    ///
    /// # Errors
    /// [`Outage`] if there was no whole answer.
    pub async fn search(&mut self, search: &Search<'_>) -> Result<(Vec<Entry>, Outcome), Outage> {
        let mut said = self.ask(Request::Search(search)).await?;
        let mut found = vec![];
        loop {
            match said {
                Said::Entry(entry) if found.len() < MOST_ENTRIES => found.push(entry),
                Said::Entry(_) => return Err(self.outage("more entries than anybody could mean")),
                Said::Reference => {}
                Said::Done(outcome) => return Ok((found, outcome)),
                _ => return Err(self.nonsense()),
            }
            said = self.hear().await?;
        }
    }

    /// Says goodbye. Whether that arrives matters to nobody.
    pub async fn leave(mut self) {
        let bytes = Request::Unbind.written(self.number + 1);
        if self.stream.write_all(bytes.bytes()).await.is_ok() && self.stream.shutdown().await.is_err() {}
    }

    async fn ask(&mut self, request: Request<'_>) -> Result<Said, Outage> {
        self.number += 1;
        let bytes = request.written(self.number);
        let sent = self.stream.write_all(bytes.bytes()).await;
        sent.map_err(|why| self.outage(&format!("the connection broke: {why}")))?;
        let flushed = self.stream.flush().await;
        flushed.map_err(|why| self.outage(&format!("the connection broke: {why}")))?;
        self.hear().await
    }

    /// The next message, which must be one of the last request's.
    async fn hear(&mut self) -> Result<Said, Outage> {
        let length = loop {
            match ber::whole(&self.input, LONGEST) {
                Ok(Some(length)) if self.input.len() >= length => break length,
                Ok(_) if self.heard >= MOST => return Err(self.outage("a longer answer than anybody could mean")),
                Ok(_) => {}
                Err(ber::Malformed) => return Err(self.nonsense()),
            }
            let read = self.stream.read_buf(&mut self.input).await;
            match read {
                Ok(0) => return Err(self.outage("the server hung up")),
                Ok(read) => self.heard += read,
                Err(why) => return Err(self.outage(&format!("the connection broke: {why}"))),
            }
        };
        let said = Said::read(self.input.get(..length).unwrap_or_default());
        self.input.drain(..length);
        match said {
            Ok((number, said)) if number == self.number => Ok(said),
            // Notice of Disconnection (RFC 4511 section 4.4.1).
            Ok((0, Said::Extended(outcome))) => Err(self.outage(&format!("the server hangs up: {}", shown(&outcome)))),
            _ => Err(self.nonsense()),
        }
    }

    fn nonsense(&self) -> Outage {
        self.outage("this is not LDAP")
    }

    fn outage(&self, what: &str) -> Outage {
        Outage::server(format!("{what} ({})", self.progress.step()))
    }
}
