//! Wakes whoever waits for the ledger's next event. What must never happen here: an event that somebody waits for and
//! that wakes nobody.

use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{Event, LedgerError};
use tokio::sync::watch;

/// A bell, not a queue: the ledger is the queue.
#[derive(Debug)]
pub struct News {
    rung: watch::Sender<u64>,
}

impl Default for News {
    fn default() -> Self {
        Self { rung: watch::Sender::new(0) }
    }
}

impl News {
    /// The ledger has a new event.
    pub fn notify(&self) {
        self.rung.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// A listener that hears every ring from now on.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.rung.subscribe()
    }

    /// How many listen now.
    #[cfg(test)]
    pub(crate) fn listeners(&self) -> usize {
        self.rung.receiver_count()
    }

    /// Events after `cursor`; waits until there is one.
    ///
    /// # Errors
    /// As [`Ledger::events_after`].
    pub async fn after<L: Ledger>(&self, ledger: &L, cursor: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
        let mut bell = self.listen();
        loop {
            let events = ledger.events_after(cursor, limit).await?;
            if !events.is_empty() || bell.changed().await.is_err() {
                return Ok(events);
            }
        }
    }
}
