//! A mail server that speaks POP3 as an account server: a right password opens the mailbox. What must never happen here: a
//! password in clear unless the configuration says so, an outage taken for a wrong password, a message read.
//!
//! * [`mod@line`]: what the server sends, as values.
//! * [`encode`]: what we send.
//! * `talk`: one conversation.

pub mod encode;
pub mod line;
mod talk;

use crate::server::AccountServer;
use crate::tls::{Tls, TlsError, TlsSettings};
use crate::verdict::{Account, Outage, Progress, Question, Rejection, Verdict};
use encode::CannotSay;
use line::{Capabilities, Code, Reply, Status};
use std::fmt;
use talk::{Greeting, Talk};

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first byte: `pop3s://`, port 995 (RFC 8314 section 3.2).
    Implicit,
    /// STLS before anything else: `pop3://`, port 110 (RFC 2595 section 4).
    StartTls,
    /// Not at all: `pop3://` and `tls = "none"`.
    Clear,
}

/// What the configuration says of a POP3 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop3Settings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// By what its certificate is verified.
    pub trust: TlsSettings,
}

/// Why a text is no address of a POP3 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadUrl(pub String);

/// A mail server that speaks POP3.
#[derive(Debug)]
pub struct Pop3Server {
    settings: Pop3Settings,
    tls: Option<Tls>,
}

