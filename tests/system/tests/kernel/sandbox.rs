//! The enforcer has one capability and few system calls, and serves with them.

use kmsgate_orders::order::{Answer, Ends, News, Order};
use kmsgate_system_tests::gateway::built;
use kmsgate_system_tests::kernel::{Enforcer, Family, Site, opening};
use kmsgate_system_tests::{kernel_needs, need};
use rustix::io::Errno;
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

/// A line of what the kernel says of the enforcer (proc(5), /proc/PID/status).
#[track_caller]
fn status(enforcer: &Enforcer, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", enforcer.process())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.expect("the kernel says so").trim().to_owned()
}

#[test]
fn it_has_one_capability_and_cannot_get_another() {
    kernel_needs!();
    let site = Site::new();
    let enforcer = site.enforcer();
    for (key, is) in [
        ("CapEff", "0000000000001000"),
        ("CapPrm", "0000000000001000"),
        ("CapBnd", "0000000000001000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
    ] {
        assert_eq!(status(&enforcer, key), is, "{key}");
    }
}

#[test]
fn an_ordinary_user_with_the_one_capability_is_enough() {
    kernel_needs!();
    need!("setpriv", "/usr/bin/setpriv", "util-linux");
    let site = Site::new().with_an_ordinary_user();
    let _providers = site.echoing();
    let mut enforcer = site.enforcer();
    for (key, is) in [
        ("Uid", "65534\t65534\t65534\t65534"),
        ("CapEff", "0000000000001000"),
        ("CapBnd", "0000000000001000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(status(&enforcer, key), is, "{key}");
    }
    let address = Family::V4.person(1);
    enforcer.open(1, address, 60, 1);
    assert!(site.connect(address).is_through());
}

/// Runs `work` in a thread for which, and for whatever it starts, the kernel does not have a system call.
fn without<T: Send>(call: i64, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let architecture = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
            let missing = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
            let filter = SeccompFilter::new([(call, vec![])].into(), SeccompAction::Allow, missing, architecture);
            let program = BpfProgram::try_from(filter.expect("a filter")).expect("its program");
            seccompiler::apply_filter(&program).expect("the kernel takes it");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn without_seccomp_it_does_not_run() {
    kernel_needs!();
    let site = Site::new();
    let output = without(libc::SYS_seccomp, || site.command().0.output().expect("ip starts"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot shut itself in: seccomp: "), "{said}");
    assert!(!said.contains("serving"), "{said}");
}

#[test]
fn without_landlock_it_says_so_and_serves() {
    kernel_needs!();
    let site = Site::new();
    let _providers = site.echoing();
    let mut enforcer = without(libc::SYS_landlock_create_ruleset, || site.enforcer());
    enforcer.log.until("the line that says so", || enforcer.log.after(0, &["does not close all files (NoLandlock)"]));
    let address = Family::V4.person(1);
    enforcer.open(1, address, 60, 1);
    assert!(site.connect(address).is_through());
}

#[test]
fn every_order_is_carried_out_with_the_few_calls_that_are_left() {
    kernel_needs!();
    let site = Site::new();
    let providers = site.echoing();
    let mut enforcer = site.enforcer();
    let mut watching = enforcer.session();
    assert_eq!(watching.order(Order::Watch), Answer::Done);
    for family in Family::BOTH {
        let address = family.person(1);
        let first = opening(1, address, 60, 2);
        assert_eq!(enforcer.session.order(Order::Open(first)), Answer::Done);
        let mut streams = site.at_once(address, 1);
        let ends: Ends = watching.until(|news| match news {
            News::Claimed(ends, _) => Some(ends),
            _ => None,
        });
        assert!(matches!(enforcer.session.order(Order::Connection(ends)), Answer::Connection(_)));
        assert!(matches!(enforcer.session.order(Order::State { place: first.place }), Answer::Standing(_)));
        assert!(matches!(enforcer.session.order(Order::Adopt(first)), Answer::Standing(_)));
        streams.extend(site.at_once(address, 1));
        let give_back = Order::GiveBack { grant: first.grant, place: first.place, count: 1 };
        assert_eq!(enforcer.session.order(give_back), Answer::Done);
        assert_eq!(enforcer.session.order(Order::List), Answer::Done);
        assert_eq!(enforcer.session.order(Order::Connections), Answer::Done);
        assert_eq!(streams.len(), 2);
        drop(streams);
        watching.until(|news| matches!(news, News::Ended(..)).then_some(()));
        let close = Order::Close { grant: first.grant, place: first.place };
        assert!(matches!(enforcer.session.order(close), Answer::Standing(_)));
        // Providers 0 and 1 are IPv4's, 2 and 3 IPv6's.
        for provider in 0..4 {
            for up in [false, true] {
                assert_eq!(
                    enforcer.session.order(Order::Provider { service: 0, provider, up }),
                    Answer::Done,
                    "{provider} {up}"
                );
            }
        }
    }
    assert!(providers.iter().map(|provider| provider.accepted()).sum::<usize>() >= 4);
    // Many at once: more memory, and more than one transaction.
    let many = (0..2000).map(|number| Order::Open(opening(2, Family::V4.person(1000 + number), 60, 3)));
    assert_eq!(enforcer.session.orders(many), vec![Answer::Done; 2000]);
    assert_eq!(enforcer.session.order(Order::List), Answer::Done);
    // Another program's hand, sessions that end, and one that speaks nonsense.
    let _said = site.gateway.output("nft", &["flush", "ruleset"]);
    watching.until(|news| (news == News::Reinstalled).then_some(()));
    drop(watching);
    let mut nonsense = enforcer.session();
    nonsense.write(&[0xff; 64]).expect("written");
    assert!(nonsense.is_over());
    // A poll that was stopped goes on.
    enforcer.signal(Signal::STOP);
    while !status(&enforcer, "State").starts_with('T') {
        std::thread::yield_now();
    }
    enforcer.signal(Signal::CONT);
    assert_eq!(enforcer.session().order(Order::List), Answer::Done);
    assert_eq!(enforcer.leave().code(), Some(0), "told to leave, it leaves well");
}

/// The system calls of a set (systemd.exec(5), SystemCallFilter), or one of this name.
fn calls(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let output = Command::new("/usr/bin/systemd-analyze").args(["syscall-filter", name]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let entries = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.flat_map(calls).collect()
}

/// The numbers of the system calls that a unit leaves, by its own lines.
fn left_by(unit: &str) -> Vec<i64> {
    let mut left = calls("@default");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (out, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for call in names.split(' ').flat_map(calls) {
            if out {
                left.remove(&call)
            } else {
                left.insert(call)
            };
        }
    }
    let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").expect("the numbers");
    let number = |line: &str| {
        let mut words = line.strip_prefix("#define __NR_")?.split_whitespace();
        left.contains(words.next()?).then(|| words.next()?.parse().ok()).flatten()
    };
    header.lines().filter_map(number).collect()
}

/// Runs the enforcer in the gateway's network with no other calls than a unit leaves.
fn under(site: &Site, unit: &'static str, arguments: &[&str]) -> Output {
    let program = built("kmsgate-enforcer", "kmsgate-enforcer");
    site.gateway.within(|| {
        let architecture = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
        let refused = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
        let left = left_by(unit).into_iter().map(|call| (call, vec![])).collect();
        let filter = SeccompFilter::new(left, refused, SeccompAction::Allow, architecture);
        let program_of_it = BpfProgram::try_from(filter.expect("a filter")).expect("its program");
        // In a thread of its own, by way of a command that is made before: the filter stays with it.
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        seccompiler::apply_filter(&program_of_it).expect("the kernel takes it");
        command.output().expect("it starts")
    })
}

#[test]
fn f10_the_guards_unit_leaves_it_the_calls_that_it_needs() {
    kernel_needs!();
    need!("systemd", "/usr/bin/systemd-analyze", "systemd");
    let site = Site::new();
    let table = site.table_file();
    let unit = include_str!("../../../../etc/kmsgate-guard.service");
    let output = under(&site, unit, &["--load-only", "--table", &table]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("loaded ruleset=Nothing"), "{said}");
}

#[test]
fn the_enforcers_unit_leaves_it_the_calls_that_it_needs() {
    kernel_needs!();
    need!("systemd", "/usr/bin/systemd-analyze", "systemd");
    let site = Site::new();
    let table = site.table_file();
    let unit = include_str!("../../../../etc/kmsgate-enforcer.service");
    let socket = site.socket().display().to_string();
    // It serves until its standard input ends, which it has already.
    let arguments = ["--until-stdin-ends", "--user", "65534", "--table", &table, "--socket", &socket];
    let output = under(&site, unit, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("serving"), "{said}");
}

#[test]
fn p7_adoptions_that_add_something_are_counted_among_the_openings_of_their_second() {
    kernel_needs!();
    let site = Site::new().with("opens_per_second 100000\n", "opens_per_second 5\n");
    let mut enforcer = site.enforcer();
    let adopt = |enforcer: &mut Enforcer, first: u16, as_wanted: fn(&Answer) -> bool| {
        let orders = (first..first + 50).map(|number| Order::Adopt(opening(1, Family::V4.person(number), 60, 1)));
        let answers = enforcer.session.orders(orders);
        answers.into_iter().filter(as_wanted).count()
    };
    let added: fn(&Answer) -> bool = |answer| *answer == Answer::Done;
    let read: fn(&Answer) -> bool = |answer| matches!(answer, Answer::Standing(_));
    // A table that was empty gets back at once what it had.
    assert_eq!(adopt(&mut enforcer, 0, added), 50);
    enforcer.kill9();
    let mut again = site.enforcer();
    assert_eq!(adopt(&mut again, 0, read), 50, "what is there is only read");
    // At most two seconds are touched.
    let in_time = adopt(&mut again, 100, added);
    assert!((5..=10).contains(&in_time), "{in_time}");
}
