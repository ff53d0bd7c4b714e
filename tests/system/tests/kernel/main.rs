//! The kernel forwarder, in network namespaces.

mod ruleset;
