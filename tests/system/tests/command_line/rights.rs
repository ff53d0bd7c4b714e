//! Started as root, serve becomes an ordinary user before it reads the network.

use kmsgate_system_tests::gateway::{Setup, at};
use kmsgate_system_tests::need_root;
use kmsgate_system_tests::provider::{Manner, Provider};
use std::os::unix::fs::{PermissionsExt, chown};

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
    let gateway =
        setup.section("node", &format!("name = \"gw1\"\nuser = \"nobody\"\nrun_dir = \"{here}/run\"")).start();
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
    gateway.granted(at(1, 1), "alice");
    assert!(gateway.connect(at(1, 1)).is_through());
}

/// The control socket's mode keeps others out; root and its own user get in.
#[test]
fn somebody_else_does_not_reach_the_control_socket() {
    need_root!();
    let provider = Provider::start(Manner::Echo);
    let gateway = Setup::new(provider.address).start();
    let socket = gateway.path().join("run/control.sock");
    let found = std::fs::read_dir(gateway.path().join("run")).unwrap().map(|entry| entry.unwrap().path());
    let socket = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).unwrap_or(socket);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Even were the mode loosened, the kernel says who asks (SO_PEERCRED).
    for path in [gateway.path(), &gateway.path().join("run"), &socket] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    std::fs::set_permissions(gateway.path().join("kmsgate.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let said = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(kmsgate_system_tests::gateway::program())
        .args(["grants", "list", "--config"])
        .arg(gateway.path().join("kmsgate.toml"))
        .output()
        .unwrap();
    assert_ne!(said.status.code(), Some(0), "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
    assert_eq!(gateway.command(&["grants", "list"], "").code, Some(0), "root gets in");
}
