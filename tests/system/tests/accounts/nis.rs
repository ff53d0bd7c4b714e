//! NIS at Debian's ypserv and rpcbind, on a host of the test's own. A stand-in made here answers as ypserv never does.

use crate::common::{Page, Somebody, ask, is, is_outage, is_wrong};
use kmsgate_accounts::Accounts;
use kmsgate_core::name::Login;
use kmsgate_core::password::Password;
use kmsgate_core::reason::Reason;
use kmsgate_system_tests::proxy::{Fault, Proxy};
use kmsgate_system_tests::ypserv::{SECRET, Wanted, YpServ};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use stand_in::{StandIn, Way};

mod stand_in;

/// The manual's configuration, with these urls.
fn page(urls: &[&str]) -> Page {
    let urls: Vec<String> = urls.iter().map(|url| format!("\"nis://{url}\"")).collect();
    Page::read("nis").with("\"nis://nis.example.edu/campus\"", &format!("[{}]", urls.join(", ")))
}

fn usual() -> Accounts {
    page(&["127.0.0.1/campus"]).accounts()
}

/// Does the work on the server's host.
fn on<T: Send>(server: &YpServ, work: impl AsyncFnOnce() -> T + Send) -> T {
    server.host.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    })
}

/// One whose hashes are in a map that is told to reserved ports alone.
fn with_shadow(fields: &str) -> Wanted {
    let passwd = vec!["alice:x:1000:50::/:/bin/sh".to_owned(), "ghost:x:1001:50::/:/bin/sh".to_owned()];
    let shadow = vec![format!("alice:{SECRET}:{fields}")];
    let mut wanted = Wanted::default();
    wanted.maps.retain(|(name, ..)| *name == "group.byname");
    wanted.maps.extend([("passwd.byname", passwd, false), ("shadow.byname", shadow, true)]);
    wanted
}

/// `secret`, with 300000 rounds.
const SLOW: &str =
    "$6$rounds=300000$saltsalt$8eg/BVk4pUuhXG8kncI0tXGpi3GoMG9je.8eL.4jvjSJsNmQ0NlUCC7nkcyxOkbWc/iVyZKlWG7M/1ojtiCFF.";

const GOOD: &str = "19000:0:99999:7:::";

#[test]
fn right_wrong_and_unknown_f19_with_the_manuals_configuration() {
    let Some(server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        let accounts = usual();
        is(ask(&accounts, "alice", "secret").await, "yp/alice");
        is(ask(&accounts, "ALICE", "secret").await, "yp/alice");
        is(ask(&accounts, "bob", "secret").await, "yp/bob");
        for (name, password) in [("alice", "Secret"), ("alice", "secret "), ("mallory", "secret"), ("root", "secret")] {
            is_wrong(ask(&accounts, name, password).await);
        }
        let by = ask(&accounts, "mallory", "secret").await.unwrap_err();
        assert!(by.log.contains("unknown name"), "{}", by.log);
        let found = accounts.probe().await.remove(0).1.unwrap();
        assert!(found.contains("serves campus, 3 groups, no shadow.byname. NIS proves nothing"), "{found}");
    });
}

#[test]
fn right_at_a_port_that_is_given_without_a_portmapper_and_over_ipv6() {
    let Some(server) = YpServ::start(&Wanted { port: Some(834), ..Wanted::default() }).unwrap() else {
        return;
    };
    // It does not take the same one for IPv6.
    let sixth = server.ipv6_port().unwrap();
    on(&server, async || {
        is(ask(&page(&["127.0.0.1:834/campus"]).accounts(), "alice", "secret").await, "yp/alice");
        is(ask(&page(&[&format!("[::1]:{sixth}/campus")]).accounts(), "alice", "secret").await, "yp/alice");
        is_outage(ask(&page(&["[::1]/campus"]).accounts(), "alice", "secret").await, "IPv4 only");
    });
}

#[test]
fn groups_are_those_that_name_somebody_and_the_primary_one() {
    let Some(server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let accounts = usual();
        for (name, groups) in [("alice", all(&["lab", "staff"])), ("bob", all(&["lab"]))] {
            let person = format!("yp/{name}");
            assert_eq!(ask(&accounts, name, "secret").await, Ok(Somebody { person, groups }));
        }
        let without = page(&["127.0.0.1/campus"]).with("groups = true", "groups = false").accounts();
        assert_eq!(ask(&without, "alice", "secret").await.unwrap().groups, all(&[]));
    });
}

