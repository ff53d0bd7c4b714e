//! Any bytes of a NIS server: replies, maps and their lines never panic and are bounded.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kmsgate_accounts::nis::yp::exercise(data);
});
