//! An element is sent as nft sends it.

#![cfg(target_endian = "little")]
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use kmsgate_enforcer::elements::{self, At};
use kmsgate_enforcer::netlink::{Messages, Read, messages};
use kmsgate_orders::order::{Carrier, Opening, Place};
use kmsgate_orders::table::Table;

const TABLE: &str = "kmsgate-table 1\nexternal ext\nrefuse reset\nmasquerade no\nmark_mask 0xffffffff\nlongest_\
    window 3600\nopens_per_second 1\ngrants 65536\nservice kms port=1688 max_bytes_in=0\nprovider 198.19.0.2:1688 weight=1\n";

/// The kinds of attributes that hold attributes, by where they stand within an element (linux/netfilter/nf_tables.h).
const NESTS: &[&[u16]] = &[&[1], &[1, 1], &[1, 11], &[1, 11, 1], &[1, 11, 1, 2]];

/// Every attribute that holds a value: where it stands, and the value. The kernel takes them in any order; so are they here.
fn flat(attributes: Read<'_>) -> Vec<(Vec<u16>, Vec<u8>)> {
    fn walk(attributes: Read<'_>, above: &[u16], found: &mut Vec<(Vec<u16>, Vec<u8>)>) {
        for (kind, value) in attributes {
            let path = [above, &[kind]].concat();
            if NESTS.contains(&path.as_slice()) {
                walk(Read(value), &path, found);
            } else {
                found.push((path, value.to_vec()));
            }
        }
    }
    let mut found = vec![];
    walk(attributes, &[], &mut found);
    found.sort();
    found
}

fn golden() -> Vec<u8> {
    let lines = include_str!("element.txt").lines().filter(|line| !line.starts_with('#'));
    let digits: String = lines.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
    let byte = |place: usize| u8::from_str_radix(digits.get(place..place + 2).expect("two digits"), 16);
    (0..digits.len()).step_by(2).map(|place| byte(place).expect("a byte")).collect()
}

#[test]
fn an_element_with_budget_end_and_comment_is_sent_as_nft_sends_it() {
    let table = Table::parse(TABLE).expect("a table");
    let place = Place { service: 0, address: "192.0.2.7".parse().expect("an address") };
    let grant = 0x0192_4b4a_0f1e_9d3c_5a6b_7c8d_9eaf_b0c1_u128.to_be_bytes();
    let opening = Opening { grant, place, deadline: 0, connections: 4, claimed: 1, carrier: Carrier::Kernel };
    let mut batch = Messages::after(0);
    let at = At::new(&table, &place).expect("the table has it");
    elements::add(&mut batch, &at, &opening, 0x6b80_0001, 3_600_000);
    let pass = |message: &kmsgate_enforcer::netlink::Received<'_>| {
        message.attributes().find(2) == Some(b"kms_pass4\0".as_slice())
    };
    let message = messages(batch.bytes()).find(pass).expect("its message");
    let mut ours = flat(message.attributes().nest(3).expect("its elements"));
    let golden = golden();
    let theirs = flat(Read(&golden));
    // Our own words behind nft's comment, which nft passes over.
    let comment = theirs.iter().find(|(path, _)| path == &[1, 6]).expect("nft's comment").1.clone();
    let said = ours.iter_mut().find(|(path, _)| path == &[1, 6]).expect("our comment");
    assert!(said.1.starts_with(&comment) && said.1.len() > comment.len(), "{:x?}", said.1);
    said.1.clone_from(&comment);
    // nft leaves out a count of no bytes; the kernel takes it for 0.
    ours.retain(|(path, value)| !(path == &[1, 11, 1, 2, 1] && value == &[0; 8]));
    assert_eq!(ours, theirs);
}
