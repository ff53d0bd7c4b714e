//! The one thread that writes. What must never happen here: an answer before its transaction is committed.
//!
//! It takes as many jobs as wait, runs them in one transaction, commits, and then answers each. Many sign-ins share one
//! fsync that way, and none can race another. A panic in it ends the process (see [`EndProcess`]): a gateway
//! without its ledger must not go on, and whoever supervises it starts it again.

use super::fault::{Fault, from_sqlite};
use super::hot::Hot;
use super::sums::Pending;
use crate::records::LedgerError;
use kmsgate_core::time::BootId;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Jobs that may wait. Who comes later waits for a place, without one of our threads.
const PLACES: usize = 4096;
/// Most jobs in one transaction: it bounds how long the first of them waits for the last.
const LARGEST_BATCH: usize = 512;
/// A commit without fsync is followed by one with it after at most this long (P3: a power cut costs at most a second).
const SYNC_WITHIN: Duration = Duration::from_millis(700);
/// How long after a failed one the next is tried.
const SYNC_AGAIN: Duration = Duration::from_millis(250);
/// Changed rows after which the checkpointer is told.
const CHECKPOINT_EVERY: u64 = 20_000;

/// Whether a job's answer waits for the disk or only for the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// After an fsync.
    Synced,
    /// Survives the death of our processes; fsynced within a second.
    Written,
}

/// Whether a job may be refused after it wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// What it wrote is undone alone: it works within a savepoint, which has a copy of every page that it touches.
    Undone,
    /// It writes nothing before it has checked everything. If it does after all, its whole transaction is undone.
    BeforeWriting,
}

/// What the jobs work on.
pub(super) struct Desk {
    /// The only connection that writes.
    pub(super) conn: Connection,
    /// Grants that jobs of connections have changed.
    pub(super) hot: Hot,
    /// What this transaction adds to the sums of its days.
    pub(super) sums: Pending,
    boot: Option<BootId>,
    /// Becomes `boot` when the transaction that recovers is committed.
    recovering: Option<BootId>,
}

impl Desk {
    /// The boot in which grants are being opened.
    pub(super) fn boot(&self) -> Result<BootId, Fault> {
        let none = || LedgerError::State("the ledger was not recovered since it was opened".to_owned());
        self.recovering.or(self.boot).ok_or_else(|| none().into())
    }

    /// Everything unfinished of other boots is swept in this transaction.
    pub(super) fn recovered(&mut self, boot: BootId) {
        self.recovering = Some(boot);
    }
}

/// The way to the thread.
pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    places: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `checkpoints` is told when enough was written.
    pub(super) fn start(conn: Connection, checkpoints: SyncSender<()>) -> Result<Self, LedgerError> {
        let (jobs, queue) = channel();
        let desk = Desk { conn, hot: Hot::default(), sums: Pending::default(), boot: None, recovering: None };
        let state = Loop { desk, synchronous: None, sync_due: None, heal: false, told_at: 0, checkpoints };
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || state.run(&queue))
            .map_err(|error| LedgerError::Unavailable(format!("its writer cannot be started: {error}")))?;
        Ok(Self { jobs: Some(jobs), places: Arc::new(Semaphore::new(PLACES)), thread: Some(thread) })
    }

    /// Has `work` done in a transaction and waits for its commit. Once a place is taken the work is done even if nobody waits
    /// for it any more.
    pub(super) async fn submit<T, W>(&self, durability: Durability, work: W) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Desk) -> Result<T, Fault> + Send + 'static,
    {
        self.hand_in(durability, Refusal::Undone, work).await
    }

    /// The same for what every connection needs. It checks everything before it writes, and of grants' rows it asks
    /// [`Hot`] alone.
    pub(super) async fn submit_checked<T, W>(&self, durability: Durability, work: W) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Desk) -> Result<T, Fault> + Send + 'static,
    {
        self.hand_in(durability, Refusal::BeforeWriting, work).await
    }

    async fn hand_in<T, W>(&self, durability: Durability, refusal: Refusal, work: W) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Desk) -> Result<T, Fault> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let job = Typed { durability, refusal, work: Some(work), done: None, reply, _place: place };
        self.jobs.as_ref().ok_or_else(gone)?.send(Box::new(job)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    /// What waits is written and synced before this returns.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn half_done() -> LedgerError {
    LedgerError::State("a step was refused after it had begun to write; nothing of its transaction was kept".to_owned())
}

