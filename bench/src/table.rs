//! The table that a run prints.

/// What, measured, must, goal.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
}

const HEAD: [&str; 4] = ["what", "measured: median (least to most)", "must", "goal"];

impl Table {
    /// Adds a row and shows it at once.
    pub(crate) fn row(&mut self, what: &str, measured: &str, must: &str, goal: &str) {
        crate::progress(&format!("{what}: {measured}"));
        self.rows.push([what, measured, must, goal].map(str::to_owned));
    }

    /// In columns.
    pub(crate) fn text(&self) -> String {
        let head = HEAD.map(str::to_owned);
        let width = |column: usize| {
            let all = std::iter::once(&head).chain(&self.rows);
            all.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let [a, b, c] = [width(0), width(1), width(2)];
        let line = |[what, measured, must, goal]: &[String; 4]| {
            let line = format!("{what:a$}  {measured:b$}  {must:c$}  {goal}");
            format!("{}\n", line.trim_end())
        };
        std::iter::once(&head).chain(&self.rows).map(line).collect()
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |row: &[String; 4]| format!("| {} |\n", row.join(" | "));
        let rule = "| --- | --- | --- | --- |\n".to_owned();
        let head = line(&HEAD.map(str::to_owned));
        [head, rule].into_iter().chain(self.rows.iter().map(line)).collect()
    }
}
