//! What everybody outside learns: log lines, numbers, what the program says of itself. What must never happen here: a
//! password, the name of somebody who was never accepted, a receiver that makes a sign-in wait.
//!
//! * [`mod@line`]: an event of the ledger as the contract's line.
//! * [`notice`]: what the program says of itself.
//! * [`sender`]: carries the lines to their receiver, in the form of [`syslog`] or another.
//! * [`news`]: wakes whoever waits for the ledger's next event.
//! * [`refusals`]: refusals before an identity was proved, counted and not listed; [`flush`] brings them to the ledger.
//! * [`counters`]: numbers for the operator.

pub mod counters;
pub mod flush;
pub mod line;
pub mod news;
pub mod notice;
pub mod refusals;
pub mod sender;
mod sink;
pub mod syslog;
pub mod typed_name;

use crate::gate::Gate;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts the log's sender and the bringing of counted refusals to the ledger. A changed `[log]` needs a restart.
pub fn start(gate: &Arc<Gate>, stop: &CancellationToken, tasks: &TaskTracker) {
    let config = gate.config.load_full();
    let (ledger, bell, notices) = (Arc::clone(&gate.ledger), gate.news.listen(), gate.notices.clone());
    tasks.spawn(sender::run(ledger, bell, config.log.clone(), config.node.name.clone(), notices, stop.clone()));
    let (gate, stop) = (Arc::clone(gate), stop.clone());
    tasks.spawn(async move { flush::run(&*gate.ledger, &gate.refusals, gate.clock, &gate.notices, stop).await });
}
