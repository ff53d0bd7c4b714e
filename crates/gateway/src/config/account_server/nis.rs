//! `kind = "nis"`. What must never happen here: hosts of different domains taken for hosts of one.

use super::hashes;
use super::way::urls;
use crate::config::Kind;
use crate::config::read::Section;
use crate::config::value::boolean;
use kmsgate_accounts::NisSettings;
use kmsgate_accounts::nis::{rpc::PORTMAPPER, yp::LONGEST_NAME};
use kmsgate_accounts::reach::Host;

/// `url`, `groups`, `hashes`.
pub(super) fn nis(section: &Section<'_, '_>) -> Option<Kind> {
    let urls = section.need("url", |value| urls(value, &["nis"], true, false));
    let groups = section.take("groups", boolean).unwrap_or(false);
    let hashes = section.take("hashes", hashes);
    let urls = urls?;
    let first = urls.first()?;
    let domain = first.value.path.strip_prefix('/').unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if domain.is_empty() || domain.len() > LONGEST_NAME || !domain.chars().all(good) {
        section.fail(
            &first.span,
            "url: has no NIS domain: write it behind the host, such as \"nis://nis.example.edu/campus\" (what domainname(1) prints)",
        );
        return None;
    }
    if let Some(other) = urls.iter().find(|other| other.value.path != first.value.path) {
        section
            .fail(&other.span, "url: all hosts of a server serve the same NIS domain: write the same path behind each");
        return None;
    }
    let hosts =
        urls.iter().map(|url| Host { name: url.value.host.clone(), port: url.value.port.unwrap_or(PORTMAPPER) });
    let hashes = hashes.unwrap_or_default();
    Some(Kind::Nis(NisSettings { hosts: hosts.collect(), domain: domain.to_owned(), groups, hashes }))
}
