//! The one door through which a grant ends, whoever asks. What must never happen here: a grant that is closed in the
//! record and open in the forwarder, or two causes for one end.

use crate::event::notice::Notice;
use crate::gate::Gate;
use kmsgate_core::grant::{GrantId, State};
use kmsgate_core::reason::Cause;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{CloseBegun, GrantRecord, LedgerError};

/// Ends a grant: the close is written, then the forwarder acts, then it is Closed. If another door was first, that one's
/// cause stands and its record is the answer.
///
/// # Errors
/// [`LedgerError::Missing`] for no such grant; [`LedgerError::Unavailable`] if the close cannot be written: the forwarder
/// then closes by itself at the window's end, and the close is written when the ledger is back.
pub async fn close(gate: &Gate, id: GrantId, cause: Cause) -> Result<GrantRecord, LedgerError> {
    match gate.ledger.closing(id, cause, gate.clock.now()).await? {
        CloseBegun::AlreadyBegun(record) => Ok(record),
        CloseBegun::Begun(record) => finish(gate, &record).await,
    }
}

/// The second half of a close: also for one that was cut in the middle and is found at start.
///
/// # Errors
/// As [`close`].
pub async fn finish(gate: &Gate, closing: &GrantRecord) -> Result<GrantRecord, LedgerError> {
    gate.expiries.forget(closing.id, closing.window.deadline);
    let totals = gate.forwarder.close(closing.id).await.unwrap_or(closing.totals);
    let record = gate.ledger.closed(closing.id, totals, gate.clock.now()).await?;
    if let State::Closed(cause, _) = record.state {
        gate.counters.closed(cause);
    }
    gate.news.notify();
    Ok(record)
}

/// As [`close`], for callers whom nobody waits for: says in the log what went wrong and tries again later.
pub async fn close_or_retry(gate: &Gate, id: GrantId, cause: Cause) {
    match close(gate, id, cause).await {
        Ok(_) | Err(LedgerError::Missing) => {}
        Err(error) => {
            gate.forwarder.close(id).await;
            gate.notices.say(Notice::Ledger { error });
            gate.expiries.watch(id, gate.clock.now().boot.plus(crate::expire::RETRY));
        }
    }
}
