//! The kernel's ruleset as nft would have it typed. What must never happen here: a line that the enforcer does not load.

use kmsgate_enforcer::marks::Masked;
use kmsgate_enforcer::rule::{ACK, Chain, Family, Key, Ruleset, Set, SetKind, TABLE, Timeouts, Word};
use std::fmt::{self, Display, Formatter, Write};

/// Prints a ruleset so that `nft -f` would load the same.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Ruleset);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        self.0.timeouts.iter().try_for_each(|timeouts| write_timeouts(f, timeouts))?;
        self.0.sets.iter().try_for_each(|set| write_set(f, set))?;
        for chain in &self.0.chains {
            write_chain(f, chain)?;
        }
        f.write_str("}\n")
    }
}

fn write_timeouts(f: &mut Formatter<'_>, timeouts: &Timeouts) -> fmt::Result {
    let protocol = match timeouts.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    writeln!(f, "  ct timeout {} {{\n    protocol tcp\n    l3proto {protocol}", timeouts.name)?;
    let policy: Vec<_> = timeouts.policy.iter().map(|(_, name, seconds)| format!("{name}: {seconds}")).collect();
    writeln!(f, "    policy = {{ {} }}\n  }}", policy.join(", "))
}

fn write_set(f: &mut Formatter<'_>, set: &Set) -> fmt::Result {
    let address = match set.family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    let word = if set.kind == SetKind::Generation { "map" } else { "set" };
    write!(f, "  {word} {} {{ ", set.name)?;
    match &set.kind {
        SetKind::Window => write!(f, "type {address}; flags timeout,dynamic;")?,
        SetKind::Generation => write!(f, "type {address} : mark; flags timeout;")?,
        SetKind::Live => write!(f, "type {address} . mark; flags timeout;")?,
        SetKind::Budget => {
            write!(f, "type {address}; flags timeout,dynamic; limit rate 1/week burst 1 packets; counter;")?;
        }
        SetKind::Half => write!(f, "type {address}; flags dynamic;")?,
        SetKind::Addresses(addresses) => {
            write!(f, "type {address};")?;
            write_elements(f, addresses)?;
        }
        SetKind::Networks(networks) => {
            write!(f, "type {address}; flags interval;")?;
            write_elements(f, networks)?;
        }
        SetKind::Bare => {
            let (key, header) = match set.family {
                Family::V4 => ("ip length", 20),
                Family::V6 => ("ip6 length", 0),
            };
            write!(f, "typeof {key} . tcp doff;")?;
            let pairs: Vec<_> = (5..16).map(|words| format!("{} . {words}", header + 4 * words)).collect();
            write_elements(f, &pairs)?;
        }
    }
    if let Some(size) = set.size {
        write!(f, " size {size};")?;
    }
    f.write_str(" }\n")
}

fn write_elements(f: &mut Formatter<'_>, elements: &[impl Display]) -> fmt::Result {
    if elements.is_empty() {
        return Ok(());
    }
    let elements: Vec<_> = elements.iter().map(ToString::to_string).collect();
    write!(f, " elements = {{ {} }};", elements.join(", "))
}

fn write_chain(f: &mut Formatter<'_>, chain: &Chain) -> fmt::Result {
    writeln!(f, "  chain {} {{", chain.name)?;
    if let Some(hook) = chain.hook {
        writeln!(f, "    type {} hook {} priority {}; policy accept;", hook.kind, hook.name, hook.priority_name)?;
    }
    for rule in &chain.rules {
        let words: Vec<_> = rule.iter().map(word).collect();
        writeln!(f, "    {}", words.join(" "))?;
    }
    f.write_str("  }\n")
}

