//! How answers are shown: tables for people, JSON for programs.

use serde_json::Value;

/// How to show an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    Table,
    /// The API's own JSON.
    Json,
}

/// Rows under headings.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Shows an answer.
pub(crate) fn show(format: Format, json: &Value, table: impl FnOnce(&Value) -> Table) {
    match format {
        Format::Json => println!("{json:#}"),
        Format::Table => print!("{}", table(json)),
    }
}

/// A value as a cell: texts without quotes, nothing for what is absent.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Versions of the routing logic that a build can apply.
pub(crate) fn versions(logic: &Value) -> String {
    match (&logic["oldest"], &logic["newest"]) {
        (oldest, newest) if oldest == newest => cell(oldest),
        (oldest, newest) => format!("{} to {}", cell(oldest), cell(newest)),
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| cell(ms), |ms| format!("{:.1} s", ms as f64 / 1_000.0))
}

/// Milliseconds since 1970 as a day and a time in UTC.
pub(crate) fn moment(ms: &Value) -> String {
    let Some(ms) = ms.as_u64() else { return cell(ms) };
    let (days, second) = (ms / 86_400_000, ms / 1_000 % 86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (year, month, day) = date(days);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The year, month and day that begin so many days after 1970 did. Years are counted from March,
/// so that the day that some of them lack is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const FOUR_CENTURIES: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (400 * era + year + u64::from(month <= 2), month, day)
}

/// A variant's name, and what it carries: nothing where it is a plain word.
pub(crate) fn variant(value: &Value) -> (String, Value) {
    match value.as_object().and_then(|object| object.iter().next()) {
        Some((name, fields)) => (name.clone(), fields.clone()),
        None => (cell(value), Value::Null),
    }
}

/// One thing, a line for each of its fields.
pub(crate) fn fields(thing: &Value) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"]);
    for (key, value) in thing.as_object().into_iter().flatten() {
        table.row([key.clone(), cell(value)]);
    }
    table
}

/// The rows of a list.
pub(crate) fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_and_a_time() {
        let told = |ms: u64| moment(&Value::from(ms));
        assert_eq!(told(0), "1970-01-01 00:00:00Z");
        assert_eq!(told(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(told(951_868_799_999), "2000-02-29 23:59:59Z");
        assert_eq!(told(4_107_542_400_000), "2100-03-01 00:00:00Z");
        assert_eq!(told(1_767_225_599_000), "2025-12-31 23:59:59Z");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["QUEUE", "N"]);
        table.row(["qu_1000".to_owned(), "1".to_owned()]);
        table.row(["q".to_owned(), "12".to_owned()]);
        assert_eq!(table.to_string(), "QUEUE    N\nqu_1000  1\nq        12\n");
    }
}
