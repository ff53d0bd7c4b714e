//! Listening sockets. What must never happen here: an IPv6 socket that takes IPv4 too.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::net::{SocketAddr, TcpListener};

/// A non-blocking listener. An IPv6 one takes IPv6 alone, so that `0.0.0.0` and `[::]` may stand side by side.
///
/// # Errors
/// As bind(2) and listen(2).
pub fn tcp(address: SocketAddr, backlog: i32) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // What it accepts has it too: small answers are not held back for more to come.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(socket.into())
}
