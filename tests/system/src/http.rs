//! A person's browser, or a script of theirs: one request a connection, plain HTTP on loopback.

use crate::net::connect_from;
use serde_json::{Value, json};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The head, without the line of the status.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// From the slash.
    pub path: &'a str,
    /// Lines beside Host, Content-Length and Connection.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent as it is.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// All bytes of it.
    #[must_use]
    pub fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body);
        bytes
    }
}

/// Asks from this address.
///
/// # Errors
/// If there is no HTTP answer.
pub fn ask(source: IpAddr, portal: SocketAddr, request: &Request<'_>) -> std::io::Result<Answer> {
    let mut stream = connect_from(source, portal)?;
    stream.write_all(&request.bytes(portal))?;
    answer(&mut stream)
}

/// Reads an answer to its end.
///
/// # Errors
/// If it is none.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("no HTTP answer: {text:?}")))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, head) = head.split_once("\r\n")?;
    let status = first.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The body of a sign-in by the API.
#[must_use]
pub fn credentials(username: &str, password: &str) -> String {
    json!({ "username": username, "password": password }).to_string()
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// A text of the body.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        self.json().get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A number of the body.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.json().get(key).and_then(Value::as_u64)
    }

    /// Status and reason, `201 granted` or `200 granted` if there is none.
    #[must_use]
    pub fn verdict(&self) -> String {
        let reason = self.text("reason");
        format!("{} {}", self.status, if reason.is_empty() { "granted" } else { &reason })
    }

    /// Every line of the head of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}
