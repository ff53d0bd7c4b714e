//! Tables. What must never happen here: columns that do not line up, a control character on the terminal.

use super::CliError;
use std::fmt::Display;
use std::io::Write;

/// Rows under a head.
#[derive(Debug)]
pub struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Left in its column.
    Text(String),
    /// Right in its column.
    Number(u64),
}

impl Cell {
    /// A text, as it prints; control characters become spaces.
    pub fn text(value: impl Display) -> Self {
        Self::Text(value.to_string().replace(char::is_control, " "))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(head: &'static [&'static str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// One more row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Prints it, for people or as an array of objects.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn print(&self, json: bool) -> Result<(), CliError> {
        if json { put(&self.json()) } else { put(&self.text()) }
    }

    /// Prints it as RFC 4180.
    ///
    /// # Errors
    /// If standard output is gone.
    pub fn print_csv(&self) -> Result<(), CliError> {
        put(&self.csv())
    }

    fn text(&self) -> String {
        if self.rows.is_empty() {
            return "none\n".to_owned();
        }
        let shown: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let widest = |column: usize| shown.iter().filter_map(|row| row.get(column)).map(|text| width(text)).max();
        let head = |column: usize| self.head.get(column).map_or(0, |text| width(text));
        let widths: Vec<usize> = (0..self.head.len()).map(|at| widest(at).unwrap_or(0).max(head(at))).collect();
        let mut text = String::new();
        line(&mut text, self.head.iter().map(|name| (name.to_uppercase(), false)), &widths);
        for (row, cells) in shown.into_iter().zip(&self.rows) {
            let right = cells.iter().map(|cell| matches!(cell, Cell::Number(_)));
            line(&mut text, row.into_iter().zip(right), &widths);
        }
        text
    }

    fn csv(&self) -> String {
        let mut text = self.head.join(",") + "\r\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| quoted(&cell.shown())).collect();
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
        text
    }

    fn json(&self) -> String {
        let object = |row: &Vec<Cell>| {
            let value = |cell: &Cell| match cell {
                Cell::Text(text) => serde_json::Value::from(text.as_str()),
                Cell::Number(number) => serde_json::Value::from(*number),
            };
            let pairs = self.head.iter().zip(row).map(|(name, cell)| (name.replace(' ', "_"), value(cell)));
            serde_json::Value::Object(pairs.collect())
        };
        format!("{:#}\n", serde_json::Value::Array(self.rows.iter().map(object).collect()))
    }
}

/// Writes to standard output; `kmsgate ... | head` is no fault.
///
/// # Errors
/// If standard output takes nothing for another reason than that its reader left.
pub(super) fn put(text: &str) -> Result<(), CliError> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::failed(error)),
        _ => Ok(()),
    }
}

fn line(text: &mut String, cells: impl Iterator<Item = (String, bool)>, widths: &[usize]) {
    let mut row = String::new();
    for ((cell, right), wide) in cells.zip(widths) {
        let room = " ".repeat(wide.saturating_sub(width(&cell)));
        let (before, after) = if right { (room.as_str(), "") } else { ("", room.as_str()) };
        row.push_str(&format!("{before}{cell}{after}  "));
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

fn quoted(text: &str) -> String {
    // A spreadsheet takes a cell that begins so for a formula.
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Columns on a terminal: East Asian wide characters take two (Unicode UAX 11, the blocks that names come in).
pub(super) fn width(text: &str) -> usize {
    let wide = |character: char| {
        matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|character| if wide(character) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["name", "bytes in"]);
        table.row(vec![Cell::text("愛麗絲"), Cell::Number(5)]);
        table.row(vec![Cell::text("bob, \"b\"\n"), Cell::Number(12345)]);
        table
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        assert_eq!(table().text(), "NAME       BYTES IN\n愛麗絲            5\nbob, \"b\"      12345\n");
        assert_eq!(Table::new(&["a"]).text(), "none\n");
    }

    #[test]
    fn csv_and_json_hold_the_same_values() {
        assert_eq!(table().csv(), "name,bytes in\r\n愛麗絲,5\r\n\"bob, \"\"b\"\" \",12345\r\n");
        let json: serde_json::Value = serde_json::from_str(&table().json()).unwrap();
        assert_eq!(json[1]["bytes_in"], 12345);
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
