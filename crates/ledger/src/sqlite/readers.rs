//! The threads that read, each with a connection that cannot write, and the one that checkpoints.

use super::fault::{Fault, from_sqlite};
use crate::records::LedgerError;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

/// Questions that may wait.
const PLACES: usize = 1024;
/// Pages in the log from which the next checkpoint makes the writer wait until the log begins anew: 64 MiB.
const LONGEST_LOG: i64 = 16_384;

/// Most passes before that.
const PASSES: usize = 8;
/// Pages that are copied in a millisecond or two.
const LITTLE: i64 = 256;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Some threads that answer questions, in the order in which they come.
pub(super) struct Readers {
    questions: Option<Sender<Question>>,
    places: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>) -> Result<Self, LedgerError> {
        let (questions, queue) = channel::<Question>();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(connections.len());
        for conn in connections {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || read(&queue, &conn));
            threads.push(thread.map_err(|error| cannot_start(&error))?);
        }
        Ok(Self { questions: Some(questions), places: Arc::new(Semaphore::new(PLACES)), threads })
    }

    /// Has a question answered.
    pub(super) async fn ask<T, Q>(&self, question: Q) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        Q: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let question = move |conn: &Connection| {
            let _place = place;
            // Nobody waits any more: nothing to do.
            if !reply.is_closed() {
                drop(reply.send(question(conn).map_err(LedgerError::from)));
            }
        };
        self.questions.as_ref().ok_or_else(gone)?.send(Box::new(question)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.questions = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn read(queue: &Mutex<Receiver<Question>>, conn: &Connection) {
    loop {
        // The lock is held while waiting: one thread waits for the next question, the others for the lock.
        let next = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(question) = next else { return };
        // A question that panics takes its own answer with it and nobody else's; a read leaves nothing half done.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| question(conn))));
    }
}

/// The thread that copies the log into the main file, so that the writer never has to.
pub(super) struct Checkpointer {
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts it.
    pub(super) fn start(conn: Connection) -> Result<Self, LedgerError> {
        let (bell, rung) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("ledger-checkpoint".to_owned())
            .spawn(move || {
                while rung.recv().is_ok() {
                    // A checkpoint that fails leaves everything in the log, where it is as safe; the next bell tries again.
                    drop(checkpoint(&conn));
                }
                drop(conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())));
            })
            .map_err(|error| cannot_start(&error))?;
        Ok(Self { bell: Some(bell), thread: Some(thread) })
    }

    /// What the writer rings. The thread ends when the writer and this are gone.
    pub(super) fn bell(&self) -> Result<SyncSender<()>, LedgerError> {
        self.bell.clone().ok_or_else(gone)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Without waiting for anybody, as long as the log is not long. One that is written to all the while never ends by that: it
/// begins anew only when the writer waits for the rest to be copied. What was written during a pass is the rest of the next
/// one, so passes are made until that is little.
fn checkpoint(conn: &Connection) -> Result<(), LedgerError> {
    let pages = |sql| conn.query_row(sql, (), |row| row.get::<_, i64>(1)).map_err(|error| from_sqlite(&error));
    let mut log = pages("PRAGMA wal_checkpoint(PASSIVE)")?;
    if log <= LONGEST_LOG {
        return Ok(());
    }
    for _ in 0..PASSES {
        let before = std::mem::replace(&mut log, pages("PRAGMA wal_checkpoint(PASSIVE)")?);
        if log - before <= LITTLE {
            break;
        }
    }
    pages("PRAGMA wal_checkpoint(RESTART)").map(drop)
}

fn cannot_start(error: &std::io::Error) -> LedgerError {
    LedgerError::Unavailable(format!("a thread of it cannot be started: {error}"))
}

fn gone() -> LedgerError {
    LedgerError::Unavailable("its reader has ended".to_owned())
}
