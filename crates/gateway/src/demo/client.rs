//! The tour's own hands: a browser's request and a client's connection, over plain sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No step of the tour waits longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer of the API.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: serde_json::Value,
}

/// Signs in by the API.
///
/// # Errors
/// If there is no HTTP answer.
pub fn sign_in(portal: SocketAddr, username: &str, password: &str) -> std::io::Result<Response> {
    let body = serde_json::json!({ "username": username, "password": password }).to_string();
    let request = format!(
        "POST /api/v1/grants HTTP/1.1\r\nHost: {portal}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect_timeout(&portal, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: serde_json::from_str(body).ok()? })
}

/// What came of a connection to the guarded port.
#[derive(Debug, PartialEq, Eq)]
pub enum Tried {
    /// Refused or reset before a byte came back.
    Reset,
    /// The provider accepted the bind.
    Accepted,
    /// Something else came back.
    Other(String),
}

/// Connects and sends an RPC bind to the interface of the service.
///
/// # Errors
/// If the connection fails otherwise than by a reset.
pub fn connect(guarded: SocketAddr) -> std::io::Result<Tried> {
    match bind(guarded) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe
            ) =>
        {
            Ok(Tried::Reset)
        }
        other => other,
    }
}

fn bind(guarded: SocketAddr) -> std::io::Result<Tried> {
    let mut stream = TcpStream::connect_timeout(&guarded, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&crate::forward::msrpc::bind())?;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer)?;
    let answer = answer.get(..length).unwrap_or_default();
    Ok(match crate::forward::msrpc::accepted(answer) {
        _ if length == 0 => Tried::Reset,
        Ok(()) => Tried::Accepted,
        Err(error) => Tried::Other(error.to_string()),
    })
}
