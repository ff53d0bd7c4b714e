//! The configuration: one file, read once, checked whole. What must never happen here: a default that opens something,
//! a key that is silently ignored.
//!
//! * [`Config::load`]: the file into a checked configuration, or everything that is wrong with it.
//! * `read`: the one way in which a table is read; `value`: what a value may be; [`error`]: how a fault is told.
//! * one file a section; `apply`: what a running gateway makes of it, and what a changed one needs.

mod account_server;
mod accounts;
mod apply;
pub mod error;
mod forward;
mod ledger;
mod load;
mod log;
mod node;
mod operator;
mod portal;
mod quota;
mod read;
mod rules;
mod service;
mod throttle;
mod value;

pub use apply::BuildError;
pub use error::{ConfigError, ConfigErrors};
pub use load::known_keys;
pub use portal::LANGUAGES;
pub use value::{reason, show_duration};

use ipnet::IpNet;
use kmsgate_accounts::{
    FileSettings, FrameSettings, LdapSettings, NisSettings, RadiusSettings, RemoteSettings, SqliteSettings, Way,
};
use kmsgate_core::name::{Name, ServerName};
use kmsgate_core::permit::Terms;
use kmsgate_core::policy::Policy;
use kmsgate_core::throttle::Limits;
use kmsgate_orders::table::Refuse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `[portal]`.
    pub portal: Portal,
    /// Every `[[account_server]]`, and `[accounts]`.
    pub accounts: AccountsSettings,
    /// Every `[[service]]`, in the order of the file; at least one.
    pub services: Vec<Service>,
    /// Every `[[deny]]`, `[[rule]]` and `[[bypass]]`, with `[quota]`.
    pub policy: Policy,
    /// Networks of a bypass that is none for them: nothing carries them without a sign-in.
    pub not_bypassed: Vec<(kmsgate_core::name::RuleName, ipnet::IpNet)>,
    /// `[throttle]`.
    pub throttle: ThrottleSettings,
    /// `[forward]`.
    pub forward: Forward,
    /// `[ledger]`.
    pub ledger: LedgerSettings,
    /// `[log]`.
    pub log: Log,
    /// `[operator]`.
    pub operator: Operator,
    /// `[node]`.
    pub node: Node,
}

/// `[portal]`.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// What one client, and all together, may hold.
    pub limits: PortalLimits,
}

/// What clients of the portal may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortalLimits {
    /// Most connections at once.
    pub connections: usize,
    /// Most connections at once from one address (IPv6: one /64).
    pub connections_per_address: usize,
    /// Longest time until a request's headers are there, the TLS handshake included.
    pub header_timeout: Duration,
    /// Longest time until a request's body is there.
    pub request_timeout: Duration,
}

impl Default for PortalLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 256,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// `certificate` and `private_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// One of a service's `providers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of new connections, beside the others' weights: 1 to 100.
    pub weight: u8,
}

/// `[[service]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The terms that a permit carries.
    pub terms: Arc<Terms>,
    /// The guarded port; 0 means any free one.
    pub port: u16,
    /// Where the service is.
    pub providers: Vec<Provider>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// `mode = "nftables"`: what the kernel's forwarder needs; None: the relay alone.
    pub kernel: Option<KernelSettings>,
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

/// What `[forward]` says with `mode = "nftables"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSettings {
    /// Interfaces on which services are guarded.
    pub external: Vec<String>,
    /// What a connection without a grant gets.
    pub refuse: Refuse,
    /// Whether providers see the gateway's address.
    pub masquerade: bool,
    /// Which bits of a connection's mark are ours.
    pub mark_mask: u32,
    /// Grants that the enforcer opens in a second at most.
    pub opens_per_second: u32,
}

/// Every `[[account_server]]`, and `[accounts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsSettings {
    /// The servers, in the order of the file; at least one.
    pub servers: Vec<AccountServer>,
    /// Asked in turn until one accepts. Default: all, in the order of the file.
    pub order: Vec<ServerName>,
    /// `user@realm` goes only there.
    pub realms: BTreeMap<Name, Vec<ServerName>>,
}

/// `[[account_server]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountServer {
    /// What all kinds have.
    pub frame: FrameSettings,
    /// What it is.
    pub kind: Kind,
}

/// What an account server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `kind = "file"`: our own account file.
    File(FileSettings),
    /// `kind = "imap"`.
    Imap(Way),
    /// `kind = "ldap"`.
    Ldap(Box<LdapSettings>),
    /// `kind = "nis"`.
    Nis(NisSettings),
    /// `kind = "pop3"`.
    Pop3(Way),
    /// `kind = "postgres"`.
    Postgres(Box<RemoteSettings>),
    /// `kind = "radius"`.
    Radius(RadiusSettings),
    /// `kind = "sqlite"`.
    Sqlite(SqliteSettings),
}

/// `[throttle]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Failures only.
    pub limits: Limits,
}

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long finished grants are kept: 32 days to 10 years.
    pub keep: Duration,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub target: LogTarget,
    /// How.
    pub format: LogFormat,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nobody: the ledger alone keeps the record. No file says so; `kmsgate demo --tour` shows the ledger itself.
    Nobody,
    /// Standard output.
    Stdout,
    /// A syslog socket on this machine.
    Unix(PathBuf),
    /// A syslog receiver: host and port, one datagram a line (RFC 5426).
    Udp(String, u16),
    /// A syslog receiver: host and port, octet counting (RFC 6587 section 3.4.1).
    Tcp(String, u16),
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// RFC 5424.
    Rfc5424,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[operator]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Where the operator's pages, counters and health are served; None: on the control socket only.
    pub listen: Option<SocketAddr>,
}

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What this gateway calls itself; the machine's name unless it is said.
    pub name: String,
    /// Started as root, serve becomes this user.
    pub user: Option<String>,
    /// Where the control socket is.
    pub run_dir: PathBuf,
}

impl Node {
    /// The socket of an enforcer that serve did not start.
    #[must_use]
    pub fn enforcer_socket(&self) -> PathBuf {
        self.run_dir.join("enforcer.sock")
    }

    /// The socket through which the command line talks to serve.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("control.sock")
    }
}
