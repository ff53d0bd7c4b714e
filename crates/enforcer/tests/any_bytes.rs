//! Whatever the kernel would send, its reader goes to its end; and what is written is read.

use kmsgate_enforcer::marks::Marks;
use kmsgate_enforcer::netlink::{Attributes, CONNTRACK, Messages, messages};
use kmsgate_enforcer::{conntrack, exercise};
use proptest::collection::vec;
use proptest::prelude::*;

/// Attributes, and attributes within them.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(u16, Vec<u8>),
    Nest(u16, Vec<Tree>),
}

impl Tree {
    fn write(&self, out: &mut Attributes<'_>) {
        match self {
            Self::Leaf(kind, value) => {
                out.bytes(*kind, value);
            }
            Self::Nest(kind, within) => {
                out.nest(*kind, |out| within.iter().for_each(|tree| tree.write(out)));
            }
        }
    }

    fn is_read_from(&self, (kind, value): (u16, &[u8])) -> bool {
        match self {
            Self::Leaf(written, bytes) => kind == *written && value == bytes.as_slice(),
            Self::Nest(written, within) => {
                let mut read = kmsgate_enforcer::netlink::Read(value);
                let all = within.iter().all(|tree| read.next().is_some_and(|attribute| tree.is_read_from(attribute)));
                kind == *written && all && read.next().is_none()
            }
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (0..0x4000_u16, vec(any::<u8>(), 0..24)).prop_map(|(kind, value)| Tree::Leaf(kind, value));
    leaf.prop_recursive(4, 24, 6, |within| {
        (0..0x4000_u16, vec(within, 0..6)).prop_map(|(kind, within)| Tree::Nest(kind, within))
    })
}

/// An event of conntrack for a claimed connection (linux/netfilter/nfnetlink_conntrack.h).
fn event() -> Messages {
    let tuple = |out: &mut Attributes<'_>, from: [u8; 4], to: [u8; 4], ports: [u16; 2]| {
        out.nest(1, |addresses| {
            addresses.bytes(1, &from).bytes(2, &to);
        });
        out.nest(2, |protocol| {
            protocol.u8(1, 6).u16(2, ports[0]).u16(3, ports[1]);
        });
    };
    let mut written = Messages::after(0);
    written.message(CONNTRACK, 0, 0, 2, |out| {
        out.nest(1, |out| tuple(out, [192, 0, 2, 7], [192, 0, 2, 1], [40_000, 1688]));
        out.nest(2, |out| tuple(out, [198, 19, 0, 2], [192, 0, 2, 7], [1688, 40_000]));
        out.nest(4, |out| {
            out.nest(1, |tcp| {
                tcp.u8(1, 3);
            });
        });
        out.u32(8, 0x6b80_0001);
    });
    written
}

#[test]
fn an_event_is_read() {
    let event = event();
    let marks = Marks::within(u32::MAX).expect("all bits");
    let message = messages(event.bytes()).next().expect("a message");
    let entry = conntrack::entry(&message, &marks).expect("an entry");
    assert_eq!(entry.ends.client, "192.0.2.7:40000".parse().expect("an address and port"));
    assert_eq!(entry.carried.provider, "198.19.0.2:1688".parse().expect("an address and port"));
    assert!(entry.carried.alive && !entry.carried.answered);
}

proptest! {
    #[test]
    fn a_damaged_event_is_another_or_nothing(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = event().bytes().to_vec();
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        exercise::netlink(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        exercise::netlink(&bytes);
    }

    #[test]
    fn what_is_written_is_read(trees in vec(tree(), 0..8), kind: u8, flags: u16, family: u8) {
        let mut written = Messages::after(6);
        for _ in 0..2 {
            written.message(CONNTRACK, kind.into(), flags, family, |out| trees.iter().for_each(|tree| tree.write(out)));
        }
        exercise::netlink(written.bytes());
        let read: Vec<_> = messages(written.bytes()).collect();
        prop_assert_eq!(read.len(), 2);
        for (message, sequence) in read.iter().zip(7..) {
            prop_assert_eq!(message.kind, (CONNTRACK << 8) | u16::from(kind));
            prop_assert_eq!((message.flags, message.family(), message.sequence), (flags, family, sequence));
            let mut attributes = message.attributes();
            for tree in &trees {
                prop_assert!(tree.is_read_from(attributes.next().expect("as many as were written")));
            }
            prop_assert!(attributes.next().is_none());
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in vec(any::<u8>(), 0..300)) {
        exercise::netlink(&bytes);
    }

    #[test]
    fn damaged_bytes_are_read_to_their_end(trees in vec(tree(), 0..8), kind: u8, at: prop::sample::Index, byte: u8) {
        let mut written = Messages::after(0);
        written.message(CONNTRACK, kind.into(), 0, 2, |out| trees.iter().for_each(|tree| tree.write(out)));
        let mut bytes = written.bytes().to_vec();
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        exercise::netlink(&bytes);
    }
}
