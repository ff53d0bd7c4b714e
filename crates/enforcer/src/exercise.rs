//! For fuzzers and property tests: every reader of the kernel's bytes on arbitrary ones. What must never happen here: a panic
//! on bytes that is no fault of a reader.

use crate::conntrack;
use crate::marks::Marks;
use crate::netlink::{Read, messages};

/// How deep attributes stand within attributes in what the kernel sends us.
const DEEP: usize = 6;

/// Messages, their attributes, attributes within those, and conntrack's entries.
///
/// # Panics
/// If a reader is at fault.
pub fn netlink(datagram: &[u8]) {
    for message in messages(datagram).take(datagram.len()) {
        walk(message.attributes(), DEEP);
        for marks in [u32::MAX, 0x00ff_ffff].into_iter().filter_map(Marks::within) {
            if let Some(entry) = conntrack::entry(&message, &marks) {
                assert!(marks.claimed().holds(entry.carried.mark), "only what was claimed is told");
                assert!(!entry.carried.alive || !(entry.closed || entry.gone), "what is over is not alive");
            }
        }
    }
}

fn walk(attributes: Read<'_>, deep: usize) {
    let whole = attributes.0.len();
    let mut read = 0;
    for (kind, value) in attributes {
        read += value.len() + 4;
        assert!(read <= whole, "an attribute ends within the message");
        assert!(attributes.find(kind).is_some(), "what is read is found");
        if deep > 0 {
            walk(Read(value), deep - 1);
        }
    }
}
