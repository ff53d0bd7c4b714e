//! Who is it? Account servers are asked; what they hold is never stored. What must never happen here: an outage taken for
//! a wrong password, a password kept, a word to the ledger.
//!
//! In the order in which a question passes through them:
//!
//! * [`chain`]: which servers may hold the name, in which order they are asked, and which answer stands.
//! * [`frame`]: what all kinds share: connections, [`queue`] fair between addresses, time-out, [`breaker`], counters.
//! * [`server`]: the kinds, listed once.
//! * [`verdict`]: what a server can say.
//! * [`mod@file`]: names and argon2id hashes in a local file.
//! * [`hashes`]: password hashes that other systems stored.
//! * [`pop3`], [`imap`]: a mail server.
//! * [`nis`]: a NIS domain.
//! * [`radius`]: a RADIUS server.
//! * [`ldap`]: a directory.
//! * [`sql`]: databases of other programs.
//! * [`reach`]: the way to a server over TCP, with its hosts; [`lines`]: a conversation in lines.
//! * [`tls`]: how a server's certificate is verified, the same for every kind.

pub mod breaker;
pub mod chain;
pub mod file;
pub mod frame;
pub mod hashes;
pub mod imap;
pub mod ldap;
pub mod lines;
pub mod nis;
pub mod pop3;
pub mod queue;
pub mod radius;
pub mod reach;
pub mod secret;
pub mod server;
pub mod sql;
pub mod tls;
pub mod verdict;

pub use chain::{Accounts, BadAccounts, ChainAnswer, Pending};
pub use file::{FileServer, FileSettings};
pub use frame::{FrameSettings, RealmForm, Snapshot};
pub use imap::ImapServer;
pub use ldap::{LdapServer, LdapSettings};
pub use nis::{NisServer, NisSettings};
pub use pop3::Pop3Server;
pub use radius::{RadiusServer, RadiusSettings};
pub use reach::{Host, TlsMode, Way};
pub use server::{AccountServer, FrontDoor, Server};
pub use sql::postgres::PostgresServer;
pub use sql::sqlite::{SqliteServer, SqliteSettings};
pub use sql::{RemoteSettings, SqlSettings};
