//! A grant as it changes, told as server-sent events. What must never happen here: a stream without an end, or one that
//! tells what the ledger does not hold.
//!
//! A stream sleeps until the bell of [`crate::event::news`] rings or the window's end comes, and then reads its grant. The
//! bell rings for everybody's grants, so a stream reads at most once in [`REST`], however often it rings: at most
//! [`crate::portal::Limits::views`] small reads in that time on the busiest gateway, and none at all on a quiet one.

use crate::portal::fault::Wrong;
use crate::portal::view::Change;
use crate::portal::{Portal, Reply};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use kmsgate_core::grant::GrantId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;

/// Between two reads of one stream, so that a busy gateway's bell does not become a read a ring.
const REST: Duration = Duration::from_millis(500);

/// Starts with the grant as it stands; one `state` event a change; ends when the grant is closed.
pub(crate) fn stream(portal: &Arc<Portal>, id: GrantId) -> Reply {
    let place = Arc::clone(&portal.views).try_acquire_owned().map_err(|_| Wrong::TooManyViews)?;
    let (changes, told) = tokio::sync::mpsc::channel::<Result<Event, Infallible>>(1);
    let portal = Arc::clone(portal);
    // Before the first read, so that no change falls between the two.
    let mut bell = portal.desk.news();
    tokio::spawn(async move {
        let _place = place;
        let mut last = None;
        loop {
            // The client asks again by itself when a stream ends (WHATWG HTML, section 9.2.3).
            let Ok(Some(grant)) = portal.desk.grant(id).await else { return };
            let now = portal.desk.now();
            let change = Change::new(&grant, now);
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
            let wake = async {
                tokio::time::sleep(REST).await;
                let left = now.boot.until(grant.window.deadline);
                if left.is_zero() {
                    // Past its end, only the closer has something to say.
                    return bell.changed().await.is_ok();
                }
                tokio::select! {
                    rung = bell.changed() => rung.is_ok(),
                    () = tokio::time::sleep(left.saturating_sub(REST)) => true,
                }
            };
            tokio::select! {
                rung = wake => if !rung { return },
                () = changes.closed() => return,
                () = portal.stop.cancelled() => return,
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(told)).keep_alive(KeepAlive::default()).into_response())
}
