//! The enforcer's table for a configuration. What must never happen here: a place in it that is another one for serve.

use crate::config::{Config, KernelSettings, Provider};
use ipnet::IpNet;
use kmsgate_core::name::ServiceName;
use kmsgate_core::policy::Policy;
use kmsgate_orders::table::{LONGEST_WINDOW, Network, ProviderEntry, ServiceEntry, Table, is_service_name};

/// The table; none unless the kernel forwards. Services and providers stand in the order of the configuration. `ports` are
/// those at which services really are, where the configuration says "any free one".
#[must_use]
pub fn of(config: &Config, ports: &[u16]) -> Option<Table> {
    let KernelSettings { external, refuse, masquerade, mark_mask, opens_per_second } = config.forward.kernel.clone()?;
    let services = config.services.iter().enumerate().map(|(index, service)| ServiceEntry {
        name: name(index, config),
        port: ports.get(index).copied().unwrap_or(service.port),
        max_bytes_in: service.max_bytes_in.unwrap_or(0),
        providers: service.providers.iter().map(entry).collect(),
        bypass: bypass(&config.policy, &service.terms.service),
    });
    let mut addresses: Vec<_> = config.forward.addresses.clone();
    // Unspecified means all of a family, and a family is never half meant.
    if addresses.iter().any(std::net::IpAddr::is_unspecified) {
        addresses.clear();
    }
    Some(Table {
        external,
        addresses,
        refuse,
        masquerade,
        mark_mask,
        // An operator may open a grant for as long as this.
        longest_window: LONGEST_WINDOW,
        opens_per_second,
        grants: u32::try_from(config.forward.grants).unwrap_or(u32::MAX),
        services: services.collect(),
    })
}

fn entry(provider: &Provider) -> ProviderEntry {
    ProviderEntry { address: provider.address, weight: provider.weight }
}

/// The service's own name where nft can have it, else one that is nobody else's.
fn name(index: usize, config: &Config) -> String {
    let named = |name: &str| config.services.iter().any(|service| service.terms.service.as_str() == name);
    let own = config.services.get(index).map(|service| service.terms.service.as_str()).unwrap_or_default();
    if is_service_name(own) {
        return own.to_owned();
    }
    // Longer by a letter each time: one of them is free.
    let mut other = format!("service{index}");
    while named(&other) {
        other.push('x');
    }
    other
}

/// The networks that need no sign-in for a service, none within another: the kernel's set takes each address once.
fn bypass(policy: &Policy, service: &ServiceName) -> Vec<Network> {
    let of_it = policy.bypasses.iter().filter(|bypass| bypass.services.is_empty() || bypass.services.contains(service));
    let networks: Vec<IpNet> = of_it.flat_map(|bypass| bypass.networks.iter().map(IpNet::trunc)).collect();
    let network = |network: IpNet| Network { first: network.network(), prefix: network.prefix_len() };
    IpNet::aggregate(&networks).into_iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn table(text: &str) -> Table {
        let common = "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[account_server]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n\
                      [forward]\nmode = \"nftables\"\nexternal = [\"eth0\"]\n";
        let config = Config::parse(Path::new("kmsgate.toml"), &format!("{common}{text}")).unwrap();
        of(&config, &[1688, 7]).unwrap()
    }

    #[test]
    fn every_table_is_one_that_the_enforcer_reads() {
        let made = table(
            "[[service]]\nname = \"kms\"\nmax_bytes_in = 9\n\
             providers = [\"10.0.0.2:1688\", { address = \"[2001:db8::2]:1688\", weight = 3 }]\n\
             [[service]]\nname = \"2-nd\"\nport = 0\nproviders = [\"10.0.0.2:7\"]\n",
        );
        assert_eq!(Table::parse(&made.write()), Ok(made.clone()));
        assert_eq!(made.services[0].name, "kms");
        assert_eq!(made.services[0].max_bytes_in, 9);
        assert_eq!(made.services[0].providers.iter().map(|provider| provider.weight).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((made.services[1].name.as_str(), made.services[1].port), ("service1", 7));
        let taken = table(
            "[[service]]\nname = \"service1\"\nport = 1688\nproviders = [\"10.0.0.2:1688\"]\n\
             [[service]]\nname = \"2-nd\"\nport = 7\nproviders = [\"10.0.0.2:7\"]\n",
        );
        assert_eq!(taken.services[1].name, "service1x");
        assert_eq!(Table::parse(&taken.write()), Ok(taken));
    }

    #[test]
    fn named_addresses_are_in_it_and_all_of_them_are_not() {
        let service = "[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n";
        assert_eq!(table(service).addresses, Vec::<std::net::IpAddr>::new());
        let named = table(&format!("addresses = [\"192.0.2.1\", \"2001:db8::1\"]\n{service}"));
        assert_eq!(named.addresses.len(), 2);
        assert_eq!(Table::parse(&named.write()), Ok(named));
    }

    #[test]
    fn a_bypass_within_another_is_there_once() {
        let made = table(
            "[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\", \"[2001:db8::2]:1688\"]\n\
             [[service]]\nname = \"other\"\nport = 7\nproviders = [\"10.0.0.2:7\"]\n\
             [[bypass]]\nname = \"all\"\nnetworks = [\"140.113.0.0/16\"]\n\
             [[bypass]]\nname = \"some\"\nnetworks = [\"140.113.10.0/24\", \"2001:288::/32\"]\nservices = [\"kms\"]\n",
        );
        let networks =
            |service: usize| -> Vec<String> { made.services[service].bypass.iter().map(ToString::to_string).collect() };
        assert_eq!(networks(0), ["140.113.0.0/16", "2001:288::/32"]);
        assert_eq!(networks(1), ["140.113.0.0/16"]);
    }
    #[test]
    fn a_bypass_of_a_family_that_no_provider_has_is_none() {
        let text = "[[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n\
                    [[bypass]]\nname = \"labs\"\nnetworks = [\"140.113.10.0/24\", \"2001:288:4001:10::/64\"]\n";
        assert_eq!(table(text).services[0].bypass.len(), 1);
        let common =
            "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[account_server]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n";
        for (mode, passes, others) in [("[forward]\nmode = \"nftables\"\nexternal = [\"eth0\"]\n", 1, 1), ("", 0, 2)] {
            let config = Config::parse(Path::new("kmsgate.toml"), &format!("{common}{mode}{text}")).unwrap();
            let networks: usize = config.policy.bypasses.iter().map(|bypass| bypass.networks.len()).sum();
            assert_eq!((networks, config.not_bypassed.len()), (passes, others), "{mode}");
        }
    }
}
