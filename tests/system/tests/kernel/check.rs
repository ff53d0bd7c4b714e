//! `kmsgate check` where the kernel forwards: what it finds is what is so, and what it advises helps.

use kmsgate_system_tests::gateway::{Gateway, Said, program};
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::log::Log;
use kmsgate_system_tests::namespace::Host;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// Runs it on the gateway's host.
fn check(site: &Site, gateway: &Gateway) -> Said {
    site.gateway.within(|| gateway.command(&["check"], ""))
}

/// The line about this, of a check that ends so.
#[track_caller]
fn line(said: &Said, code: i32, about: &str) -> String {
    assert_eq!(said.code, Some(code), "{said:?}");
    let found = said.out.lines().find(|line| line.contains(about));
    found.unwrap_or_else(|| panic!("{about}: {}", said.out)).to_owned()
}

/// The command that a line advises, between grave accents.
#[track_caller]
fn advised(line: &str) -> Vec<&str> {
    line.split('`').nth(1).unwrap_or_else(|| panic!("{line}")).split(' ').collect()
}

#[test]
fn check_names_each_setting_that_the_kernel_forwarder_lacks() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let gateway = site.setup().start();
    let said = check(&site, &gateway);
    for about in ["net.ipv4.ip_forward", "room in conntrack", "table inet kmsgate", "other packet filters", "way back"]
    {
        assert!(line(&said, 0, about).starts_with("ok "), "{}", said.out);
    }
    assert!(line(&said, 0, "way back from 198.19.0.2").contains("neighbour on in0"), "{}", said.out);
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.netfilter.nf_conntrack_acct"] {
        site.gateway.set(key, "0");
        let said = check(&site, &gateway);
        let line = line(&said, 1, key);
        assert!(line.starts_with("FAULT"), "{line}");
        let [sysctl, write, set] = advised(&line).try_into().unwrap();
        assert_eq!((sysctl, write), ("sysctl", "-w"));
        let (named, value) = set.split_once('=').unwrap();
        assert_eq!(named, key);
        site.gateway.set(named, value);
    }
    assert_eq!(check(&site, &gateway).code, Some(0));
}

#[test]
fn check_wants_room_in_conntrack_for_the_connections_of_the_configuration() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let forward = "mode = \"nftables\"\nexternal = [\"ext\"]\nconnections = 1000000";
    let gateway = site.setup().section("forward", forward).start();
    let said = check(&site, &gateway);
    assert!(line(&said, 1, "room in conntrack").contains("[forward].connections = 1000000 wants 2000000"), "{said:?}");
}

#[test]
fn check_tells_a_ruleset_that_is_not_there_or_is_another() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut gateway = site.setup().start();
    gateway.rewrite(|setup| setup.section("forward", "mode = \"nftables\"\nexternal = [\"ext\"]\nrefuse = \"drop\""));
    let said = check(&site, &gateway);
    assert!(line(&said, 1, "table inet kmsgate").contains("is of another configuration"), "{said:?}");
    gateway.rewrite(|setup| setup.section("forward", "mode = \"nftables\"\nexternal = [\"ext\"]"));
    assert!(gateway.stop().success());
    assert!(
        line(&check(&site, &gateway), 0, "table inet kmsgate").starts_with("ok "),
        "it stays when the gateway stops"
    );
    let removed = site.gateway.within(|| gateway.command(&["ruleset", "--remove"], ""));
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let said = check(&site, &gateway);
    assert!(line(&said, 0, "table inet kmsgate").starts_with("-  "), "not yet is no fault: {said:?}");
}

#[test]
fn check_finds_a_host_firewall_that_drops_us_and_what_it_advises_opens_it() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let gateway = site.setup().start();
    for chain in [
        "table inet host { chain forward { type filter hook forward priority 0; policy drop; }; }",
        "table ip docker { chain FORWARD { type filter hook forward priority 0; policy drop; }; }",
    ] {
        let _nothing = site.gateway.output("nft", &[chain]);
    }
    let said = check(&site, &gateway);
    let fault = line(&said, 1, "other packet filters");
    let advice: Vec<&str> = fault.split('`').skip(1).step_by(2).collect();
    assert_eq!(advice.len(), 2, "{fault}");
    let address = Family::V4.person(1);
    let granted = site.person.within(|| gateway.granted(address, "alice"));
    for command in advice {
        let words: Vec<&str> = command.split(' ').collect();
        let _nothing = site.gateway.output(words[0], &words[1..]);
    }
    let said = check(&site, &gateway);
    assert!(line(&said, 0, "other packet filters").contains("ask for our marks"), "{said:?}");
    assert!(site.connect(address).is_through(), "{granted:?}");
}

