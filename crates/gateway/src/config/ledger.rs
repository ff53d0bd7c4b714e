//! `[ledger]`.

use super::LedgerSettings;
use super::read::{Section, Value};
use super::value::duration;
use std::path::PathBuf;
use std::time::Duration;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read(section: &Section<'_, '_>) -> LedgerSettings {
    LedgerSettings {
        path: section.take("url", sqlite).unwrap_or_else(|| PathBuf::from("/var/lib/kmsgate/ledger.db")),
        keep: section.take("keep", duration(32 * DAY..=3660 * DAY)).unwrap_or(400 * DAY),
    }
}

fn sqlite(value: Value<'_, '_>) -> Option<PathBuf> {
    let text = value.text()?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        value.fail("a ledger in PostgreSQL is not carried out by this version; write sqlite:///PATH");
        return None;
    }
    match text.strip_prefix("sqlite://").filter(|path| path.starts_with('/') && path.len() > 1) {
        Some(path) => Some(PathBuf::from(path)),
        None => {
            value.fail("must be sqlite:// and an absolute path, such as \"sqlite:///var/lib/kmsgate/ledger.db\"");
            None
        }
    }
}
