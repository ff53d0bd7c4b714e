//! A RADIUS server as an account server (RFC 2865). What must never happen here: an answer believed that its server did not
//! make (CVE-2024-3596), silence taken for a wrong password.
//!
//! * [`packet`]: what is sent and received, as values.
//! * [`mschap`]: a password proved without being sent.
//! * `talk`: sending, waiting, sending again.

pub mod mschap;
pub mod packet;
mod talk;

use crate::reach::Host;
use crate::secret::Secret;
use crate::server::AccountServer;
use crate::verdict::{Account, Challenge, Continuation, Outage, Progress, Question, Rejection, Reply, Verdict};
use futures_util::future::join_all;
use kmsgate_core::name::Group;
use mschap::Proof;
use packet::{Answer, Ask, CannotSay, Code, Request, Sealed, attribute};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use talk::random;

/// How long the answer to an Access-Challenge may take.
const LASTS: Duration = Duration::from_secs(120);
/// How long `kmsgate check` waits for a host: two tries.
const LOOK: Duration = Duration::from_millis(1500);
/// Service-Type Login: with Authenticate-Only (8) a server need not tell groups.
const LOGIN: [u8; 4] = [0, 0, 0, 1];
/// NAS-Port-Type Virtual (RFC 2865 section 5.41).
const VIRTUAL: [u8; 4] = [0, 0, 0, 5];

/// What the configuration says of a RADIUS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadiusSettings {
    /// Its hosts, all of which hold the same accounts and know the same secret; at least one.
    pub hosts: Vec<Host>,
    /// Shared with the server.
    pub secret: Secret,
    /// How the password is proved.
    pub method: Method,
    /// What we call ourselves.
    pub nas_identifier: String,
    /// Where groups are.
    pub groups: Option<GroupAttribute>,
    /// Whether an answer without Message-Authenticator is refused.
    pub authenticator_required: bool,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It is sent, hidden by the shared secret.
    Pap,
    /// MS-CHAPv2 (RFC 2759).
    MsChapV2,
}

/// An attribute whose values are groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupAttribute {
    /// Filter-Id.
    FilterId,
    /// Class.
    Class,
}

/// A RADIUS server.
#[derive(Debug)]
pub struct RadiusServer {
    settings: RadiusSettings,
    /// The host that answered last: it is asked first.
    last: AtomicUsize,
}

/// What is between a challenge and its answer.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    /// State belongs to the host that gave it.
    host: u8,
    name: Vec<u8>,
    source: Vec<u8>,
    state: Vec<u8>,
}

impl RadiusServer {
    /// Connects to nothing.
    #[must_use]
    pub fn new(settings: RadiusSettings) -> Self {
        Self { settings, last: AtomicUsize::new(0) }
    }

    fn trust(&self) -> (&[u8], bool) {
        (self.settings.secret.expose().as_bytes(), self.settings.authenticator_required)
    }

    /// An Access-Request with all but the proof.
    fn request(&self, identifier: u8, name: &[u8], source: &[u8]) -> Result<Request, Made> {
        let mut request = Request::new(Ask::Access, identifier, random::<16>()?);
        request.add(attribute::USER_NAME, name)?;
        request.add(attribute::NAS_IDENTIFIER, self.settings.nas_identifier.as_bytes())?;
        request.add(attribute::NAS_PORT_TYPE, &VIRTUAL)?;
        request.add(attribute::SERVICE_TYPE, &LOGIN)?;
        request.add(attribute::CALLING_STATION_ID, source)?;
        Ok(request)
    }

    fn question(&self, name: &str, source: &str, password: &str) -> Result<(Sealed, Option<Proof>), Made> {
        let [identifier] = random::<1>()?;
        let secret = self.settings.secret.expose().as_bytes();
        let mut request = self.request(identifier, name.as_bytes(), source.as_bytes())?;
        let proof = match self.settings.method {
            Method::Pap => {
                request.add_password(password, secret)?;
                None
            }
            Method::MsChapV2 => {
                let challenge = random::<16>()?;
                let proof = Proof::new(identifier, &challenge, &random::<16>()?, name, password)?;
                request.add_microsoft(mschap::CHALLENGE, &challenge)?;
                request.add_microsoft(mschap::RESPONSE, &proof.response)?;
                Some(proof)
            }
        };
        Ok((request.seal(secret), proof))
    }

