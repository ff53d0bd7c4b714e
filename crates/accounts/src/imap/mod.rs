//! A mail server that speaks IMAP as an account server: a right password signs in, and no mailbox is opened. What must never happen
//! here: a password in clear unless the configuration says so, a password sent where LOGINDISABLED stands, an outage taken for
//! a wrong password.
//!
//! * [`mod@line`]: what goes over the wire, as values.

pub mod line;

use crate::lines::Conversation;
use crate::pop3::encode::plain;
use crate::reach::{Hosts, Target, Way};
use crate::server::AccountServer;
use crate::tls::TlsError;
use crate::verdict::{Account, Outage, Progress, Question, Rejection, Verdict};
use line::{Capabilities, Code, LONGEST_LINE, Line, MOST_LINES, Nonsense, Status, Untagged, Value};
use zeroize::Zeroizing;

/// A mail server that speaks IMAP.
#[derive(Debug)]
pub struct ImapServer {
    hosts: Hosts,
}

/// One conversation.
struct Talk<'a> {
    lines: Conversation<'a>,
    /// Commands so far: each has a tag of its own.
    commands: u32,
    can: Option<Capabilities>,
}

/// How a command ended, or that the server waits for more of it.
enum Said {
    Ended(Status, Option<Code>),
    GoOn,
}

impl ImapServer {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(way: &Way) -> Result<Self, TlsError> {
        Ok(Self { hosts: Hosts::new(way)? })
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let ((mut talk, can), _) = self.hosts.first_ready(|target| ready(target, question.progress)).await?;
        if can.id {
            question.progress.at("telling it the person's address");
            // Dovecot takes it from whom it trusts (login_trusted_networks); any other server takes it for a remark.
            let id = format!("ID (\"x-originating-ip\" \"{}\")\r\n", question.source);
            let _told = talk.command(id.as_bytes()).await?;
        }
        let verdict = authenticate(&mut talk, question, can).await?;
        talk.leave().await;
        Ok(verdict)
    }

    async fn look(&self, target: Target<'_>) -> Result<String, String> {
        let progress = Progress::default();
        let (talk, can) = ready(target, &progress).await.map_err(|outage| outage.detail)?;
        let tls = talk.lines.tls_version().unwrap_or_else(|| "no TLS, passwords go in clear".to_owned());
        talk.leave().await;
        let way = if can.plain { "SASL PLAIN" } else { "LOGIN" };
        let address = if can.id {
            "is told the person's address (ID; Dovecot believes it from its login_trusted_networks)"
        } else {
            "takes our address for everybody's: it must not penalise it"
        };
        Ok(format!("{tls}, {way}, {address}"))
    }
}

/// Up to the point where a password may be sent: connection, TLS, greeting, capabilities.
async fn ready<'a>(target: Target<'_>, progress: &'a Progress) -> Result<(Talk<'a>, Capabilities), Outage> {
    let lines = Conversation::open(&target, LONGEST_LINE, progress).await?;
    let mut talk = Talk { lines, commands: 0, can: None };
    talk.greeting().await?;
    if let Some(tls) = target.later {
        if !talk.capabilities().await?.start_tls {
            return Err(Outage::server("the server does not offer STARTTLS: use imaps://"));
        }
        progress.at("waiting for the answer to STARTTLS");
        match talk.command(b"STARTTLS\r\n").await? {
            Said::Ended(Status::Ok, _) => {}
            _ => return Err(Outage::server("the server does not start TLS")),
        }
        // What was said in clear counts for nothing: capabilities are asked again (RFC 9051 section 6.2.1).
        talk = Talk { lines: talk.lines.start_tls(tls).await?, can: None, ..talk };
    }
    let can = talk.capabilities().await?;
    if !can.plain && can.login_disabled {
        return Err(Outage::server(
            "the server takes no password as things are (LOGINDISABLED, and no AUTH=PLAIN): with TLS it may",
        ));
    }
    Ok((talk, can))
}

/// SASL PLAIN, else LOGIN.
async fn authenticate(talk: &mut Talk<'_>, question: &Question<'_>, can: Capabilities) -> Result<Verdict, Outage> {
    let name = question.login.to_string();
    let password = question.password.expose();
    let said = if can.plain {
        // A name or password that the protocol cannot carry signs in nowhere here.
        let Ok(response) = plain(&name, password) else { return Ok(Verdict::Rejected(Rejection::Credentials)) };
        if can.initial_response {
            let mut line = Zeroizing::new(Vec::with_capacity(20 + response.len()));
            line.extend_from_slice(b"AUTHENTICATE PLAIN ");
            line.extend_from_slice(&response);
            question.progress.handed_over();
            talk.command(&line).await?
        } else {
            question.progress.at("waiting for its consent to AUTHENTICATE PLAIN");
            match talk.command(b"AUTHENTICATE PLAIN\r\n").await? {
                Said::GoOn => {}
                Said::Ended(..) => return Err(Outage::server("the server offers SASL PLAIN and does not take it")),
            }
            question.progress.handed_over();
            talk.more(&response).await?
        }
    } else {
        login(talk, question, &name, password).await?
    };
    match said {
        Said::Ended(status, code) => judge(status, code),
        Said::GoOn => Err(Outage::account("the server asks for more than name and password")),
    }
}

