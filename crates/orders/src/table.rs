//! What root allows the enforcer to do. What must never happen here: an entry that is guessed, an unknown word passed over.
//!
//! A text of lines, written by root from the configuration and read once, before the enforcer shuts itself in:
//!
//! ```text
//! kmsgate-table 1
//! external eth0
//! address 192.0.2.1
//! service kms port=1688 max_bytes_in=0
//! provider 10.0.0.2:1688 weight=1
//! bypass 140.113.10.0/24
//! ```
//!
//! `provider` and `bypass` belong to the service above them. [`Table::write`] and [`Table::parse`] are each other's inverse.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

/// The longest window that any table may allow, in seconds: 12 hours. The budget's limit gives a token back after a week.
pub const LONGEST_WINDOW: u32 = 12 * 3600;
/// Services at most; providers and bypass networks of one service at most.
const ENTRIES: usize = 200;

/// Interfaces, services, ports, providers and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Interfaces on which services are guarded.
    pub external: Vec<String>,
    /// Addresses of the gateway at which services are offered; none for all of them.
    pub addresses: Vec<IpAddr>,
    /// What a connection without a grant gets.
    pub refuse: Refuse,
    /// Whether providers see the gateway's address instead of the person's.
    pub masquerade: bool,
    /// Which bits of a connection's mark are ours: at least 24 in a row.
    pub mark_mask: u32,
    /// No window may be longer, in seconds.
    pub longest_window: u32,
    /// Grants opened in a second at most.
    pub opens_per_second: u32,
    /// Grants at once at most, of each service and family.
    pub grants: u32,
    /// What is offered. An order names its place here.
    pub services: Vec<ServiceEntry>,
}

/// A service that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its name; names of sets and chains begin with it.
    pub name: String,
    /// The gateway's port.
    pub port: u16,
    /// Bytes that a connection may bring, headers included; 0 for any number.
    pub max_bytes_in: u64,
    /// Where it is carried. An order names its place here.
    pub providers: Vec<ProviderEntry>,
    /// Who needs no sign-in.
    pub bypass: Vec<Network>,
}

/// A host that offers a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderEntry {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new connections, 1 to 100.
    pub weight: u8,
}

/// What a connection without a grant gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// A reset, at once.
    Reset,
    /// Nothing.
    Drop,
}

/// A network in CIDR form, without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub first: IpAddr,
    /// Bits that are fixed.
    pub prefix: u8,
}

impl Network {
    /// Its last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4((u32::from(first) | u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0)).into())
            }
            IpAddr::V6(first) => {
                IpAddr::V6((u128::from(first) | u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0)).into())
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, prefix) = text.split_once('/')?;
        let (first, prefix): (IpAddr, u8) = (first.parse().ok()?, prefix.parse().ok()?);
        let host_bits = match first {
            IpAddr::V4(v4) => u128::from(u32::from(v4) & u32::MAX.checked_shr(prefix.into()).unwrap_or(0)),
            IpAddr::V6(v6) => u128::from(v6) & u128::MAX.checked_shr(prefix.into()).unwrap_or(0),
        };
        let longest = if first.is_ipv4() { 32 } else { 128 };
        (prefix <= longest && host_bits == 0).then_some(Self { first, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// A line that is not of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTable {
    /// Which line, from 1; 0 for what is missing from the whole.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for BadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl std::error::Error for BadTable {}

impl Table {
    /// The table as text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::from("kmsgate-table 1\n");
        let mut line = |arguments: fmt::Arguments<'_>| {
            let written = text.write_fmt(arguments).and_then(|()| text.write_char('\n'));
            debug_assert!(written.is_ok(), "writing to a string does not fail");
        };
        for interface in &self.external {
            line(format_args!("external {interface}"));
        }
        for address in &self.addresses {
            line(format_args!("address {address}"));
        }
        line(format_args!("refuse {}", if self.refuse == Refuse::Reset { "reset" } else { "drop" }));
        line(format_args!("masquerade {}", if self.masquerade { "yes" } else { "no" }));
        line(format_args!("mark_mask {:#010x}", self.mark_mask));
        line(format_args!("longest_window {}", self.longest_window));
        line(format_args!("opens_per_second {}", self.opens_per_second));
        line(format_args!("grants {}", self.grants));
        for service in &self.services {
            line(format_args!("service {} port={} max_bytes_in={}", service.name, service.port, service.max_bytes_in));
            for provider in &service.providers {
                line(format_args!("provider {} weight={}", provider.address, provider.weight));
            }
            for network in &service.bypass {
                line(format_args!("bypass {network}"));
            }
        }
        text
    }

    /// Tells tables apart that count their entries differently.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.write())
    }

    /// Reads a table. Every limit must be there, and every word be known.
    ///
    /// # Errors
    /// [`BadTable`] names the line.
    pub fn parse(text: &str) -> Result<Self, BadTable> {
        let mut draft = Draft::default();
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some("kmsgate-table 1") {
            return Err(BadTable { line: 1, why: "must be `kmsgate-table 1`" });
        }
        for (index, line) in lines {
            draft.line(line).map_err(|why| BadTable { line: index + 1, why })?;
        }
        draft.finish().map_err(|why| BadTable { line: 0, why })
    }
}