fn gone() -> LedgerError {
    LedgerError::Unavailable("its writer has ended".to_owned())
}

trait Job: Send {
    fn durability(&self) -> Durability;
    fn refusal(&self) -> Refusal;
    /// Does the work. An error has been kept for the answer unless it concerns the whole transaction.
    fn run(&mut self, desk: &mut Desk) -> Ran;
    /// Answers, now that the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: &Result<(), LedgerError>);
}

enum Ran {
    Done,
    Refused,
    Spoilt(LedgerError),
}

struct Typed<T, W> {
    durability: Durability,
    refusal: Refusal,
    work: Option<W>,
    done: Option<Result<T, LedgerError>>,
    reply: oneshot::Sender<Result<T, LedgerError>>,
    _place: OwnedSemaphorePermit,
}

impl<T, W> Job for Typed<T, W>
where
    T: Send + 'static,
    W: FnOnce(&mut Desk) -> Result<T, Fault> + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    fn run(&mut self, desk: &mut Desk) -> Ran {
        let Some(work) = self.work.take() else { return Ran::Refused };
        match work(desk) {
            Ok(value) => {
                self.done = Some(Ok(value));
                Ran::Done
            }
            Err(fault) if fault.spoils_all() => Ran::Spoilt(fault.into()),
            Err(fault) => {
                self.done = Some(Err(fault.into()));
                Ran::Refused
            }
        }
    }

    fn answer(self: Box<Self>, committed: &Result<(), LedgerError>) {
        let answer = match (committed, self.done) {
            (Ok(()), Some(done)) => done,
            (Ok(()), None) => Err(gone()),
            (Err(error), _) => Err(error.clone()),
        };
        // Whoever asked may have gone away; what was written stands all the same.
        drop(self.reply.send(answer));
    }
}

struct Loop {
    desk: Desk,
    synchronous: Option<Durability>,
    /// When commits that were not fsynced must be.
    sync_due: Option<Instant>,
    /// An fsync failed: see [`Loop::heal`].
    heal: bool,
    told_at: u64,
    checkpoints: SyncSender<()>,
}

