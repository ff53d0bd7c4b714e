//! Any bytes of a directory, any filter and name: never a panic, and a name stays a value.

#![no_main]

use kmsgate_accounts::ldap::ber::{Reader, Writer};
use kmsgate_accounts::ldap::filter::{Filter, Places};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, user) = input;
    if let Ok(filter) = Filter::parse(text) {
        // Whatever the name is, the filter stays one value.
        let mut out = Writer::with_room(0);
        filter.write(Places { user, dn: user }, &mut out);
        let mut reader = Reader::new(out.bytes());
        assert!(reader.take().is_ok() && reader.is_empty());
    }
});
