//! One value of a report: text for people, JSON for machines.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_base::date::Date;
use serde_json::{Number, Value};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing: an empty text, `null`.
    None,
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A number with so many digits after its point in the text.
    Decimal(f64, usize),
    /// A time; the text is upstream's, in UTC.
    Time(Option<SystemTime>),
    /// One thing for people, another for machines.
    Both(String, Value),
}

impl Cell {
    /// A time: `N/A` or `null` for none.
    pub fn time(time: Option<SystemTime>) -> Self {
        Self::Time(time)
    }

    /// A time in milliseconds since 1970; 0 and less for none.
    pub fn milliseconds(milliseconds: i64) -> Self {
        let since = u64::try_from(milliseconds).ok().filter(|since| *since > 0);
        Self::Time(since.and_then(|since| UNIX_EPOCH.checked_add(Duration::from_millis(since))))
    }

    /// A number with so many digits after its point.
    pub fn decimal(number: f64, digits: usize) -> Self {
        Self::Decimal(number, digits)
    }

    /// A text for people beside another value for machines.
    pub fn both(text: impl Into<String>, json: impl Into<Value>) -> Self {
        Self::Both(text.into(), json.into())
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::None | Self::Time(None) => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Text(text) => Value::String(text.clone()),
            Self::Number(number) => Value::from(*number),
            Self::Decimal(number, _) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Self::Time(Some(time)) => Value::String(humantime::format_rfc3339_millis(*time).to_string()),
            Self::Both(_, json) => json.clone(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Both(text, _) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Decimal(number, digits) => write!(f, "{number:.digits$}"),
            Self::Time(None) => f.write_str("N/A"),
            Self::Time(Some(time)) => f.write_str(&written(*time)),
        }
    }
}

/// A number of bytes as people say it.
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let step = (bytes.ilog2() as usize / 10).min(UNITS.len());
    format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * step)) as f64, UNITS[step - 1])
}

/// A time as upstream writes it, in UTC.
fn written(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Date { year, month, day, hour, minute, second, millisecond } =
        Date::of(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millisecond:03}")
}

macro_rules! whole {
    ($($number:ty),*) => {
        $(impl From<$number> for Cell {
            fn from(number: $number) -> Self {
                Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
            }
        })*
    };
}

whole!(i32, i64, u16, u32, u64, usize);

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_machines_get_the_same_time() {
        let time = Cell::milliseconds(1_700_000_000_123);
        assert_eq!(time.to_string(), "2023-11-14 22:13:20,123");
        assert_eq!(time.to_json(), "2023-11-14T22:13:20.123Z");
        assert_eq!(
            (Cell::milliseconds(0).to_string(), Cell::milliseconds(-1).to_json()),
            ("N/A".to_owned(), Value::Null)
        );
    }

    #[test]
    fn a_number_that_json_has_no_word_for_is_null() {
        assert_eq!(
            (Cell::decimal(1.25, 1).to_string(), Cell::decimal(1.25, 1).to_json()),
            ("1.2".to_owned(), 1.25.into())
        );
        assert_eq!(Cell::decimal(f64::NAN, 1).to_json(), Value::Null);
    }
}
