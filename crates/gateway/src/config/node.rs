//! `[node]`.

use super::Node;
use super::read::Section;
use super::value::{label, path};
use std::path::PathBuf;

pub(super) fn read(section: &Section<'_, '_>) -> Node {
    Node {
        name: section.take("name", label).unwrap_or_else(host_name),
        user: section.take("user", label),
        run_dir: section.take("run_dir", path).unwrap_or_else(|| PathBuf::from("/run/kmsgate")),
    }
}

/// What the machine calls itself, without its domain.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("kmsgate").to_owned()
}
