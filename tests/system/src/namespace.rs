//! Hosts of the test's own: network namespaces, joined by pairs of virtual cables. What must never happen here: a namespace
//! that outlives its test, traffic that leaves them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A host. Removed when dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    /// A new host with nothing but its loopback.
    ///
    /// # Panics
    /// If namespaces cannot be made: the test needs root.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = Self { name: format!("kmsgate-{what}-{}-{number}", std::process::id()) };
        // A test that was killed left it, and its process number came round again.
        if std::path::Path::new("/run/netns").join(&host.name).exists() {
            run("ip", &["netns", "delete", &host.name]);
        }
        run("ip", &["netns", "add", &host.name]);
        host.ip("link set lo up");
        // Without duplicate address detection an address can be used at once, a link-local one too (ip-sysctl).
        for whose in ["all", "default"] {
            host.set(&format!("net.ipv6.conf.{whose}.accept_dad"), "0");
        }
        host
    }

    /// Its name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this host.
    pub fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments.split(' '));
        run("ip", &all);
    }

    /// Writes one of the kernel's settings of this host, such as `net.ipv4.ip_forward`.
    ///
    /// # Panics
    /// If there is no such setting.
    pub fn set(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.within(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
    }

    /// A program that will run on this host.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// What a program on this host printed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().expect("ip starts");
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `work` in a thread that belongs to this host: sockets that it opens are this host's, for good.
    ///
    /// # Panics
    /// If `work` does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the calling thread one of this host, for good.
    ///
    /// # Panics
    /// If the host is gone.
    pub fn enter(&self) {
        let space = File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let ended = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
        if !std::thread::panicking() {
            assert!(ended.is_ok_and(|status| status.success()), "{} was removed", self.name);
        }
    }
}

/// Joins two hosts: (host, interface, addresses in CIDR form) for each end.
pub fn cable(one: (&Host, &str, &[&str]), other: (&Host, &str, &[&str])) {
    one.0.ip(&format!("link add {} type veth peer name {} netns {}", one.1, other.1, other.0.name));
    for (host, interface, addresses) in [one, other] {
        for address in addresses {
            host.ip(&format!("address add {address} dev {interface}"));
        }
        host.ip(&format!("link set {interface} up"));
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