    /// Silence is an outage with the step that [`talk`] tells, and never a penalty: UDP does not say whether the server has
    /// the question, so that [`Progress::handed_over`] would be a guess which keeps the breaker from a dead server.
    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let (name, source) = (question.login.to_string(), question.source.to_string());
        let password = question.password.expose();
        if let Err(Made::CannotSay) = self.question(&name, &source, password) {
            // What the protocol cannot carry is no account of this server's.
            return Ok(Verdict::Rejected(Rejection::Credentials));
        }
        let make = || self.question(&name, &source, password).map_err(Outage::from);
        let (answer, proof, host) =
            talk::first_answer(&self.settings.hosts, &self.last, make, self.trust(), question.progress).await?;
        if let (Code::Accept, Some(proof)) = (answer.code, proof)
            && !answer.microsoft(mschap::SUCCESS).is_some_and(|success| proof.proved_by(success))
        {
            return Err(Outage::server("accepted without proof of knowing the password (MS-CHAP2-Success)"));
        }
        let kept = |state: &[u8]| Kept {
            host: u8::try_from(host).unwrap_or(0),
            name: name.into_bytes(),
            source: source.into_bytes(),
            state: state.to_vec(),
        };
        Ok(self.judge(&answer, kept))
    }

    async fn go_on(&self, kept: Kept, typed: &str) -> Result<Verdict, Outage> {
        let Some(host) = self.settings.hosts.get(usize::from(kept.host)) else {
            return Err(Outage::account("the host that asked is not configured any more"));
        };
        let secret = self.settings.secret.expose().as_bytes();
        let make = || -> Result<Sealed, Made> {
            let [identifier] = random::<1>()?;
            let mut request = self.request(identifier, &kept.name, &kept.source)?;
            request.add_password(typed, secret)?;
            if !kept.state.is_empty() {
                request.add(attribute::STATE, &kept.state)?;
            }
            Ok(request.seal(secret))
        };
        let sealed = match make() {
            Ok(sealed) => sealed,
            Err(Made::CannotSay) => return Ok(Verdict::Rejected(Rejection::Credentials)),
            Err(Made::Outage(outage)) => return Err(outage),
        };
        let answer =
            talk::one(host, &sealed, secret, self.settings.authenticator_required, &Progress::default()).await?;
        Ok(self.judge(&answer, |state| Kept { state: state.to_vec(), ..kept }))
    }

    fn judge(&self, answer: &Answer, kept: impl FnOnce(&[u8]) -> Kept) -> Verdict {
        match answer.code {
            Code::Accept => {
                let text = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_owned);
                let kind = self.settings.groups.map(|groups| match groups {
                    GroupAttribute::FilterId => attribute::FILTER_ID,
                    GroupAttribute::Class => attribute::CLASS,
                });
                let values = kind.into_iter().flat_map(|kind| answer.all(kind));
                // A value that is no text names no group: Class may be anything (RFC 2865 section 5.25).
                let groups = values.filter_map(text).filter(|value| !value.is_empty());
                Verdict::Accepted(Account {
                    name: answer.all(attribute::USER_NAME).next().and_then(text),
                    groups: groups.map(|value| Group::new(&value)).collect(),
                })
            }
            Code::Reject => Verdict::Rejected(Rejection::Credentials),
            Code::Challenge => {
                let message = answer.message();
                let prompt = if message.is_empty() { "One more answer, please".to_owned() } else { message };
                Verdict::Challenge(Challenge {
                    prompt,
                    echo: answer.all(attribute::PROMPT).any(|value| value == [0, 0, 0, 1]),
                    continuation: kept(answer.all(attribute::STATE).next().unwrap_or_default()).pack(),
                    lasts: LASTS,
                })
            }
        }
    }

    async fn look(&self, host: &Host) -> Result<String, String> {
        let [identifier] = random::<1>().map_err(|why| why.detail)?;
        let mut request = Request::new(Ask::Status, identifier, random::<16>().map_err(|why| why.detail)?);
        let named = request.add(attribute::NAS_IDENTIFIER, self.settings.nas_identifier.as_bytes());
        named.map_err(|CannotSay| "nas_identifier is too long".to_owned())?;
        let (secret, required) = self.trust();
        let (sealed, progress) = (request.seal(secret), Progress::default());
        let asked = tokio::time::timeout(LOOK, talk::one(host, &sealed, secret, required, &progress)).await;
        let answer = match asked {
            Ok(answer) => answer.map_err(|outage| outage.detail)?,
            Err(_) => return Err(format!("{host}: Status-Server (RFC 5997): {}", progress.step())),
        };
        let signed = if answer.authenticated { "answers with" } else { "answers without" };
        let warning = if required {
            ""
        } else {
            ". WARNING: message_authenticator = \"if-present\" takes answers that anybody on the way can forge \
             (CVE-2024-3596): update the server, then say \"required\""
        };
        Ok(format!("{host}: {signed} Message-Authenticator{warning}"))
    }
}

