//! Columns.

use apogee_base::date::Date;

/// Rows as text, each column as wide as its widest cell, the first row being the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A row of texts.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A time as upstream writes it, UTC; `N/A` for none.
pub fn time(ms: i64) -> String {
    if ms <= 0 {
        return "N/A".to_owned();
    }
    let Date { year, month, day, hour, minute, second, millisecond } = Date::of(ms);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millisecond:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [row(["#Topic", "#QID", "#Diff"]), row(["a-long-name", "0", "12"])];
        assert_eq!(table(&rows), "#Topic       #QID  #Diff\na-long-name  0     12\n");
        assert_eq!(time(1_700_000_000_123), "2023-11-14 22:13:20,123");
        assert_eq!(time(0), "N/A");
    }
}
