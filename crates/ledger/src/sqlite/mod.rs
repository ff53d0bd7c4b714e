//! The engine of one machine: SQLite in WAL mode. What must never happen here: a second writer.
//!
//! * [`schema`]: the file, its checks, its versions, its copies.
//! * [`writer`]: the one thread that writes, many jobs in one transaction.
//! * [`readers`]: the threads that read, and the one that checkpoints.
//! * [`mod@write`], [`read`], [`report`], [`prune`]: the statements.
//! * [`rows`], [`events`]: between rows and records; [`sums`]: what is kept added up;
//!   [`hot`]: rows that many jobs in turn change.

mod events;
mod fault;
mod hot;
mod prune;
mod read;
mod readers;
mod report;
mod rows;
mod schema;
mod sums;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use crate::Ledger;
use crate::records::{
    Claim, ClaimEnd, CloseBegun, Event, Filter, GrantRecord, LedgerError, RefusalCount, Refused, ReportLine,
    ReportQuery, Reserved, RunningClaim, Session, Swept,
};
use jiff::Timestamp;
use kmsgate_core::decide::{Decide, Facts, Request};
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::name::{Name, Person, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, Now};
use readers::{Checkpointer, Readers};
use std::net::IpAddr;
use std::path::Path;
use writer::Durability::{Synced, Written};
use writer::Writer;

/// Threads for what people wait for.
const QUICK_READERS: usize = 2;
/// A session is noted as used at most so often: a page that is looked at writes nothing.
const TOUCH_EVERY_MS: i64 = 60_000;

/// A ledger in a file. The last one dropped writes what waits, syncs and tidies up before it is gone.
///
/// A panic of its writer ends the process: nothing may open without a record, and a supervisor starts it again.
pub struct Sqlite {
    // In the order in which they must end: the writer first, the lock last.
    writer: Writer,
    quick: Readers,
    slow: Readers,
    _checkpointer: Checkpointer,
    _lock: schema::Lock,
}

impl Sqlite {
    /// Opens the ledger at `path`, or makes it (mode 0600) if nothing is there. Blocks; [`Ledger::recover`] comes next.
    ///
    /// # Errors
    /// `Unreadable` if the file is no ledger, is damaged, or was written by a newer kmsgate: it is left as it
    /// is. `Unavailable` if it cannot be used: no directory, no permission, no room, another process has it.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = schema::lock(path)?;
        schema::prepare(path)?;
        let writing = schema::open_writer(path)?;
        schema::lengthen_log(path, &writing)?;
        let checkpointer = Checkpointer::start(schema::open_checkpointer(path)?)?;
        let quick = (0..QUICK_READERS).map(|_| schema::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self {
            writer: Writer::start(writing, checkpointer.bell()?)?,
            quick: Readers::start("ledger-reader", quick)?,
            slow: Readers::start("ledger-report", vec![schema::open_reader(path)?])?,
            _checkpointer: checkpointer,
            _lock: lock,
        })
    }
}

impl Ledger for Sqlite {
    async fn reserve(&self, request: Request, now: Now, decide: Decide) -> Result<Reserved, LedgerError> {
        self.writer.submit(Synced, move |desk| write::reserve(desk, &request, now, decide)).await
    }

    async fn facts(&self, request: Request, now: Now) -> Result<Facts, LedgerError> {
        self.quick
            .ask(move |conn| {
                // One snapshot for all of them.
                let transaction = conn.unchecked_transaction()?;
                let facts = read::facts(conn, &request, now)?;
                transaction.finish()?;
                Ok(facts)
            })
            .await
    }

    async fn opened(&self, id: GrantId, session: Option<Session>, now: Now) -> Result<GrantRecord, LedgerError> {
        self.writer.submit(Written, move |desk| write::opened(desk, id, session.as_ref(), now)).await
    }

    async fn claim(&self, claim: Claim, now: Now) -> Result<(), LedgerError> {
        self.writer.submit_checked(Written, move |desk| write::claim(desk, &claim, now)).await
    }

    async fn answered(&self, grant: GrantId, number: u32) -> Result<(), LedgerError> {
        self.writer.submit_checked(Written, move |desk| write::answered(&desk.conn, grant, number)).await
    }

    async fn claims_ended(&self, ends: Vec<ClaimEnd>, now: Now) -> Result<Vec<ClaimEnd>, LedgerError> {
        self.writer.submit_checked(Written, move |desk| write::claims_ended(desk, ends, now)).await
    }

    async fn closing(&self, id: GrantId, cause: Cause, _now: Now) -> Result<CloseBegun, LedgerError> {
        self.writer.submit(Synced, move |desk| write::closing(desk, id, cause)).await
    }