#[test]
fn groups_of_a_large_domain_and_none_is_left_out() {
    let mut wanted = Wanted::default();
    for (name, lines, _) in &mut wanted.maps {
        if *name == "group.byname" {
            let members = vec!["somebody"; 400].join(",");
            lines.extend((0..1000).map(|n| format!("g{n}:*:{}:{members},alice", 2000 + n)));
        }
    }
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        assert_eq!(ask(&usual(), "alice", "secret").await.unwrap().groups.len(), 1002);
    });
}

#[test]
fn outage_groups_that_cannot_be_read_let_nobody_in() {
    let mut wanted = Wanted::default();
    wanted.maps.retain(|(name, ..)| *name != "group.byname");
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        is_outage(ask(&usual(), "alice", "secret").await, "group.byname: has no such map");
        is_wrong(ask(&usual(), "alice", "Secret").await);
    });
}

#[test]
fn disabled_locked_without_a_password_or_of_a_form_that_is_not_taken() {
    let Some(server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        let accounts = usual();
        assert_eq!(ask(&accounts, "locked", "secret").await.unwrap_err().reason, Reason::AccountUnusable);
        for (name, password) in [("locked", "Secret"), ("nobody", "*"), ("nobody", "secret"), ("open", "secret")] {
            is_wrong(ask(&accounts, name, password).await);
        }
        is_outage(ask(&accounts, "old", "secret").await, "no form of password hash that is known");
    });
}

#[test]
fn disabled_expired_by_shadow_is_told_after_the_right_password_alone() {
    let Some(mut server) = YpServ::start(&with_shadow(":::::10000:")).unwrap() else { return };
    for (fields, why) in
        [(":::::10000:", "expired"), ("0:0:99999:7:::", "must be changed"), ("10000:0:90:7:::", "must be changed")]
    {
        server.restart(with_shadow(fields)).unwrap();
        on(&server, async || {
            let accounts = usual();
            let by = ask(&accounts, "alice", "secret").await.unwrap_err();
            assert_eq!(by.reason, Reason::AccountUnusable, "{}", by.log);
            assert!(by.log.contains(why), "{}", by.log);
            is_wrong(ask(&accounts, "alice", "Secret").await);
        });
    }
}

#[test]
fn right_wrong_and_unknown_with_hashes_that_are_told_to_reserved_ports_alone() {
    let Some(server) = YpServ::start(&with_shadow(GOOD)).unwrap() else { return };
    on(&server, async || {
        let accounts = usual();
        is(ask(&accounts, "alice", "secret").await, "yp/alice");
        is_wrong(ask(&accounts, "alice", "Secret").await);
        is_wrong(ask(&accounts, "alice", "x").await);
        is_wrong(ask(&accounts, "mallory", "secret").await);
        is_outage(ask(&accounts, "ghost", "secret").await, "which does not have the name");
        let found = accounts.probe().await.remove(0).1.unwrap();
        assert!(found.contains("shadow.byname too"), "{found}");
    });
}

#[test]
fn service_password_p8_without_the_right_to_a_reserved_port_it_is_an_outage_that_says_so() {
    let Some(server) = YpServ::start(&with_shadow(GOOD)).unwrap() else { return };
    on(&server, async || {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_BIND_SERVICE);
        set_capabilities(None, sets).unwrap();
        is_outage(ask(&usual(), "alice", "secret").await, "CAP_NET_BIND_SERVICE");
        let found = usual().probe().await.remove(0).1.unwrap();
        assert!(found.contains("CAP_NET_BIND_SERVICE"), "{found}");
    });
}

#[test]
fn outage_p8_what_the_server_does_not_serve() {
    let Some(server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        let other = page(&["127.0.0.1/other"]).accounts();
        is_outage(ask(&other, "alice", "secret").await, "does not serve this domain, or not to us");
        assert!(other.probe().await.remove(0).1.unwrap_err().contains("does not serve this domain, or not to us"));
    });
    let mut wanted = Wanted::default();
    wanted.maps.retain(|(name, ..)| *name != "passwd.byname");
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        is_outage(ask(&usual(), "alice", "secret").await, "passwd.byname: has no such map");
    });
}

