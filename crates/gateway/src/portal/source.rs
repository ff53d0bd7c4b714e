//! From which address somebody asks. What must never happen here: a grant for a proxy, for us or for a provider, or a
//! header of a stranger that counts for anything.

use ipnet::IpNet;
use kmsgate_core::address::Source;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Most entries of X-Forwarded-For that are looked at, from the right. More trusted proxies in a row than this is a loop.
const MOST_HOPS: usize = 32;

/// What the rule must know of the place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose X-Forwarded-For is believed.
    pub trusted: &'a [IpNet],
    /// Our own addresses, loopback aside.
    pub own: &'a [IpAddr],
    /// The providers' addresses.
    pub providers: &'a [IpAddr],
}

/// Why there is no address to open for. Display is the operator's line: the person cannot mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSource {
    /// A trusted proxy sent no X-Forwarded-For.
    Missing,
    /// The entry that should be the client is no address.
    Unparsable,
    /// Every entry is a trusted proxy.
    OnlyProxies,
    /// The client would be an address that can be nobody's.
    Impossible(IpAddr, Whose),
}

/// Whose an impossible address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// 127.0.0.0/8 or ::1, though the peer is none.
    Loopback,
    /// 0.0.0.0 or ::.
    Unspecified,
    /// 224.0.0.0/4, ff00::/8 or the limited broadcast address.
    Multicast,
    /// One of the gateway's own.
    Ours,
    /// A provider's.
    Provider,
}

/// Whether `peer` is one of the trusted proxies. IPv4-mapped IPv6 is IPv4 on both sides.
#[must_use]
pub fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| contains(net, peer))
}

/// The address to open for: the peer, or behind a trusted proxy the rightmost entry of X-Forwarded-For that is not a
/// trusted proxy, all header lines joined in their order. A stranger's header is not looked at.
///
/// # Errors
/// [`NoSource`]; the sign-in is `bad_request`, and the operator gets a line, since only a wrong set-up leads here.
pub fn source(peer: IpAddr, lines: &[&[u8]], place: Place<'_>) -> Result<Source, NoSource> {
    let peer = peer.to_canonical();
    let client = if is_trusted(peer, place.trusted) { forwarded(lines, place.trusted)? } else { peer };
    let whose = if client.is_unspecified() {
        Whose::Unspecified
    } else if is_multicast(client) {
        Whose::Multicast
    } else if client.is_loopback() {
        if peer.is_loopback() {
            return Ok(Source::new(client));
        }
        Whose::Loopback
    } else if place.own.iter().any(|own| own.to_canonical() == client) {
        Whose::Ours
    } else if place.providers.iter().any(|provider| provider.to_canonical() == client) {
        Whose::Provider
    } else {
        return Ok(Source::new(client));
    };
    Err(NoSource::Impossible(client, whose))
}

/// What lies left of the client was written by the client, so it is neither read nor checked.
fn forwarded(lines: &[&[u8]], trusted: &[IpNet]) -> Result<IpAddr, NoSource> {
    let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).peekable();
    if entries.peek().is_none() {
        return Err(NoSource::Missing);
    }
    for entry in entries.take(MOST_HOPS) {
        let address = parse(entry).ok_or(NoSource::Unparsable)?;
        if !is_trusted(address, trusted) {
            return Ok(address);
        }
    }
    Err(NoSource::OnlyProxies)
}

/// `192.0.2.1`, `2001:db8::1`, and both with a port as some proxies write it.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?,
    };
    Some(address.to_canonical())
}

fn contains(net: &IpNet, address: IpAddr) -> bool {
    match (net, address) {
        (IpNet::V6(net6), IpAddr::V4(v4)) if net6.addr().to_ipv4_mapped().is_some() => {
            net6.contains(&v4.to_ipv6_mapped())
        }
        _ => net.contains(&address),
    }
}

fn is_multicast(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "a trusted proxy sent no X-Forwarded-For: let it add the header, or take it out of trusted_proxies",
            ),
            Self::Unparsable => {
                f.write_str("a trusted proxy sent an X-Forwarded-For whose last untrusted entry is no address")
            }
            Self::OnlyProxies => f.write_str(
                "X-Forwarded-For names trusted proxies only: a proxy asked for itself, or trusted_proxies is too wide",
            ),
            Self::Impossible(address, whose) => write!(
                f,
                "the client's address would be {address}, which is {}: see trusted_proxies and the proxy's headers",
                match whose {
                    Whose::Loopback => "a loopback address",
                    Whose::Unspecified => "the unspecified address",
                    Whose::Multicast => "a multicast or broadcast address",
                    Whose::Ours => "the gateway's own",
                    Whose::Provider => "a provider's",
                }
            ),
        }
    }
}

impl std::error::Error for NoSource {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ask(peer: &str, lines: &[&str]) -> Result<String, NoSource> {
        let trusted = ["10.9.0.0/24".parse().unwrap(), "2001:db8:9::/64".parse().unwrap()];
        let place = Place { trusted: &trusted, own: &[ip("198.51.100.1")], providers: &[ip("10.0.0.2")] };
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        source(ip(peer), &lines, place).map(|source| source.to_string())
    }

