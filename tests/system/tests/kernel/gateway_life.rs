//! The gateway's kernel path over its life: providers that come and go, other tools, restarts, the end.

use kmsgate_system_tests::gateway::{Gateway, PASSWORD};
use kmsgate_system_tests::kernel::{Family, Site};
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::namespace::Host;
use kmsgate_system_tests::net::{End, Outcome, echo};
use kmsgate_system_tests::provider::Manner;
use std::net::IpAddr;

/// What nft lists in a host, without the fingerprint by which the enforcer knows its own rules again.
fn listed(host: &Host) -> String {
    let text = host.output("nft", &["--stateless", "list", "ruleset"]);
    text.lines()
        .map(|line| line.split(" comment \"kmsgate").next().unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn granted(site: &Site, gateway: &Gateway, address: IpAddr) -> kmsgate_system_tests::http::Answer {
    site.person.within(|| gateway.granted(address, "alice"))
}

#[test]
fn what_is_printed_is_loaded_and_nothing_stays_behind_when_it_is_removed() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut gateway = site.setup().start();
    let drained = Family::V4.provider(1).to_string();
    let said = gateway.command(&["providers", "drain", &drained], "");
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = gateway.command(&["providers", "list"], "");
    assert!(said.out.lines().any(|line| line.contains(&drained) && line.ends_with("drained")), "{}", said.out);

    let printed = gateway.command(&["ruleset"], "");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let file = gateway.path().join("printed.nft");
    std::fs::write(&file, &printed.out).unwrap();
    let other = Host::new("other");
    let _loaded = other.output("nft", &["-f", file.to_str().unwrap()]);
    gateway.log.until("the provider to be drained", || Some(()).filter(|()| listed(&site.gateway) == listed(&other)));

    let address = Family::V4.person(1);
    granted(&site, &gateway, address);
    let running = site.connect(address).through();
    let refused = site.gateway.within(|| gateway.command(&["ruleset", "--remove"], ""));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(gateway.stop().success());
    let removed = site.gateway.within(|| gateway.command(&["ruleset", "--remove"], ""));
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(listed(&site.gateway), "");
    let connections = std::fs::read_to_string("/proc/net/nf_conntrack");
    assert!(
        connections.is_err()
            || site.gateway.within(|| std::fs::read_to_string("/proc/net/nf_conntrack").unwrap()).is_empty()
    );
    assert!(matches!(echo(running), Outcome::Reset));
}

#[test]
fn another_tool_flushes_the_ruleset_and_what_was_open_comes_back_with_what_was_left() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let gateway = site.setup().service("connections", "3").start();
    let address = Family::V4.person(1);
    granted(&site, &gateway, address);
    assert!(site.connect(address).is_through());
    gateway.until("the first claim and its end", |grants| grants[0].claims == 1 && grants[0].alive == 0);
    let end = gateway.only_grant().ends_at;
    let before = gateway.log.len();
    let _flushed = site.gateway.output("nft", &["flush", "ruleset"]);
    gateway.log.until("the error event", || gateway.log.after(before, &["kmsgate: ruleset_removed"]));
    gateway.log.until("the way to be open again", || Some(()).filter(|()| site.connect(address).is_through()));
    gateway.until("the second claim", |grants| grants[0].claims == 2);
    assert!(site.connect(address).is_through(), "the third");
    assert!(!site.connect(address).is_through(), "a fourth");
    assert_eq!(gateway.only_grant().ends_at, end);
}