    async fn closed(&self, id: GrantId, totals: Totals, now: Now) -> Result<GrantRecord, LedgerError> {
        self.writer.submit(Written, move |desk| write::closed(desk, id, totals, now)).await
    }

    async fn refused(&self, refused: Refused, now: Now) -> Result<(), LedgerError> {
        self.writer.submit(Synced, move |desk| write::refused(desk, &refused, now)).await
    }

    async fn refusals_counted(&self, counts: Vec<RefusalCount>) -> Result<(), LedgerError> {
        self.writer.submit(Written, move |desk| write::refusals_counted(desk, &counts)).await
    }

    async fn recover(&self, boot: BootId, now: Now) -> Result<Swept, LedgerError> {
        self.writer.submit(Synced, move |desk| write::recover(desk, boot, now)).await
    }

    async fn running(&self) -> Result<Vec<RunningClaim>, LedgerError> {
        self.quick.ask(read::running).await
    }

    async fn grant(&self, id: GrantId) -> Result<Option<GrantRecord>, LedgerError> {
        self.quick.ask(move |conn| Ok(read::grant(conn, id)?.map(|stored| stored.record))).await
    }

    async fn grant_by_token(&self, token: SecretHash, now: Now) -> Result<Option<GrantRecord>, LedgerError> {
        self.quick.ask(move |conn| read::grant_by_token(conn, token, now)).await
    }

    async fn grants(&self, filter: Filter) -> Result<Vec<GrantRecord>, LedgerError> {
        self.quick.ask(move |conn| read::grants(conn, &filter)).await
    }

    async fn session(&self, hash: SecretHash, now: Now) -> Result<Option<Session>, LedgerError> {
        let Some((session, seen)) = self.quick.ask(move |conn| read::session(conn, hash, now)).await? else {
            return Ok(None);
        };
        if now.utc.as_millisecond() - seen.as_millisecond() >= TOUCH_EVERY_MS {
            self.writer.submit(Written, move |desk| write::session_touch(&desk.conn, hash, now)).await?;
        }
        Ok(Some(session))
    }

    async fn session_begin(&self, session: Session, now: Now) -> Result<(), LedgerError> {
        self.writer.submit(Written, move |desk| write::session_begin(&desk.conn, &session, now)).await
    }

    async fn session_end(&self, hash: SecretHash) -> Result<(), LedgerError> {
        self.writer.submit(Written, move |desk| write::session_end(&desk.conn, hash)).await
    }

    async fn ever_accepted(&self, name: Name) -> Result<bool, LedgerError> {
        self.quick.ask(move |conn| read::ever_accepted(conn, &name)).await
    }

    async fn accepted_since(
        &self,
        since: Timestamp,
        after: Option<(Name, IpAddr)>,
        limit: usize,
    ) -> Result<Vec<(Name, IpAddr, Timestamp)>, LedgerError> {
        self.slow.ask(move |conn| read::accepted_since(conn, since, after.as_ref(), limit)).await
    }

    async fn quota_reset(&self, person: Person, operator: String, now: Now) -> Result<(), LedgerError> {
        self.writer.submit(Synced, move |desk| write::quota_reset(&desk.conn, &person, &operator, now)).await
    }

    async fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
        self.quick.ask(move |conn| events::after(conn, cursor, limit)).await
    }

    async fn cursor(&self, reader: &'static str) -> Result<u64, LedgerError> {
        self.quick.ask(move |conn| read::cursor(conn, reader)).await
    }

    async fn set_cursor(&self, reader: &'static str, cursor: u64) -> Result<(), LedgerError> {
        self.writer.submit_checked(Written, move |desk| write::set_cursor(&desk.conn, reader, cursor)).await
    }

    async fn report(&self, query: ReportQuery) -> Result<Vec<ReportLine>, LedgerError> {
        self.slow.ask(move |conn| report::report(conn, &query)).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, LedgerError> {
        self.writer.submit(Written, |desk| prune::tokens(&desk.conn)).await?;
        let mut grants = 0;
        loop {
            let step = self.writer.submit(Written, move |desk| prune::step(&desk.conn, before)).await?;
            grants += step.grants;
            if !step.more {
                return Ok(grants);
            }
        }
    }

    async fn backup(&self, path: &Path) -> Result<(), LedgerError> {
        let path = path.to_owned();
        self.slow.ask(move |conn| Ok(schema::backup(conn, &path)?)).await
    }

    async fn count_open(&self, service: ServiceName) -> Result<u64, LedgerError> {
        self.quick.ask(move |conn| read::count_open(conn, &service)).await
    }

    async fn ready(&self) -> Result<(), LedgerError> {
        self.writer.submit(Synced, |desk| write::pulse(&desk.conn)).await
    }
}
