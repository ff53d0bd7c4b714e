//! The only process that may change the kernel's packet filter. What must never happen here: an address, port or time that
//! the table does not allow; an async, TLS, SQL or HTTP crate.
//!
//! * [`marks`]: what connection marks say.
//! * [`rule`], [`ruleset`], [`encode`]: the words of rules, the rules, and their bytes.
//! * [`netlink`]: messages to the kernel and back.
//! * [`load`]: brings the ruleset in, and finds it again.
//! * [`elements`]: the grants in it.
//! * [`conntrack`]: the connections that they let in.
//! * [`carry_out`]: what each order does.
//! * [`serve`], [`log`]: sessions, and a line an order.
//! * [`sandbox`]: what it gives up first.
//! * [`exercise`]: its readers on any bytes, for fuzzers.

pub mod carry_out;
pub mod conntrack;
pub mod elements;
pub mod encode;
pub mod exercise;
pub mod load;
pub mod log;
pub mod marks;
pub mod netlink;
pub mod rule;
pub mod ruleset;
pub mod sandbox;
pub mod serve;
