//! Any bytes as the kernel's: messages, attributes and connections are read to their end, never past it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kmsgate_enforcer::exercise::netlink(data));
