//! `[forward]`.

use super::read::{At, Section, Value};
use super::value::{address, at, boolean, choice, duration, list, number};
use super::{Forward, KernelSettings, Service};
use kmsgate_orders::table::{Refuse, is_interface, is_mark_mask};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Keys that the kernel's forwarder alone has.
const KERNELS: [&str; 3] = ["external", "mark_mask", "opens_per_second"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Relay,
    Kernel,
}

pub(super) fn read(section: &Section<'_, '_>, services: &[At<Service>]) -> Forward {
    let mode = section.take("mode", choice(&[("relay", Mode::Relay), ("nftables", Mode::Kernel)]));
    let kernel = kernel(section, mode.unwrap_or(Mode::Relay), services);
    let addresses = match section.take("addresses", list(address)) {
        Some(addresses) => addresses.into_iter().map(|address| address.value).collect(),
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let second = Duration::from_secs(1);
    Forward {
        kernel,
        addresses,
        connections: section.take("connections", number(1..=1_000_000)).unwrap_or(4096),
        grants: section.take("grants", number(1..=10_000_000)).unwrap_or(1_000_000),
        connect_timeout: section.take("connect_timeout", duration(second / 10..=60 * second)).unwrap_or(3 * second),
        idle_timeout: section.take("idle_timeout", duration(second..=3600 * second)).unwrap_or(60 * second),
        health_every: section.take("health_every", duration(second..=3600 * second)).unwrap_or(10 * second),
    }
}

/// What `mode = "nftables"` says; none with the relay.
fn kernel(section: &Section<'_, '_>, mode: Mode, services: &[At<Service>]) -> Option<KernelSettings> {
    let external = section.take("external", list(interface));
    let refuse = section.take("refuse", at(choice(&[("reset", Refuse::Reset), ("drop", Refuse::Drop)])));
    let masquerade = section.take("masquerade", at(boolean));
    let mark_mask = section.take("mark_mask", mark_mask);
    let opens_per_second = section.take("opens_per_second", number(1..=1_000_000));
    if mode == Mode::Relay {
        relay_has_none(section, refuse.as_ref(), masquerade.as_ref());
        return None;
    }
    if !section.has("external") {
        section.fail(
            &section.key_span("mode").unwrap_or_else(|| section.span()),
            "mode = \"nftables\" needs external: the interfaces on which people come, such as external = [\"eth0\"]",
        );
    }
    for service in services.iter().filter(|service| service.value.terms.ipv6_prefix != 128) {
        section.fail(
            &service.span,
            "ipv6_prefix cannot be had with mode = \"nftables\": the kernel looks for whole addresses; leave it out, or \
             use the relay",
        );
    }
    Some(KernelSettings {
        external: external.unwrap_or_default().into_iter().map(|interface| interface.value).collect(),
        refuse: refuse.map_or(Refuse::Reset, |refuse| refuse.value),
        masquerade: masquerade.is_some_and(|masquerade| masquerade.value),
        mark_mask: mark_mask.unwrap_or(u32::MAX),
        opens_per_second: opens_per_second.unwrap_or(10_000),
    })
}

fn relay_has_none(section: &Section<'_, '_>, refuse: Option<&At<Refuse>>, masquerade: Option<&At<bool>>) {
    if let Some(refuse) = refuse.filter(|refuse| refuse.value == Refuse::Drop) {
        section.fail(
            &refuse.span,
            "refuse: \"drop\" cannot be had with the relay: the kernel has accepted a connection before the relay sees \
             it, and all that is left is to reset it; use mode = \"nftables\"",
        );
    }
    if let Some(masquerade) = masquerade.filter(|masquerade| masquerade.value) {
        section.fail(
            &masquerade.span,
            "masquerade: with the relay providers see the gateway's address in any case; leave it out",
        );
    }
    for key in KERNELS {
        if let Some(span) = section.key_span(key) {
            section.fail(&span, format!("{key} goes with mode = \"nftables\""));
        }
    }
}

fn interface(value: Value<'_, '_>) -> Option<String> {
    let name = value.text()?;
    if !is_interface(name) {
        value.fail(format!("{name:?} is no name of an interface"));
        return None;
    }
    Some(name.to_owned())
}

/// Written as `0x00ffffff`.
fn mark_mask(value: Value<'_, '_>) -> Option<u32> {
    let mask = u32::try_from(value.integer()?).ok().filter(|mask| is_mark_mask(*mask));
    if mask.is_none() {
        value.fail("must have at least 24 bits in a row, such as 0xffffffff or 0x00ffffff");
    }
    mask
}