#[test]
fn outage_p8_our_address_is_not_in_securenets() {
    let wanted = Wanted { securenets: Some("host 127.0.0.1\n".to_owned()), ..Wanted::default() };
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    server.host.ip("address add 192.0.2.7/32 dev lo");
    on(&server, async || {
        is(ask(&usual(), "alice", "secret").await, "yp/alice");
        // At this address of the server's we come from it too.
        let accounts = page(&["192.0.2.7/campus"]).accounts();
        is_outage(ask(&accounts, "alice", "secret").await, "securenets");
        let why = accounts.probe().await.remove(0).1.unwrap_err();
        assert!(why.contains("securenets"), "{why}");
    });
}

#[test]
fn outage_p8_no_ypserv_no_portmapper_and_a_portmapper_that_knows_none() {
    let Some(mut server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        is_outage(ask(&page(&["127.0.0.1:9/campus"]).accounts(), "alice", "secret").await, "refused");
    });
    server.restart_portmapper().unwrap();
    on(&server, async || is_outage(ask(&usual(), "alice", "secret").await, "the portmapper knows no ypserv"));
    server.end_portmapper();
    on(&server, async || is_outage(ask(&usual(), "alice", "secret").await, "portmapper: port 111: Connection refused"));
}

#[test]
fn outage_p8_over_tcp_hanging_at_each_stage_slow_garbage_endless() {
    let wanted = Wanted { port: Some(834), ..Wanted::default() };
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        let proxy = Proxy::to(834);
        // UDP is refused at the proxy's port.
        let url = format!("{}/campus", proxy.address);
        let accounts = || page(&[&url]).and("timeout = \"1s\"\nfailures = 1000").accounts();
        is(ask(&accounts(), "alice", "secret").await, "yp/alice");
        for (fault, why) in [
            (Fault::HangsAfter(0), "over TCP"),
            (Fault::HangsAfter(4), "over TCP"),
            (Fault::HangsAfter(30), "over TCP"),
            (Fault::Slow, "over TCP"),
            (Fault::EndsAfter(0), "early eof"),
            (Fault::EndsAfter(30), "unexpected end of file"),
            (Fault::GarbageAfter(0), "longer than 8 MiB, or none"),
            (Fault::GarbageAfter(12), "unexpected end of file"),
            (Fault::EndlessAfter(0), "longer than 8 MiB, or none"),
            (Fault::EndlessAfter(12), "no ONC RPC"),
        ] {
            proxy.set(fault);
            is_outage(ask(&accounts(), "alice", "secret").await, why);
        }
        proxy.set(Fault::None);
        is(ask(&accounts(), "alice", "secret").await, "yp/alice");
    });
}

#[test]
fn right_an_answer_that_is_too_long_for_a_datagram_comes_over_tcp() {
    let mut wanted = Wanted::default();
    wanted.maps.retain(|(name, ..)| *name == "group.byname");
    let line = format!("alice:{SECRET}:1000:50:{}:/:/bin/sh", "x".repeat(30_000));
    wanted.maps.push(("passwd.byname", vec![line], false));
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || is(ask(&usual(), "alice", "secret").await, "yp/alice"));
}

#[test]
fn failover_two_hosts_down_the_third_up() {
    let wanted = Wanted { port: Some(834), ..Wanted::default() };
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        let hanging = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = hanging.local_addr().unwrap();
        let _hanging_too = TcpListener::bind(address).unwrap();
        let accounts = page(&["127.0.0.1:9/campus", &format!("{address}/campus"), "127.0.0.1:834/campus"]).accounts();
        is(ask(&accounts, "alice", "secret").await, "yp/alice");
        // The one that answered is asked first from now on.
        hanging.set_nonblocking(true).unwrap();
        let mut into = [0; 4096];
        while hanging.recv(&mut into).is_ok() {}
        is(ask(&accounts, "alice", "secret").await, "yp/alice");
        is_wrong(ask(&accounts, "mallory", "secret").await);
        assert!(hanging.recv(&mut into).is_err(), "the silent host was left alone");
        let why = accounts.probe().await.remove(0).1.unwrap_err();
        assert!(why.contains("port 9: Connection refused") && why.contains("serves campus"), "{why}");
    });
}