/// Tells texts apart: FNV-1a of 64 bits.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A table of which lines are still to come.
#[derive(Default)]
struct Draft {
    external: Vec<String>,
    addresses: Vec<IpAddr>,
    refuse: Option<Refuse>,
    masquerade: Option<bool>,
    mark_mask: Option<u32>,
    longest_window: Option<u32>,
    opens_per_second: Option<u32>,
    grants: Option<u32>,
    services: Vec<ServiceEntry>,
}

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let (word, rest) = line.split_once(' ').ok_or("must be a word and its value")?;
        match word {
            "external" => self.external.push(interface(rest)?),
            "address" => {
                let address = rest.parse().map_err(|_| "must be an address")?;
                full(self.addresses.len())?;
                if self.addresses.contains(&address) {
                    return Err("said twice");
                }
                self.addresses.push(address);
            }
            "refuse" => once(&mut self.refuse, word_of(rest, &[("reset", Refuse::Reset), ("drop", Refuse::Drop)])?)?,
            "masquerade" => once(&mut self.masquerade, word_of(rest, &[("yes", true), ("no", false)])?)?,
            "mark_mask" => once(&mut self.mark_mask, mark_mask(rest)?)?,
            "longest_window" => once(&mut self.longest_window, number(rest, 1, LONGEST_WINDOW)?)?,
            "opens_per_second" => once(&mut self.opens_per_second, number(rest, 1, 1_000_000)?)?,
            "grants" => once(&mut self.grants, number(rest, 1, 16_000_000)?)?,
            "service" => {
                let service = service(rest)?;
                if self.services.iter().any(|other| other.name == service.name || other.port == service.port) {
                    return Err("names and ports of services must differ");
                }
                full(self.services.len())?;
                self.services.push(service);
            }
            "provider" => {
                let service = self.services.last_mut().ok_or("must stand below a service")?;
                full(service.providers.len())?;
                service.providers.push(provider(rest)?);
            }
            "bypass" => {
                let service = self.services.last_mut().ok_or("must stand below a service")?;
                full(service.bypass.len())?;
                service.bypass.push(Network::parse(rest).ok_or("must be a network without host bits")?);
            }
            _ => return Err("an unknown word"),
        }
        Ok(())
    }

    fn finish(self) -> Result<Table, &'static str> {
        if self.external.is_empty() {
            return Err("no line `external`");
        }
        if self.services.is_empty() {
            return Err("no line `service`");
        }
        Ok(Table {
            external: self.external,
            addresses: self.addresses,
            refuse: self.refuse.ok_or("no line `refuse`")?,
            masquerade: self.masquerade.ok_or("no line `masquerade`")?,
            mark_mask: self.mark_mask.ok_or("no line `mark_mask`")?,
            longest_window: self.longest_window.ok_or("no line `longest_window`")?,
            opens_per_second: self.opens_per_second.ok_or("no line `opens_per_second`")?,
            grants: self.grants.ok_or("no line `grants`")?,
            services: self.services,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("said twice"),
    }
}

fn full(entries: usize) -> Result<(), &'static str> {
    if entries < ENTRIES { Ok(()) } else { Err("too many of them") }
}

fn interface(text: &str) -> Result<String, &'static str> {
    if is_interface(text) { Ok(text.to_owned()) } else { Err("must be the name of an interface") }
}

/// Whether this can be an interface's name: what the kernel takes (dev_valid_name, Linux), and nothing that nft would read
/// otherwise.
#[must_use]
pub fn is_interface(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte));
    plain && !text.is_empty() && text.len() < 16 && !text.starts_with('.')
}

fn word_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, &'static str> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or("an unknown value")
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, &'static str> {
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or("must be a number within its bounds")
}

fn mark_mask(text: &str) -> Result<u32, &'static str> {
    let mask = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    mask.filter(|mask| is_mark_mask(*mask)).ok_or("must be 0x and at least 24 bits in a row")
}

/// Whether these bits can hold our marks: at least 24 of them, in a row.
#[must_use]
pub fn is_mark_mask(mask: u32) -> bool {
    let run = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
    mask.count_ones() >= 24 && run.trailing_ones() == mask.count_ones()
}

