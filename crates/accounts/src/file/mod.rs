//! The local account file as an account server. What must never happen here: more hashing at once than the pool allows,
//! an answer whose time tells which names exist, a half-read file in force.
//!
//! * [`mod@format`]: a line, and the whole file, as values.
//! * [`edit`]: `kmsgate account add`, `remove` and `list`.
//! * [`hash`]: argon2id with bounds.
//! * [`theirs`]: files of other programs.

pub mod edit;
pub mod format;
pub mod hash;
pub mod theirs;

use crate::hashes::{Allowed, NotAHash};
use crate::server::AccountServer;
use crate::verdict::{Account, Outage, Question, Rejection, Verdict};
use format::AccountFile;
use hash::Hashed;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use theirs::TheirFile;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Longest account file taken, in bytes: about half a million accounts.
pub const LONGEST_FILE: u64 = 64 << 20;

/// What the configuration says of a file of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Where it is. It is read when it is first asked, and again whenever it has changed.
    pub path: PathBuf,
    /// Hashes at work at once; each takes the memory that its own parameters say. At least 1; the default of
    /// [`FileSettings::new`] is the number of processors.
    pub threads: usize,
    /// How it is written.
    pub format: Format,
    /// Which hashes are taken in files of other programs.
    pub hashes: Allowed,
}

/// Whose form a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Our own, with argon2id and groups.
    #[default]
    Kmsgate,
    /// `name:hash`, as htpasswd(1) writes it, or with more fields behind, as passwd(5) and shadow(5) have them.
    Theirs,
}

/// A file that was read.
enum Read {
    Ours(AccountFile),
    Theirs(TheirFile),
}

/// Names and argon2id hashes in a local file.
pub struct FileServer {
    shared: Arc<Shared>,
    pool: Arc<Semaphore>,
}

struct Shared {
    path: PathBuf,
    format: Format,
    hashes: Allowed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last good file.
    good: Option<Arc<Read>>,
    /// Of the file that was looked at last, good or bad.
    stamp: Option<Stamp>,
    /// Why the file as it is now is not in force.
    fault: Option<String>,
}

/// Changes whenever the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileSettings {
    /// One hash at a time for each processor.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { path: path.into(), threads, format: Format::default(), hashes: Allowed::default() }
    }
}

impl FileServer {
    /// Reads nothing yet: a file that is missing or bad is an outage of this server alone.
    #[must_use]
    pub fn new(settings: FileSettings) -> Self {
        let FileSettings { path, threads, format, hashes } = settings;
        Self {
            shared: Arc::new(Shared { path, format, hashes, state: Mutex::default() }),
            pool: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }
}

impl AccountServer for FileServer {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn can_tell(&self) -> bool {
        true
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        question.progress.at("waiting for a thread that hashes");
        // The permit goes into the thread and stays until the hash is done, also when nobody waits for it any more.
        let Ok(permit) = Arc::clone(&self.pool).acquire_owned().await else {
            return Verdict::Unavailable(Outage::busy("the pool of hashing threads is closed"));
        };
        question.progress.at("reading the account file and hashing");
        let shared = Arc::clone(&self.shared);
        let name = question.login.to_string();
        let password = Zeroizing::new(question.password.expose().as_bytes().to_vec());
        let task = tokio::task::spawn_blocking(move || {
            let verdict = shared.verify(&name, &password);
            drop(permit);
            verdict
        });
        task.await
            .unwrap_or_else(|_| Verdict::Unavailable(Outage::server("the hashing thread ended without an answer")))
    }

