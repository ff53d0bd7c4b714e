//! Asks for a password. What must never happen here: a password shown, or a terminal left without echo.

use super::CliError;
use kmsgate_core::password::{LONGEST, Password};
use rustix::io::read;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{Stdin, Write};
use zeroize::Zeroizing;

/// What a terminal sends for Ctrl-C.
const CANCEL: u8 = 3;

/// A password: typed twice without echo on a terminal, else one line of standard input.
///
/// # Errors
/// If nothing usable was given.
pub fn new_password() -> Result<Password, CliError> {
    let stdin = std::io::stdin();
    if !isatty(&stdin) {
        return password(line(&stdin)?);
    }
    let first = hidden(&stdin, "Password: ")?;
    let again = hidden(&stdin, "The same again: ")?;
    if *first != *again {
        return Err(CliError::Failed("the two are not the same; nothing was changed".to_owned()));
    }
    password(first)
}

/// A password that somebody has: typed once without echo on a terminal, else one line of standard input.
///
/// # Errors
/// If nothing usable was given.
pub fn own_password() -> Result<Password, CliError> {
    let stdin = std::io::stdin();
    password(if isatty(&stdin) { hidden(&stdin, "Password: ")? } else { line(&stdin)? })
}

fn password(mut text: Zeroizing<String>) -> Result<Password, CliError> {
    Password::new(std::mem::take(&mut *text)).map_err(|error| CliError::Failed(format!("{error}; nothing was changed")))
}

fn hidden(stdin: &Stdin, prompt: &str) -> Result<Zeroizing<String>, CliError> {
    eprint!("{prompt}");
    std::io::stderr().flush().map_err(CliError::failed)?;
    let _echo_is_back_when_dropped = NoEcho::on(stdin)?;
    let text = line(stdin);
    eprintln!();
    text
}

fn line(stdin: &Stdin) -> Result<Zeroizing<String>, CliError> {
    // Long enough from the start, so that no copy stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    // Byte by byte, past the standard library's buffer: it would keep a copy, and take what follows the line.
    let mut byte = Zeroizing::new([0_u8; 1]);
    while bytes.len() < LONGEST + 2 && read(stdin, &mut *byte).map_err(CliError::failed)? == 1 {
        match *byte {
            [b'\n'] => break,
            [CANCEL] => return Err(CliError::Failed("given up; nothing was changed".to_owned())),
            [other] => bytes.push(other),
        }
    }
    while bytes.ends_with(b"\r") {
        bytes.pop();
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let mut owned = Zeroizing::new(String::with_capacity(LONGEST + 2));
            owned.push_str(text);
            Ok(owned)
        }
        Err(_) => Err(CliError::Failed("a password must be UTF-8; nothing was changed".to_owned())),
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct NoEcho<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> NoEcho<'a> {
    fn on(terminal: &'a Stdin) -> Result<Self, CliError> {
        let before = tcgetattr(terminal).map_err(CliError::failed)?;
        let mut quiet = before.clone();
        // Ctrl-C must not end the process before the echo is back: it ends the line instead.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = CANCEL;
        tcsetattr(terminal, OptionalActions::Flush, &quiet).map_err(CliError::failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Flush, &self.before) {
            eprintln!("kmsgate: the terminal does not echo ({error}); type: stty echo");
        }
    }
}
