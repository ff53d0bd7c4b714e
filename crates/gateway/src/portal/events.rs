//! A grant as it changes, told as server-sent events. What must never happen here: a stream without an end, or one that
//! tells what the ledger does not hold.
//!
//! The ledger is read once a second for each stream: at most [`crate::portal::Limits::views`] small reads a second.

use crate::portal::fault::Wrong;
use crate::portal::view::Change;
use crate::portal::{Portal, Reply};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use kmsgate_ledger::records::GrantRecord;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;

const EVERY: Duration = Duration::from_secs(1);

/// Starts with the grant as it stands; one `state` event a change; ends when the grant is closed.
pub(crate) fn stream(portal: &Arc<Portal>, grant: GrantRecord) -> Reply {
    let place = Arc::clone(&portal.views).try_acquire_owned().map_err(|_| Wrong::TooManyViews)?;
    let (changes, told) = tokio::sync::mpsc::channel::<Result<Event, Infallible>>(1);
    let portal = Arc::clone(portal);
    tokio::spawn(async move {
        let _place = place;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        let mut grant = grant;
        loop {
            let change = Change::new(&grant, portal.desk.now());
            if last.as_ref() != Some(&change) {
                let Ok(event) = Event::default().event("state").json_data(&change) else { return };
                // The browser went away.
                if changes.send(Ok(event)).await.is_err() {
                    return;
                }
                last = Some(change);
            }
            if !grant.state.unfinished() {
                return;
            }
            tokio::select! {
                _ = ticks.tick() => {}
                () = changes.closed() => return,
                () = portal.stop.cancelled() => return,
            }
            // The client asks again by itself when a stream ends (WHATWG HTML, section 9.2.3).
            let Ok(Some(newer)) = portal.desk.grant(grant.id).await else { return };
            grant = newer;
        }
    });
    Ok(Sse::new(ReceiverStream::new(told)).keep_alive(KeepAlive::default()).into_response())
}