    async fn probe(&self) -> Result<String, String> {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            let file = shared.current()?;
            if let Some(fault) = shared.fault() {
                return Err(format!("{fault}; what it held before is still in force"));
            }
            let open = File::open(&shared.path).and_then(|file| file.metadata()).map(|data| data.mode() & 0o007 != 0);
            let warning = if open.unwrap_or(false) { "; others than its owner can reach it: chmod 0640" } else { "" };
            if let Some((line, why)) = file.not_taken() {
                return Err(format!("{}: line {line}: {why}; whoever has one cannot sign in", shared.path.display()));
            }
            Ok(format!("{}: {} accounts{warning}", shared.path.display(), file.len()))
        });
        task.await.unwrap_or_else(|_| Err("the reading thread ended without an answer".to_owned()))
    }

    fn fault(&self) -> Option<String> {
        self.shared.fault()
    }
}

impl Shared {
    fn verify(&self, name: &str, password: &[u8]) -> Verdict {
        let file = match self.current() {
            Ok(file) => file,
            Err(why) => return Verdict::Unavailable(Outage::server(why)),
        };
        let file = match &*file {
            Read::Ours(file) => file,
            Read::Theirs(file) => return file.verify(name, password),
        };
        match file.find(name) {
            Some(record) if record.hash.verify(password) => {
                Verdict::Accepted(Account { name: Some(record.name.to_string()), groups: record.groups.clone() })
            }
            Some(_) => Verdict::Rejected(Rejection::Credentials),
            None => {
                // As much work as the dearest hash of the file, so that time does not tell which names it holds.
                let dummy = file.dearest().map_or_else(Hashed::dummy, Hashed::dummy_like);
                let _right = dummy.verify(password);
                Verdict::NotMine
            }
        }
    }

    /// The accounts in force: those of the file as it is, or, if that is bad, of the last good one.
    fn current(&self) -> Result<Arc<Read>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp.is_none() || stamp != state.stamp {
            match self.read() {
                Ok((stamp, file)) => {
                    *state = State { good: Some(Arc::new(file)), stamp: Some(stamp), fault: None };
                }
                Err(why) => {
                    state.stamp = stamp;
                    state.fault = Some(why);
                }
            }
        }
        match (&state.good, &state.fault) {
            (Some(good), _) => Ok(Arc::clone(good)),
            (None, fault) => Err(fault.clone().unwrap_or_else(|| "not read yet".to_owned())),
        }
    }

    fn fault(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fault.clone()
    }
}

impl Read {
    fn len(&self) -> usize {
        match self {
            Self::Ours(file) => file.len(),
            Self::Theirs(file) => file.len(),
        }
    }

    fn not_taken(&self) -> Option<(usize, NotAHash)> {
        match self {
            Self::Ours(_) => None,
            Self::Theirs(file) => file.not_taken(),
        }
    }
}

impl Shared {
    fn read(&self) -> Result<(Stamp, Read), String> {
        let path = &self.path;
        let (stamp, text) = read(path)?;
        let at = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let read = match self.format {
            Format::Kmsgate => Read::Ours(AccountFile::parse(&text).map_err(|why| at(&why))?),
            Format::Theirs => Read::Theirs(TheirFile::parse(&text, &self.hashes).map_err(|why| at(&why))?),
        };
        Ok((stamp, read))
    }
}

/// Reads the whole file; an error names it.
fn read(path: &Path) -> Result<(Stamp, Zeroizing<String>), String> {
    let at = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let mut file = File::open(path).map_err(|why| at(&why))?;
    let data = file.metadata().map_err(|why| at(&why))?;
    if !data.is_file() {
        return Err(at(&"not a file"));
    }
    if data.len() > LONGEST_FILE {
        return Err(at(&"longer than 64 MiB: an SQL or LDAP server suits so many accounts"));
    }
    let mut text = Zeroizing::new(String::new());
    file.by_ref().take(LONGEST_FILE).read_to_string(&mut text).map_err(|why| at(&why))?;
    Ok((Stamp::from(&data), text))
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|data| Self::from(&data))
    }

    fn from(data: &std::fs::Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

impl fmt::Debug for FileServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileServer").field("path", &self.shared.path).finish_non_exhaustive()
    }
}
