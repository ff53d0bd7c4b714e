//! `[forward]`.

use super::Forward;
use super::read::Section;
use super::value::{address, choice_with_later, duration, list, number};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(super) fn read(section: &Section<'_, '_>) -> Forward {
    section.take("mode", choice_with_later(&[("relay", ())], &["nftables"]));
    section.take("refuse", |value| {
        match value.text()? {
            "reset" => {}
            "drop" => value.fail(
                "\"drop\" cannot be had with the relay: the kernel has accepted a connection before the relay sees it, \
                 and all that is left is to reset it",
            ),
            other => value.fail(format!("{other:?} is none of \"reset\", \"drop\"")),
        }
        Some(())
    });
    section.not_yet("external");
    section.only_false("masquerade");
    let addresses = match section.take("addresses", list(address)) {
        Some(addresses) => addresses.into_iter().map(|address| address.value).collect(),
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let second = Duration::from_secs(1);
    Forward {
        addresses,
        connections: section.take("connections", number(1..=1_000_000)).unwrap_or(4096),
        grants: section.take("grants", number(1..=10_000_000)).unwrap_or(1_000_000),
        connect_timeout: section.take("connect_timeout", duration(second / 10..=60 * second)).unwrap_or(3 * second),
        idle_timeout: section.take("idle_timeout", duration(second..=3600 * second)).unwrap_or(60 * second),
        health_every: section.take("health_every", duration(second..=3600 * second)).unwrap_or(10 * second),
    }
}
