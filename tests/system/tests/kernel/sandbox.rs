//! The enforcer has one capability and few system calls, and serves with them.

use kmsgate_orders::order::{Answer, Ends, News, Order};
use kmsgate_system_tests::kernel::{Enforcer, Family, Site, opening};
use kmsgate_system_tests::{kernel_needs, need};
use rustix::io::Errno;
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

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
