//! `kmsgate-enforcer`: see the library. Exit codes: 0 told to leave, 1 failed, 2 usage, 78 bad table.

use kmsgate_enforcer::carry_out::{Enforcer, since_boot};
use kmsgate_enforcer::{sandbox, serve};
use kmsgate_orders::table::Table;
use rustix::fs::Mode;
use std::fmt::Display;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: kmsgate-enforcer --table FILE --socket PATH --user UID [--until-stdin-ends]

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
    let listener =
        listen(&arguments.socket).map_err(|error| (1, format!("cannot listen on {}: {error}", arguments.socket)))?;
    // What must come before rights are given up: after this no file is opened and no socket made.
    let (enforcer, found) =
        Enforcer::start(table.clone(), since_boot()).map_err(|error| failed("cannot load the ruleset")(&error))?;
    sandbox::shut().map_err(|error| failed("cannot shut itself in")(&error))?;
    eprintln!("kmsgate-enforcer: serving socket={} ruleset={found:?}", arguments.socket);
    let stdin = std::io::stdin();
    let leave = arguments.until_stdin_ends.then(|| stdin.as_fd());
    serve::run(enforcer, &table, arguments.user, &listener, leave).map_err(|error| failed("netlink")(&error))
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
    socket: String,
    user: u32,
    until_stdin_ends: bool,
}

enum Wrong {
    Help,
    Argument(String),
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Wrong> {
        let (mut table, mut socket, mut user, mut until_stdin_ends) = (None, None, None, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Wrong::Argument(format!("{word} needs a value")));
            match word.as_str() {
                "--table" => table = Some(value()?),
                "--socket" => socket = Some(value()?),
                "--user" => {
                    let text = value()?;
                    user =
                        Some(text.parse().map_err(|_| Wrong::Argument(format!("--user: {text} is no user's number")))?);
                }
                "--until-stdin-ends" => until_stdin_ends = true,
                "--help" | "-h" => return Err(Wrong::Help),
                _ => return Err(Wrong::Argument(format!("unknown argument {word}"))),
            }
        }
        let needed = |name: &str| Wrong::Argument(format!("{name} is needed"));
        Ok(Self {
            table: table.ok_or_else(|| needed("--table"))?,
            socket: socket.ok_or_else(|| needed("--socket"))?,
            user: user.ok_or_else(|| needed("--user"))?,
            until_stdin_ends,
        })
    }
}
