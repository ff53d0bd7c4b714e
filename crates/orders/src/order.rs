//! Orders, answers and news. What must never happen here: a host, a port or a time of day in an order: entries of the table
//! are named by their place in it, ends by the clock that counts since the boot.

use std::net::{IpAddr, SocketAddr};

/// Both sides speak this version or part.
pub const VERSION: u16 = 1;

/// The name of a grant: its 16 bytes, as the ledger has them.
pub type GrantName = [u8; 16];

/// Where the elements of a grant are: the service's place in the table, and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which service, from 0.
    pub service: u8,
    /// The granted address, never IPv4-mapped.
    pub address: IpAddr,
}

/// A grant to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub grant: GrantName,
    /// For whom and what.
    pub place: Place,
    /// When it ends: nanoseconds of CLOCK_BOOTTIME, so that an order that waited does not prolong a window.
    pub deadline: u64,
    /// Connections in all, at least 1.
    pub connections: u16,
    /// Of those, claimed before: none for a new grant.
    pub claimed: u16,
    /// Who carries its connections.
    pub carrier: Carrier,
}

/// Who carries the connections of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The kernel: it counts them, and hands them to a provider.
    Kernel,
    /// A program on the gateway, which counts them itself: the kernel lets the address reach the service's port until the
    /// end, and no further.
    Relay,
}

/// A carried connection, as the person's side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The person's address and port.
    pub client: SocketAddr,
    /// The gateway's address and port to which it was made.
    pub gateway: SocketAddr,
}

/// What serve asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first one of every session.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// The [`fingerprint`](crate::table::Table::fingerprint) of the table by which serve counts its places.
        table: u64,
    },
    /// Opens a new grant; whatever an older grant left in its place goes in the same step.
    Open(Opening),
    /// Finds an open grant again after a restart: what is there stays untouched and is answered with [`Answer::Standing`]; what
    /// is missing is added with what is left and answered with [`Answer::Done`].
    Adopt(Opening),
    /// Removes a grant's elements. What another grant has in that place stays.
    Close {
        /// Which.
        grant: GrantName,
        /// Where.
        place: Place,
    },
    /// Reads how a place stands.
    State {
        /// Where.
        place: Place,
    },
    /// A claim ended unanswered: the grant may have one connection more once all others are claimed.
    GiveBack {
        /// Which.
        grant: GrantName,
        /// Where.
        place: Place,
        /// How many.
        count: u16,
    },
    /// Reads how a connection stands.
    Connection(Ends),
    /// Ends a claimed connection: both sides are reset when they speak.
    Cut(Ends),
    /// A provider answers its health checks, or no longer.
    Provider {
        /// Of which service.
        service: u8,
        /// Which, from 0.
        provider: u8,
        /// Whether new connections go to it.
        up: bool,
    },
    /// From here on this session is told the [`News`].
    Watch,
    /// Tells every element there is as [`News::Found`], before the answer: slow by nature, for sweeps.
    List,
    /// Tells every claimed connection as [`News::Claimed`], before the answer: after [`News::Lost`].
    Connections,
}

/// What the enforcer answers to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, and the kernel confirmed it.
    Done,
    /// How a place stands.
    Standing(Standing),
    /// Nothing is open there.
    Absent,
    /// How a connection stands.
    Connection(Carried),
    /// Not done; nothing was changed.
    Refused(Refused),
}

/// A grant as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which grant.
    pub grant: GrantName,
    /// Who carries it. What the relay carries has no count here.
    pub carrier: Carrier,
    /// Milliseconds to its end.
    pub remaining: u64,
    /// Connections claimed since it was opened, those given back included.
    pub claimed: u16,
    /// Connections that may still come.
    pub left: u16,
}

/// A connection as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Whose it is, if that grant is still open.
    pub grant: Option<GrantName>,
    /// The mark of its grant.
    pub mark: u32,
    /// Where it goes.
    pub provider: SocketAddr,
    /// Whether it still may pass.
    pub alive: bool,
    /// Whether a byte of the provider passed.
    pub answered: bool,
    /// Whether the person surely sent something: more bytes passed than their headers may have.
    pub asked: bool,
    /// Whether the provider ended it: it reset the connection, or was the first to say that nothing more comes.
    pub by_provider: bool,
    /// Whether it was cut before TCP had ended: its window was over, or it broke a limit.
    pub cut: bool,
    /// Bytes from the person, headers included, as conntrack counts them (`nf_conntrack_acct`).
    pub bytes_in: u64,
    /// Bytes to the person, likewise.
    pub bytes_out: u64,
    /// Milliseconds since its first packet (`nf_conntrack_timestamp`).
    pub lasted: u64,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its end has passed.
    Late,
    /// Its end is further away than the table's longest window.
    TooLong,
    /// The table has no such entry.
    NotListed,
    /// More grants a second than the table allows.
    TooFast,
    /// The sets are full.
    Full,
    /// No provider that could carry it is up.
    NoProvider,
    /// Connections of it are still unclaimed: what is given back must wait.
    NotYet,
    /// Another grant has this place.
    Occupied,
    /// The session counts its places by another table.
    OtherTable,
    /// The kernel refused, with this error number (errno(3)).
    Kernel(u16),
}

/// What the enforcer tells unasked, to sessions that watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A connection was claimed.
    Claimed(Ends, Carried),
    /// A provider's first byte passed.
    Answered(Ends, Carried),
    /// A claimed connection is over.
    Ended(Ends, Carried),
    /// News were lost: read again what you rely on.
    Lost,
    /// Another program removed the ruleset. It is loaded again and empty: adopt what is open.
    Reinstalled,
    /// An element, for [`Order::List`].
    Found(Place, GrantName),
}
