//! The file: made, checked, brought up to date. What must never happen here: a change to a file that is not ours, or that we
//! cannot read.

use super::fault::from_sqlite;
use crate::records::LedgerError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the file's head: this is a kmsgate ledger ("KMSg").
const APPLICATION_ID: i32 = 0x4b4d_5367;
/// What brings a ledger of version n to n + 1. Never changed once released, only added to.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema.sql"),
    // A form's token is made of the cookie; nothing of it is kept.
    "ALTER TABLE sessions DROP COLUMN form_token",
    // A claim has a row while its connection runs; what came of it is in its events. Events are read and pruned by number.
    "CREATE TABLE running (
         grant_id BLOB    NOT NULL,
         number   INTEGER NOT NULL,
         relayed  INTEGER NOT NULL,
         answered INTEGER NOT NULL DEFAULT 0,
         PRIMARY KEY (grant_id, number)
     ) STRICT, WITHOUT ROWID;
     INSERT INTO running SELECT grant_id, number, relayed, answered FROM claims WHERE ended_at IS NULL;
     DROP TABLE claims;
     ALTER TABLE running RENAME TO claims;
     DROP INDEX events_at;",
    // A connection that the kernel carries outlives us: by its port the next start knows it again.
    "ALTER TABLE claims ADD COLUMN port INTEGER NOT NULL DEFAULT 0",
];
/// The first bytes of every SQLite file (its file format, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Files up to so many pages are read whole at start to find damage: 64 MiB, a tenth of a second.
const CHECKED_WHOLE: u64 = 16_384;
/// What the writer keeps of the file in memory, in negative KiB (SQLite's `cache_size`): 4 MiB. The operating system keeps the
/// rest, for every connection.
const WRITERS_CACHE: i64 = -4_096;
/// The same for each connection that reads: 1 MiB.
const READERS_CACHE: i64 = -1_024;
/// How long the log is from the start: 8 MiB, some hundred sign-ins.
const USUAL_LOG: u64 = 8 << 20;

/// Holds the ledger for one process.
pub(super) struct Lock {
    _file: File,
}

/// Takes the ledger at `path` for this process.
pub(super) fn lock(path: &Path) -> Result<Lock, LedgerError> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(LedgerError::Unavailable(format!(
            "there is no directory {}; make it, owned by the user that kmsgate runs as",
            folder.display()
        )));
    }
    let name = beside(path, "-lock");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&name).map_err(|e| cannot(&name, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LedgerError::Unavailable(format!(
            "{} is in use by another kmsgate; stop that one first",
            path.display()
        ))),
        Err(error) => Err(cannot(&name, &error.into())),
    }
}

/// Makes the ledger if there is none, and checks it without changing it if there is.
pub(super) fn prepare(path: &Path) -> Result<(), LedgerError> {
    let mut head = [0; 100];
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return make(path),
        Err(error) => return Err(cannot(path, &error)),
        Ok(mut file) => {
            let length = file.metadata().map_err(|e| cannot(path, &e))?.len();
            if length == 0 {
                return Err(unreadable(
                    path,
                    "it is empty; put a backup in its place, or remove it to begin a new ledger",
                ));
            }
            let short = match file.read_exact(&mut head) {
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(cannot(path, &error)),
                read => read.is_err(),
            };
            if short || !head.starts_with(MAGIC) {
                return Err(unreadable(path, "it is no ledger; name another file in [ledger] url"));
            }
            check_head(path, &head, length)?;
        }
    }
    // An owner who may not write would be told so by the first sign-in only.
    drop(OpenOptions::new().append(true).open(path).map_err(|error| cannot(path, &error))?);
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    if log == 0 {
        // Nothing but this file: it can be read without a trace.
        let uri = format!("file:{}?immutable=1", escaped(path));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(uri, flags).map_err(|error| from_sqlite(&error))?;
        check_contents(path, &conn)?;
    }
    Ok(())
}

