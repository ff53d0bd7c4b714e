//! What people would use instead to open a port for an address: the `nft` program once for each grant, and the two iptables
//! rules of 2007. Each runs on a host of its own.

use crate::Failure;
use kmsgate_system_tests::kernel::Site;
use kmsgate_system_tests::namespace::Host;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The same ruleset as the enforcer's, into which `nft` writes the same four elements.
pub(crate) struct Nft(Site);

impl Nft {
    pub(crate) fn new() -> Self {
        let site = super::grants::site();
        drop(site.guard());
        Self(site)
    }

    /// Opens this address for one connection, as the enforcer does it.
    pub(crate) fn open(&self, address: Ipv4Addr) -> Result<(), Failure> {
        let add = |set: &str, element: &str| format!("add element inet kmsgate {set} {{ {element} }}\n");
        let text = [
            add("kms_gen4", &format!("{address} timeout 12h : 0x11")),
            add("live4", &format!("{address} . 0x11 timeout 12h")),
            add("kms_pass4", &format!("{address} limit rate 1/week burst 1 packets counter timeout 12h")),
            add("kms_open4", &format!("{address} timeout 12h")),
        ];
        run(&self.0.gateway, "/usr/sbin/nft", &[&text.concat()])
    }
}

/// A host with so many iptables rules, half of them in either table.
pub(crate) struct Iptables {
    host: Host,
    program: &'static str,
    /// Rules before those that are measured.
    pub(crate) before: u32,
}

/// The iptables that this machine has, and its Debian name: the one of 2007 if it works here, else the one that writes for
/// nftables.
pub(crate) fn iptables() -> Option<&'static str> {
    let works = |program: &&str| {
        Path::new(program).exists() && {
            let host = Host::new("tables");
            run(&host, program, &["-w", "-t", "nat", "-S"]).is_ok()
        }
    };
    ["/usr/sbin/iptables-legacy", "/usr/sbin/iptables-nft"].into_iter().find(works)
}

impl Iptables {
    /// A host with so many rules of other addresses, an even number.
    pub(crate) fn new(program: &'static str, before: u32) -> Result<Self, Failure> {
        let host = Host::new("tables");
        let mut text = String::new();
        for (table, chain, target) in [("nat", "PREROUTING", DNAT), ("filter", "FORWARD", "ACCEPT")] {
            writeln!(text, "*{table}")?;
            for number in 0..before / 2 {
                let address = crate::fill::address(11, number);
                writeln!(text, "-A {chain} -s {address} -p tcp --dport 1688 -j {target}")?;
            }
            writeln!(text, "COMMIT")?;
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let restore = format!("{program}-restore");
        run(&host, &restore, &[file.path().to_str().ok_or("a path that is no text")?])?;
        Ok(Self { host, program, before })
    }

    /// Opens this address as the scheme of 2007 does: where it goes, and that it may.
    pub(crate) fn open(&self, address: Ipv4Addr) -> Result<(), Failure> {
        let source = address.to_string();
        let which = ["-s", source.as_str(), "-p", "tcp", "--dport", "1688", "-j"];
        let forward = [&["-w", "-t", "nat", "-A", "PREROUTING"], &which[..], &["DNAT", "--to-destination", PROVIDER]];
        run(&self.host, self.program, &forward.concat())?;
        run(&self.host, self.program, &[&["-w", "-A", "FORWARD"], &which[..], &["ACCEPT"]].concat())
    }
}

const PROVIDER: &str = "198.19.0.2:1688";
const DNAT: &str = "DNAT --to-destination 198.19.0.2:1688";

/// Runs a program in a thread of this host, so that nothing but the program is measured.
fn run(host: &Host, program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let output = host.within(|| command.output())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {said}", arguments.join(" ")).into())
}
