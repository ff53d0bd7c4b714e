//! What an operator may ask and do. What must never happen here: a second way around policy, quota or the one door.
//!
//! * [`control`]: the unix socket, for root and our own user alone.
//! * [`api`]: what is asked there; [`explain`]: what would be decided, and why.
//! * [`health`]: counters and health, for machines, without names or addresses.

pub mod api;
pub mod control;
pub mod explain;
pub mod health;
mod problem;
mod shape;

use crate::event::notice::Notice;
use crate::gate::Gate;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Opens the control socket, and serves counters and health on `listener` if there is one, until `stop`. `path` is the
/// file that a reload reads.
///
/// # Errors
/// If a socket cannot be had; the text says which.
pub fn start(
    gate: &Arc<Gate>,
    listener: Option<std::net::TcpListener>,
    path: Option<PathBuf>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), String> {
    let socket = gate.config.load().node.control_socket();
    let control = control::Control::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    tasks.spawn(control.serve(api::routes(Arc::clone(gate), path), gate.notices.clone(), stop.clone()));
    let Some(listener) = listener else { return Ok(()) };
    let failed = |error: std::io::Error| format!("[operator] listen: {error}");
    let address = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let routes = health::routes(Arc::clone(gate));
    let (notices, stop) = (gate.notices.clone(), stop.clone());
    tasks.spawn(async move {
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            notices.say(Notice::Accept { listener: address, error: error.to_string() });
        }
    });
    Ok(())
}
