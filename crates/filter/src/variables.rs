//! Where the values of names come from.

use apogee_message::names::property;
use apogee_message::properties;
use apogee_message::record::Record;

/// A value of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable<'v> {
    /// A property: compared with a number, it is read as one.
    Text(&'v str),
    /// A whole number.
    Number(i64),
}

/// The values that an expression is evaluated with.
pub trait Variables {
    /// The value of a name, whose case counts; `None`: it has none.
    fn get(&self, name: &str) -> Option<Variable<'_>>;
}

/// The values of a stored message: its properties, and beside them `_tag`, `_keys`, `_born_time`
/// (milliseconds since 1970) and `_body_length` (bytes as stored, so compressed if the producer did
/// that). A property of the same name goes before.
#[derive(Debug, Clone, Copy)]
pub struct MessageVariables<'r> {
    /// The properties' text.
    pub properties: &'r [u8],
    /// When the producer made the message, in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Bytes of the body.
    pub body_length: usize,
}

impl<'r> MessageVariables<'r> {
    /// Those of a record.
    pub fn of(record: &Record<'r>) -> Self {
        let Record { properties, born_timestamp, body, .. } = *record;
        Self { properties, born_timestamp, body_length: body.len() }
    }
}

impl Variables for MessageVariables<'_> {
    fn get(&self, name: &str) -> Option<Variable<'_>> {
        let property = |name| properties::get(self.properties, name).map(Variable::Text);
        property(name).or_else(|| match name {
            "_tag" => property(property::TAGS),
            "_keys" => property(property::KEYS),
            "_born_time" => Some(Variable::Number(self.born_timestamp)),
            "_body_length" => i64::try_from(self.body_length).ok().map(Variable::Number),
            _ => None,
        })
    }
}
