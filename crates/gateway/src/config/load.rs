//! From the file to the whole: every section in turn, then what several sections must agree on.

use super::account_server::Found;
use super::error::{ConfigError, ConfigErrors};
use super::read::{At, Reader, Section};
use super::rules::Common;
use super::value::reason;
use super::{
    AccountsSettings, Config, Service, account_server, accounts, forward, ledger, log, node, operator, portal, quota,
    rules, service, throttle,
};
use ipnet::IpNet;
use kmsgate_core::name::RuleName;
use kmsgate_core::policy::Bypass;
use kmsgate_core::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let bytes = fs::read(file).map(Zeroizing::new).map_err(|why| {
            let text = format!(
                "cannot be read: {}; copy etc/kmsgate.toml there, or name another file with --config",
                reason(&why)
            );
            ConfigErrors(vec![ConfigError::whole(file, text)])
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|why| {
            let good = why.valid_up_to();
            let before = bytes.get(..good).map(String::from_utf8_lossy).unwrap_or_default();
            let error = ConfigError::at(file, &before, &(good..good), "this is not UTF-8");
            ConfigErrors(vec![error])
        })?;
        Self::parse(file, text)
    }

    /// As [`Config::load`], from a text; `file` is its name in messages, and relative paths count from its directory.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        Reader::whole(file, text, |root| whole(file, root)).0
    }
}

/// Every key that the parser knows, by section: `portal` has `listen`, `rule.quota` has `week`. The shipped example is
/// compared with it.
#[must_use]
pub fn known_keys() -> BTreeMap<String, BTreeSet<String>> {
    let all = "[[account_server]]\nname = \"a\"\nkind = \"file\"\n[[account_server]]\nname = \"b\"\nkind = \"pop3\"\n\
               [[account_server]]\nname = \"l\"\nkind = \"ldap\"\n\
               [[account_server]]\nname = \"n\"\nkind = \"nis\"\n\
               [[account_server]]\nname = \"p\"\nkind = \"postgres\"\n\
               [[account_server]]\nname = \"s\"\nkind = \"sqlite\"\n\
               [[account_server]]\nname = \"r\"\nkind = \"radius\"\n\
               [[service]]\nname = \"kms\"\n[[deny]]\n[[rule]]\nquota = {}\n[[bypass]]\n\
               [throttle]\nper_address = {}\nper_user = {}\n";
    let file = Path::new("");
    Reader::whole(file, all, |root| whole(file, root)).1
}

fn whole(file: &Path, root: &Section<'_, '_>) -> Config {
    let (portal, portal_listen) = root.section("portal", portal::read);
    let servers = root.sections("account_server", account_server::read);
    servers_are_sound(root, &servers);
    let accounts = root.section("accounts", |section| accounts::read(section, &servers));
    let services = root.sections("service", service::read);
    let service_names = services_are_sound(root, &services);
    let quota = root.section("quota", quota::read);
    let domains: Vec<String> = servers.iter().filter_map(|found| found.domain.clone()).collect();
    let mut common = Common { services: &service_names, domains: &domains, quota: &quota, taken: BTreeSet::new() };
    let denials = root.sections("deny", |section| rules::deny(section, &mut common));
    let rules = root.sections("rule", |section| rules::rule(section, &mut common));
    let bypasses = root.sections("bypass", |section| rules::bypass(section, &mut common));
    let terms = services.iter().map(|service| Arc::clone(&service.value.terms)).collect();
    let throttle = root.section("throttle", throttle::read);
    let forward = root.section("forward", |section| forward::read(section, &services));
    let (bypasses, not_bypassed) = bypassed(bypasses, &services, forward.kernel.is_some());
    let policy = Policy { denials, rules, bypasses, services: terms, quota };
    let (operator, operator_listen) = root.section("operator", operator::read);
    ports_are_free(root, &services, &forward.addresses, &portal_listen, operator_listen.as_ref());
    root.not_yet("mail");
    Config {
        file: file.to_owned(),
        portal,
        accounts: AccountsSettings {
            servers: servers.into_iter().filter_map(|found| found.server).collect(),
            ..accounts
        },
        services: services.into_iter().map(|service| service.value).collect(),
        policy,
        not_bypassed,
        throttle,
        forward,
        ledger: root.section("ledger", ledger::read),
        log: root.section("log", log::read),
        operator,
        node: root.section("node", node::read),
    }
}

