//! `kmsgate grants`: what is open, what was, and the two ends of it.

use super::CliError;
use super::arguments::Grants;
use super::control::{Gateway, encoded};
use super::table::{Cell, Table, put};
use serde_json::{Value, json};

/// Does it.
///
/// # Errors
/// As the gateway refuses.
pub fn run(gateway: &Gateway, what: Grants) -> Result<(), CliError> {
    match what {
        Grants::List { all, user, source, limit, json } => {
            let mut path = format!("/api/v1/grants?limit={limit}");
            if !all {
                path.push_str("&unfinished=1");
            }
            user.iter().for_each(|user| path.push_str(&format!("&user={}", encoded(user))));
            source.iter().for_each(|source| path.push_str(&format!("&source={source}")));
            list(&gateway.get(&path)?, json)
        }
        Grants::Show { id, json } => show(&gateway.get(&format!("/api/v1/grants/{}", encoded(&id)))?, json),
        Grants::Revoke { id } => {
            let closed = gateway.delete(&format!("/api/v1/grants/{}", encoded(&id)))?;
            put(&format!("{} is {} ({})\n", text(&closed, "id"), text(&closed, "state"), text(&closed, "cause")))
        }
        Grants::Open { user, source, service, reason, json } => {
            let service = service.or_else(|| gateway.first_service.clone());
            let body = json!({ "user": user, "source": source, "service": service, "reason": reason });
            show(&gateway.post("/api/v1/grants", &body)?, json)
        }
    }
}

const COLUMNS: &[&str] =
    &["id", "state", "user", "source", "service", "opened at", "expires at", "claims", "of", "cause"];

fn list(answer: &Value, json: bool) -> Result<(), CliError> {
    let mut table = Table::new(COLUMNS);
    for grant in answer.get("grants").and_then(Value::as_array).into_iter().flatten() {
        let cell = |key: &str| Cell::text(text(grant, key));
        // A table is read, JSON is computed with: there the moment stands as it is.
        let moment =
            |key: &str| Cell::text(if json { text(grant, key).to_owned() } else { to_the_second(text(grant, key)) });
        let number = |key: &str| Cell::Number(grant.get(key).and_then(Value::as_u64).unwrap_or(0));
        table.row(vec![
            cell("id"),
            cell("state"),
            cell("user"),
            cell("source"),
            cell("service"),
            moment("opened_at"),
            moment("expires_at"),
            number("claims"),
            number("connections"),
            cell("cause"),
        ]);
    }
    table.print(json)
}

/// `2026-11-23T14:13:42.059Z` as `2026-11-23 14:13:42Z`.
fn to_the_second(moment: &str) -> String {
    let Some((day, time)) = moment.split_once('T') else { return moment.to_owned() };
    let seconds = time.split(['.', 'Z']).next().unwrap_or(time);
    format!("{day} {seconds}Z")
}

/// One line a fact, in the order of the answer.
fn show(grant: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return put(&format!("{grant:#}\n"));
    }
    let facts = grant.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let lines: String = facts.map(|(key, value)| format!("{key:<18} {}\n", shown(value))).collect();
    put(&lines)
}

pub(super) fn shown(value: &Value) -> String {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    shown.replace(char::is_control, " ")
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}
