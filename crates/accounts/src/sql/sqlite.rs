//! A SQLite file of another program as an account server. What must never happen here: a write to it, a file that was replaced and
//! is still read, a thread that goes on when nobody waits for its answer.

use super::{Asked, Cell, Database, NOBODY, Room, Row, SqlSettings, fitting, of_nobody};
use crate::server::AccountServer;
use crate::verdict::{Outage, Progress, Question, Verdict};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Threads that read at once.
const READERS: usize = 4;
/// How long a writer of the other program is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// Between two looks at whether somebody still waits, in instructions of SQLite's machine: well under a millisecond.
const LOOK: i32 = 1000;

/// What the configuration says of a SQLite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// Where it is.
    pub path: PathBuf,
    /// What it is asked.
    pub sql: SqlSettings,
}

/// A SQLite file of another program.
#[derive(Debug)]
pub struct SqliteServer {
    path: PathBuf,
    room: Room,
    readers: Arc<Semaphore>,
}

/// Tells the reading thread, when dropped, that nobody waits any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SqliteServer {
    /// Opens nothing yet: a file that is missing or bad is an outage of this server alone.
    #[must_use]
    pub fn new(settings: SqliteSettings) -> Self {
        let SqliteSettings { path, sql } = settings;
        Self { path, room: Room::new(sql), readers: Arc::new(Semaphore::new(READERS)) }
    }

    async fn read(&self, asked: Asked, name: &str, progress: &Progress) -> Result<Vec<Row>, String> {
        let Some(statement) = self.room.statement(asked) else { return Ok(Vec::new()) };
        progress.at("waiting for a thread that reads the file");
        // The permit goes into the thread and stays until the file is closed, also when nobody waits for it any more.
        let permit = Arc::clone(&self.readers).acquire_owned().await;
        let permit = permit.map_err(|_| "the pool of reading threads is closed".to_owned())?;
        progress.at("reading the file");
        let nobody_waits = Arc::<AtomicBool>::default();
        let _waiting = Waiting(Arc::clone(&nobody_waits));
        let (path, statement, name) = (self.path.clone(), statement.to_owned(), name.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let rows = select(&path, asked, &statement, &name, nobody_waits);
            drop(permit);
            rows.map_err(|why| format!("{}: {why}", path.display()))
        });
        task.await.unwrap_or_else(|_| Err("the reading thread ended without an answer".to_owned()))
    }
}

impl Database for SqliteServer {
    async fn rows(&self, asked: Asked, name: &str, progress: &Progress) -> Result<Vec<Row>, Outage> {
        self.read(asked, name, progress).await.map_err(Outage::server)
    }
}

impl AccountServer for SqliteServer {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn can_tell(&self) -> bool {
        true
    }

    async fn ask(&self, question: &Question<'_>) -> Verdict {
        self.room.ask(self, question).await
    }

    async fn probe(&self) -> Result<String, String> {
        let progress = Progress::default();
        for (asked, _) in self.room.statements() {
            of_nobody(asked, &self.read(asked, NOBODY, &progress).await?)?;
        }
        Ok(format!("{}: SQLite, read only; it answers", self.path.display()))
    }
}

/// Opens the file, asks, and closes it: it may be another file the next time. Opening one takes less than any hash.
fn select(
    path: &Path,
    asked: Asked,
    statement: &str,
    name: &str,
    nobody_waits: Arc<AtomicBool>,
) -> Result<Vec<Row>, String> {
    let data = std::fs::metadata(path).map_err(|why| why.to_string())?;
    let kind = data.file_type();
    if kind.is_dir() || kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Err("not a file".to_owned());
    }
    // SQLite takes the URI for a path unless it is told otherwise, and no mutex where one thread alone has the connection.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let told = |why: Error| tell(asked, &why);
    let connection = Connection::open_with_flags(path, flags).map_err(told)?;
    connection.busy_timeout(BUSY).map_err(told)?;
    let look = move || nobody_waits.load(Ordering::Relaxed);
    connection.progress_handler(LOOK, Some(look)).map_err(told)?;
    let mut prepared = connection.prepare(statement).map_err(told)?;
    if !prepared.readonly() {
        return Err(format!("{asked}: it must be a SELECT"));
    }
    let columns = prepared.column_count();
    fitting(asked, columns)?;
    let parameters = prepared.parameter_count();
    if parameters == 0 {
        return Err(format!("{asked}: it has no parameter: write ? where the name stands"));
    }
    for number in 1..=parameters {
        prepared.raw_bind_parameter(number, name).map_err(told)?;
    }
    let mut answer = prepared.raw_query();
    let mut rows = Vec::new();
    while rows.len() < asked.rows()
        && let Some(row) = answer.next().map_err(told)?
    {
        rows.push((0..columns).map(|column| row.get_ref(column).map(cell)).collect::<Result<Row, _>>().map_err(told)?);
    }
    Ok(rows)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Cell::of(bytes),
        ValueRef::Integer(_) | ValueRef::Real(_) => Cell::Other("a number".to_owned()),
    }
}

/// What is wrong, in words that an administrator can act on.
fn tell(asked: Asked, why: &Error) -> String {
    match why.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "not a SQLite database, or an encrypted one".to_owned(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("another program has locked it for more than {BUSY:?}: WAL mode lets it be read at any time")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => format!(
            "{why}: in WAL mode the user that runs kmsgate serve must be able to write its -shm file, or its directory if \
             there is none"
        ),
        Some(ErrorCode::OperationInterrupted) => "given up: nobody waits for the answer any more".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => format!("{why}: PRAGMA integrity_check names the damage"),
        _ => format!("{asked}: {why}"),
    }
}
