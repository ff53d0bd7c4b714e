//! What a running gateway makes of a configuration, and which changes of it need a restart.

use super::{AccountsSettings, Config, Kind, Service, ThrottleSettings};
use kmsgate_accounts::tls::TlsError;
use kmsgate_accounts::{
    Accounts, BadAccounts, FileServer, ImapServer, LdapServer, NisServer, Pop3Server, PostgresServer, RadiusServer,
    Server, SqliteServer,
};
use kmsgate_core::throttle::Throttle;
use std::fmt;
use std::sync::Arc;

/// How many addresses and names the throttle remembers apart before it merges them to shorter prefixes.
const THROTTLE_CAPACITY: usize = 100_000;

/// Why account servers cannot be made of a checked configuration: a file changed since, or the system has no roots.
#[derive(Debug)]
pub enum BuildError {
    /// TLS to the server of this name.
    Tls(String, String),
    /// The set of servers.
    Accounts(BadAccounts),
}

impl AccountsSettings {
    /// The account servers, ready to be asked. Connects to nothing.
    ///
    /// # Errors
    /// [`BuildError`] names the server.
    pub fn build(&self) -> Result<Accounts, BuildError> {
        let mut servers = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let tls = |why: TlsError| BuildError::Tls(server.frame.name.to_string(), why.to_string());
            let made = match &server.kind {
                Kind::File(settings) => Server::File(FileServer::new(settings.clone())),
                Kind::Imap(way) => Server::Imap(ImapServer::new(way).map_err(tls)?),
                Kind::Ldap(settings) => Server::Ldap(LdapServer::new(settings.clone()).map_err(tls)?),
                Kind::Nis(settings) => Server::Nis(NisServer::new(settings.clone()).map_err(tls)?),
                Kind::Pop3(way) => Server::Pop3(Pop3Server::new(way).map_err(tls)?),
                Kind::Postgres(settings) => {
                    let most = server.frame.connections;
                    Server::Postgres(PostgresServer::new(settings.clone(), most).map_err(tls)?)
                }
                Kind::Sqlite(settings) => Server::Sqlite(SqliteServer::new(settings.clone())),
                Kind::Radius(settings) => Server::Radius(RadiusServer::new(settings.clone())),
            };
            servers.push((server.frame.clone(), made));
        }
        Accounts::new(servers, &self.order, &self.realms).map_err(BuildError::Accounts)
    }
}

impl ThrottleSettings {
    /// An empty throttle with these limits. `seed` must be random: it keeps strangers from choosing names that collide.
    #[must_use]
    pub fn build(&self, seed: [u8; 16]) -> Throttle {
        Throttle::new(self.limits, THROTTLE_CAPACITY, seed)
    }
}

impl Config {
    /// The sections whose changes from `self` to `new` a running gateway does not take over without a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        // The terms are policy's and are taken over; the rest belongs to listeners that are open.
        let same = |(one, other): (&Service, &Service)| {
            one.terms.service == other.terms.service
                && one.terms.ipv6_prefix == other.terms.ipv6_prefix
                && *one == Service { terms: one.terms.clone(), ..other.clone() }
        };
        let services = self.services.len() == new.services.len() && self.services.iter().zip(&new.services).all(same);
        [
            ("[portal]", self.portal != new.portal),
            ("[[service]]", !services),
            ("[forward]", self.forward != new.forward),
            ("[ledger]", self.ledger != new.ledger),
            ("[log]", self.log != new.log),
            ("[operator]", self.operator != new.operator),
            ("[node]", self.node != new.node),
        ]
        .into_iter()
        .filter_map(|(section, changed)| changed.then_some(section))
        .collect()
    }
}

impl Config {
    /// Keeps of `old` what stands among policy's terms and yet needs a restart: by how much of an IPv6 address grants are
    /// bound. The forwarder would look for them elsewhere, and an address could have two.
    pub fn keep_prefixes(&mut self, old: &Self) {
        for before in &old.services {
            let (name, prefix) = (&before.terms.service, before.terms.ipv6_prefix);
            for service in self.services.iter_mut().filter(|service| service.terms.service == *name) {
                Arc::make_mut(&mut service.terms).ipv6_prefix = prefix;
            }
            for terms in self.policy.services.iter_mut().filter(|terms| terms.service == *name) {
                Arc::make_mut(terms).ipv6_prefix = prefix;
            }
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(server, why) => write!(f, "account server {server}: {why}"),
            Self::Accounts(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn p9_a_running_gateway_keeps_the_width_of_addresses() {
        let file = |prefix| {
            let text = format!(
                "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[account_server]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n\
                 [accounts]\norder = [\"a\"]\n[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n\
                 ipv6_prefix = {prefix}\n"
            );
            Config::parse(Path::new("kmsgate.toml"), &text).unwrap()
        };
        let (old, mut new) = (file(128), file(64));
        assert_eq!(old.needs_restart(&new), ["[[service]]"]);
        new.keep_prefixes(&old);
        assert_eq!(new.services[0].terms.ipv6_prefix, 128);
        assert_eq!(new.policy.services[0].ipv6_prefix, 128);
    }
}
