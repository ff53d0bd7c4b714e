//! Any bytes of a RADIUS server: packets, attributes and authenticators never panic and are bounded.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kmsgate_accounts::radius::packet::exercise(data);
});
