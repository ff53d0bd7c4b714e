//! Databases of other programs as account servers: what SQLite, PostgreSQL and MariaDB have in common. What must never happen
//! here: a name that becomes part of a statement (F11), an answer whose time tells which names exist, more hashing at once than
//! the pool allows, a row that is not understood taken for a wrong password (P8).
//!
//! * [`sqlite`]: a file.
//! * [`postgres`]: PostgreSQL over the network.

pub mod postgres;
pub mod sqlite;

use crate::hashes::{Allowed, Held, NotAHash, Stored};
use crate::reach::Way;
use crate::secret::Secret;
use crate::verdict::{Account, Outage, Progress, Question, Rejection, Verdict};
use kmsgate_core::name::Group;
use kmsgate_core::password::Password;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Most groups of one account.
pub const MOST_GROUPS: usize = 1000;
/// Longest value that is read, in bytes.
pub const LONGEST_VALUE: usize = 1024;
/// No account has this name, since a name has no space: what `kmsgate check` asks for.
pub(crate) const NOBODY: &str = "kmsgate check";

/// What the configuration says of the questions that a database is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSettings {
    /// One SELECT with the name as its parameter. Its rows: the hash, and behind it, if wanted, the account's own name.
    pub query: String,
    /// One SELECT with the name as its parameter. Its rows: a group each.
    pub groups_query: Option<String>,
    /// Which hashes are taken.
    pub hashes: Allowed,
}

/// What the configuration says of a database that is reached over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The way to it.
    pub way: Way,
    /// As whom we sign in there.
    pub user: String,
    /// With which password, if with any.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// What it is asked.
    pub sql: SqlSettings,
}

/// Which of the two questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `query`.
    Account,
    /// `groups_query`.
    Groups,
}

impl Asked {
    /// How many rows are read at most: one more than there may be.
    pub(crate) const fn rows(self) -> usize {
        match self {
            Self::Account => 2,
            Self::Groups => MOST_GROUPS + 1,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "query",
            Self::Groups => "groups_query",
        })
    }
}

/// A value of a row.
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// A text.
    Text(Zeroizing<String>),
    /// Something else; what it is.
    Other(String),
}

impl Cell {
    /// Of the bytes of a text, if they are one of a bearable length.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.len() <= LONGEST_VALUE => Self::Text(Zeroizing::new(text.to_owned())),
            Ok(_) => Self::Other(format!("a text of more than {LONGEST_VALUE} bytes")),
            Err(_) => Self::Other("bytes that are no UTF-8".to_owned()),
        }
    }
}

/// The values of a row; all rows of an answer have as many.
pub(crate) type Row = Vec<Cell>;

/// A database that can be asked.
pub(crate) trait Database: Sync {
    /// The rows for this name, [`Asked::rows`] of them at most.
    fn rows(
        &self,
        asked: Asked,
        name: &str,
        progress: &Progress,
    ) -> impl Future<Output = Result<Vec<Row>, Outage>> + Send;
}

/// What every kind has beside its database.
pub(crate) struct Room {
    /// The questions.
    pub(crate) settings: SqlSettings,
    hashing: Arc<Semaphore>,
    /// The hash that was computed last, for names that the database does not have: time must not tell which it has.
    sample: Mutex<Option<Stored>>,
}

/// What was found for a name.
struct Found {
    held: Held,
    /// The account's own name.
    name: Option<String>,
}

