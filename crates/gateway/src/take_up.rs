//! What the last run left. What must never happen here: a door that opens before the ledger says who has one, a grant that is
//! taken up after it was closed.
//!
//! With few grants all are taken up before anybody is let in. Where the kernel has very many it goes on without us, and no
//! sign-in needs to wait for the last of them: whoever needs one that is still awaited takes it up at once.

use crate::event::notice::Notice;
use crate::gate::Gate;
use crate::vital::Vital;
use kmsgate_core::address::Source;
use kmsgate_core::grant::{GrantId, State};
use kmsgate_core::reason::Cause;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Filter, GrantRecord, LedgerError, Swept};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// So many rows of the last run are read at once. Those of two pages are under way together, or the kernel would be idle while
/// we are busy, and we while it is.
const PAGE: usize = 128;
/// How far back accepted names are remembered by the throttle (2-design: 30 days).
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Sign-ins wait no longer for what the kernel carries anyway. 50,000 grants are taken up in this time.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Open grants of the last run that nobody has taken up yet.
#[derive(Debug, Default)]
pub struct Awaited(Mutex<HashSet<GrantId>>);

impl Awaited {
    fn expect(&self, ids: impl IntoIterator<Item = GrantId>) {
        self.all().extend(ids);
    }

    fn has(&self, id: GrantId) -> bool {
        self.all().contains(&id)
    }

    /// Whoever is answered with true takes it up, and nobody else.
    fn take(&self, id: GrantId) -> bool {
        self.all().remove(&id)
    }

    fn all(&self) -> MutexGuard<'_, HashSet<GrantId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes up what the last run left; returns when all is done, or after a second where the kernel carries it and the rest is
/// done behind.
///
/// # Errors
/// What the ledger says. Once it has returned, the process ends on them: grants would be open that nobody closes.
pub async fn begin(gate: &Arc<Gate>, found: Swept) -> Result<(), LedgerError> {
    gate.awaited.expect(found.adopt.iter().copied());
    gate.forwarder.expect(found.adopt.len());
    gate.forwarder.ran(&gate.ledger.running().await?);
    let taking = Arc::clone(gate);
    let mut taking = tokio::spawn(async move {
        let _vital = Vital;
        let (taken, remembered) = tokio::join!(take_up(&taking, found), remember_accepted(&taking));
        taken.and(remembered)
    });
    if gate.forwarder.outlives_us() {
        tokio::select! {
            taken = &mut taking => return joined(taken),
            () = tokio::time::sleep(LONGEST_WAIT) => {}
        }
        let gate = Arc::clone(gate);
        tokio::spawn(async move {
            if let Err(error) = joined(taking.await) {
                gate.notices.say(Notice::Ledger { error });
                std::process::abort();
            }
        });
        return Ok(());
    }
    joined(taking.await)
}

/// A panic in there ends the process; what is left is a runtime that stops.
fn joined(taken: Result<Result<(), LedgerError>, tokio::task::JoinError>) -> Result<(), LedgerError> {
    taken.unwrap_or_else(|_| Err(LedgerError::Unavailable("the gateway stops".to_owned())))
}

/// Takes up a grant that somebody needs now, if it is still awaited.
pub async fn at_once(gate: &Gate, id: GrantId) {
    if gate.awaited.has(id) {
        let _turn = gate.closes.turn(id).await;
        in_turn(gate, id).await;
    }
}

/// The same, for whoever has the turn to close it.
pub async fn in_turn(gate: &Gate, id: GrantId) {
    if !gate.awaited.take(id) {
        return;
    }
    match gate.ledger.grant(id).await {
        Ok(Some(grant)) if grant.state == State::Open => adopt(gate, &grant).await,
        Ok(Some(grant)) => gate.forwarder.leftover(&grant),
        Ok(None) => {}
        Err(error) => {
            gate.awaited.expect([id]);
            gate.notices.say(Notice::Ledger { error });
        }
    }
}

/// Open windows are adopted with their end and what is left of them. Closes cut in the middle, and windows that ended
/// meanwhile, are handed to whoever closes what expires: there may be very many, each waits for the disk, and no sign-in needs
/// to wait for them, since the ledger takes them for closed already.
async fn take_up(gate: &Arc<Gate>, found: Swept) -> Result<(), LedgerError> {
    let now = gate.clock.now().boot;
    let is_in = |ids: &[GrantId], id| ids.binary_search(&id).is_ok();
    let mut page = page_before(gate, None).await?;
    let mut before = JoinSet::new();
    while let Some(last) = page.last().map(|grant| grant.id) {
        let mut adoptions = JoinSet::new();
        for grant in page {
            if is_in(&found.adopt, grant.id) {
                let gate = Arc::clone(gate);
                adoptions.spawn(async move {
                    let _turn = gate.closes.turn(grant.id).await;
                    if gate.awaited.take(grant.id) {
                        adopt(&gate, &grant).await;
                    }
                });
            } else if is_in(&found.expired, grant.id) || is_in(&found.finish, grant.id) {
                gate.forwarder.leftover(&grant);
                gate.expiries.watch(grant.id, grant.window.deadline.min(now));
            }
        }
        // The next page is read meanwhile.
        let (next, ()) = tokio::join!(page_before(gate, Some(last)), all_of(&mut before));
        (page, before) = (next?, adoptions);
    }
    all_of(&mut before).await;
    tokio::join!(shut(gate, found.swept), gate.forwarder.adopted());
    gate.forwarder.listen();
    Ok(())
}

async fn all_of(adoptions: &mut JoinSet<()>) {
    while adoptions.join_next().await.is_some() {}
}

/// Grants that have not ended, older than this one.
async fn page_before(gate: &Gate, before: Option<GrantId>) -> Result<Vec<GrantRecord>, LedgerError> {
    gate.ledger.grants(Filter { unfinished: true, person: None, source: None, before, limit: PAGE }).await
}

/// What the ledger closed by itself may be open in the forwarder, and nobody would close it again.
async fn shut(gate: &Gate, swept: Vec<GrantId>) {
    for id in swept {
        match gate.ledger.grant(id).await {
            Ok(Some(grant)) => {
                gate.forwarder.leftover(&grant);
                gate.forwarder.close(id).await;
            }
            Ok(None) => {}
            Err(error) => gate.notices.say(Notice::Ledger { error }),
        }
    }
}

async fn adopt(gate: &Gate, grant: &GrantRecord) {
    match gate.forwarder.adopt(grant).await {
        // Its last connection ended with the last run, and nobody was there to close it.
        Ok(_) if grant.is_used() => gate.expiries.close(grant.id, Cause::Used, gate.clock.now().boot),
        Ok(_) => gate.expiries.watch(grant.id, grant.window.deadline),
        Err(error) => {
            gate.notices.say(Notice::NotOpened { error });
            gate.expiries.close(grant.id, Cause::Failed, gate.clock.now().boot);
        }
    }
}

/// A name accepted lately is not bound by the failures of strangers (F15); that must survive a restart.
async fn remember_accepted(gate: &Gate) -> Result<(), LedgerError> {
    let since = gate.clock.now().utc.checked_sub(REMEMBERED).unwrap_or(jiff::Timestamp::MIN);
    let mut after = None;
    loop {
        let page = gate.ledger.accepted_since(since, after.take(), PAGE).await?;
        let Some((name, source, _)) = page.last() else { return Ok(()) };
        after = Some((name.clone(), *source));
        for (name, source, at) in page {
            gate.throttle().learn(&name, Source::new(source), at);
        }
    }
}
