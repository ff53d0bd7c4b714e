//! Brings the counted refusals to the ledger every minute. What must never happen here: counts lost because the ledger was
//! away for a while.

use super::notice::{Notice, Notices};
use super::refusals::Refusals;
use crate::clock::Clock;
use kmsgate_ledger::Ledger;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Brings the finished minutes every [`PERIOD`] until `stop`, then all.
pub async fn run<L: Ledger>(ledger: &L, refusals: &Refusals, clock: Clock, notices: &Notices, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(PERIOD) => false,
            () = stop.cancelled() => true,
        };
        flush(ledger, refusals, clock, notices, stopped).await;
        if stopped {
            return;
        }
    }
}

/// One time; what the ledger does not take stays for the next.
pub async fn flush<L: Ledger>(ledger: &L, refusals: &Refusals, clock: Clock, notices: &Notices, all: bool) {
    let counts = refusals.take(clock.now().utc, all);
    if counts.is_empty() {
        return;
    }
    if let Err(error) = ledger.refusals_counted(counts.clone()).await {
        refusals.put_back(&counts);
        notices.say(Notice::Ledger { error });
    }
}
