//! Any bytes of a directory, any filter and name: never a panic, and a name stays a value.

#![no_main]

use kmsgate_accounts::ldap::message::Said;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = kmsgate_accounts::ldap::ber::whole(bytes, 1 << 20);
    if let Ok((_, Said::Entry(entry))) = Said::read(bytes) {
        assert!(whole.is_ok_and(|length| length.is_some_and(|length| length <= bytes.len())));
        let _first = kmsgate_accounts::ldap::dn::first_value(&entry.dn);
    }
});
