//! Ends windows on time: one queue, one timer, however many grants. What must never happen here: a deadline that moves.

use crate::close::close_or_say;
use crate::gate::Gate;
use crate::vital::Vital;
use kmsgate_core::expiry::Expiry;
use kmsgate_core::grant::GrantId;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::BootTime;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// When a close that the ledger could not write is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The timer wakes at least so often: the runtime's clock stops while the machine is suspended, the boot clock does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Closes under way at once; as many share one write to the disk.
const CLOSES: usize = 256;

/// The queue of ends. Owned here; others only name a grant and its end.
#[derive(Debug)]
pub struct Expiries {
    queue: Mutex<Expiry<GrantId>>,
    /// Why those are to be closed whose time is not simply over.
    causes: Mutex<HashMap<GrantId, Cause>>,
    changed: Notify,
}

impl Default for Expiries {
    fn default() -> Self {
        Self { queue: Mutex::new(Expiry::new()), causes: Mutex::default(), changed: Notify::new() }
    }
}

impl Expiries {
    /// The grant ends at `deadline`.
    pub fn watch(&self, id: GrantId, deadline: BootTime) {
        self.queue().insert(id, deadline);
        self.changed.notify_one();
    }

    /// The grant is closed as soon as there is a place for it, for this cause.
    pub fn close(&self, id: GrantId, cause: Cause, now: BootTime) {
        self.causes().insert(id, cause);
        self.watch(id, now);
    }

    /// The close of this grant could not be written: it is tried again a little later, for the same cause.
    pub fn retry(&self, id: GrantId, cause: Cause, now: BootTime) {
        self.close(id, cause, now.plus(RETRY));
    }

    /// The grant has ended otherwise.
    pub fn forget(&self, id: GrantId, deadline: BootTime) {
        self.queue().remove(id, deadline);
    }

    fn cause(&self, id: GrantId) -> Cause {
        self.causes().remove(&id).unwrap_or(Cause::Expired)
    }

    fn causes(&self) -> MutexGuard<'_, HashMap<GrantId, Cause>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Expiry<GrantId>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has expired until `stop`.
pub async fn run(gate: Arc<Gate>, stop: CancellationToken) {
    let _vital = Vital;
    let places = Arc::new(Semaphore::new(CLOSES));
    while !stop.is_cancelled() {
        let now = gate.clock.now().boot;
        let expired = gate.expiries.queue().handle_timeout(now);
        for id in expired {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let _vital = Vital;
                close_or_say(&gate, id, gate.expiries.cause(id)).await;
                drop(place);
            });
        }
        let next = gate.expiries.queue().poll_timeout();
        let wait = next.map_or(LONGEST_SLEEP, |deadline| gate.clock.now().boot.until(deadline).min(LONGEST_SLEEP));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = gate.expiries.changed.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}
