//! `kmsgate explain` and `kmsgate quota`: what would be decided for somebody, and what they have used.

use super::CliError;
use super::arguments::Quota;
use super::control::{Gateway, encoded};
use super::grants::{shown, text};
use super::table::{Cell, Table, put};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Asks and prints every step, then the answer.
///
/// # Errors
/// As the gateway refuses.
pub fn run(
    gateway: &Gateway,
    user: &str,
    source: IpAddr,
    service: Option<&str>,
    groups: &[String],
    json: bool,
) -> Result<(), CliError> {
    let service = service.map(str::to_owned).or_else(|| gateway.first_service.clone());
    let body = json!({ "user": user, "source": source, "service": service, "groups": groups });
    let answer = gateway.post("/api/v1/explain", &body)?;
    if json {
        return put(&format!("{answer:#}\n"));
    }
    let steps = answer.get("steps").and_then(Value::as_array).into_iter().flatten();
    let mut lines: String = steps.map(|step| format!("  {}\n", shown(step))).collect();
    lines.push_str(text(&answer, "decision"));
    for key in ["reason", "rule", "retry_after", "grant"] {
        if let Some(value) = answer.get(key).filter(|value| !value.is_null()) {
            lines.push_str(&format!(" {key}={}", shown(value)));
        }
    }
    put(&format!("{lines}\n"))
}

/// `kmsgate quota`.
///
/// # Errors
/// As the gateway refuses.
pub fn quota(gateway: &Gateway, what: Quota) -> Result<(), CliError> {
    match what {
        Quota::Show { user, service, source, groups, json } => {
            let service = service.or_else(|| gateway.first_service.clone()).unwrap_or_default();
            let mut path = format!("/api/v1/quota?user={}&service={}", encoded(&user), encoded(&service));
            source.iter().for_each(|source| path.push_str(&format!("&source={source}")));
            groups.iter().for_each(|group| path.push_str(&format!("&group={}", encoded(group))));
            let answer = gateway.get(&path)?;
            let mut table = Table::new(&["span", "limit", "used", "unused", "since"]);
            for row in answer.get("uses").and_then(Value::as_array).into_iter().flatten() {
                let number = |key: &str| Cell::Number(row.get(key).and_then(Value::as_u64).unwrap_or(0));
                let cell = |key: &str| Cell::text(text(row, key));
                table.row(vec![cell("span"), number("limit"), number("used"), number("unused"), cell("since")]);
            }
            table.print(json)
        }
        Quota::Reset { user } => {
            gateway.delete(&format!("/api/v1/quota?user={}", encoded(&user)))?;
            put(&format!("{user} begins anew\n"))
        }
    }
}
