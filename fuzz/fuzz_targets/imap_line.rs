//! Any bytes of an IMAP server: lines, answers, codes and capabilities never panic, and a value never ends its line.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    kmsgate_accounts::imap::line::exercise(data);
});
