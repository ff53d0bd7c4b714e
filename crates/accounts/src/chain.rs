//! Which servers may hold a name, in which order they are asked, and which answer stands. What must never happen here: a
//! second way to an [`Identity`], an outage taken for a wrong password, two spellings taken for two people.

use crate::frame::{Frame, FrameSettings, RealmForm, Snapshot};
use crate::server::{AccountServer, FrontDoor, Server};
use crate::verdict::{Account, Challenge, Continuation, Outage, Progress, Question, Rejection, Reply, Verdict};
use kmsgate_core::address::Source;
use kmsgate_core::identity::Identity;
use kmsgate_core::name::{Login, Name, Person, ServerName};
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use kmsgate_core::sign_in::SignIn;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Every account server with its frame, and the order of asking.
#[derive(Debug)]
pub struct Accounts {
    entries: Vec<Entry>,
    /// Indexes into `entries`: for a login without a realm.
    order: Vec<usize>,
    /// Realms of `[accounts] realms`.
    realms: BTreeMap<Name, Vec<usize>>,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    server: Server,
}

/// What the chain says. Carries what the throttle needs.
#[must_use]
#[derive(Debug)]
pub enum ChainAnswer {
    /// Proof of who it is.
    Accepted(Identity),
    /// Nobody let them in.
    Refused(RefusedBy),
    /// A server asks something more.
    Challenge(Asked),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedBy {
    /// `invalid_credentials`, `account_unusable` or `account_server_unavailable`.
    pub reason: Reason,
    /// Whether it counts against the name: a wrong password for certain. An outage never is one, nor is a right
    /// password for an account that cannot be used. (Against the address every refusal counts.)
    pub definite: bool,
    /// What each server said, for the log. Without names and passwords.
    pub log: String,
}

/// What the person is asked by a server.
#[derive(Debug)]
pub struct Asked {
    /// The question, or for a redirect the address to go to.
    pub prompt: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
    /// How long the answer may take.
    pub lasts: Duration,
    /// To be handed back with the answer.
    pub pending: Pending,
}

/// A sign-in between challenge and answer.
#[derive(Debug)]
pub struct Pending {
    entry: usize,
    login: Option<Login>,
    source: Source,
    continuation: Continuation,
    said: Said,
}

/// Why a set of account servers is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAccounts {
    /// Two servers of one name.
    Twice(ServerName),
    /// A name that no server has; where it stands.
    Unknown(ServerName, String),
    /// No server is ever asked.
    Empty,
}

/// What the servers said so far.
#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    outage: bool,
    unusable: bool,
    /// A server that can tell said that the password is wrong.
    surely_wrong: bool,
}

