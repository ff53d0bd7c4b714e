//! A NIS domain as an account server: the hash is read from its maps and compared here. What must never happen here: an answer
//! whose time tells which names there are, groups half read, a password on the wire.
//!
//! * [`xdr`], [`rpc`]: how a call is written (RFC 4506, RFC 5531).
//! * [`yp`]: what ypserv is asked, and the lines of its maps.
//! * `talk`: UDP, TCP, the portmapper.

pub mod rpc;
mod talk;
pub mod xdr;
pub mod yp;

use crate::hashes::{Allowed, Stored};
use crate::reach::{Host, Hosts, Target, TlsMode, Way};
use crate::server::AccountServer;
use crate::tls::{TlsError, TlsSettings};
use crate::verdict::{Account, Outage, Progress, Question, Rejection, Verdict};
use futures_util::future::join_all;
use kmsgate_core::name::Group;
use rpc::PORTMAPPER;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use talk::{From, Talk, may_reserve};
use tokio::sync::Semaphore;
use yp::{Hidden, Membership, Refusal};
use zeroize::Zeroizing;

/// How long `kmsgate check` waits for a host.
const LOOK: Duration = Duration::from_secs(4);
/// For names that the domain does not have, until one that it has was asked for: SHA-crypt, the usual form of NIS.
const DUMMY: &str =
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";

/// What the configuration says of a NIS domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NisSettings {
    /// Its servers, at least one. [`PORTMAPPER`] as a port means that the portmapper there is asked.
    pub hosts: Vec<Host>,
    /// Its name: 1 to 64 bytes.
    pub domain: String,
    /// Whether groups are read.
    pub groups: bool,
    /// Which hashes are taken.
    pub hashes: Allowed,
}

/// A NIS domain.
#[derive(Debug)]
pub struct NisServer {
    settings: NisSettings,
    hosts: Hosts,
    pool: Arc<Semaphore>,
    sample: Arc<Mutex<Sample>>,
}

/// What a known name needs, for those that are not known: time must not tell them apart.
#[derive(Debug, Clone, Default)]
struct Sample {
    hash: Option<Stored>,
    hidden: Option<Hidden>,
}

