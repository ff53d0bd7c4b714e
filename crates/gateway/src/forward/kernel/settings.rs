//! What the machine's settings must be for the kernel to forward. What must never happen here: a setting that is changed: they
//! are the administrator's, and other programs may hang on them.

use crate::config::Config;
use std::path::{Path, PathBuf};

/// Where the kernel shows its settings (proc(5)); those of `net` are the network namespace's own.
const SETTINGS: &str = "/proc/sys";

/// A setting as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as sysctl(8) has it.
    pub key: &'static str,
    /// Its value, or what is wrong with it and what to do.
    pub seen: Result<String, String>,
}

/// What a setting is needed for.
struct Needed {
    key: &'static str,
    /// Values that will do.
    good: &'static [&'static str],
    otherwise: &'static str,
}

const FORWARD4: Needed =
    Needed { key: "net.ipv4.ip_forward", good: &["1"], otherwise: "no connection reaches an IPv4 provider" };
const FORWARD6: Needed =
    Needed { key: "net.ipv6.conf.all.forwarding", good: &["1"], otherwise: "no connection reaches an IPv6 provider" };
const CONNTRACK: [Needed; 3] = [
    Needed {
        key: "net.netfilter.nf_conntrack_acct",
        good: &["1"],
        otherwise: "bytes are not counted, and a claim that a provider left unanswered is not given back",
    },
    Needed {
        key: "net.netfilter.nf_conntrack_timestamp",
        good: &["1"],
        otherwise: "how long a connection lasted is not recorded",
    },
    // 2: on while somebody listens, as the enforcer does (Linux, Documentation/networking/nf_conntrack-sysctl.rst).
    Needed {
        key: "net.netfilter.nf_conntrack_events",
        good: &["1", "2"],
        otherwise: "a connection is known to have come or ended only when its grant is looked at",
    },
];

/// Every setting that this configuration needs.
#[must_use]
pub fn look(config: &Config) -> Vec<Setting> {
    look_in(Path::new(SETTINGS), config)
}

fn look_in(settings: &Path, config: &Config) -> Vec<Setting> {
    let providers = || config.services.iter().flat_map(|service| &service.providers).map(|provider| provider.address);
    let v4 = providers().any(|provider| provider.is_ipv4()).then_some(FORWARD4);
    let v6 = providers().any(|provider| provider.is_ipv6()).then_some(FORWARD6);
    let needed = v4.into_iter().chain(v6).chain(CONNTRACK);
    needed.map(|needed| Setting { key: needed.key, seen: needed.seen(settings) }).collect()
}

impl Needed {
    fn seen(&self, settings: &Path) -> Result<String, String> {
        let Self { key, good, otherwise } = self;
        let wanted = good.first().copied().unwrap_or_default();
        match std::fs::read_to_string(path(settings, key)) {
            Ok(value) if good.contains(&value.trim()) => Ok(value.trim().to_owned()),
            Ok(value) => {
                let value = value.trim();
                Err(format!(
                    "is {value}: {otherwise}; `sysctl -w {key}={wanted}`, and {key} = {wanted} in /etc/sysctl.d"
                ))
            }
            Err(error) if key.starts_with("net.netfilter.") => {
                Err(format!("{error}: {otherwise}; `modprobe nf_conntrack`, and its name in /etc/modules-load.d"))
            }
            Err(error) => Err(format!(
                "{error}: {otherwise}; this machine has the address family switched off: switch it on, or leave out its \
                 providers"
            )),
        }
    }
}

/// How many connections the kernel can hold, and how many there are; none where it does not say.
#[must_use]
pub fn conntrack() -> Option<(u64, u64)> {
    let number = |key| std::fs::read_to_string(path(Path::new(SETTINGS), key)).ok()?.trim().parse().ok();
    number("net.netfilter.nf_conntrack_max").zip(number("net.netfilter.nf_conntrack_count"))
}

fn path(settings: &Path, key: &str) -> PathBuf {
    settings.join(key.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_says_what_hangs_on_it_and_how_to_set_it() {
        let place = tempfile::tempdir().unwrap();
        let set = |key: &str, value: &str| {
            let path = path(place.path(), key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value).unwrap();
        };
        let text = "[portal]\nlisten = [\"127.0.0.1:0\"]\n[[account_server]]\nname = \"a\"\nkind = \"file\"\npath = \"/x\"\n\
                    [[service]]\nname = \"kms\"\nproviders = [\"10.0.0.2:1688\"]\n";
        let config = Config::parse(Path::new("kmsgate.toml"), text).unwrap();
        let seen = || look_in(place.path(), &config).into_iter().map(|setting| setting.seen).collect::<Vec<_>>();
        let absent: Vec<String> = seen().into_iter().map(Result::unwrap_err).collect();
        assert!(absent[0].contains("switched off") && !absent[0].contains("modprobe"), "{absent:?}");
        assert!(absent[1..].iter().all(|fault| fault.contains("modprobe nf_conntrack")), "{absent:?}");
        for (key, value) in [
            ("net.ipv4.ip_forward", "1\n"),
            ("net.netfilter.nf_conntrack_acct", "0\n"),
            ("net.netfilter.nf_conntrack_timestamp", "1\n"),
            ("net.netfilter.nf_conntrack_events", "2\n"),
        ] {
            set(key, value);
        }
        let [forward, acct, timestamp, events] = seen().try_into().unwrap();
        assert_eq!([forward, timestamp, events], [Ok("1".into()), Ok("1".into()), Ok("2".into())], "no IPv6 provider");
        let fault = acct.unwrap_err();
        assert!(fault.contains("is 0") && fault.contains("sysctl -w net.netfilter.nf_conntrack_acct=1"), "{fault}");
    }

    #[test]
    fn the_file_that_is_shipped_sets_every_one() {
        let shipped = include_str!("../../../../../etc/kmsgate-sysctl.conf");
        let lines = || shipped.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
        let needed: Vec<Needed> = [FORWARD4, FORWARD6].into_iter().chain(CONNTRACK).collect();
        assert_eq!(lines().count(), needed.len());
        for needed in needed {
            let (_, value) = lines().find(|(key, _)| *key == needed.key).unwrap_or_else(|| panic!("{}", needed.key));
            assert!(needed.good.contains(&value), "{}", needed.key);
        }
    }
}
