//! A person's client: connects from any address of this machine, and tells what came of it.

use crate::PATIENCE;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// What came of a connection to a guarded port.
#[derive(Debug)]
pub enum Outcome {
    /// The provider sent back what was sent to it; the connection is still there.
    Echoed(TcpStream),
    /// Refused or reset.
    Reset,
    /// Closed in good order, without a byte.
    Closed,
    /// Neither an answer nor an end.
    Silent,
}

impl Outcome {
    /// Whether the provider was reached.
    #[must_use]
    pub fn is_through(&self) -> bool {
        matches!(self, Self::Echoed(_))
    }

    /// The connection.
    ///
    /// # Panics
    /// If the provider was not reached.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that cannot go on fails")]
    #[track_caller]
    pub fn through(self) -> TcpStream {
        match self {
            Self::Echoed(stream) => stream,
            other => panic!("not through: {other:?}"),
        }
    }
}

/// How a connection ended, seen from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Fin,
    /// Reset.
    Reset,
    /// It did not.
    None,
}

/// A connection from an address of one's own choice.
///
/// # Errors
/// What the system says.
pub fn connect_from(source: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The same without waiting for an answer: a SYN has been sent, and whatever is said next waits for the rest.
///
/// # Errors
/// What the system says.
pub fn begin_from(source: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    match connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(refused) => return Err(refused.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects and says something; waits for it to come back.
#[must_use]
pub fn try_through(source: IpAddr, to: SocketAddr) -> Outcome {
    match connect_from(source, to) {
        Ok(stream) => echo(stream),
        Err(error) => failed(&error),
    }
}

/// Says something on a connection and waits for it to come back.
#[must_use]
pub fn echo(mut stream: TcpStream) -> Outcome {
    const WORDS: &[u8] = b"is anybody there?";
    if let Err(error) = stream.write_all(WORDS) {
        return failed(&error);
    }
    let mut back = [0; WORDS.len()];
    match stream.read_exact(&mut back) {
        Ok(()) if back == WORDS => Outcome::Echoed(stream),
        Ok(()) => Outcome::Closed,
        Err(error) => failed(&error),
    }
}

fn failed(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe => Outcome::Reset,
        ErrorKind::UnexpectedEof => Outcome::Closed,
        _ => Outcome::Silent,
    }
}

/// Waits for the end of a connection on which nothing more is said.
///
/// # Panics
/// If the system refuses a time-out.
pub fn end_of(stream: &mut TcpStream) -> End {
    end_within(stream, PATIENCE)
}

/// The end of a connection if it has come, or comes within this time.
///
/// # Panics
/// If the system refuses a time-out.
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
pub fn end_within(stream: &mut TcpStream, time: Duration) -> End {
    stream.set_read_timeout(Some(time)).unwrap();
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return End::Fin,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return End::None,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return End::Reset,
        }
    }
}

/// Closes with RST instead of FIN (socket(7), SO_LINGER).
pub fn reset(stream: TcpStream) {
    // Closed all the same if the option is refused.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap_or(());
    drop(stream);
}
