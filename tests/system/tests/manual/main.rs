//! The manual says what the program does: its commands are run, its lists are compared with the program's.

#[cfg(test)]
mod block;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod page;

#[cfg(test)]
use std::path::PathBuf;

/// A file of the project.
#[cfg(test)]
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