impl Loop {
    fn run(mut self, queue: &Receiver<Box<dyn Job>>) {
        let _guard = EndProcess;
        let mut busy = false;
        loop {
            let first = match self.sync_due {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(first) => {
                    let mut batch = Vec::with_capacity(16);
                    batch.push(first);
                    if busy {
                        // Who was answered by the last commit hands in its next job now, and shares this one.
                        std::thread::yield_now();
                    }
                    batch.extend(queue.try_iter().take(LARGEST_BATCH - 1));
                    busy = batch.len() > 1;
                    self.batch(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.sync_due.is_some() {
            self.sync();
        }
    }

    fn batch(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let overdue = self.sync_due.is_some_and(|due| due <= Instant::now());
        let synced = overdue || jobs.iter().any(|job| job.durability() == Durability::Synced);
        let durability = if synced { Durability::Synced } else { Durability::Written };
        let committed = self.transaction(&mut jobs, durability);
        match (&committed, durability) {
            (Ok(()), Durability::Synced) => self.sync_due = None,
            (Ok(()), Durability::Written) => {
                self.sync_due.get_or_insert_with(|| Instant::now() + SYNC_WITHIN);
            }
            (Err(_), _) if overdue => self.sync_due = Some(Instant::now() + SYNC_AGAIN),
            (Err(_), _) => {}
        }
        for job in jobs {
            job.answer(&committed);
        }
        self.tell_checkpointer();
    }

    /// An fsync for what was committed without one. A commit that changes nothing would not reach the disk.
    fn sync(&mut self) {
        let done = self.transaction(&mut [], Durability::Synced);
        self.sync_due = done.is_err().then(|| Instant::now() + SYNC_AGAIN);
    }

    /// All jobs or none, but for those that are refused by themselves.
    fn transaction(&mut self, jobs: &mut [Box<dyn Job>], durability: Durability) -> Result<(), LedgerError> {
        self.heal()?;
        self.set_synchronous(durability).map_err(|error| from_sqlite(&error))?;
        let done = self.within(jobs);
        if let Err(error) = &done {
            self.desk.recovering = None;
            self.desk.sums = Pending::default();
            self.desk.hot.forget();
            if !self.desk.conn.is_autocommit()
                && let Err(worse) = self.desk.conn.execute_batch("ROLLBACK")
            {
                return Err(LedgerError::Unavailable(format!("{error}; and it cannot be undone: {worse}")));
            }
        } else if let Some(boot) = self.desk.recovering.take() {
            self.desk.boot = Some(boot);
        }
        done
    }

    fn within(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
        self.step("BEGIN IMMEDIATE")?;
        if jobs.is_empty() {
            self.step("UPDATE pulse SET beat = beat + 1")?;
        }
        for job in &mut *jobs {
            match job.refusal() {
                Refusal::Undone => {
                    self.desk.hot.leave(&self.desk.conn)?;
                    self.step("SAVEPOINT job")?;
                    let sums = self.desk.sums.so_far();
                    match job.run(&mut self.desk) {
                        Ran::Done => {}
                        Ran::Refused => {
                            self.step("ROLLBACK TO job")?;
                            self.desk.sums.back_to(sums);
                        }
                        Ran::Spoilt(error) => return Err(error),
                    }
                    self.step("RELEASE job")?;
                }
                Refusal::BeforeWriting => {
                    self.desk.hot.keep();
                    let before = self.desk.conn.total_changes();
                    match job.run(&mut self.desk) {
                        Ran::Done => {}
                        Ran::Refused if self.desk.conn.total_changes() == before => {}
                        Ran::Refused => return Err(half_done()),
                        Ran::Spoilt(error) => return Err(error),
                    }
                }
            }
        }
        self.desk.hot.write(&self.desk.conn)?;
        self.desk.sums.write(&self.desk.conn)?;
        self.step("COMMIT")
    }

    fn step(&mut self, sql: &str) -> Result<(), LedgerError> {
        let done = self.desk.conn.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
        done.map(drop).map_err(|error| {
            self.heal |= matches!(&error, rusqlite::Error::SqliteFailure(failure, _)
                if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC);
            from_sqlite(&error)
        })
    }

    /// `FULL` has COMMIT wait for the disk, `NORMAL` has it not. It cannot be changed inside a transaction.
    fn set_synchronous(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.synchronous != Some(durability) {
            self.synchronous = None;
            self.desk.conn.execute_batch(match durability {
                Durability::Synced => "PRAGMA synchronous = FULL",
                Durability::Written => "PRAGMA synchronous = NORMAL",
            })?;
            self.synchronous = Some(durability);
        }
        Ok(())
    }

    /// After a failed fsync the operating system may hold pages of the log for written that are not, and a later fsync would
    /// not say so. So everything is copied into the main file, and that is fsynced, before anything else is promised.
    fn heal(&mut self) -> Result<(), LedgerError> {
        if self.heal {
            let busy: i64 = self
                .desk
                .conn
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
                .map_err(|error| from_sqlite(&error))?;
            if busy != 0 {
                return Err(LedgerError::Unavailable("an fsync failed and its repair is not done yet".to_owned()));
            }
            self.heal = false;
        }
        Ok(())
    }

    fn tell_checkpointer(&mut self) {
        let changes = self.desk.conn.total_changes();
        if changes.wrapping_sub(self.told_at) >= CHECKPOINT_EVERY {
            self.told_at = changes;
            // Full: it was told and has not begun yet.
            self.checkpoints.try_send(()).unwrap_or(());
        }
    }
}

/// Ends the process when its thread panics, since everything that waits for this thread would wait for ever.
struct EndProcess;

impl Drop for EndProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
