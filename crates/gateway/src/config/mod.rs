//! The configuration: one file, read once, checked whole. What must never happen here: a default that opens something,
//! a key that is silently ignored.

use ipnet::IpNet;
use kmsgate_core::permit::Terms;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[portal]`.
#[derive(Debug, Clone)]
pub struct Portal {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What people type; decides Host, cookies and redirects. None: the listen address.
    pub public_url: Option<PublicUrl>,
    /// Certificate chain and key (PEM). None: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Plain HTTP beyond loopback and trusted proxies.
    pub insecure_http: bool,
    /// From whom X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Languages offered, the first by default: BCP 47 tags.
    pub languages: Vec<String>,
    /// The site's own title.
    pub title: String,
}

/// `certificate` and `private_key`.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

/// `public_url`, taken apart. Only scheme and authority; no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether the scheme is https.
    pub https: bool,
    /// Host and, if it is not the scheme's own, port.
    pub authority: String,
}

/// `[[service]]`.
#[derive(Debug, Clone)]
pub struct Service {
    /// The terms that a permit carries.
    pub terms: Arc<Terms>,
    /// The guarded port; 0 means any free one.
    pub port: u16,
    /// Where the service is.
    pub providers: Vec<SocketAddr>,
    /// What its connections speak.
    pub protocol: Protocol,
    /// `protocol = "msrpc"`: request PDUs in one connection; None: any number.
    pub calls: Option<u32>,
    /// Longest connection.
    pub max_connection: Option<Duration>,
    /// Most bytes from the person in one connection.
    pub max_bytes_in: Option<u64>,
    /// How providers are asked whether they are up.
    pub health: Health,
}

/// `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// DCE/RPC over TCP.
    Msrpc,
    /// Anything.
    Tcp,
}

/// `health`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// An RPC bind to the KMS interface is accepted.
    Msrpc,
    /// A connection is accepted.
    Tcp,
    /// Believed up.
    Off,
}

/// `[forward]`.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Our own addresses on which services are offered.
    pub addresses: Vec<IpAddr>,
    /// Most connections at once, all services together.
    pub connections: usize,
    /// Most grants open at once.
    pub grants: usize,
    /// Longest time for a provider to accept.
    pub connect_timeout: Duration,
    /// Longest silence of a connection in both directions.
    pub idle_timeout: Duration,
    /// Time between two health checks of a provider.
    pub health_every: Duration,
}
