//! The durable record. What must never happen here: a decision (the core makes them), or an answer before the disk has
//! what it says.
//!
//! * [`records`]: what goes in and comes out.
//! * [`Ledger`]: what every engine can do; `conformance` (tests only) is the suite that every engine passes unchanged.
//! * `sqlite`: the engine of one machine: one named writer thread, many waiting sign-ins in one transaction.

#[cfg(test)]
mod conformance;
pub mod records;
pub mod sqlite;

use kmsgate_core::decide::{Decide, Facts, Request};
use kmsgate_core::grant::{GrantId, Totals};
use kmsgate_core::name::{Name, Person, ServiceName};
use kmsgate_core::random::SecretHash;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::{BootId, Now};
use records::{
    Claim, ClaimEnd, CloseBegun, Event, Filter, GrantRecord, LedgerError, RefusalCount, Refused, ReportLine,
    ReportQuery, Reserved, RunningClaim, Session, Swept,
};
use std::future::Future;
use std::path::Path;

/// What every engine can do. Every write is answered when it is in the ledger; the doc says which wait for the disk
/// (**synced**) and which only for the operating system (**written**: survives the death of our processes at once, a
/// power cut within a second; P3).
pub trait Ledger: Send + Sync + 'static {
    /// Inside one transaction: reads the facts for `request`, calls `decide`, writes its answer. Synced.
    fn reserve(
        &self,
        request: Request,
        now: Now,
        decide: Decide,
    ) -> impl Future<Output = Result<Reserved, LedgerError>> + Send;

    /// The facts for `request` and nothing written: for `explain`.
    fn facts(&self, request: Request, now: Now) -> impl Future<Output = Result<Facts, LedgerError>> + Send;

    /// Opening -> Open, with the browser's session if there is one, and the person noted as accepted from this
    /// address. Written.
    fn opened(
        &self,
        id: GrantId,
        session: Option<Session>,
        now: Now,
    ) -> impl Future<Output = Result<GrantRecord, LedgerError>> + Send;

    /// One of the grant's claims is taken, before the connection's first byte. Refused unless the grant is Open, its end in
    /// the future and claims not given back are fewer than its connections. One that is not relayed is taken while the grant
    /// is Opening or Closing, too: the kernel lets in before we have written that it does, and until it has shut the way.
    /// Whatever took a claim was open, and counts. Written.
    fn claim(&self, claim: Claim, now: Now) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The provider's first byte is about to pass on this claim's connection: from now on it cannot be given back. `Missing`
    /// if no such connection runs. Written.
    fn answered(&self, grant: GrantId, number: u32) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Claimed connections ended. A claim is given back only if it never was answered and its grant was given back fewer than
    /// [`kmsgate_core::grant::GIVEN_BACK_AT_MOST`] claims before. Taken in every state: a connection may end after
    /// its grant was closed. Written. Ends of connections that do not run are returned, and nothing is written for them.
    fn claims_ended(
        &self,
        ends: Vec<ClaimEnd>,
        now: Now,
    ) -> impl Future<Output = Result<Vec<ClaimEnd>, LedgerError>> + Send;

    /// The same for one of them; `Missing` if it does not run.
    fn claim_ended(&self, end: ClaimEnd, now: Now) -> impl Future<Output = Result<(), LedgerError>> + Send
    where
        Self: Sync,
    {
        async move {
            let unknown = self.claims_ended(vec![end], now).await?;
            if unknown.is_empty() { Ok(()) } else { Err(LedgerError::Missing) }
        }
    }

    /// Opening or Open -> Closing(cause). `AlreadyBegun` if another door was first. Synced.
    fn closing(
        &self,
        id: GrantId,
        cause: Cause,
        now: Now,
    ) -> impl Future<Output = Result<CloseBegun, LedgerError>> + Send;

    /// Closing -> Closed with its totals: the greater of what the forwarder says and what the claims' ends added up to. A
    /// grant that is Closed already (a reservation found it past its end) keeps cause and time and takes the
    /// totals. Written.
    fn closed(
        &self,
        id: GrantId,
        totals: Totals,
        now: Now,
    ) -> impl Future<Output = Result<GrantRecord, LedgerError>> + Send;

    /// A sign-in refused after an identity was proved: an event. Synced.
    fn refused(&self, refused: Refused, now: Now) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Refusals before an identity was proved, counted per minute, reason and prefix. Written.
    fn refusals_counted(&self, counts: Vec<RefusalCount>) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// At start, before anything opens: with another boot id every unfinished grant is closed (`swept`); with the same one
    /// Opening grants are closed (`swept`, uncounted), Closing ones returned to be finished, Open ones past their
    /// end returned to be closed (`expired`, at their end), the rest returned to be adopted. Claims of connections that the
    /// process held (`relayed`) end here: given back if they were unanswered. Synced.
    fn recover(&self, boot: BootId, now: Now) -> impl Future<Output = Result<Swept, LedgerError>> + Send;

    /// Claims whose connections the kernel carries and whose end is not written, of every grant: after a restart they may still
    /// run.
    fn running(&self) -> impl Future<Output = Result<Vec<RunningClaim>, LedgerError>> + Send;

    /// A grant by its name.
    fn grant(&self, id: GrantId) -> impl Future<Output = Result<Option<GrantRecord>, LedgerError>> + Send;

    /// The grant that a bearer token opens, until 24 h after its close.
    fn grant_by_token(
        &self,
        token: SecretHash,
        now: Now,
    ) -> impl Future<Output = Result<Option<GrantRecord>, LedgerError>> + Send;

    /// Grants, newest first.
    fn grants(&self, filter: Filter) -> impl Future<Output = Result<Vec<GrantRecord>, LedgerError>> + Send;

    /// A live session by the hash of its cookie; touches it. None when idle for 30 minutes or older than 8 hours.
    fn session(&self, hash: SecretHash, now: Now) -> impl Future<Output = Result<Option<Session>, LedgerError>> + Send;

    /// A browser's session on a grant that was open before ([`Reserved::Same`]). Written.
    fn session_begin(&self, session: Session, now: Now) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends a session.
    fn session_end(&self, hash: SecretHash) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Whether this name was ever accepted in any domain.
    fn ever_accepted(&self, name: Name) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// (name, source) pairs accepted since `since` and when last: what the throttle must know after a restart. A page of at
    /// most `limit`, ordered by name and source, of those behind `after`.
    fn accepted_since(
        &self,
        since: jiff::Timestamp,
        after: Option<(Name, std::net::IpAddr)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Name, std::net::IpAddr, jiff::Timestamp)>, LedgerError>> + Send;

    /// Forgives what this person used of their quotas: none of their grants so far counts any more. Synced.
    fn quota_reset(
        &self,
        person: Person,
        operator: String,
        now: Now,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Events after `cursor`, oldest first, at most `limit`.
    fn events_after(&self, cursor: u64, limit: usize) -> impl Future<Output = Result<Vec<Event>, LedgerError>> + Send;

    /// Where the named reader of events stands; 0 if it never read.
    fn cursor(&self, reader: &'static str) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Moves the named reader. Written.
    fn set_cursor(&self, reader: &'static str, cursor: u64) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// A count of sign-ins and connections.
    fn report(&self, query: ReportQuery) -> impl Future<Output = Result<Vec<ReportLine>, LedgerError>> + Send;

    /// Removes what is older than `before` and finished. Returns how many grants.
    fn prune(&self, before: jiff::Timestamp) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// A consistent copy at `path`, while running.
    fn backup(&self, path: &Path) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Unfinished grants of a service now, for status and limits. Costs the same at any number.
    fn count_open(&self, service: ServiceName) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Whether a write would succeed now: for `readyz`.
    fn ready(&self) -> impl Future<Output = Result<(), LedgerError>> + Send;
}
