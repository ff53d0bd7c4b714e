//! Rules as nftables' virtual machine wants them (linux/netfilter/nf_tables.h). What must never happen here: an expression
//! that nft would print as something else than `kmsgate ruleset` does.
//!
//! The same words compile to the same expressions as in nft 1.0.6, register for register; a test compares them.

use crate::marks::Masked;
use crate::netlink::Attributes;
use crate::rule::{Chain, Family, Hook, Key, Set, SetKind, TABLE, Timeouts, Word};
use std::net::{IpAddr, SocketAddr};

/// NFPROTO_INET: the family of our table.
pub const INET: u8 = 1;
/// NF_ACCEPT, the policy of our hooked chains.
const ACCEPT: u32 = 1;
/// nftables' registers: the verdict's, the first of 16 bytes, the first of 4.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
const FIRST_SMALL: u32 = 8;
/// Seconds in the week in which a budget's limit gives one token back: longer than any window.
pub const WEEK: u64 = 7 * 24 * 3600;
/// Where payload is looked for: network header, transport header.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// What kind of object a policy of time-outs is.
pub const CT_TIMEOUT: u32 = 7;

/// Comparisons.
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const LESS: u32 = 2;
const GREATER: u32 = 4;

/// Puts a chain's attributes: name, and hook if it has one.
pub fn chain(out: &mut Attributes<'_>, chain: &Chain) {
    out.name(1, TABLE).name(3, &chain.name);
    if let Some(Hook { kind, number, priority, .. }) = chain.hook {
        out.nest(4, |hook| {
            hook.u32(1, number).u32(2, priority.cast_unsigned());
        });
        out.u32(5, ACCEPT).name(7, kind);
    }
}

/// NFTA_RULE_USERDATA (linux/netfilter/nf_tables.h).
pub const RULE_USER_DATA: u16 = 7;

/// Puts a rule's attributes, with a comment if it has one.
pub fn rule(out: &mut Attributes<'_>, chain: &str, words: &[Word], comment: Option<&[u8]>) {
    out.name(1, TABLE).name(2, chain);
    out.nest(4, |list| {
        let mut rule = Rule(list);
        words.iter().for_each(|word| rule.word(word));
    });
    if let Some(comment) = comment {
        out.bytes(RULE_USER_DATA, comment);
    }
}

/// Puts a set's attributes; `id` names it within the batch.
pub fn set(out: &mut Attributes<'_>, set: &Set, id: u32) {
    // Flags of sets, and numbers of nft's own types, which it prints and the kernel keeps.
    const INTERVAL: u32 = 4;
    const MAP: u32 = 8;
    const TIMEOUT: u32 = 16;
    const DYNAMIC: u32 = 32;
    const STATEMENTS: u32 = 256;
    let (address, mark) = (if set.family == Family::V4 { 7 } else { 8 }, 19);
    let bytes = u32::try_from(set.family.bytes()).unwrap_or(16);
    let (flags, kind, length) = match &set.kind {
        SetKind::Window => (TIMEOUT | DYNAMIC, address, bytes),
        SetKind::Generation => (TIMEOUT | MAP, address, bytes),
        SetKind::Live => (TIMEOUT, (address << 6) | mark, bytes + 4),
        SetKind::Budget => (TIMEOUT | DYNAMIC | STATEMENTS, address, bytes),
        SetKind::Half => (DYNAMIC, address, bytes),
        // Not the kernel's `constant`: it lets nobody replace their elements while a rule names them, not even together
        // with that rule.
        SetKind::Addresses(_) => (0, address, bytes),
        SetKind::Networks(_) => (INTERVAL, address, bytes),
        SetKind::Bare => (0, (4 << 6) | 4, 8),
    };
    out.name(1, TABLE).name(2, &set.name).u32(3, flags).u32(4, kind).u32(5, length);
    if set.kind == SetKind::Generation {
        out.u32(6, mark).u32(7, 4);
    }
    if let Some(size) = set.size {
        out.nest(9, |description| {
            description.u32(1, size);
        });
    }
    out.u32(10, id);
    if set.kind == SetKind::Bare {
        out.bytes(13, &typeof_length_and_offset(set.family));
    }
    if set.kind == SetKind::Budget {
        out.nest(18, |list| budget(list, 1, 0));
    }
}