/// LOGIN with two values, each of which the server may have to agree to (literals).
async fn login(talk: &mut Talk<'_>, question: &Question<'_>, name: &str, password: &str) -> Result<Said, Outage> {
    // Everything that can be said without waiting, then the rest.
    let mut pieces = vec![Zeroizing::new(Vec::with_capacity(2 * (name.len() + password.len()) + 64))];
    let mut last = 0;
    for (text, before) in [(name, "LOGIN "), (password, " ")] {
        let say = |piece: &mut Zeroizing<Vec<u8>>, bytes: &[u8]| piece.extend_from_slice(bytes);
        let Some(piece) = pieces.last_mut() else { continue };
        say(piece, before.as_bytes());
        match Value::of(text) {
            Value::Quoted(quoted) => say(piece, &quoted),
            Value::Literal(bytes) => {
                say(piece, format!("{{{}}}\r\n", bytes.len()).as_bytes());
                let mut next = Zeroizing::new(Vec::with_capacity(bytes.len() + 2 * password.len() + 64));
                next.extend_from_slice(&bytes);
                pieces.push(next);
                last += 1;
            }
        }
    }
    if let Some(piece) = pieces.last_mut() {
        piece.extend_from_slice(b"\r\n");
    }
    let mut said = Said::GoOn;
    for (number, piece) in pieces.iter().enumerate() {
        if number == last {
            question.progress.handed_over();
        } else {
            question.progress.at("waiting for its consent to LOGIN");
        }
        said = if number == 0 { talk.command(piece).await? } else { talk.more(piece).await? };
        if number < last && matches!(said, Said::Ended(..)) {
            return Err(Outage::server("the server does not take a literal"));
        }
    }
    Ok(said)
}

/// What the server's answer to a password means.
fn judge(status: Status, code: Option<Code>) -> Result<Verdict, Outage> {
    match (status, code) {
        (Status::Ok, _) => Ok(Verdict::Accepted(Account::default())),
        (Status::No, Some(Code::AuthorizationFailed)) => {
            let why = "[AUTHORIZATIONFAILED]: the password is right, and the account may not sign in there";
            Ok(Verdict::Rejected(Rejection::Unusable(why.to_owned())))
        }
        // EXPIRED does not say that the password was right, so nobody is told that it was.
        (Status::No, Some(Code::AuthenticationFailed | Code::Expired) | None) => {
            Ok(Verdict::Rejected(Rejection::Credentials))
        }
        (Status::No, Some(Code::Unavailable)) => {
            Err(Outage::account("[UNAVAILABLE]: something behind the server is down"))
        }
        (Status::No, Some(Code::InUse)) => Err(Outage::account("[INUSE]: another session holds on to this account")),
        (Status::No, Some(Code::Other)) => {
            Err(Outage::account("refused, though not for the password: it would have said [AUTHENTICATIONFAILED]"))
        }
        (Status::Bad, _) => Err(Outage::account("the server does not understand the sign-in (BAD)")),
    }
}

impl Talk<'_> {
    async fn greeting(&mut self) -> Result<(), Outage> {
        self.lines.progress.at("waiting for the greeting");
        let line = self.lines.line().await?;
        match Line::parse(&line, "*") {
            Ok(Line::Untagged(Untagged::Ok(can))) => {
                self.can = can;
                Ok(())
            }
            Ok(Line::Untagged(Untagged::Bye(text))) => {
                Err(Outage::server(format!("the server turned us away: {text}")))
            }
            Ok(Line::Untagged(Untagged::Preauth)) => {
                Err(Outage::server("the server takes us for somebody already (PREAUTH): it would take any password"))
            }
            _ => Err(self.lines.nonsense(&Nonsense::NotAnAnswer)),
        }
    }

    /// What the server can do now; asked only if it has not said so by itself.
    async fn capabilities(&mut self) -> Result<Capabilities, Outage> {
        if let Some(can) = self.can {
            return Ok(can);
        }
        self.lines.progress.at("waiting for its capabilities");
        match self.command(b"CAPABILITY\r\n").await? {
            Said::Ended(Status::Ok, _) => Ok(self.can.unwrap_or_default()),
            _ => Err(Outage::server("the server does not tell its capabilities")),
        }
    }

    /// Sends a command, with a tag of its own, and reads until it ended or the server waits for more.
    async fn command(&mut self, command: &[u8]) -> Result<Said, Outage> {
        self.commands += 1;
        let tag = format!("a{} ", self.commands);
        let mut line = Zeroizing::new(Vec::with_capacity(tag.len() + command.len()));
        line.extend_from_slice(tag.as_bytes());
        line.extend_from_slice(command);
        self.more(&line).await
    }

    /// Sends what the server waits for.
    async fn more(&mut self, bytes: &[u8]) -> Result<Said, Outage> {
        self.lines.tell(bytes).await?;
        let tag = format!("a{}", self.commands);
        for _ in 0..MOST_LINES {
            let line = self.lines.line().await?;
            match Line::parse(&line, &tag).map_err(|why| self.lines.nonsense(&why))? {
                Line::Untagged(Untagged::Capabilities(can)) => self.can = Some(can),
                Line::Untagged(Untagged::Bye(_)) => return Err(self.lines.outage("the server hangs up (BYE)")),
                Line::Untagged(_) => {}
                Line::Continue => return Ok(Said::GoOn),
                Line::Answer(status, code) => return Ok(Said::Ended(status, code)),
            }
        }
        Err(self.lines.nonsense(&Nonsense::TooMany))
    }

    async fn leave(self) {
        let goodbye = format!("a{} LOGOUT\r\n", self.commands + 1);
        self.lines.leave(goodbye.as_bytes()).await;
    }
}

impl AccountServer for ImapServer {
    fn kind(&self) -> &'static str {
        "imap"
    }

    fn can_tell(&self) -> bool {
        false
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.converse(question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn probe(&self) -> Result<String, String> {
        self.hosts.each(|target| self.look(target)).await
    }
}
