//! Any text as the enforcer's table: it never panics, and what is accepted is read again from what is written.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kmsgate_orders::exercise::table(data));
