//! Shell completions and manual pages, made from the description of the arguments.

use super::CliError;
use super::arguments::Arguments;
use clap::CommandFactory;
use std::path::Path;

/// Prints completions for a shell.
pub fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "kmsgate", &mut std::io::stdout());
}

/// Prints the main page, or writes one page a command into a directory, which is made if it is not there.
///
/// # Errors
/// If they cannot be written.
pub fn manual(directory: Option<&Path>) -> Result<(), CliError> {
    match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), directory))
            .map_err(|error| CliError::File(directory.to_owned(), error)),
        None => clap_mangen::Man::new(Arguments::command()).render(&mut std::io::stdout()).map_err(CliError::failed),
    }
}