/// The connection that writes, with the schema of this version.
pub(super) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| named(path, &error))?;
    // Until everything is known to be right, closing leaves the file as it is.
    let keep = |on| conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on);
    keep(true).map_err(|error| named(path, &error))?;
    check_contents(path, &conn)?;
    let prepared = || -> rusqlite::Result<()> {
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
        conn.pragma_update(None, "cache_size", WRITERS_CACHE)?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.set_prepared_statement_cache_capacity(128);
        migrate(&conn, STEPS)?;
        keep(false)?;
        Ok(())
    };
    prepared().map_err(|error| named(path, &error))?;
    Ok(conn)
}

/// Gives the log its usual length before anybody waits for it: an fsync after writing over what is there takes the disk half the
/// time of one after making a file longer. SQLite stops reading a log at the first frame that it did not write (its file
/// format, section 4.4), so what follows is nothing to it. Without room for it nothing is lost but that time.
pub(super) fn lengthen_log(path: &Path, conn: &Connection) -> Result<(), LedgerError> {
    // The log begins with the first write.
    conn.execute("UPDATE pulse SET beat = beat + 1", ()).map_err(|error| named(path, &error))?;
    let name = beside(path, "-wal");
    let mut log = OpenOptions::new().append(true).open(&name).map_err(|error| cannot(&name, &error))?;
    let length = log.metadata().map_err(|error| cannot(&name, &error))?.len();
    let missing = usize::try_from(USUAL_LOG.saturating_sub(length)).unwrap_or(0);
    if log.write_all(&vec![0; missing]).and_then(|()| log.sync_all()).is_err() {
        log.set_len(length).map_err(|error| cannot(&name, &error))?;
    }
    Ok(())
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| named(path, &error))?;
    conn.pragma_update(None, "cache_size", READERS_CACHE).map_err(|error| named(path, &error))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

/// The connection of the checkpointer.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, LedgerError> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|error| named(path, &error))?;
    // The log is fsynced before the main file is written, and that before the log begins anew.
    conn.pragma_update(None, "synchronous", "NORMAL").map_err(|error| named(path, &error))?;
    Ok(conn)
}

/// A copy of what `conn` sees, at a path where nothing is.
pub(super) fn backup(conn: &Connection, to: &Path) -> Result<(), LedgerError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            LedgerError::Unavailable(format!("{} exists and is not overwritten; name a new file", to.display()))
        }
        _ => cannot(to, &error),
    })?;
    let copied = to
        .to_str()
        .ok_or_else(|| LedgerError::Unavailable(format!("{} is no UTF-8", to.display())))
        .and_then(|name| conn.execute("VACUUM INTO ?1", [name]).map_err(|error| named(to, &error)))
        .and_then(|_| file.sync_all().map_err(|error| cannot(to, &error)))
        .and_then(|()| sync_folder(to));
    if copied.is_err() {
        // Ours, made above; half a copy is worse than none.
        drop(std::fs::remove_file(to));
    }
    copied
}

/// A new ledger appears at its path whole or not at all.
fn make(path: &Path) -> Result<(), LedgerError> {
    if beside(path, "-wal").exists() {
        return Err(unreadable(
            path,
            "it is missing while its log (-wal) is there; put a backup in its place, or move the log away to begin a new ledger",
        ));
    }
    let draft = beside(path, "-new");
    for stale in [draft.clone(), beside(&draft, "-journal")] {
        match std::fs::remove_file(&stale) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(&stale, &error)),
            _ => {}
        }
    }
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(|e| cannot(&draft, &e))?;
    let filled = || -> rusqlite::Result<()> {
        let conn = open(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrate(&conn, STEPS)?;
        conn.close().map_err(|(_, error)| error)
    };
    filled().map_err(|error| named(&draft, &error))?;
    file.sync_all().map_err(|error| cannot(&draft, &error))?;
    std::fs::rename(&draft, path).map_err(|error| cannot(path, &error))?;
    sync_folder(path)
}