impl Accounts {
    /// Servers, the `order` in which they are asked, and the `realms` whose people are asked elsewhere.
    ///
    /// # Errors
    /// [`BadAccounts`] names what does not fit.
    pub fn new(
        servers: Vec<(FrameSettings, Server)>,
        order: &[ServerName],
        realms: &BTreeMap<Name, Vec<ServerName>>,
    ) -> Result<Self, BadAccounts> {
        let mut entries: Vec<Entry> = Vec::with_capacity(servers.len());
        for (settings, server) in servers {
            if entries.iter().any(|entry| entry.frame.settings().name == settings.name) {
                return Err(BadAccounts::Twice(settings.name));
            }
            entries.push(Entry { frame: Frame::new(settings), server });
        }
        let find = |name: &ServerName, place: &str| {
            let found = entries.iter().position(|entry| entry.frame.settings().name == *name);
            found.ok_or_else(|| BadAccounts::Unknown(name.clone(), place.to_owned()))
        };
        let order = order.iter().map(|name| find(name, "order")).collect::<Result<Vec<_>, _>>()?;
        let realms = realms
            .iter()
            .map(|(realm, names)| {
                let place = format!("realms, {realm}");
                let found = names.iter().map(|name| find(name, &place)).collect::<Result<Vec<_>, _>>()?;
                Ok((realm.clone(), found))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if order.is_empty() && realms.values().all(Vec::is_empty) {
            return Err(BadAccounts::Empty);
        }
        Ok(Self { entries, order, realms })
    }

    /// Who is it? Each server that may hold the name in turn, until one answer stands.
    pub async fn ask(&self, asked: &SignIn) -> ChainAnswer {
        self.ask_for(&asked.login, &asked.password, asked.source).await
    }

    /// [`Accounts::ask`] without a service.
    pub async fn ask_for(&self, login: &Login, password: &Password, source: Source) -> ChainAnswer {
        let mut said = Said::default();
        let may_hold = self.may_hold(login);
        if may_hold.is_empty() {
            said.lines.push("no account server holds this realm".to_owned());
        }
        for (index, entry) in may_hold {
            if entry.server.front_door() != FrontDoor::Password {
                continue;
            }
            match self.ask_entry(index, entry, login, password, source, said).await {
                Ok(answer) => return answer,
                Err(so_far) => said = so_far,
            }
        }
        ChainAnswer::Refused(said.refused())
    }

    async fn ask_entry(
        &self,
        index: usize,
        entry: &Entry,
        login: &Login,
        password: &Password,
        source: Source,
        said: Said,
    ) -> Result<ChainAnswer, Said> {
        let form = entry.form(login, self.routed(login));
        let progress = Progress::default();
        let question = Question { login: &form, password, source, progress: &progress };
        let verdict = entry.frame.run(source, &progress, entry.server.ask(&question)).await;
        self.weigh(index, entry, Some(&form), source, verdict, said)
    }

    fn find(&self, server: &ServerName) -> Option<(usize, &Entry)> {
        self.entries.iter().enumerate().find(|(_, entry)| entry.frame.settings().name == *server)
    }

    /// Asks one server, whatever the order says, for `kmsgate check`. None if there is no server of this name.
    pub async fn ask_only(
        &self,
        server: &ServerName,
        login: &Login,
        password: &Password,
        source: Source,
    ) -> Option<ChainAnswer> {
        let (index, entry) = self.find(server)?;
        let said = Said::default();
        Some(match self.ask_entry(index, entry, login, password, source, said).await {
            Ok(answer) => answer,
            Err(said) => ChainAnswer::Refused(said.refused()),
        })
    }

    /// Goes on after a challenge. The servers behind the one that asked are not asked: nobody kept the password.
    pub async fn answer(&self, pending: Pending, reply: Reply<'_>) -> ChainAnswer {
        let Pending { entry: index, login, source, continuation, said } = pending;
        let Some(entry) = self.entries.get(index) else { return ChainAnswer::Refused(said.refused()) };
        let progress = Progress::default();
        let verdict = entry.frame.run(source, &progress, entry.server.answer(continuation, reply)).await;
        match self.weigh(index, entry, login.as_ref(), source, verdict, said) {
            Ok(answer) => answer,
            Err(said) => ChainAnswer::Refused(said.refused()),
        }
    }

    /// Where to send somebody who chose a server with [`FrontDoor::Redirect`]; `return_to` is our own address.
    pub async fn begin(&self, server: &ServerName, source: Source, return_to: &str) -> ChainAnswer {
        let mut said = Said::default();
        let Some((index, entry)) = self.find(server) else {
            said.lines.push("no account server has the name that was chosen".to_owned());
            return ChainAnswer::Refused(said.refused());
        };
        let progress = Progress::default();
        let verdict = entry.frame.run(source, &progress, entry.server.begin(return_to)).await;
        match self.weigh(index, entry, None, source, verdict, said) {
            Ok(answer) => answer,
            Err(said) => ChainAnswer::Refused(said.refused()),
        }
    }

    /// How people come to each server, in the order of asking.
    pub fn front_doors(&self) -> impl Iterator<Item = (&ServerName, FrontDoor)> {
        let entries = self.order.iter().filter_map(|index| self.entries.get(*index));
        entries.map(|entry| (&entry.frame.settings().name, entry.server.front_door()))
    }

    /// Everything short of a password at every server, for `kmsgate check`.
    pub async fn probe(&self) -> Vec<(ServerName, Result<String, String>)> {
        let mut found = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let settings = entry.frame.settings();
            let result = tokio::time::timeout(settings.timeout, entry.server.probe()).await;
            let late = || Err(format!("no answer within {:?}", settings.timeout));
            found.push((settings.name.clone(), result.unwrap_or_else(|_| late())));
        }
        found
    }

    /// How every server stands.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let entries = self.entries.iter();
        entries.map(|entry| entry.frame.snapshot(entry.server.kind(), entry.server.fault())).collect()
    }

