//! A client as light as it can be: the gateway is measured, not this.

use crate::Failure;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection from one of this machine's addresses.
pub(crate) async fn connect_from(source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source.into(), 0))?;
    Ok(socket.connect(to).await?)
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
    host: SocketAddr,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(host: SocketAddr) -> Result<Self, Failure> {
        Self::connect_from(Ipv4Addr::LOCALHOST, host).await
    }

    /// From one of this machine's addresses.
    pub(crate) async fn connect_from(source: Ipv4Addr, host: SocketAddr) -> Result<Self, Failure> {
        let stream = connect_from(source, host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, answer: Vec::with_capacity(4096) })
    }

    /// Signs a person in, from `source` if a proxy says so. The body of the answer.
    pub(crate) async fn sign_in(&mut self, person: u32, source: Option<Ipv4Addr>) -> Result<&[u8], Failure> {
        let body = format!("{{\"username\":\"person{person}\",\"password\":\"{}\"}}", crate::place::PASSWORD);
        let source = source.map(|source| format!("X-Forwarded-For: {source}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /api/v1/grants HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{source}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        let (head, length) = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the portal closed the connection".into());
            }
            let Some(head) = self.answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(self.answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (head + 4, length.ok_or("an answer without a length")?.parse::<usize>()?);
        };
        while self.answer.len() < head + length {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the portal closed the connection".into());
            }
        }
        if !self.answer.starts_with(b"HTTP/1.1 201") {
            return Err(format!("refused: {}", String::from_utf8_lossy(&self.answer)).into());
        }
        Ok(self.answer.get(head..).unwrap_or_default())
    }
}
