//! The command line. What must never happen here: a password from an argument, an error without a way out.
//!
//! * [`arguments`]: what may be typed; help, completions and manual pages are made from it.
//! * [`account`]: the local account file.
//! * [`check`]: the file, then the world around it.
//! * [`grants`], [`report`], [`explain`]: asked of a running gateway through [`control`], its socket.
//! * [`providers`]: who is up, drain and undrain; [`ruleset`]: the kernel's.
//! * [`table`]: tables that line up, as text, CSV or JSON; [`prompt`]: passwords.

pub mod account;
pub mod arguments;
pub mod check;
pub mod control;
pub mod explain;
pub mod grants;
pub mod pages;
pub mod prompt;
pub mod providers;
pub mod report;
pub mod ruleset;
pub mod table;

use crate::config::{Config, ConfigErrors};
use crate::{demo, serve};
use arguments::{Arguments, Command};
use clap::Parser;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs what was typed. Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration (sysexits(3), EX_CONFIG).
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Fails only if a provider is installed already, which serves as well.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kmsgate: {error}");
            error.code()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let config = arguments.config;
    let load = || Config::load(&config).map_err(CliError::Config);
    match arguments.command {
        Command::Serve => serve::run(load()?, config).map_err(CliError::failed)?,
        Command::Demo { tour: true, .. } => demo::tour::run().map_err(CliError::failed)?,
        Command::Demo { portal_port, port, .. } => {
            demo::run(demo::Options { portal: portal_port, relay: port }).map_err(CliError::failed)?;
        }
        Command::Check { account_server: Some(server), user: Some(user), .. } => {
            return check::sign_in::run(&config, &server, &user);
        }
        Command::Check { json, .. } => return check::run(&config, json),
        Command::Account { what } => account::run(what)?,
        Command::Grants { what } => grants::run(&control::Gateway::of(&load()?), what)?,
        Command::Report { by, from, to, format } => {
            report::run(&control::Gateway::of(&load()?), by, from.as_deref(), to.as_deref(), format)?;
        }
        Command::Explain { user, source, service, groups, json } => {
            explain::run(&control::Gateway::of(&load()?), &user, source, service.as_deref(), &groups, json)?;
        }
        Command::Quota { what } => explain::quota(&control::Gateway::of(&load()?), what)?,
        Command::Providers { what } => providers::run(&control::Gateway::of(&load()?), what)?,
        Command::Ruleset { table, remove } => ruleset::run(&load()?, table, remove)?,
        Command::Reload => control::Gateway::of(&load()?).reload()?,
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::manual(directory.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a command did not do it.
#[derive(Debug)]
pub enum CliError {
    /// The configuration is not accepted.
    Config(ConfigErrors),
    /// Something failed; the text says what to do.
    Failed(String),
    /// A file could not be written or read.
    File(PathBuf, std::io::Error),
}

impl CliError {
    /// From any error whose text says what to do.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Failed(_) | Self::File(..) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => write!(f, "the configuration is not accepted\n{errors}"),
            Self::Failed(text) => f.write_str(text),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}
