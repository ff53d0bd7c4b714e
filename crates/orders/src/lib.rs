//! The typed orders between `kmsgate serve` and the enforcer. What must never happen here: a dependency, an order that
//! carries text for somebody else to interpret.
//!
//! * [`table`]: what root allows: interfaces, services, providers, limits. An order only chooses among its entries.
//! * [`order`]: what serve may ask, what the enforcer answers, and what it tells unasked.
//! * [`wire`]: how those travel: frames of a fixed greatest length, numbers in network order.
//! * [`exercise`]: all of it on any bytes, for fuzzers.

pub mod exercise;
pub mod order;
pub mod table;
pub mod wire;