/// What passes without a sign-in: where the kernel forwards, and to providers of the same family. The rest signs in like
/// everybody else, instead of being told that it need not and then being refused.
fn bypassed(
    mut bypasses: Vec<Bypass>,
    services: &[At<Service>],
    kernel: bool,
) -> (Vec<Bypass>, Vec<(RuleName, IpNet)>) {
    let mut not = vec![];
    for bypass in &mut bypasses {
        let covered = |service: &&At<Service>| {
            bypass.services.is_empty() || bypass.services.contains(&service.value.terms.service)
        };
        let carried = |network: &IpNet| {
            let same = |address: IpAddr| address.is_ipv4() == network.addr().is_ipv4();
            let has_one =
                |service: &At<Service>| service.value.providers.iter().any(|provider| same(provider.address.ip()));
            kernel && services.iter().filter(covered).all(has_one)
        };
        let (pass, others): (Vec<IpNet>, Vec<IpNet>) = bypass.networks.iter().partition(|network| carried(network));
        not.extend(others.into_iter().map(|network| (bypass.name.clone(), network)));
        bypass.networks = pass;
    }
    (bypasses, not)
}

fn servers_are_sound(root: &Section<'_, '_>, servers: &[Found]) {
    if !root.has("account_server") {
        root.fail(&(0..0), "there is no [[account_server]]; without one nobody can sign in");
    }
    let mut taken = BTreeSet::new();
    for name in servers.iter().filter_map(|found| found.name.as_ref()) {
        if !taken.insert(name.value.as_str()) {
            root.fail(&name.span, format!("name: {:?} is taken by an earlier [[account_server]]", name.value));
        }
    }
}

/// The names of the services.
fn services_are_sound(root: &Section<'_, '_>, services: &[At<Service>]) -> Vec<String> {
    if !root.has("service") {
        root.fail(&(0..0), "there is no [[service]]; name the one to guard, such as name = \"kms\" with its providers");
    }
    let mut names: Vec<String> = Vec::new();
    for service in services {
        let name = service.value.terms.service.as_str();
        if names.iter().any(|had| had == name) {
            root.fail(&service.span, format!("the name {name:?} is taken by an earlier [[service]]"));
        }
        names.push(name.to_owned());
    }
    names
}

/// No two listeners want the same port of the same address.
fn ports_are_free(
    root: &Section<'_, '_>,
    services: &[At<Service>],
    addresses: &[IpAddr],
    portal: &[At<SocketAddr>],
    operator: Option<&At<SocketAddr>>,
) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let mut claim = |address: SocketAddr, who: &str, span: &super::read::Span| {
        let clash = taken.iter().find(|(other, _)| clashes(*other, address)).map(|(_, by)| by.clone());
        match clash {
            Some(by) => {
                root.fail(span, format!("{who} wants port {}, but {by} has it", address.port()));
                false
            }
            None => {
                taken.push((address, who.to_owned()));
                true
            }
        }
    };
    for listen in portal {
        claim(listen.value, "the portal", &listen.span);
    }
    if let Some(listen) = operator {
        claim(listen.value, "the operator's listener", &listen.span);
    }
    for service in services {
        let who = format!("the service {:?}", service.value.terms.service.as_str());
        for address in addresses {
            if !claim(SocketAddr::new(*address, service.value.port), &who, &service.span) {
                break;
            }
        }
    }
}

/// Two listeners on one port: of the same family, and the same address or all of them. Port 0 is any free one.
fn clashes(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
