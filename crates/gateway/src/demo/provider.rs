//! A stand-in for a provider. What must never happen here: activation. It answers an RPC bind and echoes everything
//! else, so that a connection can be seen to arrive; it knows nothing of what a real provider is asked.

use super::DemoError;
use crate::forward::msrpc::{Header, bind_ack};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A stand-in that runs until it is dropped.
#[derive(Debug)]
pub struct Provider {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Provider {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Starts one on a free port of 127.0.0.1.
///
/// # Errors
/// If no port can be bound.
pub async fn start() -> Result<Provider, DemoError> {
    let failed = |error| DemoError::Io("start the stand-in provider", PathBuf::new(), error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let serving = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client));
        }
    });
    Ok(Provider { address, _serving: AbortOnDropHandle::new(serving) })
}

/// Answers until the client is done; what the client breaks off is its own affair.
async fn serve(mut client: TcpStream) {
    let mut buffer = vec![0; 4096];
    while let Ok(read) = client.read(&mut buffer).await {
        let asked = buffer.get(..read).unwrap_or_default();
        if asked.is_empty() {
            break;
        }
        let answer = match Header::read(asked) {
            Ok(header) if header.is_bind() => bind_ack(header.call),
            _ => asked.to_vec(),
        };
        if client.write_all(&answer).await.is_err() {
            break;
        }
    }
}
