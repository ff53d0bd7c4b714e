//! `kmsgate report`: how often, by whom, from where, and why not.

use super::CliError;
use super::arguments::{By, Format};
use super::control::{Gateway, encoded};
use super::table::{Cell, Table};
use serde_json::Value;

const COLUMNS: &[&str] = &["key", "grants", "used", "connections", "refused", "bytes in", "bytes out"];

/// Asks and prints.
///
/// # Errors
/// If a day is none, or the gateway refuses.
pub fn run(gateway: &Gateway, by: By, from: Option<&str>, to: Option<&str>, format: Format) -> Result<(), CliError> {
    let mut path = format!("/api/v1/report?by={}", by.as_str());
    for (key, day) in [("from", from), ("to", to)] {
        day.iter().for_each(|day| path.push_str(&format!("&{key}={}", encoded(day))));
    }
    let answer = gateway.get(&path)?;
    let mut table = Table::new(COLUMNS);
    for line in answer.get("lines").and_then(Value::as_array).into_iter().flatten() {
        let mut cells = vec![Cell::text(super::grants::text(line, "key"))];
        let numbers = ["grants", "used", "connections", "refused", "bytes_in", "bytes_out"];
        cells.extend(numbers.map(|key| Cell::Number(line.get(key).and_then(Value::as_u64).unwrap_or(0))));
        table.row(cells);
    }
    match format {
        Format::Table => table.print(false),
        Format::Json => table.print(true),
        Format::Csv => table.print_csv(),
    }
}