#[test]
fn a_provider_down_is_passed_over_and_all_down_refuses_sign_ins_and_keeps_budgets() {
    kernel_needs!();
    let site = Site::new();
    let one = site.provider(0, Family::V4, Manner::Echo);
    let setup = site.setup().service("health", "\"tcp\"").service("connections", "2");
    let providers = format!("[\"{}\", \"{}\"]", Family::V4.provider(0), Family::V4.provider(1));
    let forward = "mode = \"nftables\"\nexternal = [\"ext\"]\nhealth_every = \"1s\"";
    let gateway = setup.service("providers", &providers).section("forward", forward).start();
    let address = Family::V4.person(1);
    granted(&site, &gateway, address);
    let running = site.connect(address).through();
    drop(one);
    gateway.log.until("the check to see it", || gateway.log.after(0, &["provider_down", "198.19.0.2:1688"]));
    // The way in is shut for new ones, and their budget is kept.
    let refused = site.person.within(|| gateway.sign_in(Family::V4.person(2), "bob", PASSWORD));
    assert_eq!((refused.status, refused.text("reason").as_str()), (503, "no_provider"), "{refused:?}");
    gateway.log.until("new connections to be refused", || Some(()).filter(|()| !site.connect(address).is_through()));
    assert_eq!(gateway.grants()[0].claims, 1);
    assert!(echo(running).is_through(), "the one that runs goes on");
    let two = site.provider(1, Family::V4, Manner::Echo);
    gateway.log.until("the other to be seen", || gateway.log.after(0, &["provider_up", "198.19.1.2:1688"]));
    gateway.log.until("the second connection", || Some(()).filter(|()| site.connect(address).is_through()));
    assert_eq!(two.accepted(), gateway.command(&["providers", "list"], "").out.matches(" up").count() + 1);
}

#[test]
fn a_person_of_a_family_that_no_provider_has_goes_through_the_relay_with_the_same_budget() {
    kernel_needs!();
    let site = Site::new();
    let provider = site.provider(0, Family::V4, Manner::Echo);
    let gateway = site.setup().service("providers", &format!("[\"{}\"]", provider.address)).start();
    let [by_kernel, by_relay] = Family::BOTH.map(|family| family.person(1));
    for address in [by_kernel, by_relay] {
        assert!(!site.connect(address).is_through(), "{address} before");
        let granted = granted(&site, &gateway, address);
        let running = site.connect(address).through();
        assert!(!site.connect(address).is_through(), "{address} again");
        let cancelled = site.person.within(|| gateway.cancel(address, &granted));
        assert_eq!(cancelled.text("state"), "closed");
        assert!(!site.connect(address).is_through(), "{address} after");
        drop(running);
    }
    let claims: Vec<_> = gateway.grants().iter().map(|grant| grant.claims).collect();
    assert_eq!(claims, [1, 1]);
    assert_eq!(kmsgate_system_tests::ledger::number(&gateway.ledger(), RELAYED), 1);
}

const RELAYED: &str = "SELECT count(*) FROM events WHERE body LIKE '%\"relayed\":true%'";

#[test]
fn f09_a_revoked_grant_takes_its_running_connection_with_it() {
    kernel_needs!();
    let site = Site::new();
    let providers = [0, 1].map(|number| site.provider(number, Family::V4, Manner::Echo));
    let gateway = site.setup().start();
    let address = Family::V4.person(1);
    let granted = granted(&site, &gateway, address);
    let running = site.connect(address).through();
    let said = gateway.command(&["grants", "revoke", &granted.text("id")], "");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(gateway.only_grant().cause.as_deref(), Some("revoked"));
    assert!(matches!(echo(running), Outcome::Reset));
    let ends = || providers.iter().flat_map(|provider| provider.ends()).collect::<Vec<_>>();
    let ended = gateway.log.until("the provider to be told", || Some(ends()).filter(|ends| !ends.is_empty()));
    assert_eq!(ended, [End::Reset]);
}

#[test]
fn a_connection_past_its_limits_ends_its_grant() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let gateway = site.setup().service("max_connection", "\"1s\"").service("connections", "2").start();
    let address = Family::V4.person(1);
    granted(&site, &gateway, address);
    let running = site.connect(address).through();
    gateway.until("the end", |grants| grants[0].state == "closed" && grants[0].cause.as_deref() == Some("limit"));
    assert!(matches!(echo(running), Outcome::Reset));

    let gateway = {
        drop(gateway);
        site.setup().service("max_bytes_in", "2000").service("connections", "2").start()
    };
    granted(&site, &gateway, address);
    let running = site.connect(address).through();
    let told: Vec<_> = (0..100).map(|_| echo(running.try_clone().unwrap())).collect();
    assert!(told.iter().any(|told| matches!(told, Outcome::Reset)), "it was cut");
    gateway.until("the end", |grants| grants[0].cause.as_deref() == Some("limit"));
}
