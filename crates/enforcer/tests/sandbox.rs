//! What the enforcer gives up is gone. Landlock, capabilities and seccomp bind the thread that asks for them, so each test
//! tries them on a thread of its own; what ends the process is tried on a process of its own.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use kmsgate_enforcer::sandbox::{self, Files};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// Tells a test that it is the process on which something is tried.
const ROLE: &str = "KMSGATE_SANDBOX_TEST";

#[test]
fn no_file_can_be_opened_and_no_port_bound() {
    let thread = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).expect("no new privileges");
        let files = sandbox::close_files().expect("Landlock");
        let file = std::fs::File::open("/proc/self/status").map(drop).map_err(|error| error.kind());
        let port = TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
        (files, file, port)
    });
    match thread.join().expect("no panic") {
        (Files::Closed, file, port) => {
            assert_eq!(file, Err(ErrorKind::PermissionDenied));
            assert_eq!(port, Err(ErrorKind::PermissionDenied));
        }
        (Files::Partly, file, _) => assert_eq!(file, Err(ErrorKind::PermissionDenied)),
        (Files::NoLandlock, file, port) => assert_eq!((file, port), (Ok(()), Ok(()))),
    }
}

#[test]
fn a_call_that_is_not_on_the_list_ends_the_process() {
    for (call, is_listed) in
        [("clock", true), ("memory", true), ("file", false), ("socket", false), ("program", false), ("thread", false)]
    {
        let Output { status, stderr, .. } = in_a_process_of_its_own(call);
        let said = String::from_utf8_lossy(&stderr);
        if is_listed {
            assert_eq!(status.code(), Some(0), "{call}: {status} {said}");
        } else {
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{call}: {status} {said}");
        }
    }
}

/// Runs [`the_process_on_which_it_is_tried`] and nothing else, without a harness's threads around it.
fn in_a_process_of_its_own(call: &str) -> Output {
    let arguments = ["--exact", "the_process_on_which_it_is_tried", "--nocapture", "--test-threads=1"];
    let this = std::env::current_exe().expect("this program");
    Command::new(this).args(arguments).env(ROLE, call).output().expect("it starts")
}

#[test]
fn the_process_on_which_it_is_tried() {
    let Ok(call) = std::env::var(ROLE) else { return };
    sandbox::keep_few_calls().expect("seccomp");
    match call.as_str() {
        "clock" => drop(kmsgate_enforcer::carry_out::since_boot()),
        "memory" => drop(vec![1_u8; 64 << 20]),
        "file" => drop(std::fs::File::open("/proc/self/status")),
        "socket" => drop(TcpListener::bind("127.0.0.1:0")),
        "program" => drop(Command::new("/bin/true").status()),
        "thread" => drop(std::thread::spawn(|| ()).join()),
        other => panic!("{other}"),
    }
    // The harness goes on with calls that serving does not need.
    std::process::exit(0);
}
