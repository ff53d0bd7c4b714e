//! What everybody outside learns: log lines, numbers, what the program says of itself. What must never happen here: a
//! password, the name of somebody who was never accepted, a receiver that makes a sign-in wait.
//!
//! * [`line`]: an event of the ledger as the contract's line.
//! * [`notice`]: what the program says of itself.
//! * [`news`]: wakes whoever waits for the ledger's next event.
//! * [`refusals`]: refusals before an identity was proved, counted and not listed.
//! * [`counters`]: numbers for the operator.

pub mod counters;
pub mod line;
pub mod news;
pub mod notice;
pub mod refusals;