/// What nft keeps with a set to know of which header fields its key is made; without it nft 1.0.6 ends with a failed
/// assertion when it lists the set. As nft writes it for `typeof ip length . tcp doff`; `ip6` differs in one byte.
fn typeof_length_and_offset(family: Family) -> Vec<u8> {
    let header = if family == Family::V4 { 0x0c } else { 0x0d };
    let mut data = vec![0, 4, 0, 0, 0, 0, 3, 0x40, 0, 4, 0x0d, 0, 0, 0, 1, 0x38];
    for (protocol, field, length) in [(header, 5, 0x10), (8, 5, 4)] {
        data.extend([u8::from(protocol == 8), 0x1a, 0, 4, 7, 0, 0, 0, 1, 0x12]);
        data.extend([0, 4, protocol, 0, 0, 0, 1, 4, field, 0, 0, 0, 4, 4, length, 0, 0, 0]);
    }
    data
}

/// The two statements of a budget's element: so many connections, of which `claimed` are already counted.
pub fn budget(out: &mut Attributes<'_>, left: u32, claimed: u64) {
    expression(out, "limit", |limit| {
        // Rate, unit in seconds, burst, kind: packets, not inverted.
        limit.u64(1, 1).u64(2, WEEK).u32(3, left).u32(4, 0).u32(5, 0);
    });
    expression(out, "counter", |counter| {
        counter.u64(1, 0).u64(2, claimed);
    });
}

/// The elements that a set has from the start: keys, and whether each ends an interval.
#[must_use]
pub fn constant_elements(set: &Set) -> Vec<(Vec<u8>, bool)> {
    match &set.kind {
        SetKind::Addresses(addresses) => addresses.iter().map(|address| (octets(address), false)).collect(),
        SetKind::Networks(networks) => {
            let mut elements = vec![];
            for network in networks {
                elements.push((octets(&network.first), false));
                if let Some(next) = successor(&network.last()) {
                    elements.push((next, true));
                }
            }
            elements
        }
        SetKind::Bare => (5_u8..16)
            .map(|words| {
                let header = if set.family == Family::V4 { 20 } else { 0 };
                let [high, low] = (header + 4 * u16::from(words)).to_be_bytes();
                (vec![high, low, 0, 0, words, 0, 0, 0], false)
            })
            .collect(),
        _ => vec![],
    }
}

/// Puts a policy of time-outs.
pub fn timeouts(out: &mut Attributes<'_>, timeouts: &Timeouts) {
    // EtherType numbers, as conntrack's netlink wants layer 3 named here: AF_INET, AF_INET6.
    let layer3 = u16::from(timeouts.family.number());
    out.name(1, TABLE).name(2, &timeouts.name).u32(3, CT_TIMEOUT);
    out.nest(4, |data| {
        data.u16(1, layer3).u8(2, 6);
        data.nest(3, |policy| {
            for (number, _, seconds) in &timeouts.policy {
                policy.u32(*number, *seconds);
            }
        });
    });
}

/// An address as the packet has it.
#[must_use]
pub fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn successor(address: &IpAddr) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(v4) => u32::from(*v4).checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        IpAddr::V6(v6) => u128::from(*v6).checked_add(1).map(|next| next.to_be_bytes().to_vec()),
    }
}

fn expression(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(1, |expression| {
        expression.name(1, name).nest(2, data);
    });
}

struct Rule<'a, 'b>(&'a mut Attributes<'b>);