/// What the maps say of a name.
#[derive(Debug)]
enum Found {
    Unknown,
    Known { password: Zeroizing<String>, gid: String, unusable: Option<&'static str> },
}

/// What stands for a password.
enum Held {
    Hash(Stored),
    /// A hash behind `!`: the account is locked (usermod(8)).
    Locked(Stored),
    /// No password is right.
    Nothing,
    NotTaken(String),
}

impl NisServer {
    /// Connects to nothing.
    ///
    /// # Errors
    /// None today: there is no TLS in NIS.
    pub fn new(settings: NisSettings) -> Result<Self, TlsError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let pool = Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { hosts: clear(settings.hosts.clone())?, settings, pool, sample: Arc::default() })
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let (name, progress) = (question.login.to_string(), question.progress);
        let (found, _) = self.hosts.first_ready(|target| self.find(target, &name, progress)).await?;
        let (password, gid, unusable) = match found {
            Found::Unknown => (None, String::new(), None),
            Found::Known { password, gid, unusable } => (Some(password), gid, unusable),
        };
        let verdict = self.verify(password, question).await;
        if !matches!(verdict, Verdict::Accepted(_)) {
            return Ok(verdict);
        }
        if let Some(why) = unusable {
            return Ok(Verdict::Rejected(Rejection::Unusable(why.to_owned())));
        }
        let groups = if self.settings.groups {
            self.hosts.first_ready(|target| self.groups(target, &name, &gid, progress)).await?.0
        } else {
            vec![]
        };
        Ok(Verdict::Accepted(Account { name: Some(name), groups }))
    }

    /// Compares on a thread of its own. None for the password of a name that there is not.
    async fn verify(&self, held: Option<Zeroizing<String>>, question: &Question<'_>) -> Verdict {
        question.progress.at("waiting for a thread that hashes");
        // The permit goes into the thread and stays until the hash is done, also when nobody waits for it any more.
        let Ok(permit) = Arc::clone(&self.pool).acquire_owned().await else {
            return Verdict::Unavailable(Outage::busy("the pool of hashing threads is closed"));
        };
        question.progress.at("hashing");
        let (sample, allowed) = (Arc::clone(&self.sample), self.settings.hashes.clone());
        let typed = Zeroizing::new(question.password.expose().as_bytes().to_vec());
        let task = tokio::task::spawn_blocking(move || {
            let verdict = compare(held.as_deref().map(String::as_str), &typed, &allowed, &sample);
            drop(permit);
            verdict
        });
        task.await
            .unwrap_or_else(|_| Verdict::Unavailable(Outage::server("the hashing thread ended without an answer")))
    }

    async fn find(&self, target: Target<'_>, name: &str, progress: &Progress) -> Result<Found, Outage> {
        let addresses = addresses(target.host, progress).await?;
        let at = |target: Target<'_>| self.find_at(target.host.clone(), name, progress);
        addresses.first_ready(at).await.map(|(found, _)| found)
    }

    async fn find_at(&self, host: Host, name: &str, progress: &Progress) -> Result<Found, Outage> {
        let mut talk = talk(&host, progress)?;
        let line = self.value(&mut talk, yp::PASSWD, name, From::Any).await?;
        let damaged = |map: &str| Outage::account(format!("{host}: the name's line in {map} is damaged"));
        let Some(line) = line else {
            let hidden = self.sample.lock().unwrap_or_else(PoisonError::into_inner).hidden;
            if let Some(hidden) = hidden {
                // Asked for the time that it takes; what is said is nobody's.
                drop(self.value(&mut talk, hidden.map(), name, From::Reserved).await);
            }
            return Ok(Found::Unknown);
        };
        let passwd = yp::passwd(&line, name).ok_or_else(|| damaged(yp::PASSWD))?;
        let gid = passwd.gid.to_owned();
        let hidden = passwd.hidden();
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).hidden = hidden;
        let Some(hidden) = hidden else {
            return Ok(Found::Known { password: Zeroizing::new(passwd.password.to_owned()), gid, unusable: None });
        };
        let map = hidden.map();
        let line = self.value(&mut talk, map, name, From::Reserved).await.map_err(|mut outage| {
            if !may_reserve() {
                outage.detail.push_str(
                    "; ypserv tells this map to source ports below 1024 alone, which we may not have: give us CAP_NET_BIND_SERVICE",
                );
            }
            outage
        })?;
        let line = line.ok_or_else(|| {
            Outage::account(format!(
                "{host}: passwd.byname says that the hash is in {map}, which does not have the name"
            ))
        })?;
        let shadow = yp::shadow(&line, name).ok_or_else(|| damaged(map))?;
        let unusable = shadow.unusable(today());
        Ok(Found::Known { password: Zeroizing::new(shadow.password.to_owned()), gid, unusable })
    }

    async fn value(
        &self,
        talk: &mut Talk<'_>,
        map: &str,
        key: &str,
        from: From,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Outage> {
        let results = talk.call(yp::MATCH, &yp::key(&self.settings.domain, map, key), from).await?;
        match yp::value(&results) {
            Ok(value) => Ok(value.map(|value| Zeroizing::new(value.to_vec()))),
            Err(Refusal::Malformed) => {
                // Perhaps a datagram was too short for it.
                talk.cut_off();
                let results = talk.call_stream(yp::MATCH, &yp::key(&self.settings.domain, map, key), from).await?;
                let value = yp::value(&results).map_err(|why| talk.outage(&format!("{map}: {why}")))?;
                Ok(value.map(|value| Zeroizing::new(value.to_vec())))
            }
            Err(why) => Err(talk.outage(&format!("{map}: {why}"))),
        }
    }

    async fn groups(
        &self,
        target: Target<'_>,
        name: &str,
        gid: &str,
        progress: &Progress,
    ) -> Result<Vec<Group>, Outage> {
        let addresses = addresses(target.host, progress).await?;
        let at = |target: Target<'_>| self.groups_at(target.host.clone(), name, gid, progress);
        addresses.first_ready(at).await.map(|(groups, _)| groups)
    }

    /// No map says which groups somebody is in but the whole of `group.byname`.
    async fn groups_at(&self, host: Host, name: &str, gid: &str, progress: &Progress) -> Result<Vec<Group>, Outage> {
        let mut talk = talk(&host, progress)?;
        let results = talk.call_stream(yp::ALL, &yp::every(&self.settings.domain, yp::GROUP), From::Any).await?;
        let mut member = Membership::new(name, gid);
        yp::values(&results, |line| member.look(line))
            .map_err(|why| talk.outage(&format!("{}: {why}; `groups = false` does without", yp::GROUP)))?;
        Ok(member.groups())
    }

    async fn look(&self, host: &Host) -> Result<String, String> {
        let progress = Progress::default();
        match tokio::time::timeout(LOOK, self.look_at_each(host, &progress)).await {
            Ok(seen) => seen,
            Err(_) => Err(format!("no answer within {LOOK:?}, {}", progress.step())),
        }
    }

    async fn look_at_each(&self, host: &Host, progress: &Progress) -> Result<String, String> {
        let addresses = addresses(host, progress).await.map_err(|why| why.detail)?;
        let at = |target: Target<'_>| self.look_at(target.host.clone(), progress);
        addresses.first_ready(at).await.map(|(text, _)| text).map_err(|why| why.detail)
    }

    async fn look_at(&self, host: Host, progress: &Progress) -> Result<String, Outage> {
        let mut talk = talk(&host, progress)?;
        let results = talk.call(yp::DOMAIN, &yp::serves(&self.settings.domain), From::Any).await?;
        if !yp::served(&results).map_err(|why| talk.outage(&why))? {
            return Err(talk.outage(&Refusal::Domain));
        }
        let mut found = format!("serves {}", self.settings.domain);
        // Whether or not there is somebody of this name, the answer shows that the map is there.
        self.value(&mut talk, yp::PASSWD, "root", From::Any).await?;
        if self.settings.groups {
            let groups = talk.call_stream(yp::ALL, &yp::every(&self.settings.domain, yp::GROUP), From::Any).await?;
            let mut count = 0_usize;
            yp::values(&groups, |_| count += 1).map_err(|why| talk.outage(&format!("{}: {why}", yp::GROUP)))?;
            found.push_str(&format!(", {count} groups"));
        }
        found.push_str(
            match (self.value(&mut talk, Hidden::Shadow.map(), "root", From::Reserved).await, may_reserve()) {
                (Ok(_), true) => ", shadow.byname too",
                (Ok(_), false) => ", and shadow.byname to everybody: have its server ask for reserved ports",
                (Err(_), true) => ", no shadow.byname",
                (Err(_), false) => ", no shadow.byname for us, who may not have a reserved port (CAP_NET_BIND_SERVICE)",
            },
        );
        Ok(found)
    }
}

