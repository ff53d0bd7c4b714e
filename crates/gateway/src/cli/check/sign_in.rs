//! `kmsgate check --account-server NAME --user U`: one sign-in, asked of one account server. What must never happen here: a grant,
//! a password shown.

use crate::cli::table::put;
use crate::cli::{CliError, prompt};
use crate::config::Config;
use kmsgate_accounts::ChainAnswer;
use kmsgate_core::address::Source;
use kmsgate_core::name::{Login, ServerName};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Asks for the password, then the server, and says what it said.
///
/// # Errors
/// If the configuration is not accepted, there is no such server, or standard output is gone.
pub fn run(path: &Path, server: &str, user: &str) -> Result<ExitCode, CliError> {
    let config = Config::load(path).map_err(CliError::Config)?;
    let accounts = config.accounts.build().map_err(CliError::failed)?;
    let login = Login::parse(user).map_err(|why| CliError::Failed(format!("{user:?}: {why}")))?;
    let name = ServerName::new(server);
    let known: Vec<&str> = config.accounts.servers.iter().map(|server| server.frame.name.as_str()).collect();
    if !known.contains(&server) {
        return Err(CliError::Failed(format!("there is no account server {server:?}; there are {}", known.join(", "))));
    }
    let password = prompt::own_password()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::failed)?;
    let begun = Instant::now();
    let answer = runtime.block_on(accounts.ask_only(&name, &login, &password, Source::new(Ipv4Addr::LOCALHOST.into())));
    let took = format!("{} ms", begun.elapsed().as_millis());
    let (code, text) = match answer {
        Some(ChainAnswer::Accepted(identity)) => {
            let groups: Vec<String> = identity.groups().iter().map(ToString::to_string).collect();
            let groups = if groups.is_empty() { "none".to_owned() } else { groups.join(", ") };
            (ExitCode::SUCCESS, format!("accepted: {}; groups: {groups}; {took}", identity.person()))
        }
        Some(ChainAnswer::Refused(refused)) => {
            (ExitCode::FAILURE, format!("refused ({}): {}; {took}", refused.reason, refused.log))
        }
        Some(ChainAnswer::Challenge(asked)) => {
            (ExitCode::SUCCESS, format!("the password is taken, and it asks more: {}; {took}", asked.prompt))
        }
        None => (ExitCode::FAILURE, format!("there is no account server {server:?}")),
    };
    put(&format!("{}\n", text.replace(char::is_control, " ")))?;
    Ok(code)
}