#[test]
fn check_says_that_answers_go_past_a_gateway_whose_providers_are_outside() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let external =
        |masquerade| format!("mode = \"nftables\"\nexternal = [\"ext\", \"in0\"]\nmasquerade = {masquerade}");
    let mut gateway = site.setup().section("forward", &external(false)).start();
    let said = check(&site, &gateway);
    assert!(line(&said, 1, "way back from 198.19.0.2").contains("masquerade = true"), "{said:?}");
    assert!(line(&said, 1, "way back from 198.19.1.2").starts_with("ok "), "{said:?}");
    gateway.rewrite(|setup| setup.section("forward", &external(true)));
    assert!(line(&check(&site, &gateway), 1, "way back from 198.19.0.2").starts_with("ok "), "but another ruleset");
}

/// A name server of the gateway's host, with what its resolver is told; both are gone with it.
struct NameServer {
    child: Child,
    directory: PathBuf,
}

impl NameServer {
    /// A real one, with these lines of its configuration.
    fn start(host: &Host, lines: &[&str]) -> Self {
        // Where `ip netns exec` looks for a host's own resolv.conf (ip-netns(8)).
        let directory = PathBuf::from("/etc/netns").join(host.name());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        let mut child = host
            .command("/usr/sbin/dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--pid-file="])
            .args(["--user=root", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/example.edu/"])
            .args(lines)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        log.collect(child.stderr.take().unwrap());
        let _line = log.line(&["started, version"]);
        Self { child, directory }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

#[test]
fn check_holds_the_sites_srv_record_against_the_gateway() {
    kernel_needs!();
    kmsgate_system_tests::need!("dnsmasq", "/usr/sbin/dnsmasq", "dnsmasq-base");
    let site = Site::new();
    let _providers = site.echoing();
    let portal = "listen = [\"192.0.2.1:80\", \"[2001:db8:0:1::1]:80\"]\ninsecure_http = true\n\
                  public_url = \"http://kms.example.edu\"";
    let setup = site.setup().service("protocol", "\"msrpc\"").service("health", "\"tcp\"");
    let gateway = setup.section("portal", portal).start();
    let check = |lines: &[&str]| {
        let _server = NameServer::start(&site.gateway, lines);
        let output = site
            .gateway
            .command(program().to_str().unwrap())
            .args(["check", "--config"])
            .arg(gateway.path().join("kmsgate.toml"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    };
    let about = "SRV record _vlmcs._tcp.example.edu";
    let host = "--host-record=kms.example.edu,192.0.2.1";
    let srv = |target: &str| format!("--srv-host=_vlmcs._tcp.example.edu,{target}");
    assert!(line(&check(&[]), 0, about).contains("none: people name the gateway themselves"));
    assert!(line(&check(&[host, &srv("kms.example.edu,1688")]), 0, about).contains("is this gateway"));
    assert!(line(&check(&[host, &srv("kms.example.edu,1689")]), 1, about).contains("no service of it has port 1689"));
    let inside = "--host-record=inside.example.edu,198.19.0.2";
    assert!(line(&check(&[inside, &srv("inside.example.edu,1688")]), 0, about).contains("is a provider"));
    assert!(line(&check(&[&srv("gone.example.edu,1688")]), 1, about).contains("has no address"));
}

#[test]
fn check_says_that_a_provider_tells_its_clients_another_port() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let gateway = site.setup().service("port", "1689").service("protocol", "\"msrpc\"").start();
    let said = check(&site, &gateway);
    assert!(line(&said, 1, "port of kms").contains("198.19.0.2:1688"), "{said:?}");
}