fn clear(hosts: Vec<Host>) -> Result<Hosts, TlsError> {
    Hosts::new(&Way { hosts, tls: TlsMode::Clear, trust: TlsSettings::default() })
}

/// A host's addresses, as hosts that are tried one beside the other.
async fn addresses(host: &Host, progress: &Progress) -> Result<Hosts, Outage> {
    progress.at("looking up its address");
    let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
    let found = found.map_err(|why| Outage::server(format!("{} has no address: {why}", host.name)))?;
    let all = found.map(|address| Host { name: address.ip().to_string(), port: host.port }).take(8).collect();
    clear(all).map_err(|why| Outage::server(why.to_string()))
}

fn talk<'a>(host: &Host, progress: &'a Progress) -> Result<Talk<'a>, Outage> {
    let ip = host.name.parse().map_err(|_| Outage::server(format!("{host} is no address")))?;
    Ok(Talk::new(ip, host.port, progress))
}

/// Days since 1970.
fn today() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "shadow(5) counts days of the machine's own clock, as login(1) does")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / 86_400).unwrap_or(i64::MAX)
}

/// Is it this password? Hashes once, whatever the answer.
fn compare(held: Option<&str>, typed: &[u8], allowed: &Allowed, sample: &Mutex<Sample>) -> Verdict {
    let like_one = || {
        let hash = sample.lock().unwrap_or_else(PoisonError::into_inner).hash.clone();
        let hash = hash.or_else(|| Stored::parse(DUMMY, &Allowed::default()).ok());
        let _right = hash.is_some_and(|hash| hash.verify(typed));
    };
    let right = |hash: &Stored| {
        sample.lock().unwrap_or_else(PoisonError::into_inner).hash = Some(hash.clone());
        hash.verify(typed)
    };
    match held.map(|text| Held::parse(text, allowed)) {
        None => {
            like_one();
            Verdict::NotMine
        }
        Some(Held::Hash(hash)) if right(&hash) => Verdict::Accepted(Account::default()),
        Some(Held::Locked(hash)) if right(&hash) => {
            Verdict::Rejected(Rejection::Unusable("locked: `!` before its hash".to_owned()))
        }
        Some(Held::Hash(_) | Held::Locked(_)) => Verdict::Rejected(Rejection::Credentials),
        Some(Held::Nothing) => {
            like_one();
            Verdict::Rejected(Rejection::Credentials)
        }
        Some(Held::NotTaken(why)) => {
            like_one();
            Verdict::Unavailable(Outage::account(why))
        }
    }
}