#[test]
fn restarted_between_two_questions_at_another_port() {
    let Some(mut server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || is(ask(&usual(), "alice", "secret").await, "yp/alice"));
    server.end();
    on(&server, async || is_outage(ask(&usual(), "alice", "secret").await, "refused"));
    server.restart(Wanted::default()).unwrap();
    on(&server, async || is(ask(&usual(), "alice", "secret").await, "yp/alice"));
}

#[test]
fn hostile_names_change_no_question() {
    let Some(server) = YpServ::start(&Wanted::default()).unwrap() else { return };
    on(&server, async || {
        let accounts = usual();
        let long = "x".repeat(256);
        for name in [
            "*)(uid=*",
            "' OR 1=1",
            "%s",
            "`id`",
            "alice:x",
            "+",
            "+@staff",
            "../alice",
            "YP_MASTER_NAME",
            "a\u{202e}b",
            &long,
        ] {
            // What is no name at all is refused before any server is asked.
            if Login::parse(name).is_ok() {
                is_wrong(ask(&accounts, name, "secret").await);
            }
        }
        for password in ["*", "x", SECRET, &"x".repeat(1000)] {
            is_wrong(ask(&accounts, "alice", password).await);
        }
    });
    assert!(["alice\0", "alice\r\n"].iter().all(|name| Login::parse(name).is_err()));
}

#[test]
fn empty_password_is_never_compared() {
    assert!(Password::new(String::new()).is_err());
}

#[test]
fn unknown_names_take_as_long_as_known_ones() {
    let mut wanted = Wanted::default();
    // Some hundred milliseconds, beside which nothing else counts.
    let slow = format!("alice:{SLOW}:1000:50::/:/bin/sh");
    wanted.maps.retain(|(name, ..)| *name != "passwd.byname");
    wanted.maps.push(("passwd.byname", vec![slow, "nobody:*:1001:50::/:/bin/sh".to_owned()], false));
    let Some(server) = YpServ::start(&wanted).unwrap() else { return };
    on(&server, async || {
        let accounts = usual();
        let mut quickest = vec![];
        for name in ["alice", "mallory", "nobody"] {
            let mut best = Duration::MAX;
            for _ in 0..3 {
                let start = Instant::now();
                is_wrong(ask(&accounts, name, "Secret").await);
                best = best.min(start.elapsed());
            }
            quickest.push(best);
        }
        assert!(quickest.iter().all(|time| *time > quickest[0] / 2), "{quickest:?}");
    });
}

#[tokio::test]
async fn outage_p8_datagrams_that_no_ypserv_sends() {
    for (way, why) in [
        (Way::Garbage, "no answer"),
        (Way::OtherNumber, "no answer"),
        (Way::OtherPort, "no answer"),
        (Way::CutOff, "UDP: an answer that was cut off"),
        (Way::SystemError, "SYSTEM_ERR"),
        (Way::Denies, "MSG_DENIED"),
        (Way::NoProgram, "this program is not there"),
        (Way::SomebodyElse, "the name's line in passwd.byname is damaged"),
    ] {
        let server = StandIn::start(way);
        let accounts = page(&[&format!("127.0.0.1:{}/campus", server.port)]).with("groups = true", "").accounts();
        is_outage(ask(&accounts, "alice", "secret").await, why);
    }
}

#[tokio::test]
async fn right_a_lost_datagram_is_sent_again_and_what_is_forged_is_passed_over() {
    for way in [Way::LosesFirst, Way::ForgedFirst] {
        let server = StandIn::start(way);
        let accounts = page(&[&format!("127.0.0.1:{}/campus", server.port)]).with("groups = true", "").accounts();
        is(ask(&accounts, "alice", "secret").await, "yp/alice");
        let seen = server.seen();
        assert_eq!(seen.len(), if way == Way::LosesFirst { 2 } else { 1 }, "{way:?}");
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "the same call again");
    }
}