    /// Whether at least one server is not known to be dead: for `readyz`.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.entries.iter().any(|entry| entry.frame.usable())
    }

    /// The servers that may hold this login. A realm of `[accounts] realms` has its own servers and no others; any other
    /// realm must be some server's `realm` or `domain`.
    fn may_hold(&self, login: &Login) -> Vec<(usize, &Entry)> {
        let with = |indexes: &[usize]| {
            indexes.iter().filter_map(|index| Some((*index, self.entries.get(*index)?))).collect::<Vec<_>>()
        };
        let Some(realm) = &login.realm else { return with(&self.order) };
        if let Some(indexes) = self.realms.get(realm) {
            return with(indexes);
        }
        let mut found = with(&self.order);
        found.retain(|(_, entry)| entry.has(realm));
        let others = self.entries.iter().enumerate().filter(|(index, entry)| {
            !self.order.contains(index) && entry.frame.settings().realm.as_ref() == Some(realm)
        });
        found.extend(others);
        found
    }

    /// Whether `[accounts] realms` says where this login's realm goes.
    fn routed(&self, login: &Login) -> bool {
        login.realm.as_ref().is_some_and(|realm| self.realms.contains_key(realm))
    }

    /// What one verdict means for the chain: its end, or what is known when the next one is asked.
    fn weigh(
        &self,
        index: usize,
        entry: &Entry,
        login: Option<&Login>,
        source: Source,
        verdict: Verdict,
        mut said: Said,
    ) -> Result<ChainAnswer, Said> {
        let server = &entry.frame.settings().name;
        let can_tell = entry.server.can_tell();
        match verdict {
            Verdict::Accepted(account) => match entry.person(login, &account) {
                Ok(person) => {
                    return Ok(ChainAnswer::Accepted(Identity::accepted(person, account.groups, server.clone())));
                }
                Err(why) => {
                    said.lines.push(format!("{server}: accepted, but {why}"));
                    said.unusable = true;
                    return Ok(ChainAnswer::Refused(said.refused()));
                }
            },
            Verdict::Challenge(Challenge { prompt, echo, continuation, lasts }) => {
                let pending = Pending { entry: index, login: login.cloned(), source, continuation, said };
                return Ok(ChainAnswer::Challenge(Asked { prompt, echo, lasts, pending }));
            }
            Verdict::Rejected(Rejection::Credentials) => {
                said.lines.push(format!("{server}: rejected"));
                said.surely_wrong |= can_tell;
            }
            Verdict::Rejected(Rejection::Unusable(why)) => {
                said.lines.push(format!("{server}: account not usable: {why}"));
                said.unusable = true;
            }
            Verdict::NotMine => {
                said.lines.push(format!("{server}: unknown name"));
                return Err(said);
            }
            Verdict::Unavailable(Outage { detail, .. }) => {
                said.lines.push(format!("{server}: no answer: {detail}"));
                said.outage = true;
                return Err(said);
            }
        }
        if can_tell { Ok(ChainAnswer::Refused(said.refused())) } else { Err(said) }
    }
}

impl Entry {
    /// Whether this realm means this server.
    fn has(&self, realm: &Name) -> bool {
        let settings = self.frame.settings();
        let domain = Name::canonical(settings.domain.as_str()).ok();
        settings.realm.as_ref() == Some(realm) || domain.as_ref() == Some(realm)
    }

    /// The login as this server is asked for it. A realm that is routed here may be one of several and is kept as it was
    /// typed; any other is the server's own realm or its domain, which are two words for the same people.
    fn form(&self, login: &Login, routed: bool) -> Login {
        let settings = self.frame.settings();
        let realm = match settings.realm_form {
            RealmForm::Strip => None,
            RealmForm::Keep if routed => login.realm.clone(),
            RealmForm::Keep => settings.realm.clone(),
        };
        Login { name: login.name.clone(), realm }
    }

    /// The one person that an accepted login is, however it was spelled: the server's own spelling where it returns
    /// one; without the realm where the server holds one realm only, with it where the realm tells people apart.
    fn person(&self, asked: Option<&Login>, account: &Account) -> Result<Person, String> {
        let settings = self.frame.settings();
        let login = match (&account.name, asked) {
            (Some(own), _) => {
                Login::parse(own).map_err(|why| format!("the server's own spelling is no name: {why}"))?
            }
            (None, Some(asked)) => asked.clone(),
            (None, None) => return Err("the server did not say who it is".to_owned()),
        };
        let name = match &login.realm {
            Some(realm) if settings.realm.as_ref() != Some(realm) => {
                Name::canonical(&login.to_string()).map_err(|why| why.to_string())?
            }
            _ => login.name,
        };
        Ok(Person { domain: settings.domain.clone(), name })
    }
}

impl Said {
    fn refused(self) -> RefusedBy {
        let (reason, definite) = if self.outage {
            // Whoever can tell has told: the password is wrong whatever the silent server might have said.
            (Reason::AccountServerUnavailable, self.surely_wrong)
        } else if self.unusable {
            (Reason::AccountUnusable, false)
        } else {
            (Reason::InvalidCredentials, true)
        };
        RefusedBy { reason, definite, log: self.lines.join("; ") }
    }
}

impl fmt::Display for BadAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(name) => write!(f, "two account servers are named {name}; give one another name"),
            Self::Unknown(name, place) => write!(f, "{place}: there is no account server {name}"),
            Self::Empty => f.write_str("no account server is ever asked: name one in [accounts] order"),
        }
    }
}

impl std::error::Error for BadAccounts {}
