//! `[operator]`.

use super::Operator;
use super::read::{At, Section};
use super::value::{at, socket_address};
use std::net::SocketAddr;

/// The section, with the place of its listen address for the check of clashes.
pub(super) fn read(section: &Section<'_, '_>) -> (Operator, Option<At<SocketAddr>>) {
    section.not_yet("operators");
    let listen = section.take("listen", at(socket_address));
    if let Some(address) = listen.as_ref().filter(|address| !address.value.ip().to_canonical().is_loopback()) {
        section.fail(
            &address.span,
            "listen: operators cannot sign in in this version, so their pages may be served on loopback only",
        );
    }
    (Operator { listen: listen.as_ref().map(|address| address.value) }, listen)
}
