//! A mail server that speaks POP3 as an account server: a right password opens the mailbox. What must never happen here: a
//! password in clear unless the configuration says so, an outage taken for a wrong password, a message read.
//!
//! * [`mod@line`]: what the server sends, as values.
//! * [`encode`]: what we send.
//! * `talk`: one conversation.

pub mod encode;
pub mod line;
mod talk;

use crate::reach::{Hosts, Target, Way};
use crate::server::AccountServer;
use crate::tls::TlsError;
use crate::verdict::{Account, Outage, Progress, Question, Rejection, Verdict};
use encode::CannotSay;
use line::{Capabilities, Code, Reply, Status};
use talk::{Greeting, Talk};

/// A mail server that speaks POP3.
#[derive(Debug)]
pub struct Pop3Server {
    hosts: Hosts,
}

impl Pop3Server {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(way: &Way) -> Result<Self, TlsError> {
        Ok(Self { hosts: Hosts::new(way)? })
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let ((mut talk, greeting, can), _) = self.hosts.first_ready(|target| ready(target, question.progress)).await?;
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
            Some(timestamp) if self.hosts.clear() || !(can.plain || user) => {
                encode::apop(&name, password, timestamp).map(|line| (Before::Nothing, line))
            }
            _ if can.plain => encode::plain(&name, password).map(|response| match encode::auth_plain(&response) {
                Some(line) => (Before::Nothing, line),
                None => (Before::Prompt(Prompt::AuthPlain), response),
            }),
            _ if user => encode::command(&["PASS", password]).map(|line| (Before::Prompt(Prompt::User), line)),
            _ => return Err(Outage::server("the server offers neither SASL PLAIN nor USER nor APOP")),
        };
        let (before, secret) = match said {
            Ok(said) => said,
            Err(why) => return Ok(unsayable(why)),
        };
        match before {
            Before::Nothing => {}
            Before::Prompt(Prompt::AuthPlain) => {
                question.progress.at("waiting for its consent to AUTH PLAIN");
                let reply = talk.ask(b"AUTH PLAIN\r\n").await?;
                if reply.status != Status::Continue {
                    return Err(Outage::server("the server offers SASL PLAIN and does not take it"));
                }
            }
            Before::Prompt(Prompt::User) => {
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

/// Up to the point where a password may be sent: connection, TLS, greeting, capabilities.
async fn ready<'a>(target: Target<'_>, progress: &'a Progress) -> Result<(Talk<'a>, Greeting, Capabilities), Outage> {
    let mut talk = Talk::open(&target, progress).await?;
    let mut greeting = talk.greeting().await?;
    let mut can = talk.capabilities().await?;
    if let Some(tls) = target.later {
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

/// What stands between the secret line and its being sent.
enum Before {
    Nothing,
    Prompt(Prompt),
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
        self.hosts.each(|target| self.look(target)).await
    }
}

impl Pop3Server {
    async fn look(&self, target: Target<'_>) -> Result<String, String> {
        let progress = Progress::default();
        let (talk, greeting, can) = ready(target, &progress).await.map_err(|outage| outage.detail)?;
        let tls = talk.tls_version().unwrap_or_else(|| "no TLS, passwords go in clear".to_owned());
        talk.quit().await;
        let way = match (&greeting.timestamp, can) {
            (Some(_), _) if self.hosts.clear() => "APOP",
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
        Ok(format!("{tls}, {way}, {address}"))
    }
}