impl Pop3Settings {
    /// From `pop3s://host[:port]` or `pop3://host[:port]`; `clear` is `tls = "none"`.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong with it.
    pub fn from_url(url: &str, clear: bool, trust: TlsSettings) -> Result<Self, BadUrl> {
        let bad = |why: &str| BadUrl(format!("{url:?} {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("is not of the form pop3s://host"))?;
        let (tls, usual) = match (scheme, clear) {
            ("pop3s", false) => (TlsMode::Implicit, 995),
            ("pop3", false) => (TlsMode::StartTls, 110),
            ("pop3", true) => (TlsMode::Clear, 110),
            ("pop3s", true) => {
                return Err(bad("means TLS, and tls = \"none\" means none: write pop3:// or leave tls out"));
            }
            _ => return Err(bad("begins with neither pop3s:// nor pop3://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or_else(|| bad("has a [ without a ]"))?;
                (host, after.strip_prefix(':').or((!after.is_empty()).then_some(after)))
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) || host.chars().any(char::is_control) {
            return Err(bad("has no host, or something else beside host and port"));
        }
        let port = match port {
            None => usual,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("has a port that is none"))?,
        };
        Ok(Self { host: host.to_owned(), port, tls, trust })
    }
}

impl Pop3Server {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(settings: Pop3Settings) -> Result<Self, TlsError> {
        let tls = match settings.tls {
            TlsMode::Clear => None,
            TlsMode::Implicit | TlsMode::StartTls => Some(Tls::new(&settings.trust, &settings.host)?),
        };
        Ok(Self { settings, tls })
    }

    /// Up to the point where a password may be sent: connection, TLS, greeting, capabilities.
    async fn ready<'a>(&self, progress: &'a Progress) -> Result<(Talk<'a>, Greeting, Capabilities), Outage> {
        let Pop3Settings { host, port, .. } = &self.settings;
        let (at_once, later) = match self.settings.tls {
            TlsMode::Implicit => (self.tls.as_ref(), None),
            TlsMode::StartTls => (None, self.tls.as_ref()),
            TlsMode::Clear => (None, None),
        };
        let mut talk = Talk::open(host, *port, at_once, progress).await?;
        let mut greeting = talk.greeting().await?;
        let mut can = talk.capabilities().await?;
        if let Some(tls) = later {
            if can.known && !can.stls {
                return Err(Outage::server("the server does not offer STLS: use pop3s://"));
            }
            talk = talk.start_tls(tls).await?;
            // What was said in clear counts for nothing: capabilities are asked again, the timestamp is forgotten.
            greeting.timestamp = None;
            can = talk.capabilities().await?;
        }
        Ok((talk, greeting, can))
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let (mut talk, greeting, can) = self.ready(question.progress).await?;
        if greeting.xclient || can.xclient {
            question.progress.at("telling it the person's address");
            // A server that offers it and then refuses is asked all the same: it will take our address for the person's.
            let address = format!("ADDR={}", question.source);
            let line = encode::command(&["XCLIENT", &address]).map_err(|why| Outage::account(why.to_string()))?;
            let _reply = talk.ask(&line).await?;
        }
        let verdict = self.authenticate(&mut talk, question, &greeting, can).await?;
        talk.quit().await;
        Ok(verdict)
    }

    /// Under TLS: SASL PLAIN, else USER and PASS, else APOP. In clear: APOP first, since it does not show the password.
    async fn authenticate(
        &self,
        talk: &mut Talk<'_>,
        question: &Question<'_>,
        greeting: &Greeting,
        can: Capabilities,
    ) -> Result<Verdict, Outage> {
        let name = question.login.to_string();
        let password = question.password.expose();
        let user = can.user || !can.known;
        let said = match &greeting.timestamp {
            Some(timestamp) if self.tls.is_none() || !(can.plain || user) => {
                encode::apop(&name, password, timestamp).map(|line| (Way::Whole, line))
            }
            _ if can.plain => encode::plain(&name, password).map(|response| match encode::auth_plain(&response) {
                Some(line) => (Way::Whole, line),
                None => (Way::After(Prompt::AuthPlain), response),
            }),
            _ if user => encode::command(&["PASS", password]).map(|line| (Way::After(Prompt::User), line)),
            _ => return Err(Outage::server("the server offers neither SASL PLAIN nor USER nor APOP")),
        };
        let (way, secret) = match said {
            Ok(said) => said,
            Err(why) => return Ok(unsayable(why)),
        };
        match way {
            Way::Whole => {}
            Way::After(Prompt::AuthPlain) => {
                question.progress.at("waiting for its consent to AUTH PLAIN");
                let reply = talk.ask(b"AUTH PLAIN\r\n").await?;
                if reply.status != Status::Continue {
                    return Err(Outage::server("the server offers SASL PLAIN and does not take it"));
                }
            }
            Way::After(Prompt::User) => {
                question.progress.at("waiting for the answer to the name");
                let line = match encode::user(&name) {
                    Ok(line) => line,
                    Err(why) => return Ok(unsayable(why)),
                };
                let reply = talk.ask(&line).await?;
                if reply.status != Status::Ok {
                    return judge_name(&reply, can);
                }
            }
        }
        question.progress.handed_over();
        let reply = talk.ask(&secret).await?;
        judge(&reply, can)
    }
}

/// What stands between the secret line and its being sent.
enum Way {
    Whole,
    After(Prompt),
}

enum Prompt {
    AuthPlain,
    User,
}

/// A password or name that the protocol cannot carry opens no mailbox of this server.
fn unsayable(_why: CannotSay) -> Verdict {
    Verdict::Rejected(Rejection::Credentials)
}

/// What a refusal of the name means, before any password was sent: [IN-USE] says nothing of a password there (RFC 2449,
/// section 8.1.2, has it for the commands that carry one).
fn judge_name(reply: &Reply, can: Capabilities) -> Result<Verdict, Outage> {
    match reply.code {
        Some(Code::InUse) => Err(Outage::account("[IN-USE] before the password was sent")),
        _ => judge(reply, can),
    }
}

/// What the server's answer to a name or a password means. Its text is not repeated: it may hold what it was told.
fn judge(reply: &Reply, can: Capabilities) -> Result<Verdict, Outage> {
    match (reply.status, reply.code) {
        (Status::Ok, _) | (Status::Err, Some(Code::InUse)) => Ok(Verdict::Accepted(Account::default())),
        (Status::Err, Some(Code::Auth)) => Ok(Verdict::Rejected(Rejection::Credentials)),
        (Status::Err, Some(Code::LoginDelay)) => {
            Err(Outage::account("[LOGIN-DELAY]: this account signed in there too short a while ago"))
        }
        // Also SYS/PERM: it says that somebody must act, not that the password is wrong; and one broken mailbox is no
        // reason to stop asking for others.
        (Status::Err, Some(Code::System)) => Err(Outage::account("[SYS]: the server has a fault with this account")),
        (Status::Err, _) if can.auth_code => {
            Err(Outage::account("refused, though not for the password: it would have said [AUTH]"))
        }
        (Status::Err, _) => Ok(Verdict::Rejected(Rejection::Credentials)),
        (Status::Continue, _) => Err(Outage::account("the server asks for more than name and password")),
    }
}

impl AccountServer for Pop3Server {
    fn kind(&self) -> &'static str {
        "pop3"
    }

    fn can_tell(&self) -> bool {
        false
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.converse(question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn probe(&self) -> Result<String, String> {
        let progress = Progress::default();
        let (talk, greeting, can) = self.ready(&progress).await.map_err(|outage| outage.detail)?;
        let tls = talk.tls_version().unwrap_or_else(|| "no TLS, passwords go in clear".to_owned());
        talk.quit().await;
        let way = match (&greeting.timestamp, can) {
            (Some(_), _) if self.tls.is_none() => "APOP",
            (_, Capabilities { plain: true, .. }) => "SASL PLAIN",
            (_, Capabilities { user: true, .. } | Capabilities { known: false, .. }) => "USER",
            (Some(_), _) => "APOP",
            (None, _) => return Err("the server offers neither SASL PLAIN nor USER nor APOP".to_owned()),
        };
        let address = if greeting.xclient || can.xclient {
            "takes the person's address (XCLIENT)"
        } else {
            "takes our address for everybody's: it must not penalise it (Dovecot: login_trusted_networks)"
        };
        Ok(format!("{}:{}: {tls}, {way}, {address}", self.settings.host, self.settings.port))
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}