impl Held {
    fn parse(text: &str, allowed: &Allowed) -> Self {
        let (locked, hash) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        // `*`, `!!`, `*LK*`, nothing at all: none of them is a hash. `x` of a shadow line points nowhere.
        if hash.is_empty() || hash == "x" || hash.starts_with(['*', '!']) {
            return Self::Nothing;
        }
        match Stored::parse(hash, allowed) {
            Ok(stored) if locked => Self::Locked(stored),
            Ok(stored) => Self::Hash(stored),
            Err(why) => Self::NotTaken(format!("the name has {why}")),
        }
    }
}

impl AccountServer for NisServer {
    fn kind(&self) -> &'static str {
        "nis"
    }

    fn can_tell(&self) -> bool {
        true
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.converse(question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn probe(&self) -> Result<String, String> {
        // All at once: the time of `kmsgate check` is for all hosts together.
        let seen = join_all(self.settings.hosts.iter().map(|host| async move {
            let seen = self.look(host).await;
            let good = seen.is_ok();
            let (Ok(text) | Err(text)) = seen;
            let shown = if host.port == PORTMAPPER { host.name.clone() } else { host.to_string() };
            // What one of its addresses says begins with the address.
            (good, if text.starts_with(&host.name) { text } else { format!("{shown}: {text}") })
        }));
        let (good, lines): (Vec<bool>, Vec<String>) = seen.await.into_iter().unzip();
        let text = lines.join("; ");
        if good.into_iter().all(|good| good) {
            Ok(format!("{text}. NIS proves nothing of itself: only over a network of your own"))
        } else {
            Err(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted(_) => "accepted",
            Verdict::Rejected(Rejection::Credentials) => "wrong",
            Verdict::Rejected(Rejection::Unusable(_)) => "unusable",
            Verdict::NotMine => "unknown",
            Verdict::Unavailable(_) => "outage",
            Verdict::Challenge(_) => "challenge",
        }
    }

    #[test]
    fn each_second_field_is_what_it_says() {
        let sample = Mutex::default();
        let locked = format!("!{DUMMY}");
        for (held, password, answer) in [
            (Some(DUMMY), "secret", "accepted"),
            (Some(DUMMY), "Secret", "wrong"),
            (Some(&locked), "secret", "unusable"),
            (Some(&locked), "Secret", "wrong"),
            (Some("*"), "*", "wrong"),
            (Some("x"), "x", "wrong"),
            (Some(""), "", "wrong"),
            (Some("!!"), "!", "wrong"),
            (Some("*LK*"), "*LK*", "wrong"),
            (Some("ab8eTvUhq5MhY"), "secret", "outage"),
            (Some("$1$saltsalt$9xy1btjgzLYfb7hivXtC//"), "secret", "outage"),
            (None, "secret", "unknown"),
        ] {
            let verdict = compare(held, password.as_bytes(), &Allowed::default(), &sample);
            assert_eq!(says(verdict), answer, "{held:?} {password}");
        }
    }

    #[test]
    fn the_dummy_is_a_hash() {
        assert!(Stored::parse(DUMMY, &Allowed::default()).unwrap().verify(b"secret"));
    }
}
