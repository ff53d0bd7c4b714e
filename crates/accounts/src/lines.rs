//! A conversation in lines, as POP3 and IMAP have it. What must never happen here: a word that came before TLS believed after
//! it, a line taken for the answer to a command that had not been sent, a buffer that grows with what a peer sends.

use crate::reach::{Stream, Target};
use crate::tls::Tls;
use crate::verdict::{Outage, Progress};
use std::fmt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes as they come, lines as they are taken. Holds at most one line and one read.
#[derive(Debug)]
pub struct Lines {
    pending: Vec<u8>,
    longest: usize,
}

/// Why bytes are no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLine {
    /// More than so many bytes without an end of line.
    TooLong(usize),
    /// NUL, or CR that ends no line.
    Control,
}

impl Lines {
    /// None yet; one has at most `longest` bytes with its end.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { pending: vec![], longest }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its end.
    ///
    /// # Errors
    /// [`NoLine`] if no line can come of what there is.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, NoLine> {
        let Some(end) = self.pending.iter().take(self.longest).position(|byte| *byte == b'\n') else {
            let full = self.pending.len() >= self.longest;
            return if full { Err(NoLine::TooLong(self.longest)) } else { Ok(None) };
        };
        let mut line: Vec<u8> = self.pending.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.iter().any(|byte| matches!(byte, b'\r' | 0)) { Err(NoLine::Control) } else { Ok(Some(line)) }
    }

    /// Whether everything that came has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// A connection over which lines go.
#[derive(Debug)]
pub struct Conversation<'a> {
    stream: Stream,
    lines: Lines,
    /// How far the question got.
    pub progress: &'a Progress,
}

impl<'a> Conversation<'a> {
    /// Connects, and shakes hands where TLS begins at once.
    ///
    /// # Errors
    /// [`Outage`] of the server.
    pub async fn open(target: &Target<'_>, longest: usize, progress: &'a Progress) -> Result<Self, Outage> {
        Ok(Self { stream: target.open(progress).await?, lines: Lines::new(longest), progress })
    }

    /// Shakes hands for TLS. What came in clear behind the server's consent might be anybody's: refused.
    ///
    /// # Errors
    /// [`Outage`] of the server.
    pub async fn start_tls(self, tls: &Tls) -> Result<Self, Outage> {
        if !self.lines.is_empty() {
            return Err(Outage::server(
                "the server went on in clear behind its consent to TLS: somebody may be in between",
            ));
        }
        Ok(Self { stream: self.stream.secure(tls, self.progress).await?, ..self })
    }

    /// Sends bytes that are whole lines. Nothing may have come unasked: it would be taken for the answer to them (F11).
    ///
    /// # Errors
    /// [`Conversation::outage`].
    pub async fn tell(&mut self, lines: &[u8]) -> Result<(), Outage> {
        if !self.lines.is_empty() {
            return Err(self.outage("the server spoke without being asked"));
        }
        let sent = match self.stream.write_all(lines).await {
            Ok(()) => self.stream.flush().await,
            Err(why) => Err(why),
        };
        sent.map_err(|why| self.outage(&format!("the connection broke: {why}")))
    }

    /// Reads the next line, without its end.
    ///
    /// # Errors
    /// [`Conversation::outage`].
    pub async fn line(&mut self) -> Result<Vec<u8>, Outage> {
        let mut buffer = [0; 1024];
        loop {
            match self.lines.take() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(why) => return Err(self.nonsense(&why)),
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(self.outage("the server closed the connection")),
                Ok(length) => self.lines.push(buffer.get(..length).unwrap_or(&[])),
                Err(why) => return Err(self.outage(&format!("the connection broke: {why}"))),
            }
        }
    }

    /// Says goodbye. The answer is known by now, so that nothing depends on how this goes.
    pub async fn leave(mut self, goodbye: &[u8]) {
        if self.tell(goodbye).await.is_ok() {
            drop(self.stream.shutdown().await);
        }
    }

    /// The version of TLS; none in clear.
    #[must_use]
    pub fn tls_version(&self) -> Option<String> {
        self.stream.tls_version()
    }

    /// What the server sent is no answer.
    #[must_use]
    pub fn nonsense(&self, why: &dyn fmt::Display) -> Outage {
        self.outage(&format!("the server sent {why}"))
    }

    /// Once it has the password the server is alive, whatever it does then: that is this account's trouble and not the
    /// breaker's, or somebody with a broken mailbox could shut it for all.
    #[must_use]
    pub fn outage(&self, what: &str) -> Outage {
        let detail = format!("{what}, {}", self.progress.step());
        if self.progress.waited().is_some() { Outage::account(detail) } else { Outage::server(detail) }
    }
}

impl fmt::Display for NoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(longest) => write!(f, "a line longer than {longest} bytes"),
            Self::Control => f.write_str("a control character within a line"),
        }
    }
}

impl std::error::Error for NoLine {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_endless_line_ends_at_its_bound() {
        let mut lines = Lines::new(512);
        lines.push(&[b'a'; 511]);
        assert_eq!(lines.take(), Ok(None));
        lines.push(b"a");
        assert_eq!(lines.take(), Err(NoLine::TooLong(512)));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_cut(texts in prop::collection::vec("[ -~]{0,80}", 0..8), piece in 1..64_usize) {
            let wire: String = texts.iter().map(|text| format!("{text}\r\n")).collect();
            let mut lines = Lines::new(512);
            let mut found = Vec::new();
            for part in wire.as_bytes().chunks(piece) {
                lines.push(part);
                while let Some(line) = lines.take().unwrap() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            prop_assert_eq!(found, texts);
            prop_assert!(lines.is_empty());
        }
    }
}
