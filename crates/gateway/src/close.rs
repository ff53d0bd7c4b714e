//! The one door through which a grant ends, whoever asks. What must never happen here: a grant that is closed in the
//! record and open in the forwarder, or two causes for one end.

use crate::event::notice::Notice;
use crate::gate::Gate;
use crate::take_up;
use crate::vital::Vital;
use kmsgate_core::grant::{GrantId, State};
use kmsgate_core::reason::Cause;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{CloseBegun, GrantRecord, LedgerError};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Ends a grant: the close is written, then the forwarder acts, then it is Closed. If another door was first, that one's
/// cause stands and its record is the answer. Runs as a task of its own: whoever asked may go away in the middle.
///
/// # Errors
/// [`LedgerError::Missing`] for no such grant; [`LedgerError::Unavailable`] if the close cannot be written: the forwarder
/// then has shut the way, and the close is written when the ledger is back.
pub async fn close(gate: &Arc<Gate>, id: GrantId, cause: Cause) -> Result<GrantRecord, LedgerError> {
    let gate = Arc::clone(gate);
    let closing = tokio::spawn(async move {
        let _vital = Vital;
        let closed = carry_out(&gate, id, cause).await;
        if let Err(error) = &closed
            && *error != LedgerError::Missing
        {
            gate.forwarder.close(id).await;
            gate.expiries.retry(id, cause, gate.clock.now().boot);
        }
        closed
    });
    // A panic in there ends the process; what is left is a runtime that stops.
    closing.await.unwrap_or_else(|_| Err(LedgerError::Unavailable("the gateway stops".to_owned())))
}

/// As [`close`], for callers whom nobody waits for: says in the log what went wrong.
pub async fn close_or_say(gate: &Arc<Gate>, id: GrantId, cause: Cause) {
    match close(gate, id, cause).await {
        Ok(_) | Err(LedgerError::Missing) => {}
        Err(error) => gate.notices.say(Notice::Ledger { error }),
    }
}

/// One close of a grant at a time: what is found half done then was cut, and is finished.
async fn carry_out(gate: &Gate, id: GrantId, cause: Cause) -> Result<GrantRecord, LedgerError> {
    let _turn = gate.closes.turn(id).await;
    take_up::in_turn(gate, id).await;
    match gate.ledger.closing(id, cause, gate.clock.now()).await? {
        CloseBegun::Begun(record) => finish(gate, &record).await,
        CloseBegun::AlreadyBegun(record) if matches!(record.state, State::Closing(_)) => finish(gate, &record).await,
        CloseBegun::AlreadyBegun(record) => {
            gate.forwarder.close(id).await;
            Ok(record)
        }
    }
}

async fn finish(gate: &Gate, closing: &GrantRecord) -> Result<GrantRecord, LedgerError> {
    gate.expiries.forget(closing.id, closing.window.deadline);
    let totals = gate.forwarder.close(closing.id).await.unwrap_or(closing.totals);
    let record = gate.ledger.closed(closing.id, totals, gate.clock.now()).await?;
    if let State::Closed(cause, _) = record.state {
        gate.counters.closed(cause);
    }
    gate.news.notify();
    Ok(record)
}

/// Which grants are being closed, or taken up.
#[derive(Debug, Default)]
pub struct Closes {
    under_way: Mutex<HashSet<GrantId>>,
    ended: Notify,
}

impl Closes {
    /// Waits until nobody else closes this grant; nobody else does while the turn is held.
    pub(crate) async fn turn(&self, id: GrantId) -> Turn<'_> {
        loop {
            let ended = self.ended.notified();
            if self.under_way().insert(id) {
                return Turn { closes: self, id };
            }
            ended.await;
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<GrantId>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to close a grant, or to take it up.
pub(crate) struct Turn<'a> {
    closes: &'a Closes,
    id: GrantId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.closes.under_way().remove(&self.id);
        self.closes.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmsgate_core::random::Entropy;

    #[tokio::test(start_paused = true)]
    async fn a_grant_is_closed_by_one_at_a_time() {
        let closes = Closes::default();
        let id = |number| GrantId::new(jiff::Timestamp::UNIX_EPOCH, Entropy([number; 10]));
        let first = closes.turn(id(1)).await;
        let _other = closes.turn(id(2)).await;
        let second = closes.turn(id(1));
        tokio::pin!(second);
        assert!(tokio::time::timeout(std::time::Duration::from_secs(1), &mut second).await.is_err());
        drop(first);
        let _second = second.await;
    }
}