/// `NAME port=P max_bytes_in=B`.
fn service(text: &str) -> Result<ServiceEntry, &'static str> {
    let mut words = text.split(' ');
    let name = words.next().filter(|name| is_service_name(name)).ok_or("must begin with a name")?;
    let port = field(words.next(), "port=")?.parse().ok().filter(|port| *port != 0).ok_or("port= must be a port")?;
    let bytes = field(words.next(), "max_bytes_in=")?.parse().map_err(|_| "max_bytes_in= must be a number")?;
    if words.next().is_some() {
        return Err("too many words");
    }
    Ok(ServiceEntry { name: name.to_owned(), port, max_bytes_in: bytes, providers: Vec::new(), bypass: Vec::new() })
}

/// Whether names of sets and chains can begin with it (nft 1.0.6: a letter, then letters, digits and `_`).
#[must_use]
pub fn is_service_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `HOST:PORT weight=W`.
fn provider(text: &str) -> Result<ProviderEntry, &'static str> {
    let (address, weight) = text.split_once(' ').ok_or("must be an address and a weight")?;
    let address: SocketAddr = address.parse().map_err(|_| "must be an address and a port")?;
    let mapped = matches!(address.ip(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 || mapped {
        return Err("must be the address of a host, and a port");
    }
    let weight = field(Some(weight), "weight=")?.parse().ok().filter(|weight| (1..=100).contains(weight));
    Ok(ProviderEntry { address, weight: weight.ok_or("weight= must be 1 to 100")? })
}

fn field<'a>(word: Option<&'a str>, name: &'static str) -> Result<&'a str, &'static str> {
    word.and_then(|word| word.strip_prefix(name)).ok_or("a field is missing or in the wrong place")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "kmsgate-table 1\nexternal eth0\nexternal eth1.5\nrefuse reset\nmasquerade no\nmark_mask 0xffffffff\n\
        longest_window 3600\nopens_per_second 10000\ngrants 1048576\nservice kms port=1688 max_bytes_in=0\n\
        provider 10.0.0.2:1688 weight=1\nprovider [2001:db8::2]:1688 weight=3\nbypass 140.113.10.0/24\n\
        bypass 2001:288::/32\nservice other port=99 max_bytes_in=5000\n";

    #[test]
    fn what_is_written_is_read() {
        let table = Table::parse(TABLE).expect("a good table");
        assert_eq!(table.write(), TABLE);
        assert_eq!(table.services[0].bypass[0].last(), "140.113.10.255".parse::<IpAddr>().expect("an address"));
    }

    #[test]
    fn what_is_not_a_table_is_refused_with_its_line() {
        let why = |from: &str, to: &str| {
            let text = TABLE.replacen(from, to, 1);
            assert_ne!(text, TABLE, "{from}");
            Table::parse(&text).expect_err(to)
        };
        for (from, to, line) in [
            ("kmsgate-table 1", "kmsgate-table 2", 1),
            ("external eth0", "external eth0;drop", 2),
            ("external eth0", "external an_interface_name", 2),
            ("refuse reset", "refuse maybe", 4),
            ("masquerade no\n", "masquerade no\nmasquerade no\n", 6),
            ("0xffffffff", "0x00ff00ff", 6),
            ("0xffffffff", "0x0000ffff", 6),
            ("longest_window 3600", "longest_window 43201", 7),
            ("longest_window 3600", "longest_window 0", 7),
            ("service kms", "service k-ms", 10),
            ("port=1688", "port=0", 10),
            ("max_bytes_in=0", "max_bytes_in=0 x", 10),
            ("10.0.0.2:1688", "10.0.0.2", 11),
            ("10.0.0.2:1688", "0.0.0.0:1688", 11),
            ("weight=1", "weight=101", 11),
            ("140.113.10.0/24", "140.113.10.1/24", 13),
            ("140.113.10.0/24", "140.113.10.0/33", 13),
            ("service other", "service kms", 15),
            ("port=99", "port=1688", 15),
            ("grants 1048576\n", "", 0),
            ("service other", "serviced other", 15),
        ] {
            assert_eq!(why(from, to).line, line, "{to}");
        }
    }

    #[test]
    fn marks_need_24_bits_in_a_row() {
        for (mask, fits) in
            [(u32::MAX, true), (0x00ff_ffff, true), (0xffff_ff00, true), (0x00ff_fffe, false), (0, false)]
        {
            assert_eq!(is_mark_mask(mask), fits, "{mask:#x}");
        }
        assert!(!is_mark_mask(0xfff0_ffff));
    }
}