/// Brings the schema up to date in one transaction. The version in the head is in the main file before anything else is
/// done, so that an older kmsgate sees it.
pub(super) fn migrate(conn: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let version = conn.query_row("PRAGMA user_version", (), |row| row.get::<_, u32>(0))? as usize;
    if version >= steps.len() {
        return Ok(());
    }
    let transaction = conn.unchecked_transaction()?;
    for step in steps.iter().skip(version) {
        conn.execute_batch(step)?;
    }
    conn.pragma_update(None, "user_version", steps.len() as u32)?;
    transaction.commit()?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
}

fn check_head(path: &Path, head: &[u8; 100], length: u64) -> Result<(), LedgerError> {
    let number = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    if number(68) != APPLICATION_ID.cast_unsigned() {
        return Err(unreadable(path, "it is a database, but no ledger; name another file in [ledger] url"));
    }
    check_version(path, number(60).into())?;
    // 1 stands for 65536. The count of pages holds if it was written with the last change (offsets 24 and 92).
    let page = match head.get(16..18) {
        Some(&[0, 1]) => 65_536,
        Some(&[high, low]) => u64::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    if number(24) == number(92) && u64::from(number(28)) * page > length {
        return Err(unreadable(path, "its end is missing; put a backup in its place"));
    }
    Ok(())
}

fn check_version(path: &Path, version: u64) -> Result<(), LedgerError> {
    if version > STEPS.len() as u64 {
        return Err(unreadable(
            path,
            &format!(
                "it was written by a newer kmsgate (schema {version}, this one knows {}); install that version again, or \
                 put a backup from before the upgrade in its place",
                STEPS.len()
            ),
        ));
    }
    Ok(())
}

fn check_contents(path: &Path, conn: &Connection) -> Result<(), LedgerError> {
    let damaged = |what: &str| unreadable(path, &format!("it is damaged ({what}); put a backup in its place"));
    let ask =
        |sql: &str| conn.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(|error| damaged(&error.to_string()));
    check_version(path, u64::try_from(ask("PRAGMA user_version")?).unwrap_or(0))?;
    if u64::try_from(ask("PRAGMA page_count")?).unwrap_or(0) <= CHECKED_WHOLE {
        let found: String = conn
            .query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
            .map_err(|error| damaged(&error.to_string()))?;
        if found != "ok" {
            return Err(damaged(&found));
        }
    }
    for table in ["grants", "claims", "events"] {
        ask(&format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)"))?;
    }
    Ok(())
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread has each connection: SQLite's own locks would be taken for nothing. No CREATE: only `make` makes files.
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    Ok(conn)
}

fn sync_folder(path: &Path) -> Result<(), LedgerError> {
    let folder = folder(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot(folder, &error))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A path inside a URI (RFC 3986 section 2.1).
fn escaped(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            write!(text, "%{byte:02X}").unwrap_or(());
        }
        text
    })
}

fn unreadable(path: &Path, why: &str) -> LedgerError {
    LedgerError::Unreadable(format!("{}: {why}", path.display()))
}

fn cannot(path: &Path, error: &std::io::Error) -> LedgerError {
    let way_out = match error.kind() {
        ErrorKind::PermissionDenied => "; give it to the user that kmsgate runs as",
        ErrorKind::StorageFull => "; make room",
        _ => "",
    };
    LedgerError::Unavailable(format!("{}: {error}{way_out}", path.display()))
}

fn named(path: &Path, error: &rusqlite::Error) -> LedgerError {
    match from_sqlite(error) {
        LedgerError::Unavailable(why) => LedgerError::Unavailable(format!("{}: {why}", path.display())),
        LedgerError::Unreadable(why) => LedgerError::Unreadable(format!("{}: {why}", path.display())),
        other => other,
    }
}
