//! Started as root, serve becomes an ordinary user before it reads the network.

use kmsgate_system_tests::gateway::{Gateway, Setup, at};
use kmsgate_system_tests::need_root;
use kmsgate_system_tests::provider::{Manner, Provider};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;

#[test]
fn p7_serve_gives_up_roots_rights_for_good() {
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let setup = Setup::new(provider.address);
    let here = setup.path().display().to_string();
    for path in ["", "run", "accounts"] {
        chown(setup.path().join(path), Some(65534), Some(65534)).unwrap();
    }
    std::fs::set_permissions(setup.path(), PermissionsExt::from_mode(0o711)).unwrap();
    // A port that only root may bind: all sockets are there before root is given up.
    let gateway = setup
        .service("port", "1017")
        .section("node", &format!("name = \"gw1\"\nuser = \"nobody\"\nrun_dir = \"{here}/run\""))
        .start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65534"; 4]);
    assert_eq!(field("Gid:"), ["65534"; 4]);
    assert!(field("Groups:").iter().all(|group| group == "65534"), "{status}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    // The kernel gives these files to root while the process is not dumpable (proc(5)).
    let environment = std::fs::metadata(format!("/proc/{}/environ", gateway.pid())).unwrap();
    assert_eq!(environment.uid(), 0, "it can be dumped");
    gateway.granted(at(1, 1), "alice");
    assert!(gateway.connect(at(1, 1)).is_through());
}

/// Asks as somebody else: the credentials of this thread only are changed (setresuid(2), "C library/kernel differences").
fn ask_as(user: u32, gateway: &Gateway) -> std::io::Result<String> {
    let socket = gateway.path().join("run/control.sock");
    let asking = std::thread::spawn(move || {
        let (group, user) = (Gid::from_raw(user), Uid::from_raw(user));
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asking.join().unwrap()
}

#[test]
fn a_stranger_is_not_heard_at_the_control_socket_whatever_its_mode() {
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    assert!(ask_as(0, &gateway).unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(ask_as(65534, &gateway).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    let socket = gateway.path().join("run/control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(socket, PermissionsExt::from_mode(0o666)).unwrap();
    let heard = ask_as(65534, &gateway).unwrap_or_default();
    assert_eq!(heard, "", "the kernel says who it is (SO_PEERCRED), not the file's mode");
    assert!(ask_as(0, &gateway).unwrap().starts_with("HTTP/1.1 200 "));
}
