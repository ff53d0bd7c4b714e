//! Asks the running gateway, through its control socket. What must never happen here: a way around the gateway to its
//! ledger.

use super::CliError;
use crate::config::Config;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Longer than any answer takes but a report over years.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    socket: PathBuf,
    /// The first service of the configuration.
    pub first_service: Option<String>,
}

impl Gateway {
    /// The one that runs on this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let first = config.services.first().map(|service| service.terms.service.to_string());
        Self { socket: config.node.control_socket(), first_service: first }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If no gateway runs, or it refuses; the text is its own.
    pub fn get(&self, path: &str) -> Result<Value, CliError> {
        self.ask("GET", path, None)
    }

    /// Sends something.
    ///
    /// # Errors
    /// As [`Gateway::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.ask("POST", path, Some(body))
    }

    /// Ends something.
    ///
    /// # Errors
    /// As [`Gateway::get`].
    pub fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.ask("DELETE", path, None)
    }

    /// `kmsgate reload`.
    ///
    /// # Errors
    /// The new file's errors; the old one stays in force then.
    pub fn reload(&self) -> Result<(), CliError> {
        let answer = self.ask("POST", "/api/v1/reload", None)?;
        println!("read again; open grants are as they were");
        let restart = answer.get("needs_restart").and_then(Value::as_array).into_iter().flatten();
        restart.filter_map(Value::as_str).for_each(|key| println!("{key} has changed: that needs a restart"));
        Ok(())
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let (status, text) = self.exchange(method, path, body).map_err(|error| self.unreachable(&error))?;
        let value: Value =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).map_err(CliError::failed)? };
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let detail = value.get("detail").or_else(|| value.get("reason")).and_then(Value::as_str);
        Err(CliError::Failed(detail.map_or_else(|| format!("the gateway answered {status}"), str::to_owned)))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        parse(&answer).ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, "that was no HTTP answer"))
    }

    fn unreachable(&self, error: &std::io::Error) -> CliError {
        let socket = self.socket.display();
        CliError::Failed(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                format!("no gateway is running here ({socket}: {error}); start it with `kmsgate serve`")
            }
            ErrorKind::PermissionDenied => format!("{socket}: {error}; ask as root or as the gateway's own user"),
            _ => format!("{socket}: {error}"),
        })
    }
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some((status, unchunk(body)?));
    }
    Some((status, body.to_owned()))
}

/// RFC 9112 section 7.1, without extensions and trailers, which our own server does not send.
fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// A value for a query string: everything but unreserved characters percent-encoded (RFC 3986 section 2).
#[must_use]
pub fn encoded(value: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    value.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"), Some((200, "{}".into())));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((200, "{\"a\":1}".into())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"), None);
        assert_eq!(parse("nonsense"), None);
        assert_eq!(encoded("campus/愛&x=1"), "campus/%E6%84%9B%26x%3D1");
    }
}