impl Rule<'_, '_> {
    fn word(&mut self, word: &Word) {
        match word {
            Word::Is(family) => self.meta(15, &[family.number()]),
            Word::Tcp => self.meta(16, &[6]),
            Word::Icmp(Family::V4) => self.meta(16, &[1]),
            Word::Icmp(Family::V6) => self.meta(16, &[58]),
            Word::From(interface) => {
                let mut name = interface.as_bytes().to_vec();
                name.resize(16, 0);
                self.meta(6, &name);
            }
            Word::Local => {
                // Result: address type; flags: of the destination. RTN_LOCAL is 2.
                self.put("fib", |fib| {
                    fib.u32(1, FIRST).u32(2, 3).u32(3, 2);
                });
                self.compare(EQUAL, &2_u32.to_ne_bytes());
            }
            Word::Port(port) => {
                self.payload(TRANSPORT, 2, 2, FIRST);
                self.compare(EQUAL, &port.to_be_bytes());
            }
            Word::Flags { of, set } => self.flags(*of, *set, EQUAL),
            Word::NotFlags { of, set } => self.flags(*of, *set, UNEQUAL),
            Word::Options => {
                self.payload(NETWORK, 0, 1, FIRST);
                self.bitwise(FIRST, &[0x0f], &[0]);
                self.compare(UNEQUAL, &[5]);
            }
            Word::Extensions => {
                self.payload(NETWORK, 6, 1, FIRST);
                self.compare(UNEQUAL, &[6]);
            }
            Word::State(states) => {
                self.conntrack(0, None);
                self.bitwise(FIRST, &states.to_ne_bytes(), &[0; 4]);
                self.compare(UNEQUAL, &[0; 4]);
            }
            Word::Original(original) => {
                self.conntrack(1, None);
                self.compare(EQUAL, &[u8::from(!original)]);
            }
            Word::Mark(mark) => self.mark(*mark),
            Word::LastsLonger(milliseconds) => {
                self.conntrack(5, None);
                self.byteorder(4);
                self.compare(GREATER, &milliseconds.to_be_bytes());
            }
            Word::BroughtMore(bytes) => {
                self.conntrack(15, Some(0));
                self.byteorder(8);
                self.compare(GREATER, &bytes.to_be_bytes());
            }
            Word::ShareBelow { family, of, below } => {
                let register = FIRST + 1;
                self.key(Key::Source(*family), register);
                let length = u32::try_from(family.bytes()).unwrap_or(16);
                self.put("hash", |hash| {
                    hash.u32(1, register).u32(2, FIRST).u32(3, length).u32(4, *of).u32(5, 0).u32(7, 0);
                });
                self.byteorder(4);
                self.compare(LESS, &below.to_be_bytes());
            }
            Word::In(keys, set) => {
                self.keys(keys);
                self.in_set(FIRST, set, false);
            }
            Word::NotIn(keys, set) => {
                self.keys(keys);
                self.in_set(FIRST, set, true);
            }
            Word::MoreThan { family, set, connections } => {
                self.key(Key::Source(*family), FIRST);
                self.put("dynset", |dynset| {
                    // Operation: add. The statement: more than so many connections.
                    dynset.name(1, set).u32(3, 0).u32(4, FIRST);
                    dynset.nest(7, |list| {
                        list.name(1, "connlimit").nest(2, |limit| {
                            limit.u32(1, *connections).u32(2, 1);
                        });
                    });
                });
            }
            Word::Remove(family, set) => {
                self.key(Key::Source(*family), FIRST);
                self.put("dynset", |dynset| {
                    dynset.name(1, set).u32(3, 2).u32(4, FIRST);
                });
            }
            Word::SetMark(mark) => {
                if mark.mask == u32::MAX {
                    self.immediate(FIRST, &mark.value.to_ne_bytes());
                } else {
                    self.conntrack(3, None);
                    self.bitwise(FIRST, &(!mark.mask).to_ne_bytes(), &mark.value.to_ne_bytes());
                }
                self.write_mark();
            }
            Word::AddMark(bits) => {
                self.conntrack(3, None);
                self.bitwise(FIRST, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
                self.write_mark();
            }
            Word::MarkFrom { family, map, mask } => self.mark_from(*family, map, *mask),
            Word::Timeouts(name) => self.put("objref", |objref| {
                objref.u32(1, CT_TIMEOUT).name(2, name);
            }),
            Word::Events(events) => {
                self.immediate(FIRST, &events.to_ne_bytes());
                self.write_conntrack(18);
            }
            Word::WithoutFastOpen => self.put("exthdr", |exthdr| {
                // Operation: TCP option; without registers it is taken out.
                exthdr.u8(2, 34).u32(6, 1);
            }),
            Word::IntoReset => {
                self.payload(TRANSPORT, 12, 2, FIRST);
                self.bitwise(FIRST, &[0xff, 0], &[0, crate::rule::RST]);
                self.put("payload", |write| {
                    // An Internet checksum at byte 16 of TCP's header is to follow.
                    write.u32(5, FIRST).u32(2, TRANSPORT).u32(3, 12).u32(4, 2).u32(6, 1).u32(7, 16).u32(8, 0);
                });
            }
            Word::Count => self.put("counter", |counter| {
                counter.u64(1, 0).u64(2, 0);
            }),
            Word::ToProvider(provider) => self.nat(provider),
            Word::Masquerade => self.put("masq", |_| ()),
            Word::Accept => self.verdict(1, None),
            Word::Drop => self.verdict(0, None),
            Word::Reset => self.put("reject", |reject| {
                reject.u32(1, 1).u8(2, 0);
            }),
            Word::Goto(chain) => self.verdict((-4_i32).cast_unsigned(), Some(chain)),
        }
    }

    fn put(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
        expression(self.0, name, data);
    }

    fn meta_load(&mut self, key: u32) {
        self.put("meta", |meta| {
            meta.u32(2, key).u32(1, FIRST);
        });
    }

    fn meta(&mut self, key: u32, value: &[u8]) {
        self.meta_load(key);
        self.compare(EQUAL, value);
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.put("cmp", |cmp| {
            cmp.u32(1, FIRST).u32(2, operation).nest(3, |data| {
                data.bytes(1, value);
            });
        });
    }

    fn bitwise(&mut self, register: u32, mask: &[u8], xor: &[u8]) {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        self.put("bitwise", |bitwise| {
            bitwise.u32(1, register).u32(2, register).u32(3, length).u32(6, 0);
            bitwise.nest(4, |data| {
                data.bytes(1, mask);
            });
            bitwise.nest(5, |data| {
                data.bytes(1, xor);
            });
        });
    }

    fn shift_right(&mut self, register: u32, bits: u32) {
        self.put("bitwise", |bitwise| {
            bitwise.u32(1, register).u32(2, register).u32(3, 1).u32(6, 2);
            bitwise.nest(7, |data| {
                data.bytes(1, &bits.to_ne_bytes());
            });
        });
    }

    /// From the machine's order to the network's.
    fn byteorder(&mut self, bytes: u32) {
        self.put("byteorder", |order| {
            order.u32(1, FIRST).u32(2, FIRST).u32(3, 1).u32(4, bytes).u32(5, bytes);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, register: u32) {
        self.put("payload", |payload| {
            payload.u32(1, register).u32(2, base).u32(3, offset).u32(4, length);
        });
    }

    fn flags(&mut self, of: u8, set: u8, operation: u32) {
        self.payload(TRANSPORT, 13, 1, FIRST);
        self.bitwise(FIRST, &[of], &[0]);
        self.compare(operation, &[set]);
    }

    fn conntrack(&mut self, key: u32, direction: Option<u8>) {
        self.conntrack_into(key, direction, FIRST);
    }

    fn conntrack_into(&mut self, key: u32, direction: Option<u8>, register: u32) {
        self.put("ct", |ct| {
            ct.u32(2, key).u32(1, register);
            if let Some(direction) = direction {
                ct.u8(3, direction);
            }
        });
    }

    fn mark(&mut self, mark: Masked) {
        self.conntrack(3, None);
        if mark.mask != u32::MAX {
            self.bitwise(FIRST, &mark.mask.to_ne_bytes(), &[0; 4]);
        }
        self.compare(EQUAL, &mark.value.to_ne_bytes());
    }

    fn write_mark(&mut self) {
        self.write_conntrack(3);
    }

    fn write_conntrack(&mut self, key: u32) {
        self.put("ct", |ct| {
            ct.u32(2, key).u32(4, FIRST);
        });
    }

    /// Bits of other programs are joined to the map's: an operation on two registers, since Linux 6.13.
    fn mark_from(&mut self, family: Family, map: &str, mask: u32) {
        self.key(Key::Source(family), FIRST);
        self.put("lookup", |lookup| {
            lookup.name(1, map).u32(2, FIRST).u32(3, FIRST);
        });
        if mask != u32::MAX {
            let other = FIRST_SMALL + 1;
            self.conntrack_into(3, None, other);
            self.bitwise(other, &(!mask).to_ne_bytes(), &[0; 4]);
            self.put("bitwise", |or| {
                or.u32(1, FIRST).u32(2, FIRST).u32(3, 4).u32(6, 4).u32(8, other);
            });
        }
        self.write_mark();
    }

    fn keys(&mut self, keys: &[Key]) {
        let mut slot = 0;
        for key in keys {
            self.key(*key, register(slot));
            slot += u32::try_from(key.bytes().div_ceil(4)).unwrap_or(4);
        }
    }

    fn key(&mut self, key: Key, register: u32) {
        match key {
            Key::Source(Family::V4) => self.payload(NETWORK, 12, 4, register),
            Key::Source(Family::V6) => self.payload(NETWORK, 8, 16, register),
            Key::Destination(Family::V4) => self.payload(NETWORK, 16, 4, register),
            Key::Destination(Family::V6) => self.payload(NETWORK, 24, 16, register),
            Key::Length(Family::V4) => self.payload(NETWORK, 2, 2, register),
            Key::Length(Family::V6) => self.payload(NETWORK, 4, 2, register),
            Key::DataOffset => {
                self.payload(TRANSPORT, 12, 1, register);
                self.bitwise(register, &[0xf0], &[0]);
                self.shift_right(register, 4);
            }
            Key::Mark(mask) => {
                self.conntrack_into(3, None, register);
                if mask != u32::MAX {
                    self.bitwise(register, &mask.to_ne_bytes(), &[0; 4]);
                }
            }
        }
    }

    fn in_set(&mut self, register: u32, set: &str, negated: bool) {
        self.put("lookup", |lookup| {
            lookup.name(1, set).u32(2, register);
            if negated {
                lookup.u32(5, 1);
            }
        });
    }

    fn immediate(&mut self, register: u32, value: &[u8]) {
        self.put("immediate", |immediate| {
            immediate.u32(1, register).nest(2, |data| {
                data.bytes(1, value);
            });
        });
    }

    fn verdict(&mut self, code: u32, chain: Option<&str>) {
        self.put("immediate", |immediate| {
            immediate.u32(1, VERDICT).nest(2, |data| {
                data.nest(2, |verdict| {
                    verdict.u32(1, code);
                    if let Some(chain) = chain {
                        verdict.name(2, chain);
                    }
                });
            });
        });
    }

    fn nat(&mut self, provider: &SocketAddr) {
        let family = Family::of(&provider.ip());
        self.immediate(FIRST, &octets(&provider.ip()));
        self.immediate(2, &provider.port().to_be_bytes());
        self.put("nat", |nat| {
            // Kind: of the destination. Flags: the port is given.
            nat.u32(1, 1).u32(2, u32::from(family.number())).u32(3, FIRST).u32(5, 2).u32(7, 2);
        });
    }
}

/// The register that begins at this slot of four bytes.
fn register(slot: u32) -> u32 {
    if slot.is_multiple_of(4) { FIRST + slot / 4 } else { FIRST_SMALL + slot }
}
