//! What computers are told by DNS. What must never happen here: a name that is asked of anybody but this machine's resolver.
//!
//! A Windows computer that was told no licence server looks for the record `_vlmcs._tcp` in its own domain (Microsoft, "Key
//! Management Services (KMS) client activation and product keys").

use super::{Finding, Seen};
use crate::config::{Config, Protocol};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData};
use std::net::IpAddr;
use std::time::Duration;

/// A resolver that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// What a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

/// The record of the site's domain, against this gateway. Nothing where no KMS host is guarded.
pub(super) async fn findings(config: &Config) -> Option<Finding> {
    if !config.services.iter().any(|service| service.protocol == Protocol::Msrpc) {
        return None;
    }
    let host = config.portal.public_url.as_ref().map(|url| host_of(&url.authority));
    let Some((host, domain)) = host.and_then(|host| Some((host, domain_of(host)?))) else {
        let why = "[portal].public_url names no host in a domain, so the site's domain is not known";
        return Some(Finding::new("SRV record _vlmcs._tcp", Seen::Unseen(why.to_owned())));
    };
    let record = format!("_vlmcs._tcp.{domain}.");
    let seen = match look_up(&record).await {
        Ok(targets) => judge(&targets, host, config, is_ours),
        Err(error) => Seen::Unseen(format!("the resolver of /etc/resolv.conf did not say: {error}")),
    };
    Some(Finding::new(format!("SRV record _vlmcs._tcp.{domain}"), seen))
}

fn judge(targets: &[Target], host: &str, config: &Config, is_ours: impl Fn(IpAddr) -> bool) -> Seen {
    let kms = || config.services.iter().filter(|service| service.protocol == Protocol::Msrpc);
    let mut said = Vec::new();
    for Target { host: named, port, addresses } in targets {
        let here = named.eq_ignore_ascii_case(host) || addresses.iter().any(|address| is_ours(*address));
        let mut providers = kms().flat_map(|service| &service.providers).map(|provider| provider.address);
        let provider = providers.find(|provider| addresses.contains(&provider.ip()));
        match (here, provider) {
            (true, _) if kms().any(|service| service.port == *port) => {
                said.push(format!("{named}:{port} is this gateway"))
            }
            (true, _) => {
                return Seen::Fault(format!(
                    "{named}:{port} is this gateway, but no service of it has port {port}: computers would be refused; \
                     correct the record's port"
                ));
            }
            (false, Some(provider)) if provider.port() == *port => {
                said.push(format!("{named}:{port} is a provider: right for networks that reach it without a sign-in"));
            }
            (false, Some(provider)) => {
                return Seen::Fault(format!(
                    "{named}:{port} is a provider that listens at port {}: computers would be refused; correct the record's port",
                    provider.port()
                ));
            }
            (false, None) if addresses.is_empty() => {
                return Seen::Fault(format!(
                    "{named} has no address: computers find no server; correct or remove the record"
                ));
            }
            (false, None) => said.push(format!("{named}:{port} is neither this gateway nor one of its providers")),
        }
    }
    match said.is_empty() {
        true => Seen::Well("none: people name the gateway themselves, with the commands of the page".to_owned()),
        false => Seen::Well(said.join("; ")),
    }
}

async fn look_up(record: &str) -> Result<Vec<Target>, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    (options.timeout, options.attempts) = (PATIENCE, TRIES);
    let resolver = builder.build()?;
    let found = match resolver.srv_lookup(record).await {
        Ok(found) => found,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut targets = Vec::new();
    for answer in found.answers() {
        let RData::SRV(srv) = &answer.data else { continue };
        let addresses = match resolver.lookup_ip(srv.target.clone()).await {
            Ok(addresses) => addresses.iter().collect(),
            Err(error) if error.is_no_records_found() => Vec::new(),
            Err(error) => return Err(error),
        };
        targets.push(Target { host: bare(&srv.target), port: srv.port, addresses });
    }
    Ok(targets)
}

fn bare(name: &Name) -> String {
    name.to_utf8().trim_end_matches('.').to_owned()
}

/// Whether this machine has the address.
fn is_ours(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The domain in which a host is; none for an address, or a name without one.
fn domain_of(host: &str) -> Option<&str> {
    let (_, domain) = host.split_once('.')?;
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    (!is_address && domain.contains('.')).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_record_is_held_against_the_gateway() {
        let text = "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[account_server]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n\
                    [[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n";
        let config = Config::parse(Path::new("kmsgate.toml"), text).unwrap();
        let target = |host: &str, port, address: &str| Target {
            host: host.to_owned(),
            port,
            addresses: vec![address.parse().unwrap()],
        };
        let judge = |targets: &[Target]| {
            judge(targets, "kms.example.edu", &config, |address| address == "192.0.2.1".parse::<IpAddr>().unwrap())
        };
        let well = |targets: &[Target], words: &str| matches!(judge(targets), Seen::Well(seen) if seen.contains(words));
        let fault =
            |targets: &[Target], words: &str| matches!(judge(targets), Seen::Fault(seen) if seen.contains(words));
        assert!(well(&[], "name the gateway themselves"));
        assert!(well(&[target("KMS.example.edu", 1688, "203.0.113.1")], "is this gateway"));
        assert!(well(&[target("other.example.edu", 1688, "192.0.2.1")], "is this gateway"), "by its address");
        assert!(fault(&[target("kms.example.edu", 1689, "192.0.2.1")], "no service of it has port 1689"));
        assert!(well(&[target("inside.example.edu", 1688, "10.0.0.2")], "is a provider"));
        assert!(fault(&[target("inside.example.edu", 1690, "10.0.0.2")], "listens at port 1688"));
        assert!(well(&[target("old.example.edu", 1688, "10.9.9.9")], "neither"));
        let nowhere = Target { host: "gone.example.edu".to_owned(), port: 1688, addresses: vec![] };
        assert!(fault(&[target("kms.example.edu", 1688, "192.0.2.1"), nowhere], "has no address"));
    }

    #[test]
    fn a_domain_is_what_follows_the_first_label_of_a_name() {
        for (authority, domain) in [
            ("kms.example.edu", Some("example.edu")),
            ("kms.example.edu:8443", Some("example.edu")),
            ("example.edu", None),
            ("localhost:8080", None),
            ("192.0.2.1", None),
            ("[2001:db8::1]:443", None),
        ] {
            assert_eq!(domain_of(host_of(authority)), domain, "{authority}");
        }
    }
}
