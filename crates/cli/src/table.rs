//! Columns for people, and the same cells for machines.

use serde_json::{Map, Value};

use crate::cell::Cell;

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this to fit a terminal.
const NARROW: usize = 8;

/// Rows under headings.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    heading: &'static str,
    key: &'static str,
}

impl Table {
    /// Columns, each with its heading, as upstream writes it, and its key in JSON.
    pub fn new(columns: &[(&'static str, &'static str)]) -> Self {
        let columns = columns.iter().map(|&(heading, key)| Column { heading, key }).collect();
        Self { columns, rows: Vec::new() }
    }

    /// One more row, a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.push(cells.into());
    }

    /// The same where the number of columns depends on flags.
    pub fn push(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// There is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as JSON objects.
    pub fn to_json(&self) -> Vec<Value> {
        let keys = || self.columns.iter().map(|column| column.key);
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            keys().zip(row).map(|(key, cell)| (key.to_owned(), cell.to_json())).collect()
        };
        self.rows.iter().map(|row| Value::Object(object(row))).collect()
    }

    /// Headings and rows as lines, each column as wide as its widest cell. Where a terminal has fewer
    /// columns than that, the widest ones are cut.
    pub fn to_text(&self, terminal: Option<usize>) -> String {
        let headings = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::to_string).collect());
        let lines: Vec<Vec<String>> = std::iter::once(headings).chain(rows).collect();
        let wide =
            |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|column| wide(column).unwrap_or(0)).collect();
        if let Some(terminal) = terminal {
            fit(&mut widths, terminal);
        }
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{:<width$}", cut(cell, width)));
            text.push_str(cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end());
            text.push('\n');
        }
        text
    }
}

/// Takes from the widest columns until the line fits, or all are narrow.
fn fit(widths: &mut [usize], terminal: usize) {
    while widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > terminal {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROW => *widest -= 1,
            _ => return,
        }
    }
}

/// The beginning of a text that is too long, marked as such.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("#Topic", "topic"), ("#QID", "queue"), ("#Diff", "lag")]);
        table.row(["a-long-name".into(), 0.into(), 12.into()]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(table().to_text(None), "#Topic       #QID  #Diff\na-long-name  0     12\n");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        assert_eq!(table().to_text(Some(22)), "#Topic     #QID  #Diff\na-long-n…  0     12\n");
        assert_eq!(table().to_text(Some(1)).lines().nth(1), Some("a-long-…  0     12"));
    }

    #[test]
    fn machines_get_the_same_cells_by_key() {
        assert_eq!(Value::from(table().to_json()).to_string(), r#"[{"topic":"a-long-name","queue":0,"lag":12}]"#);
    }
}
