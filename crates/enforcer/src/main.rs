//! `kmsgate-enforcer`: see the library. Exit codes: 0 told to leave, 1 failed, 2 usage, 78 bad table.

use kmsgate_enforcer::carry_out::{Enforcer, since_boot};
use kmsgate_enforcer::load::{self, Found, NotLoaded};
use kmsgate_enforcer::netlink::{Failed, Socket};
use kmsgate_enforcer::ruleset;
use kmsgate_enforcer::sandbox::{self, Files};
use kmsgate_enforcer::serve::{self, Sessions};
use kmsgate_orders::table::Table;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::fmt::Display;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: kmsgate-enforcer --table FILE --socket PATH --user USER [--until-stdin-ends]
       kmsgate-enforcer --table FILE --session-on-stdin
       kmsgate-enforcer --table FILE --load-only

Opens and closes the kernel's packet filter for kmsgate serve, and does nothing else.
See kmsgate-enforcer(8).";

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(Wrong::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(Wrong::Argument(argument)) => {
            eprintln!("kmsgate-enforcer: {argument}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            eprintln!("kmsgate-enforcer: {why}");
            ExitCode::from(code)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), (u8, String)> {
    let failed = |what: &'static str| move |error: &dyn Display| (1, format!("{what}: {error}"));
    let text = std::fs::read_to_string(&arguments.table)
        .map_err(|error| (78, format!("cannot read {}: {error}", arguments.table)))?;
    let table = Table::parse(&text).map_err(|error| (78, format!("{}: {error}", arguments.table)))?;
    let Some(orders) = &arguments.orders else {
        let found = load_only(&table).map_err(|error| failed("cannot load the ruleset")(&error))?;
        eprintln!("kmsgate-enforcer: loaded ruleset={found:?}");
        return Ok(());
    };
    let (sessions, whence) = orders.open().map_err(|why| (1, why))?;
    // What must come before rights are given up: after this no file is opened and no socket made.
    let (enforcer, found) =
        Enforcer::start(table.clone(), since_boot()).map_err(|error| failed("cannot load the ruleset")(&error))?;
    let files = sandbox::shut().map_err(|error| failed("cannot shut itself in")(&error))?;
    if files != Files::Closed {
        eprintln!("kmsgate-enforcer: this kernel's Landlock does not close all files ({files:?}): seccomp alone does");
    }
    eprintln!("kmsgate-enforcer: serving socket={whence} ruleset={found:?} files={files:?}");
    serve::run(enforcer, &table, sessions).map_err(|error| failed("netlink")(&error))
}

/// The ruleset without anybody to serve it: no window is open, and from outside nobody reaches a provider. What serves later
/// finds it and leaves it as it is.
fn load_only(table: &Table) -> Result<Found, NotLoaded> {
    let refused = |errno| Failed { errno, sequence: 0 };
    sandbox::keep_one_capability().map_err(refused)?;
    let rules = ruleset::of(table, &ruleset::all_up(table)).ok_or(refused(Errno::INVAL))?;
    load::load(&mut Socket::open(&[]).map_err(refused)?, &rules)
}

/// A socket of our own, in place of one that a former run left. Whoever may write to it may ask; whose orders are carried
/// out is checked by the user at the other end.
fn listen(path: &str) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Arguments {
    table: String,
    /// None to load the ruleset and end.
    orders: Option<Orders>,
}

/// Where orders come from.
enum Orders {
    Socket { path: String, user: u32, until_stdin_ends: bool },
    Stdin,
}

impl Orders {
    /// The sessions, and what to call their socket in the log.
    fn open(&self) -> Result<(Sessions, &str), String> {
        match self {
            Self::Socket { path, user, until_stdin_ends } => {
                let listener = listen(path).map_err(|error| format!("cannot listen on {path}: {error}"))?;
                Ok((Sessions::Socket { listener, user: *user, until_stdin_ends: *until_stdin_ends }, path))
            }
            Self::Stdin => {
                let stream = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
                let stream = stream.and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
                let not_one = |error| format!("the standard input is no session: {error}");
                stream.map(|stream| (Sessions::Starter(stream), "stdin")).map_err(not_one)
            }
        }
    }
}

enum Wrong {
    Help,
    Argument(String),
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Wrong> {
        let (mut table, mut socket, mut user) = (None, None, None);
        let (mut until_stdin_ends, mut session_on_stdin, mut load_only) = (false, false, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Wrong::Argument(format!("{word} needs a value")));
            match word.as_str() {
                "--table" => table = Some(value()?),
                "--socket" => socket = Some(value()?),
                "--user" => {
                    let text = value()?;
                    user = Some(number(&text).ok_or_else(|| Wrong::Argument(format!("--user: no user {text}")))?);
                }
                "--session-on-stdin" => session_on_stdin = true,
                "--load-only" => load_only = true,
                "--until-stdin-ends" => until_stdin_ends = true,
                "--help" | "-h" => return Err(Wrong::Help),
                _ => return Err(Wrong::Argument(format!("unknown argument {word}"))),
            }
        }
        let needed = |name: &str| Wrong::Argument(format!("{name} is needed"));
        let table = table.ok_or_else(|| needed("--table"))?;
        for (said, word, orders) in
            [(session_on_stdin, "--session-on-stdin", Some(Orders::Stdin)), (load_only, "--load-only", None)]
        {
            let alone = socket.is_none() && user.is_none() && !until_stdin_ends && session_on_stdin != load_only;
            if said && !alone {
                return Err(Wrong::Argument(format!("{word} goes with --table alone")));
            }
            if said {
                return Ok(Self { table, orders });
            }
        }
        let path = socket.ok_or_else(|| needed("--socket"))?;
        let user = user.ok_or_else(|| needed("--user"))?;
        Ok(Self { table, orders: Some(Orders::Socket { path, user, until_stdin_ends }) })
    }
}

/// A user's number, given as such or by a name of passwd(5).
fn number(user: &str) -> Option<u32> {
    let named = || {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok())
    };
    user.parse().ok().or_else(named)
}
