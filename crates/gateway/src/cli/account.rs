//! `kmsgate account`: the local account file.

use super::CliError;
use super::arguments::Account;
use super::prompt;
use super::table::{Cell, Table};
use kmsgate_accounts::file::edit::{self, Added};
use kmsgate_accounts::file::hash::Cost;
use kmsgate_core::name::Name;

/// Does it and says so.
///
/// # Errors
/// If the name is none, the file cannot be changed, or the password is none.
pub fn run(what: Account) -> Result<(), CliError> {
    match what {
        Account::Add { name, file, groups } => {
            let name = canonical(&name)?;
            crate::rights::seal().map_err(CliError::failed)?;
            let password = prompt::new_password()?;
            let added = edit::add(&file.path, &name, &password, &groups, Cost::default()).map_err(CliError::failed)?;
            match added {
                Added::New => println!("{name} added to {}", file.path.display()),
                Added::Changed => println!("{name} has a new password in {}", file.path.display()),
            }
        }
        Account::Remove { name, file } => {
            let name = canonical(&name)?;
            edit::remove(&file.path, &name).map_err(CliError::failed)?;
            println!("{name} removed from {}", file.path.display());
        }
        Account::List { file, json } => list(&file.path, json)?,
    }
    Ok(())
}

fn list(path: &std::path::Path, json: bool) -> Result<(), CliError> {
    let mut table = Table::new(&["name", "groups"]);
    for (name, groups) in edit::list(path).map_err(CliError::failed)? {
        let groups: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
        table.row(vec![Cell::text(name), Cell::text(groups.join(","))]);
    }
    table.print(json)
}

fn canonical(name: &str) -> Result<Name, CliError> {
    Name::canonical(name).map_err(CliError::failed)
}
