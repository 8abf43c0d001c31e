//! What is told of one message (upstream `TraceDataEncoder`): fields with a byte 1 between them, and a byte 2 behind the
//! last one.
//!
//! ```text
//! Pub time region group topic id tags keys broker bodyLength took kind offsetId success
//! SubBefore time region group requestId id times keys
//! SubAfter requestId id took success keys code time group
//! ```

use std::fmt::Display;
use std::time::Duration;

/// The region of brokers that have no other.
pub(super) const DEFAULT_REGION: &str = "DefaultRegion";

/// A record, and by what it is to be found.
#[derive(Debug)]
pub(crate) struct Record {
    pub text: String,
    /// The message's id, and its keys separated by blanks.
    pub id: String,
    pub keys: Option<String>,
}

/// A message that a broker has.
pub(super) struct Published<'p> {
    /// When sending began, in milliseconds since 1970.
    pub began: i64,
    pub region: &'p str,
    pub group: &'p str,
    pub topic: &'p str,
    pub id: &'p str,
    pub tags: Option<&'p str>,
    pub keys: Option<&'p str>,
    pub broker: &'p str,
    /// Bytes.
    pub body: usize,
    pub took: Duration,
    pub kind: Kind,
    pub offset_id: &'p str,
    pub is_safe: bool,
}

/// What kind of message it is (upstream `MessageType`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Normal = 0,
    Half = 1,
    Delayed = 3,
}

/// What a message means to a member of a group.
pub(super) struct Consumed<'c> {
    /// By which the beginning and the end find each other.
    pub request_id: &'c str,
    pub group: &'c str,
    pub id: &'c str,
    pub keys: Option<&'c str>,
}

impl Published<'_> {
    pub fn record(&self) -> Record {
        let mut fields = Fields::of("Pub");
        fields.add(self.began).add(self.region).add(self.group).add(self.topic).add(self.id).optional(self.tags);
        fields.optional(self.keys).add(self.broker).add(self.body).add(self.took.as_millis()).add(self.kind as i32);
        fields.add(self.offset_id).add(self.is_safe);
        fields.end(self.id, self.keys)
    }
}

impl Consumed<'_> {
    /// It is about to be consumed, at a time in milliseconds since 1970, after so many times without success.
    pub fn begins(&self, at: i64, region: &str, times: i32) -> Record {
        let mut fields = Fields::of("SubBefore");
        fields.add(at).add(region).add(self.group).add(self.request_id).add(self.id).add(times).optional(self.keys);
        fields.end(self.id, self.keys)
    }

    /// It was consumed, or not.
    pub fn ended(&self, at: i64, took: Duration, is_done: bool) -> Record {
        // Upstream `ConsumeReturnType`: SUCCESS, FAILED.
        let code = if is_done { 0 } else { 4 };
        let mut fields = Fields::of("SubAfter");
        fields.add(self.request_id).add(self.id).add(took.as_millis()).add(is_done).optional(self.keys);
        fields.add(code).add(at).add(self.group);
        fields.end(self.id, self.keys)
    }
}

struct Fields(String);

impl Fields {
    fn of(kind: &str) -> Self {
        let mut text = String::with_capacity(256);
        text.push_str(kind);
        Self(text)
    }

    fn add(&mut self, value: impl Display) -> &mut Self {
        use std::fmt::Write;
        // A text takes all.
        let _ = write!(self.0, "\u{1}{value}");
        self
    }

    /// Java's null.
    fn optional(&mut self, value: Option<&str>) -> &mut Self {
        self.add(value.unwrap_or("null"))
    }

    fn end(mut self, id: &str, keys: Option<&str>) -> Record {
        self.0.push('\u{2}');
        Record { text: self.0, id: id.to_owned(), keys: keys.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_of_the_java_client() {
        // Fields and their order as TraceDataEncoder of 5.5.0 writes and reads them.
        let published = Published {
            began: 1_700_000_000_000,
            region: DEFAULT_REGION,
            group: "P",
            topic: "T",
            id: "ID",
            tags: None,
            keys: Some("k l"),
            broker: "127.0.0.1:10911",
            body: 5,
            took: Duration::from_micros(7_900),
            kind: Kind::Delayed,
            offset_id: "OFFSET",
            is_safe: true,
        };
        let record = published.record();
        let text = "Pub 1700000000000 DefaultRegion P T ID null k+l 127.0.0.1:10911 5 7 3 OFFSET true";
        assert_eq!(record.text, text.replace(' ', "\u{1}").replace('+', " ") + "\u{2}");
        assert_eq!((&*record.id, record.keys.as_deref()), ("ID", Some("k l")));
        let consumed = Consumed { request_id: "R", group: "G", id: "ID", keys: None };
        let before = consumed.begins(1, DEFAULT_REGION, 2).text;
        assert_eq!(before, "SubBefore 1 DefaultRegion G R ID 2 null".replace(' ', "\u{1}") + "\u{2}");
        let after = consumed.ended(3, Duration::from_millis(4), false).text;
        assert_eq!(after, "SubAfter R ID 4 false null 4 3 G".replace(' ', "\u{1}") + "\u{2}");
    }
}
