//! The words of which rules are made. What must never happen here: a word that `kmsgate ruleset` prints otherwise than the
//! kernel is told: both are made from these.

use crate::marks::Masked;
use std::net::SocketAddr;

/// An address family. Rules of one do not see packets of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Of an address.
    #[must_use]
    pub fn of(address: &std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// What ends the names of its sets and chains.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// Bytes of an address.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// NFPROTO_IPV4, NFPROTO_IPV6 (linux/netfilter.h).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Source address.
    Source(Family),
    /// Destination address.
    Destination(Family),
    /// The length that the IP header says.
    Length(Family),
    /// TCP's data offset, in words of four bytes.
    DataOffset,
    /// The connection's mark, as far as these bits go.
    Mark(u32),
}

impl Key {
    /// Bytes that it takes in a set's key, before padding.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Source(family) | Self::Destination(family) => family.bytes(),
            Self::Length(_) => 2,
            Self::DataOffset => 1,
            Self::Mark(_) => 4,
        }
    }
}

/// TCP flags (RFC 9293, section 3.1).
pub const FIN: u8 = 1;
/// See [`FIN`].
pub const SYN: u8 = 2;
/// See [`FIN`].
pub const RST: u8 = 4;
/// See [`FIN`].
pub const ACK: u8 = 16;

/// States of conntrack as nftables numbers them (linux/netfilter/nf_conntrack_common.h).
pub const INVALID: u32 = 1;
/// See [`INVALID`].
pub const ESTABLISHED: u32 = 2;
/// See [`INVALID`].
pub const NEW: u32 = 8;
/// See [`INVALID`].
pub const UNTRACKED: u32 = 64;

/// Events of conntrack (linux/netfilter/nf_conntrack_common.h) that a pending connection sends: only that it began, which we
/// do not listen to. Each event costs as much as three lookups, and a handshake would send two.
pub const EVENTS_OF_PENDING: u32 = 1;
/// And those of a claimed one: its end, its TCP state, its mark.
pub const EVENTS_OF_CLAIMED: u32 = (1 << 2) | (1 << 5) | (1 << 7);

/// One word of a rule. A rule is left at the first word that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The packet is of this family.
    Is(Family),
    /// It is TCP.
    Tcp,
    /// It is ICMP, or ICMPv6.
    Icmp(Family),
    /// It came in by this interface.
    From(String),
    /// Its destination is an address of this machine.
    Local,
    /// Its destination port.
    Port(u16),
    /// Of these flags, exactly those are set.
    Flags {
        /// Which to look at.
        of: u8,
        /// Which must be set.
        set: u8,
    },
    /// The same, denied.
    NotFlags {
        /// Which to look at.
        of: u8,
        /// Which must not be exactly those set.
        set: u8,
    },
    /// The IPv4 header has options.
    Options,
    /// The IPv6 header is followed by something else than TCP's.
    Extensions,
    /// conntrack's state is one of these.
    State(u32),
    /// It goes the way in which the connection was made, or back.
    Original(bool),
    /// The connection's mark.
    Mark(Masked),
    /// conntrack's entry lasts longer than so many milliseconds.
    LastsLonger(u32),
    /// The way there has carried more than so many bytes.
    BroughtMore(u64),
    /// The address's share of so many falls below this.
    ShareBelow {
        /// Of which family.
        family: Family,
        /// Shares in all.
        of: u32,
        /// Those below.
        below: u32,
    },
    /// These together are an element of the set; its own statements hold.
    In(Vec<Key>, String),
    /// They are none.
    NotIn(Vec<Key>, String),
    /// More connections than this from the source address, each of which the set knows.
    MoreThan {
        /// Of which family.
        family: Family,
        /// The set.
        set: String,
        /// How many are allowed.
        connections: u32,
    },
    /// Takes the source address out of the set.
    Remove(Family, String),
    /// Of the connection's mark, keeps what the mask does not cover, and sets these bits.
    SetMark(Masked),
    /// Sets these bits of the connection's mark.
    AddMark(u32),
    /// Gives the connection the mark that the map has for its source address; bits outside the mask stay.
    MarkFrom {
        /// Of which family.
        family: Family,
        /// The map.
        map: String,
        /// Bits that are the map's.
        mask: u32,
    },
    /// conntrack's time-outs for this connection.
    Timeouts(String),
    /// The connection sends these events only.
    Events(u32),
    /// Overwrites TCP Fast Open's option (34, RFC 7413) with no-operations.
    WithoutFastOpen,
    /// Makes a reset of the packet.
    IntoReset,
    /// Counts it.
    Count,
    /// Sends it to this provider instead.
    ToProvider(SocketAddr),
    /// Lets the provider see the gateway's address.
    Masquerade,
    /// Passes.
    Accept,
    /// Vanishes.
    Drop,
    /// Is answered with a reset.
    Reset,
    /// Goes on in this chain and does not come back.
    Goto(String),
}

/// Where a chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// NF_INET_PRE_ROUTING and so on (linux/netfilter.h).
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// The order among chains of the hook.
    pub priority: i32,
    /// The name that nft has for that.
    pub priority_name: &'static str,
}

/// A chain: its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets come from, for those that no rule leads to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Vec<Word>>,
}

/// What a set is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetKind {
    /// Addresses with a time-out, from which rules may take elements.
    Window,
    /// Address to mark, with a time-out.
    Generation,
    /// Address and mark, with a time-out.
    Live,
    /// Addresses with a time-out, each with its own limit and counter.
    Budget,
    /// Addresses and their connections.
    Half,
    /// These addresses.
    Addresses(Vec<std::net::IpAddr>),
    /// These networks.
    Networks(Vec<kmsgate_orders::table::Network>),
    /// (length, data offset) of TCP packets without payload.
    Bare,
}

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Of which addresses.
    pub family: Family,
    /// What it is for.
    pub kind: SetKind,
    /// Elements at most, where the kernel keeps to that.
    pub size: Option<u32>,
}

/// conntrack's time-outs, in seconds, in the kernel's order (linux/netfilter/nfnetlink_cttimeout.h, CTA_TIMEOUT_TCP_*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Their name.
    pub name: String,
    /// Of which family.
    pub family: Family,
    /// (number, name, seconds).
    pub policy: Vec<(u16, &'static str, u32)>,
}

/// Everything in our table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Time-outs that chains name.
    pub timeouts: Vec<Timeouts>,
    /// Sets that chains name.
    pub sets: Vec<Set>,
    /// Chains, those that others name first.
    pub chains: Vec<Chain>,
}

/// The name of our table.
pub const TABLE: &str = "kmsgate";
