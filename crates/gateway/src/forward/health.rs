//! Whether a provider is up. What must never happen here: a request; a health check asks for no more than a bind.

use super::msrpc;
use crate::config::Health;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks once. The text says what was seen; it is for the operator.
///
/// # Errors
/// What was seen instead of a healthy answer.
pub async fn check(provider: SocketAddr, how: Health, patience: Duration) -> Result<String, String> {
    match how {
        Health::Off => Ok("not checked".to_owned()),
        Health::Tcp => within(patience, connect(provider)).await.map(|_| "accepts connections".to_owned()),
        Health::Msrpc => within(patience, bind(provider)).await.map(|()| "accepts the RPC bind".to_owned()),
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = || Err(format!("no answer within {} ms", patience.as_millis()));
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| late())
}

async fn connect(provider: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(provider).await.map_err(|error| format!("cannot connect: {error}"))
}

/// Sends a bind and reads the one PDU that answers it.
async fn bind(provider: SocketAddr) -> Result<(), String> {
    let mut stream = connect(provider).await?;
    stream.write_all(&msrpc::bind()).await.map_err(|error| format!("cannot send the bind: {error}"))?;
    let mut answer = Vec::with_capacity(256);
    loop {
        match msrpc::Header::read(&answer) {
            Ok(header) if answer.len() >= usize::from(header.length) => break,
            Ok(_) | Err(msrpc::NotRpc::Short) => {}
            Err(error) => return Err(error.to_string()),
        }
        match (&mut stream).take(4096).read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("the connection broke while the bind was answered: {error}")),
        }
    }
    msrpc::accepted(&answer).map_err(|error| error.to_string())
}
