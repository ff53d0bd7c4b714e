//! `kmsgate account add`, `remove` and `list`. What must never happen here: a file that is half written, or a line lost
//! that was not understood.

use crate::file::format::{AccountFile, BadLine, BadLineWhy, Line, Record, group};
use crate::file::hash::{Cost, Hashed, NotAHash};
use kmsgate_core::name::{Group, Name};
use kmsgate_core::password::Password;
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What [`add`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The name is new.
    New,
    /// It was there: it has a new password, and new groups if some were given.
    Changed,
}

/// Why a file was not changed. It is as it was.
#[derive(Debug)]
pub enum EditError {
    /// Reading or writing.
    File(PathBuf, io::Error),
    /// A line of it.
    Line(PathBuf, BadLine),
    /// The name cannot stand in this file.
    Name,
    /// A group.
    Group(String),
    /// The hash.
    Hash(NotAHash),
    /// There is no such account.
    Missing(Name),
}

/// Adds an account, or gives one that is there a new password. The file is made if there is none.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn add(path: &Path, name: &Name, password: &Password, groups: &[String], cost: Cost) -> Result<Added, EditError> {
    if name.as_str().contains(':') || name.as_str().starts_with('#') {
        return Err(EditError::Name);
    }
    let groups = groups
        .iter()
        .map(|text| group(text).map_err(|_| EditError::Group(text.clone())))
        .collect::<Result<Vec<Group>, _>>()?;
    let hash = Hashed::new(password.expose().as_bytes(), cost).map_err(EditError::Hash)?;
    edit(path, |lines| {
        let there = lines.iter_mut().find_map(|line| match &mut line.1 {
            Line::Account(record) if record.name == *name => Some((&mut line.0, record)),
            _ => None,
        });
        let Some((text, record)) = there else {
            let record = Record { name: name.clone(), hash, groups };
            lines.push((record.to_string(), Line::Account(record)));
            return Ok(Added::New);
        };
        record.hash = hash;
        if !groups.is_empty() {
            record.groups = groups;
        }
        *text = record.to_string();
        Ok(Added::Changed)
    })
}

/// Removes an account.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn remove(path: &Path, name: &Name) -> Result<(), EditError> {
    edit(path, |lines| {
        let before = lines.len();
        lines.retain(|(_, line)| !matches!(line, Line::Account(record) if record.name == *name));
        if lines.len() == before { Err(EditError::Missing(name.clone())) } else { Ok(()) }
    })
}

/// Every account's name and groups, in the order of the file.
///
/// # Errors
/// [`EditError`] if it cannot be read or is bad.
pub fn list(path: &Path) -> Result<Vec<(Name, Vec<Group>)>, EditError> {
    let lines = read(path)?;
    let accounts = lines.into_iter().filter_map(|(_, line)| match line {
        Line::Account(record) => Some((record.name, record.groups)),
        Line::Remark => None,
    });
    Ok(accounts.collect())
}

/// Reads, changes and replaces the file while no other `account` command does.
fn edit<T>(path: &Path, change: impl FnOnce(&mut Vec<(String, Line)>) -> Result<T, EditError>) -> Result<T, EditError> {
    // A link is followed, so that the file is replaced and not the link.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |why| EditError::File(path.clone(), why);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The directory carries the lock: the file itself is another one after each change.
    let directory = File::open(parent).map_err(failed)?;
    directory.lock().map_err(failed)?;
    let mut lines = match read(path) {
        Err(EditError::File(_, why)) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let done = change(&mut lines)?;
    let text: String = lines.iter().flat_map(|(text, _)| [text.as_str(), "\n"]).collect();
    replace(path, parent, text.as_bytes()).and_then(|()| directory.sync_all()).map_err(failed)?;
    Ok(done)
}

/// Every line with what it says. All of them are understood, or none is returned.
fn read(path: &Path) -> Result<Vec<(String, Line)>, EditError> {
    let text = std::fs::read_to_string(path).map_err(|why| EditError::File(path.to_owned(), why))?;
    AccountFile::parse(&text).map_err(|why| EditError::Line(path.to_owned(), why))?;
    let lines = (1..).zip(text.lines()).map(|(number, text)| match Line::parse(text) {
        Ok(line) => Ok((text.to_owned(), line)),
        Err(why) => Err(EditError::Line(path.to_owned(), BadLine { number, why })),
    });
    lines.collect()
}

/// Writes beside the file, syncs, and renames: the file is the old one or the new one at any moment. A new file is for
/// its owner alone; an old one keeps its owner, and its group may go on reading it (`kmsgate serve` may be another user).
fn replace(path: &Path, parent: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = parent.join(beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        if let Ok(old) = std::fs::metadata(path) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(Permissions::from_mode(0o600 | (old.mode() & 0o040)))?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        drop(std::fs::remove_file(&beside));
    }
    written
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Line(path, why) => {
                write!(f, "{}: {why}; nothing was changed, put the line right first", path.display())
            }
            Self::Name => f.write_str("a name in an account file has no colon and does not begin with #"),
            Self::Group(text) => write!(f, "{text:?} is no group: {}", BadLineWhy::Group),
            Self::Hash(why) => why.fmt(f),
            Self::Missing(name) => write!(f, "there is no account {name} in the file"),
        }
    }
}

impl std::error::Error for EditError {}