/// Why a packet was not made.
enum Made {
    CannotSay,
    Outage(Outage),
}

impl From<CannotSay> for Made {
    fn from(_: CannotSay) -> Self {
        Self::CannotSay
    }
}

impl From<Outage> for Made {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

impl From<Made> for Outage {
    fn from(made: Made) -> Self {
        match made {
            Made::CannotSay => Self::account("a value has a length that RADIUS cannot carry"),
            Made::Outage(outage) => outage,
        }
    }
}

impl Kept {
    /// Each field but the first with its length before it: none is longer than an attribute.
    fn pack(self) -> Continuation {
        let mut bytes = vec![self.host];
        for field in [self.name, self.source, self.state] {
            bytes.push(u8::try_from(field.len()).unwrap_or(0));
            bytes.extend_from_slice(&field);
        }
        Continuation(bytes)
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (host, mut rest) = bytes.split_first()?;
        let mut field = || {
            let (length, more) = rest.split_first()?;
            let (field, more) = more.split_at_checked(usize::from(*length))?;
            rest = more;
            Some(field.to_vec())
        };
        Some(Self { host: *host, name: field()?, source: field()?, state: field()? })
    }
}

impl AccountServer for RadiusServer {
    fn kind(&self) -> &'static str {
        "radius"
    }

    fn can_tell(&self) -> bool {
        false
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.converse(question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn answer(&self, continuation: Continuation, reply: Reply<'_>) -> Verdict {
        match (Kept::unpack(&continuation.0), reply) {
            (Some(kept), Reply::Typed(typed)) => {
                self.go_on(kept, typed.expose()).await.unwrap_or_else(Verdict::Unavailable)
            }
            _ => Verdict::Unavailable(Outage::account("no answer to an Access-Challenge")),
        }
    }

    async fn probe(&self) -> Result<String, String> {
        // All at once: the time of `kmsgate check` is for all hosts together.
        let seen = join_all(self.settings.hosts.iter().map(|host| self.look(host))).await;
        let good = seen.iter().all(Result::is_ok);
        let lines: Vec<String> = seen.into_iter().map(|(Ok(text) | Err(text))| text).collect();
        let text = lines.join("; ");
        if good { Ok(text) } else { Err(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_between_challenge_and_answer_comes_back_whole() {
        let kept = || Kept { host: 2, name: b"alice".to_vec(), source: b"::1".to_vec(), state: vec![0, 255] };
        let packed = kept().pack();
        assert_eq!(Kept::unpack(&packed.0), Some(kept()));
        for length in 0..packed.0.len() {
            assert_eq!(Kept::unpack(&packed.0[..length]), None);
        }
    }
}
