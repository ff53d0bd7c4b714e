//! A directory as an account server: who binds with their password has signed in. What must never happen here: an empty password
//! sent, a name that changes a question, one of several accounts taken for the one that was meant, an outage taken for a wrong
//! password.
//!
//! Why not a library: the one that is kept (`ldap3` 0.12) reads answers with `expect` and without a bound on depth or length, so that
//! a server that speaks nonsense could end the process.
//!
//! * [`filter`], [`dn`]: texts of the configuration with places for a name; [`ber`], [`message`]: what goes over the wire.
//! * [`talk`]: one conversation; [`mod@judge`]: what the answer to a password means.

pub mod ber;
pub mod dn;
pub mod filter;
pub mod judge;
pub mod message;
pub mod talk;

use crate::reach::{Hosts, Target, Way};
use crate::secret::Secret;
use crate::server::AccountServer;
use crate::tls::TlsError;
use crate::verdict::{Account, Outage, Progress, Question, Verdict};
use filter::{Filter, Places};
use judge::{NO_SUCH_OBJECT, SIZE_LIMIT, SUCCESS, judge, shown};
use kmsgate_core::name::{Group, Name};
use message::{Entry, Outcome, Search};
use std::collections::BTreeSet;
use talk::Talk;

/// Where somebody's name stands in a template.
pub const USER: &str = "{user}";

/// A directory of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapSettings {
    /// The way to it.
    pub way: Way,
    /// As whom somebody binds.
    pub bind: Bind,
    /// Where accounts are, and which is somebody's. None: the entry that was bound as.
    pub entries: Option<(String, Filter)>,
    /// The attribute whose value is the account's one name, however it was spelled.
    pub user_attribute: String,
    /// Where groups are.
    pub groups: Groups,
}

/// As whom somebody binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// As this, with `{user}` in it: a distinguished name if it has a `=`, else what the server takes for one
    /// (`{user}@ad.example.edu`).
    Template(String),
    /// As the entry that this account finds.
    Found {
        /// The service's own account.
        dn: String,
        /// Its password.
        password: Secret,
    },
}

/// Where groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Nowhere.
    None,
    /// Values of this attribute of the account.
    Attribute(String),
    /// Entries below a base that match.
    Search(String, Filter),
}

/// A directory.
#[derive(Debug)]
pub struct LdapServer {
    settings: Box<LdapSettings>,
    hosts: Hosts,
}

