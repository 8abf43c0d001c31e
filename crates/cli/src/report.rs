//! What a command found or did: made once, printed for people or for machines.

use serde_json::{Map, Value};

use crate::cell::Cell;
use crate::table::Table;

/// What a command found or did, in order. Tables and fields are text and JSON; lines are text, data is JSON.
///
/// The JSON is one object: what is under one key more than once is one list.
#[derive(Debug, Default)]
pub struct Report {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Line(String),
    Failure(String),
    Table(&'static str, Table),
    Fields(&'static str, Fields, Many),
    Data(&'static str, Value, Many),
}

/// Whether a key has one value, or a list of them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Many {
    One,
    List,
}

/// Names and their values, one under the other.
#[derive(Debug, Default)]
pub struct Fields {
    width: usize,
    separator: &'static str,
    fields: Vec<(String, String, Cell)>,
}

impl Fields {
    /// Names are as wide as `width`, then `separator`, then the value.
    pub fn new(width: usize, separator: &'static str) -> Self {
        Self { width, separator, fields: Vec::new() }
    }

    /// A field with its name in text and its key in JSON.
    pub fn field(mut self, name: impl Into<String>, key: impl Into<String>, value: impl Into<Cell>) -> Self {
        self.fields.push((name.into(), key.into(), value.into()));
        self
    }

    /// A value for machines alone.
    pub fn data(self, key: impl Into<String>, value: impl Into<Cell>) -> Self {
        self.field("", key, value)
    }

    fn to_text(&self) -> String {
        let width = self.width;
        let line = |(name, _, value): &(String, String, Cell)| {
            let line = format!("{name:<width$}{}{value}", self.separator);
            line.trim_end().to_owned() + "\n"
        };
        self.fields.iter().filter(|(name, ..)| !name.is_empty()).map(line).collect()
    }

    fn to_json(&self) -> Value {
        Value::Object(self.fields.iter().map(|(_, key, value)| (key.clone(), value.to_json())).collect())
    }
}

impl Report {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A line of text. Where there is nothing but lines, machines get them as `messages`.
    pub fn line(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Line(text.into()));
        self
    }

    /// What could not be done or found out of one of several, such as a broker: a line of text, and one of the `errors` for
    /// machines. The command fails after it has told the rest.
    pub fn failure(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Failure(text.into()));
        self
    }

    /// Whether there is a failure.
    pub fn has_failed(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Failure(_)))
    }

    /// A table; its rows are a list under `key`.
    pub fn table(mut self, key: &'static str, table: Table) -> Self {
        self.parts.push(Part::Table(key, table));
        self
    }

    /// Fields; an object under `key`.
    pub fn fields(mut self, key: &'static str, fields: Fields) -> Self {
        self.parts.push(Part::Fields(key, fields, Many::One));
        self
    }

    /// Fields of one of several; an object in the list under `key`.
    pub fn item(mut self, key: &'static str, fields: Fields) -> Self {
        self.parts.push(Part::Fields(key, fields, Many::List));
        self
    }

    /// A value for machines alone.
    pub fn data(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.parts.push(Part::Data(key, value.into(), Many::One));
        self
    }

    /// A value in the list under `key`, for machines alone.
    pub fn data_item(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.parts.push(Part::Data(key, value.into(), Many::List));
        self
    }

    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What another report has, after this one.
    pub fn then(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// There is more in it than lines.
    pub fn has_data(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Line(_)))
    }

    /// For people, on a terminal of so many columns, or on none.
    pub fn to_text(&self, terminal: Option<usize>) -> String {
        let text = |part: &Part| match part {
            Part::Line(text) | Part::Failure(text) => text.trim_end().to_owned() + "\n",
            Part::Table(_, table) => table.to_text(terminal),
            Part::Fields(_, fields, _) => fields.to_text(),
            Part::Data(..) => String::new(),
        };
        self.parts.iter().map(text).collect()
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for part in &self.parts {
            match part {
                Part::Line(_) => {}
                Part::Failure(text) => append(&mut object, "errors", vec![Value::from(&**text)]),
                Part::Table(key, table) => append(&mut object, key, table.to_json()),
                Part::Fields(key, fields, many) => put(&mut object, key, fields.to_json(), *many),
                Part::Data(key, value, many) => put(&mut object, key, value.clone(), *many),
            }
        }
        if object.is_empty() {
            let lines = self.parts.iter().filter_map(|part| match part {
                Part::Line(text) if !text.trim().is_empty() => Some(Value::from(text.trim_end())),
                _ => None,
            });
            append(&mut object, "messages", lines.collect());
        }
        Value::Object(object)
    }
}

impl From<String> for Report {
    fn from(text: String) -> Self {
        Self::new().line(text)
    }
}

fn put(object: &mut Map<String, Value>, key: &str, value: Value, many: Many) {
    match many {
        Many::One => drop(object.insert(key.to_owned(), value)),
        Many::List => append(object, key, vec![value]),
    }
}

fn append(object: &mut Map<String, Value>, key: &str, values: Vec<Value>) {
    let list = object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.extend(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_lines_and_machines_get_lists() {
        let mut table = Table::new(&[("#Topic", "topic")]);
        table.row(["T".into()]);
        let broker = |address: &str| Fields::new(8, ": ").field("Address", "address", address);
        let report = Report::new()
            .line("Topics:")
            .table("topics", table)
            .item("brokers", broker("a:1"))
            .item("brokers", broker("b:2"))
            .data("lag", 3);
        assert_eq!(report.to_text(None), "Topics:\n#Topic\nT\nAddress : a:1\nAddress : b:2\n");
        let json = r#"{"topics":[{"topic":"T"}],"brokers":[{"address":"a:1"},{"address":"b:2"}],"lag":3}"#;
        assert_eq!(report.to_json().to_string(), json);
    }

    #[test]
    fn what_was_done_is_told_to_machines_too() {
        let report = Report::new().line("create topic to a:1 success.").line("");
        assert_eq!(report.to_json().to_string(), r#"{"messages":["create topic to a:1 success."]}"#);
    }
}
