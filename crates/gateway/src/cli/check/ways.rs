//! How packets get to providers, and their answers back. What must never happen here: a packet that is sent to find out.
//!
//! The kernel forwards a person's address as it is, unless it masquerades: a provider answers that address, and the answer has to
//! come by this machine. The kernel's main routing table says how we reach a provider; that its way back is ours it cannot say.

use super::{Finding, Seen};
use crate::config::Config;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The main routing tables (proc(5); linux/net/ipv4/fib_trie.c and net/ipv6/route.c).
const V4: &str = "/proc/net/route";
const V6: &str = "/proc/net/ipv6_route";

/// Flags of a route (linux/route.h).
const UP: u32 = 1;
const BY_A_ROUTER: u32 = 2;
const REJECT: u32 = 0x200;

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    network: IpAddr,
    prefix: u8,
    metric: u32,
    interface: String,
    /// None if its hosts are neighbours.
    router: Option<IpAddr>,
}

/// The way of each provider; none with the relay, whose own connections find their way back.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let Some(kernel) = &config.forward.kernel else { return Vec::new() };
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let routes: Vec<Route> = read(V4).lines().filter_map(v4).chain(read(V6).lines().filter_map(v6)).collect();
    let providers: std::collections::BTreeSet<IpAddr> =
        config.services.iter().flat_map(|service| &service.providers).map(|provider| provider.address.ip()).collect();
    let look = |provider: IpAddr| {
        let seen = judge(best(&routes, provider), &kernel.external, kernel.masquerade);
        Finding { what: format!("way back from {provider}"), seen }
    };
    providers.into_iter().map(look).collect()
}

fn judge(way: Option<&Route>, external: &[String], masquerade: bool) -> Seen {
    let Some(Route { interface, router, .. }) = way else {
        return Seen::Fault("this machine has no route to it; add one, or correct the address".to_owned());
    };
    if masquerade {
        return Seen::Well(format!("by {interface}, to this machine's own address: masquerade is set"));
    }
    match router {
        _ if external.contains(interface) => Seen::Fault(format!(
            "it is reached by {interface}, on which people come: its answers would go past this machine; set \
             [forward] masquerade = true, or put it behind another interface"
        )),
        Some(router) => Seen::Unseen(format!(
            "it is behind {router} on {interface}: see that it answers people's addresses by way of this machine, or set \
             [forward] masquerade = true"
        )),
        None => Seen::Well(format!("a neighbour on {interface}: this machine must be its router")),
    }
}

/// The longest prefix, and of those the lowest metric.
fn best(routes: &[Route], to: IpAddr) -> Option<&Route> {
    let leads = |route: &&Route| ipnet::IpNet::new(route.network, route.prefix).is_ok_and(|net| net.contains(&to));
    routes.iter().filter(leads).min_by_key(|route| (std::cmp::Reverse(route.prefix), route.metric))
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`: addresses as numbers of this machine's byte order.
fn v4(line: &str) -> Option<Route> {
    let mut fields = line.split_whitespace();
    let interface = fields.next()?.to_owned();
    let hex = |field: Option<&str>| u32::from_str_radix(field?, 16).ok();
    let address = |number: u32| Ipv4Addr::from(number.to_ne_bytes());
    let (network, router, flags) = (address(hex(fields.next())?), address(hex(fields.next())?), hex(fields.next())?);
    let metric = fields.nth(2)?.parse().ok()?;
    let mask = u32::from(address(hex(fields.next())?));
    let router = (flags & BY_A_ROUTER != 0).then_some(router.into());
    let prefix = u8::try_from(mask.leading_ones()).ok()?;
    usable(flags).then_some(Route { network: network.into(), prefix, metric, interface, router })
}

/// `destination prefix source prefix router metric references use flags interface`: all but the name in hexadecimal.
fn v6(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [network, prefix, _, _, router, metric, _, _, flags, interface] = fields.try_into().ok()?;
    let address = |hex: &str| u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from);
    let (network, router) = (address(network)?, address(router)?);
    let (prefix, metric) = (u8::from_str_radix(prefix, 16).ok()?, u32::from_str_radix(metric, 16).ok()?);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let router = (flags & BY_A_ROUTER != 0).then_some(router.into());
    usable(flags).then_some(Route { network: network.into(), prefix, metric, interface: interface.to_owned(), router })
}

fn usable(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t00010A0A\tFE00000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0002000A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const TABLE6: &str = "\
20010db8000200000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    fn way(provider: &str, masquerade: bool) -> Seen {
        let routes: Vec<Route> = TABLE4.lines().filter_map(v4).chain(TABLE6.lines().filter_map(v6)).collect();
        judge(best(&routes, provider.parse().unwrap()), &["eth0".to_owned()], masquerade)
    }

    #[test]
    fn a_way_that_leads_past_us_wants_masquerading() {
        for neighbour in ["10.0.0.2", "2001:db8:2::2"] {
            assert!(
                matches!(way(neighbour, false), Seen::Well(seen) if seen.contains("neighbour on eth1")),
                "{neighbour}"
            );
        }
        for outside in ["192.0.2.9", "203.0.113.9", "2001:db8:9::9"] {
            assert!(
                matches!(way(outside, false), Seen::Fault(fault) if fault.contains("masquerade = true")),
                "{outside}"
            );
            assert!(matches!(way(outside, true), Seen::Well(_)), "{outside}");
        }
        assert!(matches!(way("10.10.1.7", false), Seen::Unseen(seen) if seen.contains("behind 10.0.0.254 on eth1")));
        // What is refused there is no way; the default one is left.
        assert!(matches!(way("10.0.2.7", false), Seen::Fault(fault) if fault.contains("eth0")));
        assert!(matches!(judge(None, &[], true), Seen::Fault(fault) if fault.contains("no route")));
    }
}