fn word(word: &Word) -> String {
    match word {
        Word::Is(Family::V4) => "meta nfproto ipv4".into(),
        Word::Is(Family::V6) => "meta nfproto ipv6".into(),
        Word::Tcp => "meta l4proto tcp".into(),
        Word::Icmp(Family::V4) => "meta l4proto icmp".into(),
        Word::Icmp(Family::V6) => "meta l4proto ipv6-icmp".into(),
        Word::From(interface) => format!("iifname \"{interface}\""),
        Word::Local => "fib daddr type local".into(),
        Word::Port(port) => format!("tcp dport {port}"),
        Word::Flags { of, set } => format!("tcp flags & ({}) == {}", flags(*of), flags(*set)),
        Word::NotFlags { of, set } => format!("tcp flags & ({}) != {}", flags(*of), flags(*set)),
        Word::Options => "ip hdrlength != 5".into(),
        Word::Extensions => "ip6 nexthdr != tcp".into(),
        Word::State(states) => format!("ct state {}", names(*states)),
        Word::Original(true) => "ct direction original".into(),
        Word::Original(false) => "ct direction reply".into(),
        Word::Mark(Masked { mask: u32::MAX, value }) => format!("ct mark {value:#010x}"),
        Word::Mark(Masked { mask, value }) => format!("ct mark & {mask:#010x} == {value:#010x}"),
        Word::LastsLonger(milliseconds) => format!("ct expiration > {}ms", milliseconds),
        Word::BroughtMore(bytes) => format!("ct original bytes > {bytes}"),
        Word::ShareBelow { family, of, below } => {
            format!("jhash {} mod {of} seed 0x0 < {below}", key(&Key::Source(*family)))
        }
        Word::In(keys, set) => format!("{} @{set}", joined(keys)),
        Word::NotIn(keys, set) => format!("{} != @{set}", joined(keys)),
        Word::MoreThan { family, set, connections } => {
            format!("add @{set} {{ {} ct count over {connections} }}", key(&Key::Source(*family)))
        }
        Word::Remove(family, set) => format!("delete @{set} {{ {} }}", key(&Key::Source(*family))),
        Word::SetMark(Masked { mask: u32::MAX, value }) => format!("ct mark set {value:#010x}"),
        Word::SetMark(Masked { mask, value }) => format!("ct mark set (ct mark & {:#010x}) | {value:#010x}", !mask),
        Word::AddMark(bits) => format!("ct mark set ct mark | {bits:#010x}"),
        Word::MarkFrom { family, map, mask: u32::MAX } => {
            format!("ct mark set {} map @{map}", key(&Key::Source(*family)))
        }
        Word::MarkFrom { family, map, mask } => {
            format!("ct mark set (ct mark & {:#010x}) | {} map @{map}", !mask, key(&Key::Source(*family)))
        }
        Word::Timeouts(name) => format!("ct timeout set \"{name}\""),
        // By number: nft takes `mark` for a key here.
        Word::Events(events) => format!("ct event set {events:#x}"),
        Word::WithoutFastOpen => "reset tcp option 34".into(),
        Word::IntoReset => "tcp flags set rst".into(),
        Word::Count => "counter".into(),
        Word::ToProvider(provider) => match Family::of(&provider.ip()) {
            Family::V4 => format!("dnat ip to {provider}"),
            Family::V6 => format!("dnat ip6 to {provider}"),
        },
        Word::Masquerade => "masquerade".into(),
        Word::Accept => "accept".into(),
        Word::Drop => "drop".into(),
        Word::Reset => "reject with tcp reset".into(),
        Word::Goto(chain) => format!("goto {chain}"),
    }
}

fn joined(keys: &[Key]) -> String {
    keys.iter().map(key).collect::<Vec<_>>().join(" . ")
}

fn key(key: &Key) -> String {
    match key {
        Key::Source(Family::V4) => "ip saddr".into(),
        Key::Source(Family::V6) => "ip6 saddr".into(),
        Key::Destination(Family::V4) => "ip daddr".into(),
        Key::Destination(Family::V6) => "ip6 daddr".into(),
        Key::Length(Family::V4) => "ip length".into(),
        Key::Length(Family::V6) => "ip6 length".into(),
        Key::DataOffset => "tcp doff".into(),
        Key::Mark(u32::MAX) => "ct mark".into(),
        Key::Mark(mask) => format!("(ct mark & {mask:#010x})"),
    }
}

/// Names of bits, in nft's order, joined as `separator` wants it.
fn bits(value: u32, names: &[(u32, &str)], separator: char) -> String {
    names.iter().filter(|(bit, _)| value & bit != 0).fold(String::new(), |mut text, (_, name)| {
        if !text.is_empty() {
            text.push(separator);
        }
        let written = text.write_str(name);
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        text
    })
}

fn flags(value: u8) -> String {
    bits(value.into(), &[(1, "fin"), (2, "syn"), (4, "rst"), (ACK.into(), "ack")], '|')
}

fn names(states: u32) -> String {
    bits(states, &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")], ',')
}
