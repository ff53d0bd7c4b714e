//! What is loaded is what is printed.

use kmsgate::forward::nft::Text;
use kmsgate_enforcer::carry_out::{Enforcer, since_boot};
use kmsgate_enforcer::load::{self, Found};
use kmsgate_enforcer::netlink::Socket;
use kmsgate_enforcer::rule::Word;
use kmsgate_enforcer::ruleset::{self, all_up};
use kmsgate_orders::order::{Answer, Order};
use kmsgate_orders::table::Table;
use kmsgate_system_tests::kernel::opening;
use kmsgate_system_tests::kernel_needs;
use kmsgate_system_tests::namespace::Host;
use std::io::Write;

const TABLE: &str = "kmsgate-table 1
external ext
refuse reset
masquerade yes
mark_mask 0xffffffff
longest_window 3600
opens_per_second 10000
grants 1048576
service kms port=1688 max_bytes_in=100000
provider 198.19.0.2:1688 weight=1
provider 198.19.0.3:1689 weight=2
provider [2001:db8:2::2]:1688 weight=1
provider [2001:db8:2::3]:1688 weight=1
bypass 203.0.113.0/24
bypass 2001:db8:99::/48
service other port=99 max_bytes_in=0
provider 198.19.0.2:99 weight=1
";

/// What nft reads back from the kernel, expression by expression, without the numbers that the kernel gave.
fn read_back(host: &Host) -> Vec<String> {
    let listed = host.output("nft", &["--debug=netlink", "list", "table", "inet", "kmsgate"]);
    let expressions = listed.split("table inet kmsgate {").next().unwrap_or_default();
    let mut chain = String::new();
    let mut lines = vec![];
    for line in expressions.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("inet kmsgate ") {
            chain = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if line.starts_with('[') {
            lines.push(format!("{chain} {line}"));
        }
    }
    lines
}

#[test]
fn what_is_printed_is_what_is_loaded() {
    kernel_needs!();
    let table = Table::parse(TABLE).expect("a table");
    let rules = ruleset::of(&table, &all_up(&table)).expect("marks fit");
    let (ours, theirs) = (Host::new("ours"), Host::new("theirs"));
    let found = ours.within(|| load::load(&mut Socket::open(&[]).expect("a socket"), &rules));
    assert_eq!(found, Ok(Found::Nothing));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(file, "{}", Text(&rules)).expect("written");
    let path = file.path().to_str().expect("a plain path");
    let printed = std::fs::read_to_string(path).expect("read");
    let nft = theirs.command("nft").args(["-f", path]).output().expect("nft runs");
    assert!(nft.status.success(), "{}\n{printed}", String::from_utf8_lossy(&nft.stderr));
    let (ours_read, theirs_read) = (read_back(&ours), read_back(&theirs));
    for (ours, theirs) in ours_read.iter().zip(&theirs_read) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours_read.len(), theirs_read.len());
    assert!(ours_read.len() > 500, "{}", ours_read.len());
}

#[test]
fn another_configuration_is_loaded_over_the_first_once_and_open_grants_stay() {
    kernel_needs!();
    let first = Table::parse(TABLE).expect("a table");
    let second = TABLE.replace("refuse reset", "refuse drop").replace("198.19.0.3:1689", "198.19.0.4:1690");
    let (second, _other_service) = second.split_once("service other").expect("two services");
    let second = Table::parse(&second.replace("203.0.113.0/24", "198.51.100.0/24")).expect("a table");
    let host = Host::new("gate");
    host.within(|| {
        let mut before = start(first.clone()).0;
        let grants =
            ["192.0.2.7", "2001:db8::7"].map(|address| opening(1, address.parse().expect("an address"), 60, 2));
        assert_eq!(before.open(&grants, since_boot()), [Answer::Done; 2]);
        for (table, has, has_not) in [
            (&second, "198.51.100.0/24", ["203.0.113.0/24", "other_"]),
            (&first, "other_open4", ["198.51.100.0/24", "198.19.0.4"]),
            (&second, "198.51.100.0/24", ["203.0.113.0/24", "other_"]),
        ] {
            let (mut after, found) = start(table.clone());
            assert_eq!(found, Found::Other);
            let there = host.output("nft", &["list", "table", "inet", "kmsgate"]);
            assert!(there.contains(has), "{there}");
            assert!(!has_not.iter().any(|text| there.contains(text)), "nothing of the other stays: {there}");
            after.guard().unwrap();
            assert!(!after.take_reinstalled(), "it is as it must be");
            for grant in grants {
                let adopted = after.order(Order::Adopt(grant), &mut |_| ());
                assert!(matches!(adopted, Answer::Standing(standing) if standing.left == 2), "{adopted:?}");
            }
        }
    });
}

#[test]
fn a_provider_that_goes_down_is_no_change_by_another_program() {
    kernel_needs!();
    let table = Table::parse(TABLE).expect("a table");
    Host::new("gate").within(|| {
        let mut enforcer = start(table.clone()).0;
        for (provider, up) in [(0, false), (1, false), (0, true), (1, true), (2, false)] {
            let order = Order::Provider { service: 0, provider, up };
            assert_eq!(enforcer.order(order, &mut |_| ()), Answer::Done);
            enforcer.guard().unwrap();
            assert!(!enforcer.take_reinstalled(), "{order:?}");
        }
        // One that is started anew begins with all of them up, and brings the rules with it.
        assert_eq!(start(table).1, Found::Other);
    });
}

#[test]
fn a_kernel_that_lacks_something_is_told_of_by_what_it_lacks() {
    kernel_needs!();
    let table = Table::parse(TABLE).expect("a table");
    let whole = || ruleset::of(&table, &all_up(&table)).expect("a ruleset");
    // This kernel lacks nothing: what it is asked for is what no kernel has.
    let mut lacks_timeouts = whole();
    for word in lacks_timeouts.chains.iter_mut().flat_map(|chain| &mut chain.rules).flatten() {
        if let Word::Timeouts(name) = word {
            name.push_str("none");
        }
    }
    let mut refuses_timeouts = whole();
    refuses_timeouts.timeouts[1].name = "x".repeat(300);
    let mut refuses_providers = whole();
    let forward = refuses_providers.chains.iter_mut().find(|chain| chain.name == "forward").expect("a chain");
    forward.rules.push(vec![Word::Tcp, Word::ToProvider("198.19.0.2:1688".parse().expect("an address"))]);
    Host::new("gate").within(|| {
        let mut socket = Socket::open(&[]).expect("root may open it");
        for (rules, part) in [
            (&lacks_timeouts, "a rule of kms_begin4 (`ct timeout` needs Linux 4.19"),
            (&refuses_timeouts, "time-outs (`ct timeout` needs Linux 4.19"),
            (&refuses_providers, "a rule of forward (`dnat` in inet needs Linux 5.2"),
        ] {
            let why = load::load(&mut socket, rules).expect_err("no kernel takes it").to_string();
            assert!(why.contains(part), "{why}");
            assert!(!load::is_present(&mut socket).expect("an answer"), "nothing of it stays");
        }
        assert_eq!(load::load(&mut socket, &whole()).expect("it takes the whole"), Found::Nothing);
    });
}

fn start(table: Table) -> (Enforcer, Found) {
    Enforcer::start(table, since_boot()).expect("the kernel takes it")
}
