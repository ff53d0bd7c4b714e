//! The typed orders between `kmsgate serve` and the enforcer. What must never happen here: a dependency, an order that
//! carries text for somebody else to interpret.
