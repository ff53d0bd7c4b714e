//! Addresses of people. An IPv4-mapped IPv6 address never exists as a [`Source`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The canonical address from which somebody asks. IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The canonical form of an address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The key under which a grant for this address stands: the address itself, or its IPv6 network where a service
    /// says `ipv6_prefix` (64..=128). IPv4 is always whole.
    #[must_use]
    pub fn key(self, ipv6_prefix: u8) -> AddressKey {
        match self.0 {
            IpAddr::V4(_) => AddressKey(self.0),
            IpAddr::V6(address) => {
                let prefix = u32::from(ipv6_prefix.min(128));
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                AddressKey(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask)))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a grant is bound to: one address, or one IPv6 network written as its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// A key as it was stored before; the ledger's way back, nobody else's.
    #[must_use]
    pub fn stored(address: IpAddr) -> Self {
        Self(address)
    }

    /// The address that stands for the key.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
