//! Any bytes of a POP3 server in any pieces: lines, replies, codes, capabilities and timestamps never panic and are
//! bounded. The first byte says how long the pieces are.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let [piece, bytes @ ..] = data {
        kmsgate_accounts::pop3::line::exercise(bytes, usize::from(*piece));
    }
});