impl LdapServer {
    /// Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn new(settings: Box<LdapSettings>) -> Result<Self, TlsError> {
        let hosts = Hosts::new(&settings.way)?;
        Ok(Self { settings, hosts })
    }

    async fn converse(&self, question: &Question<'_>) -> Result<Verdict, Outage> {
        let (mut talk, _) = self.hosts.first_ready(|target| self.ready(target, question.progress)).await?;
        let verdict = self.sign_in(&mut talk, question).await;
        talk.leave().await;
        verdict
    }

    /// Up to the point where a person's password may be sent.
    async fn ready<'a>(&self, target: Target<'_>, progress: &'a Progress) -> Result<Talk<'a>, Outage> {
        let mut talk = Talk::open(target, progress).await?;
        self.bind_as_ourselves(&mut talk).await?;
        Ok(talk)
    }

    async fn bind_as_ourselves(&self, talk: &mut Talk<'_>) -> Result<(), Outage> {
        let Bind::Found { dn, password } = &self.settings.bind else { return Ok(()) };
        talk.progress.at("binding as bind_dn");
        match talk.bind(dn, password.expose(), false).await? {
            Outcome { code: SUCCESS, .. } => Ok(()),
            outcome => Err(Outage::server(format!(
                "bind_dn {dn:?} is refused: {}; mend bind_dn or bind_password",
                shown(&outcome)
            ))),
        }
    }

    async fn sign_in(&self, talk: &mut Talk<'_>, question: &Question<'_>) -> Result<Verdict, Outage> {
        let user = question.login.to_string();
        let (entry, bound) = match &self.settings.bind {
            Bind::Template(template) => {
                let name = filled(template, &user);
                let bound = self.prove(talk, &name, question).await?;
                if !matches!(bound, Verdict::Accepted(_)) {
                    return Ok(bound);
                }
                (self.entry(talk, &user, &name).await?, bound)
            }
            Bind::Found { .. } => {
                let Some(entry) = self.entry(talk, &user, "").await? else { return Ok(Verdict::NotMine) };
                let bound = self.prove(talk, &entry.dn, question).await?;
                (Some(entry), bound)
            }
        };
        let entry = match (bound, entry) {
            (Verdict::Accepted(_), Some(entry)) => entry,
            (Verdict::Accepted(_), None) => {
                let why = "it bound, and cannot read its own entry, or `base` and `filter` do not find it";
                return Err(Outage::account(why));
            }
            (refused, _) => return Ok(refused),
        };
        let groups = self.groups(talk, &entry, &user).await?;
        Ok(Verdict::Accepted(Account { name: Some(self.own_name(&entry)?), groups }))
    }

    /// Is this the password? The last thing before the person's password is sent.
    async fn prove(&self, talk: &mut Talk<'_>, name: &str, question: &Question<'_>) -> Result<Verdict, Outage> {
        let password = question.password.expose();
        if password.is_empty() || name.is_empty() {
            // Either would be an anonymous bind, which succeeds for everybody (RFC 4513 section 5.1.2).
            return Err(Outage::account("an empty name or password is not sent to a directory"));
        }
        question.progress.handed_over();
        judge(&talk.bind(name, password, true).await?)
    }

    /// The one entry that is somebody's.
    async fn entry(&self, talk: &mut Talk<'_>, user: &str, bound: &str) -> Result<Option<Entry>, Outage> {
        talk.progress.at("looking for the account's entry");
        let anything = Filter::anything();
        let (base, filter) = match &self.settings.entries {
            Some((base, filter)) => (base.as_str(), filter),
            None => (bound, &anything),
        };
        let mut attributes = vec![self.settings.user_attribute.as_str()];
        if let Groups::Attribute(attribute) = &self.settings.groups {
            attributes.push(attribute);
        }
        let subtree = self.settings.entries.is_some();
        // Two are enough to know that it is not one.
        let search =
            Search { base, subtree, filter, places: Places { user, dn: "" }, attributes: &attributes, most: 2 };
        let (mut found, outcome) = talk.search(&search).await?;
        match (found.len(), outcome.code) {
            (0, NO_SUCH_OBJECT) if !subtree => Ok(None),
            (_, SIZE_LIMIT) | (2.., _) => {
                Err(Outage::account("more than one entry matches `filter`: nobody can tell whose name it is"))
            }
            (_, SUCCESS) => Ok(found.pop()),
            _ => Err(Outage::server(format!("the search below {base:?} came to nothing: {}", shown(&outcome)))),
        }
    }

    /// The account's one name. Of several the first in alphabetical order: whichever of them was typed, it is one person.
    fn own_name(&self, entry: &Entry) -> Result<String, Outage> {
        let attribute = &self.settings.user_attribute;
        let names = entry.values(attribute).filter_map(|value| Name::canonical(value).ok());
        let first = names.min_by(|one, other| one.as_str().cmp(other.as_str()));
        first.map(|name| name.to_string()).ok_or_else(|| {
            Outage::account(format!(
                "its entry has no {attribute} that we may read and that is a name (`user_attribute`)"
            ))
        })
    }

    async fn groups(&self, talk: &mut Talk<'_>, entry: &Entry, user: &str) -> Result<Vec<Group>, Outage> {
        let (base, filter) = match &self.settings.groups {
            Groups::None => return Ok(vec![]),
            Groups::Attribute(_) if entry.is_cut_short() => {
                return Err(Outage::account("it is in more groups than the server tells at once: set nested_groups"));
            }
            Groups::Attribute(attribute) => return Ok(named(entry.values(attribute))),
            Groups::Search(base, filter) => (base, filter),
        };
        // Whoever signs in need not have the right to see groups.
        self.bind_as_ourselves(talk).await?;
        talk.progress.at("looking for its groups");
        let places = Places { user, dn: &entry.dn };
        let search = Search { base, subtree: true, filter, places, attributes: &[], most: 0 };
        let (found, outcome) = talk.search(&search).await?;
        match outcome.code {
            SUCCESS => Ok(named(found.iter().map(|group| group.dn.as_str()))),
            _ => Err(Outage::server(format!(
                "the search for groups below {base:?} came to nothing: {}",
                shown(&outcome)
            ))),
        }
    }

    async fn look(&self, target: Target<'_>) -> Result<String, String> {
        let progress = Progress::default();
        let mut talk = self.ready(target, &progress).await.map_err(|outage| outage.detail)?;
        let tls = talk.tls_version().unwrap_or_else(|| "no TLS, passwords go in clear".to_owned());
        let found = self.look_below(&mut talk).await;
        talk.leave().await;
        found.map(|found| format!("{tls}, {found}")).map_err(|outage| outage.detail)
    }

    /// Whether our own account sees where accounts and groups are.
    async fn look_below(&self, talk: &mut Talk<'_>) -> Result<&'static str, Outage> {
        if matches!(self.settings.bind, Bind::Template(_)) {
            return Ok("people bind as themselves; what they may read is seen when somebody signs in");
        }
        let anything = Filter::anything();
        let accounts = self.settings.entries.as_ref().map(|(base, _)| ("base", base));
        let groups =
            if let Groups::Search(base, _) = &self.settings.groups { Some(("group_base", base)) } else { None };
        for (key, base) in accounts.into_iter().chain(groups) {
            let places = Places { user: "", dn: "" };
            let search = Search { base, subtree: false, filter: &anything, places, attributes: &[], most: 1 };
            let (found, outcome) = talk.search(&search).await?;
            if found.is_empty() {
                let why = shown(&outcome);
                return Err(Outage::server(format!(
                    "bind_dn does not see {key} {base:?} ({why}): is it there, and may it be read?"
                )));
            }
        }
        Ok("bind_dn binds and sees where accounts are")
    }
}

/// A template with a name in it.
fn filled(template: &str, user: &str) -> String {
    if template.contains('=') { template.replace(USER, &dn::escaped(user)) } else { template.replace(USER, user) }
}

/// Groups by their whole names, and by the values of their first parts.
fn named<'a>(dns: impl Iterator<Item = &'a str>) -> Vec<Group> {
    let both = dns.flat_map(|dn| [Some(dn.to_owned()), dn::first_value(dn)]);
    both.flatten().collect::<BTreeSet<_>>().iter().map(|name| Group::new(name)).collect()
}

impl AccountServer for LdapServer {
    fn kind(&self) -> &'static str {
        "ldap"
    }

    /// Where our own account looks for the name, it knows whether there is one.
    fn can_tell(&self) -> bool {
        matches!(self.settings.bind, Bind::Found { .. })
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.converse(question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn probe(&self) -> Result<String, String> {
        self.hosts.each(|target| self.look(target)).await
    }
}
