//! `kind = "sqlite"`, `"postgres"`. What must never happen here: a question without a place for the name.

use super::hashes;
use super::way::{Schemes, way};
use crate::config::Kind;
use crate::config::read::{Section, Value};
use crate::config::value::{path, secret};
use kmsgate_accounts::{RemoteSettings, SqlSettings, SqliteSettings};

/// Longest statement, in bytes.
const LONGEST: usize = 16 << 10;

/// `path` and the questions.
pub(super) fn sqlite(section: &Section<'_, '_>) -> Option<Kind> {
    let path = section.need("path", path);
    let sql = questions(section, "?");
    Some(Kind::Sqlite(SqliteSettings { path: path?, sql: sql? }))
}

/// `url`, `password` and the questions.
pub(super) fn postgres(section: &Section<'_, '_>) -> Option<Kind> {
    remote(section, ("postgres", 5432), "$1").map(Kind::Postgres)
}

fn remote(section: &Section<'_, '_>, scheme: (&'static str, u16), place: &'static str) -> Option<Box<RemoteSettings>> {
    let way = way(section, &Schemes { implicit: None, later: scheme, names: true });
    let password = section.take("password", secret);
    let sql = questions(section, place);
    let (way, urls) = way?;
    let first = urls.first()?;
    let database = first.value.path.strip_prefix('/').unwrap_or_default();
    let user = first.value.user.clone().filter(|user| !user.is_empty());
    let (Some(user), false) = (user, database.is_empty() || database.contains('/')) else {
        let word = scheme.0;
        section.fail(
            &first.span,
            format!("url: must say as whom and which database: \"{word}://kmsgate@db.example.edu/accounts\""),
        );
        return None;
    };
    let same = |other: &&crate::config::read::At<crate::config::value::Url>| {
        (&other.value.path, &other.value.user) != (&first.value.path, &first.value.user)
    };
    if let Some(other) = urls.iter().find(same) {
        section.fail(&other.span, "url: all hosts hold the same database: write the same user and database in each");
        return None;
    }
    Some(Box::new(RemoteSettings { way, user, password, database: database.to_owned(), sql: sql? }))
}

/// `query`, `groups_query`, `hashes`; the name stands where `place` is.
fn questions(section: &Section<'_, '_>, place: &'static str) -> Option<SqlSettings> {
    let query = section.need("query", |value| statement(&value, place));
    let groups_query = section.take("groups_query", |value| statement(&value, place));
    let hashes = section.take("hashes", hashes).unwrap_or_default();
    if section.has("groups_query") && groups_query.is_none() {
        return None;
    }
    Some(SqlSettings { query: query?, groups_query, hashes })
}

/// A SELECT with a place for the name. The database itself says whether it understands it.
fn statement(value: &Value<'_, '_>, place: &str) -> Option<String> {
    let text = value.text()?.trim().trim_end_matches(';').trim_end();
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        value.fail(format!("must be a SELECT of 1 to {LONGEST} bytes"));
        return None;
    }
    if !text.contains(place) {
        value.fail(format!("has no place for the name: write {place} where it stands, without quotes"));
        return None;
    }
    if let Some(quoted) = [format!("'{place}'"), format!("\"{place}\"")].iter().find(|quoted| text.contains(*quoted)) {
        value.fail(format!("{quoted} is a text and no place for the name: write {place} without quotes"));
        return None;
    }
    Some(text.to_owned())
}