impl Room {
    /// One hash at a time for each processor.
    pub(crate) fn new(settings: SqlSettings) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let sample = Mutex::new(Stored::nobodys(&settings.hashes));
        Self { settings, hashing: Arc::new(Semaphore::new(threads)), sample }
    }

    /// The statement.
    pub(crate) fn statement(&self, asked: Asked) -> Option<&str> {
        match asked {
            Asked::Account => Some(&self.settings.query),
            Asked::Groups => self.settings.groups_query.as_deref(),
        }
    }

    /// Every statement that there is.
    pub(crate) fn statements(&self) -> impl Iterator<Item = (Asked, &str)> {
        [Asked::Account, Asked::Groups].into_iter().filter_map(|asked| Some((asked, self.statement(asked)?)))
    }

    /// Asks the database, verifies the hash here, and asks for the groups of whoever may come in.
    pub(crate) async fn ask(&self, database: &impl Database, question: &Question<'_>) -> Verdict {
        self.answer(database, question).await.unwrap_or_else(Verdict::Unavailable)
    }

    async fn answer(&self, database: &impl Database, question: &Question<'_>) -> Result<Verdict, Outage> {
        let login = question.login.to_string();
        let rows = database.rows(Asked::Account, &login, question.progress).await?;
        let found = self.found(rows)?;
        let (held, name) = match found {
            Some(Found { held, name }) => (Some(held), name),
            None => (None, None),
        };
        let known = held.is_some();
        // The connection is free again while this machine computes.
        let refused = self.verify(held, question.password, question.progress).await?;
        match refused {
            _ if !known => Ok(Verdict::NotMine),
            Some(why) => Ok(Verdict::Rejected(why)),
            None => {
                let groups = match self.settings.groups_query {
                    Some(_) => {
                        let whose = name.as_deref().unwrap_or(&login);
                        groups(database.rows(Asked::Groups, whose, question.progress).await?)?
                    }
                    None => Vec::new(),
                };
                Ok(Verdict::Accepted(Account { name, groups }))
            }
        }
    }

    /// What a row says; none, if there is none.
    fn found(&self, rows: Vec<Row>) -> Result<Option<Found>, Outage> {
        if rows.len() > 1 {
            return Err(Outage::account(
                "query: more than one row for this name: it must name one account; let a UNIQUE index see to it",
            ));
        }
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let mut cells = row.into_iter();
        let (hash, name) = match (cells.next(), cells.next(), cells.next()) {
            (Some(hash), name, None) => (hash, name),
            _ => return Err(Outage::server(columns())),
        };
        let held = match hash {
            Cell::Null => Held::Nothing,
            Cell::Text(text) => Held::parse(&text, &self.settings.hashes),
            Cell::Other(what) => {
                return Err(Outage::account(format!(
                    "query: its first column must be the hash, a text, and is {what}"
                )));
            }
        };
        let name = match name {
            None | Some(Cell::Null) => None,
            Some(Cell::Text(text)) => Some(text.trim().to_owned()),
            Some(Cell::Other(what)) => {
                let why = format!("query: its second column must be the account's own name, a text, and is {what}");
                return Err(Outage::account(why));
            }
        };
        Ok(Some(Found { held, name }))
    }

    /// Whether the password is refused. Where there is no hash, nobody's is computed.
    async fn verify(
        &self,
        held: Option<Held>,
        password: &Password,
        progress: &Progress,
    ) -> Result<Option<Rejection>, Outage> {
        let held = held.unwrap_or(Held::Nothing);
        if let Held::NotTaken(why) = held {
            return Err(Outage::account(format!("query: its first column holds {why}{}", advice(why))));
        }
        let sample = {
            let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stored) = held.stored() {
                *sample = Some(stored.clone());
            }
            sample.clone()
        };
        progress.at("waiting for a thread that hashes");
        // The permit goes into the thread and stays until the hash is done, also when nobody waits for it any more.
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        let permit = permit.map_err(|_| Outage::busy("the pool of hashing threads is closed"))?;
        progress.at("hashing");
        let password = Zeroizing::new(password.expose().as_bytes().to_vec());
        let task = tokio::task::spawn_blocking(move || {
            let refused = held.verify(&password);
            if let (None, Some(sample)) = (held.stored(), sample) {
                let _right = sample.verify(&password);
            }
            drop(permit);
            refused
        });
        match task.await {
            Ok(Ok(refused)) => Ok(refused),
            Ok(Err(why)) => Err(Outage::account(why.to_string())),
            Err(_) => Err(Outage::server("the hashing thread ended without an answer")),
        }
    }
}

/// What an administrator can do about a hash that is not taken.
fn advice(why: NotAHash) -> &'static str {
    match why {
        NotAHash::Unknown => "; plain text and forms that are not known let nobody in (the manual names the forms)",
        NotAHash::NotAllowed(_) => "; name its form in `hashes` if it must be taken",
        NotAHash::Damaged => "; set the password anew",
        NotAHash::Cost => "; set the password anew with a lower cost",
    }
}

fn columns() -> String {
    "query: it must give one column, the hash, or two: the hash and the account's own name".to_owned()
}

/// Whether an answer of so many columns can be used.
pub(crate) fn fitting(asked: Asked, columns: usize) -> Result<(), String> {
    match (asked, columns) {
        (Asked::Account, 1 | 2) | (Asked::Groups, 1) => Ok(()),
        (Asked::Account, _) => Err(self::columns()),
        (Asked::Groups, _) => Err("groups_query: it must give one column, the group".to_owned()),
    }
}

/// What the answer for a name that nobody has says of the question.
pub(crate) fn of_nobody(asked: Asked, rows: &[Row]) -> Result<(), String> {
    if rows.is_empty() {
        return Ok(());
    }
    Err(format!("{asked}: it gives a row for a name that nobody has: does it compare the name with its parameter?"))
}

fn groups(rows: Vec<Row>) -> Result<Vec<Group>, Outage> {
    if rows.len() > MOST_GROUPS {
        return Err(Outage::account(format!("groups_query: more than {MOST_GROUPS} groups")));
    }
    let mut groups = Vec::with_capacity(rows.len());
    for row in rows {
        match row.into_iter().next() {
            None | Some(Cell::Null) => {}
            Some(Cell::Text(text)) if text.trim().is_empty() => {}
            Some(Cell::Text(text)) if !text.chars().any(char::is_control) => groups.push(Group::new(text.trim())),
            Some(Cell::Text(_)) => return Err(Outage::account("groups_query: a group has a control character")),
            Some(Cell::Other(what)) => {
                return Err(Outage::account(format!("groups_query: a group must be a text and is {what}")));
            }
        }
    }
    Ok(groups)
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("settings", &self.settings).finish_non_exhaustive()
    }
}
