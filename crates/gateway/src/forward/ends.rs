//! What ended connections leave to be written. What must never happen here: a place that is free before the ledger has the
//! end of its connection.
//!
//! Nobody waits for these writes, so those that come together go to the ledger together.

use super::slots::{Claimed, Slots, Spent};
use super::{Around, Wish};
use crate::event::notice::Notice;
use crate::vital::Vital;
use kmsgate_core::grant::GrantId;
use kmsgate_core::reason::Cause;
use kmsgate_core::time::BootTime;
use kmsgate_ledger::Ledger;
use kmsgate_ledger::records::{ClaimEnd, LedgerError};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// Most ends that are written together.
const TOGETHER: usize = 256;

/// A claimed connection that has ended.
pub(super) struct Ended {
    /// What the ledger is to know.
    pub(super) end: ClaimEnd,
    /// Its claim, alive until the end is written.
    pub(super) claimed: Claimed,
    /// Who is given back a claim has it before they learn that they may try again.
    pub(super) client: Option<TcpStream>,
    /// The end of its window.
    pub(super) deadline: BootTime,
    /// Whether it broke a limit of its service.
    pub(super) limit: bool,
    /// Its place among all connections, so that no more ends wait than connections may run.
    pub(super) room: OwnedSemaphorePermit,
}

/// Writes ends until `last`, and then those that wait.
pub(super) async fn write(
    around: Around,
    slots: Arc<Slots>,
    mut ended: UnboundedReceiver<Ended>,
    last: CancellationToken,
) {
    let _vital = Vital;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = ended.recv_many(&mut batch, TOGETHER) => {}
            () = last.cancelled() => return,
        }
        let ends: Vec<ClaimEnd> = batch.iter().map(|ended| ended.end.clone()).collect();
        let unwritten = match around.ledger.claims_ended(ends.clone(), around.clock.now()).await {
            Ok(unknown) if unknown.is_empty() => unknown,
            Ok(unknown) => {
                around.notices.say(Notice::Ledger { error: LedgerError::Missing });
                unknown
            }
            Err(error) => {
                around.notices.say(Notice::Ledger { error });
                ends
            }
        };
        let mut wishes = Vec::new();
        for Ended { end, mut claimed, client, deadline, limit, room } in batch.drain(..) {
            if unwritten.contains(&end) {
                claimed.keep();
            }
            claimed.end(Spent { lasted: end.lasted });
            drop((client, room));
            wishes.extend(wish(&around, &slots, end.grant, deadline, limit));
        }
        around.news.notify();
        for wish in wishes {
            // Nobody receives while the gateway stops: the next start finds the grant and finishes it.
            if around.wishes.send(wish).is_err() {}
        }
    }
}

/// What to ask of the one door, where this connection's end is the grant's.
fn wish(around: &Around, slots: &Slots, grant: GrantId, deadline: BootTime, limit: bool) -> Option<Wish> {
    if limit {
        return Some(Wish { grant, cause: Cause::Limit });
    }
    // A window that is over ended the connection, and not the other way round; whoever watches it closes the grant.
    let used = slots.used(grant) && around.clock.now().boot < deadline;
    used.then_some(Wish { grant, cause: Cause::Used })
}
