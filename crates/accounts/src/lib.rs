//! Who is it? Account servers are asked; what they hold is never stored. What must never happen here: an outage taken for
//! a wrong password, a password kept, a word to the ledger.
//!
//! * [`verdict`]: what a server can say.
//! * `frame`: what all kinds share: connections, queue, time-out, fairness between addresses, breaker, counters.
//! * `chain`: the order in which servers are asked, and which answer stands.
//! * one file per kind, listed once, in [`Server`].

pub mod verdict;