    #[test]
    fn the_address_of_a_person_behind_any_proxies() {
        let ok = |text: &str| Ok(text.to_owned());
        let impossible = |text: &str, whose| Err(NoSource::Impossible(ip(text), whose));
        // No proxy: the peer, whatever it claims.
        assert_eq!(ask("203.0.113.7", &[]), ok("203.0.113.7"));
        assert_eq!(ask("203.0.113.7", &["192.0.2.1"]), ok("203.0.113.7"), "a stranger's header counts for nothing");
        assert_eq!(ask("203.0.113.7", &["garbage"]), ok("203.0.113.7"));
        assert_eq!(ask("::ffff:203.0.113.7", &[]), ok("203.0.113.7"));
        assert_eq!(ask("127.0.0.1", &[]), ok("127.0.0.1"));
        assert_eq!(ask("::1", &[]), ok("::1"));
        // A trusted proxy: the rightmost entry that is none.
        assert_eq!(ask("10.9.0.1", &["192.0.2.1"]), ok("192.0.2.1"));
        assert_eq!(ask("10.9.0.1", &["6.6.6.6, 192.0.2.1"]), ok("192.0.2.1"), "the client wrote what is left of it");
        assert_eq!(ask("10.9.0.1", &["6.6.6.6", "192.0.2.1 ,10.9.0.2"]), ok("192.0.2.1"), "lines are joined");
        assert_eq!(ask("10.9.0.1", &["nonsense, 192.0.2.1"]), ok("192.0.2.1"));
        assert_eq!(ask("::ffff:10.9.0.1", &["192.0.2.1"]), ok("192.0.2.1"));
        assert_eq!(ask("2001:db8:9::1", &["2001:db8::7"]), ok("2001:db8::7"));
        assert_eq!(ask("10.9.0.1", &["::ffff:192.0.2.1"]), ok("192.0.2.1"));
        assert_eq!(ask("10.9.0.1", &["[2001:db8::7]:4711"]), ok("2001:db8::7"));
        assert_eq!(ask("10.9.0.1", &["[2001:db8::7]"]), ok("2001:db8::7"));
        assert_eq!(ask("10.9.0.1", &["192.0.2.1:4711"]), ok("192.0.2.1"));
        // A wrong set-up.
        assert_eq!(ask("10.9.0.1", &[]), Err(NoSource::Missing));
        for garbage in ["", "unknown", "_hidden", "192.0.2.1,", "192.0.2.256", "fe80::1%eth0", "192.0.2.1 x"] {
            assert_eq!(ask("10.9.0.1", &[garbage]), Err(NoSource::Unparsable), "{garbage:?}");
        }
        assert_eq!(ask("10.9.0.1", &["10.9.0.2, 10.9.0.3"]), Err(NoSource::OnlyProxies));
        assert_eq!(ask("10.9.0.1", &[&["10.9.0.2"; 100].join(",")]), Err(NoSource::OnlyProxies));
        assert_eq!(ask("10.9.0.1", &["127.0.0.1"]), impossible("127.0.0.1", Whose::Loopback));
        assert_eq!(ask("10.9.0.1", &["0.0.0.0"]), impossible("0.0.0.0", Whose::Unspecified));
        assert_eq!(ask("10.9.0.1", &["::"]), impossible("::", Whose::Unspecified));
        assert_eq!(ask("10.9.0.1", &["224.0.0.1"]), impossible("224.0.0.1", Whose::Multicast));
        assert_eq!(ask("10.9.0.1", &["ff02::1"]), impossible("ff02::1", Whose::Multicast));
        assert_eq!(ask("10.9.0.1", &["255.255.255.255"]), impossible("255.255.255.255", Whose::Multicast));
        assert_eq!(ask("10.9.0.1", &["198.51.100.1"]), impossible("198.51.100.1", Whose::Ours));
        assert_eq!(ask("198.51.100.1", &[]), impossible("198.51.100.1", Whose::Ours));
        assert_eq!(ask("10.9.0.1", &["10.0.0.2"]), impossible("10.0.0.2", Whose::Provider));
        assert_eq!(ask("10.0.0.2", &[]), impossible("10.0.0.2", Whose::Provider));
    }

    #[test]
    fn a_proxy_on_this_machine_may_speak_for_loopback_clients() {
        let trusted = ["127.0.0.1/32".parse().unwrap()];
        let place = Place { trusted: &trusted, own: &[], providers: &[ip("127.0.0.2")] };
        let ask = |line: &str| source(ip("127.0.0.1"), &[line.as_bytes()], place).map(|source| source.to_string());
        assert_eq!(ask("127.0.0.9"), Ok("127.0.0.9".into()));
        assert_eq!(ask("203.0.113.9"), Ok("203.0.113.9".into()));
        assert_eq!(ask("127.0.0.1"), Err(NoSource::OnlyProxies));
    }

    proptest! {
        #[test]
        fn a_grant_is_never_given_to_a_proxy_whatever_the_header(lines in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let trusted: [IpNet; 1] = ["10.9.0.0/24".parse().unwrap()];
            let own = [ip("198.51.100.1")];
            let place = Place { trusted: &trusted, own: &own, providers: &[] };
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            if let Ok(found) = source(ip("10.9.0.1"), &lines, place) {
                prop_assert!(!is_trusted(found.ip(), &trusted) && !own.contains(&found.ip()) && !found.ip().is_loopback());
            }
            prop_assert_eq!(source(ip("203.0.113.7"), &lines, place), Ok(Source::new(ip("203.0.113.7"))));
        }

        #[test]
        fn nothing_left_of_the_client_matters(left in "[ -~]{0,60}", client in any::<std::net::Ipv4Addr>()) {
            let trusted: [IpNet; 1] = ["10.9.0.0/24".parse().unwrap()];
            let place = Place { trusted: &trusted, own: &[], providers: &[] };
            let alone = source(ip("10.9.0.1"), &[client.to_string().as_bytes()], place);
            prop_assume!(alone != Err(NoSource::OnlyProxies));
            let line = format!("{left},{client}, 10.9.0.7");
            prop_assert_eq!(source(ip("10.9.0.1"), &[line.as_bytes()], place), alone);
        }
    }
}
