//! The kernel forwarder, in network namespaces.

#[cfg(test)]
mod ruleset;
