//! Any bytes at the enforcer's socket, and back: frames, orders and replies never panic, and what is read is written as the
//! same bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kmsgate_orders::exercise::wire(data));
