//! Attributes of topics and groups: `+key=value` sets one, `-key` removes one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use apogee_message::names;
use apogee_wire::codes::response;

use crate::compaction;
use crate::deduplication;
use crate::error::BrokerError;
use crate::handlers::pop;
use crate::lite;
use crate::message_type;
use crate::required_codecs;
use crate::topics;

/// An attribute and the values it may have here.
pub(super) type Known = (&'static str, Values);

/// Values of an attribute.
pub(super) enum Values {
    /// One of some words.
    Words(&'static [&'static str]),
    /// A number.
    Number(RangeInclusive<i64>),
    /// What a function accepts, and how that is told.
    Checked(fn(&str) -> bool, &'static str),
}

impl Values {
    fn allow(&self, value: &str) -> bool {
        match self {
            Self::Words(words) => words.contains(&value),
            Self::Checked(accepts, _) => accepts(value),
            Self::Number(range) => value.parse().is_ok_and(|number| range.contains(&number)),
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "[{}]", words.join(", ")),
            Self::Checked(_, told) => f.write_str(told),
            Self::Number(range) => write!(f, "{} to {}", range.start(), range.end()),
        }
    }
}

/// Attributes of topics. Those that upstream has beside are for what is not here: retention of single
/// topics.
pub(super) const OF_TOPICS: &[Known] = &[
    (
        message_type::ATTRIBUTE,
        Values::Words(&["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED", "PRIORITY", lite::TYPE]),
    ),
    (topics::QUEUE_TYPE, Values::Words(&["SimpleCQ", topics::BATCHES])),
    (compaction::ATTRIBUTE, Values::Words(&compaction::POLICIES)),
    (deduplication::ATTRIBUTE, Values::Number(1..=deduplication::LONGEST_MS)),
    (lite::EXPIRATION, Values::Number(-1..=43_200)),
    (required_codecs::ATTRIBUTE, Values::Checked(required_codecs::is_value, required_codecs::VALUES)),
];
const BOOLEAN: Values = Values::Words(&["true", "false"]);
/// Attributes of groups.
pub(super) const OF_GROUPS: &[Known] = &[
    (pop::PRIORITY_FACTOR, Values::Number(0..=100)),
    (lite::BIND, Values::Checked(|topic| names::check_topic(topic).is_ok(), "names of topics")),
    (lite::MODEL, Values::Words(&lite::MODELS)),
    (lite::QUOTA, Values::Number(-1..=i64::MAX)),
    (lite::WILDCARD, BOOLEAN),
    (lite::RESET_EXCLUSIVE, BOOLEAN),
    (lite::RESET_UNSUBSCRIBE, BOOLEAN),
    (lite::MOST_EVENTS, Values::Number(10..=i64::MAX)),
];

/// Splits `+key=value,-key`.
pub(super) fn parse(text: &str) -> BTreeMap<String, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// The attributes after some changes.
pub(super) fn alter(
    known: &[Known],
    current: &BTreeMap<String, String>,
    changes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, BrokerError> {
    let refused = |remark: String| Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    let mut altered = current.clone();
    let find = |key: &str| known.iter().find(|(known, _)| *known == key);
    let unsupported = |key: &str| {
        let keys: Vec<_> = known.iter().map(|(key, _)| *key).collect();
        refused(format!("unsupported attribute `{key}`; supported: [{}]", keys.join(", ")))
    };
    for (change, value) in changes {
        if let Some(key) = change.strip_prefix('-') {
            // What is there may come from upstream's files.
            if altered.remove(key).is_none() && find(key).is_none() {
                return unsupported(key);
            }
        } else if let Some(key) = change.strip_prefix('+') {
            let Some((_, values)) = find(key) else { return unsupported(key) };
            if !values.allow(value) {
                return refused(format!("attribute `{key}={value}`: supported values are {values}"));
            }
            altered.insert(key.to_owned(), value.clone());
        } else {
            return refused(format!("attribute `{change}`: write +key=value to set one, -key to remove one"));
        }
    }
    Ok(altered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_and_removed() {
        let set = alter(OF_TOPICS, &BTreeMap::new(), &parse("+message.type=FIFO, +queue.type=SimpleCQ")).unwrap();
        assert_eq!(set["message.type"], "FIFO");
        let removed = alter(OF_TOPICS, &set, &parse("-message.type")).unwrap();
        assert_eq!(removed.keys().collect::<Vec<_>>(), ["queue.type"]);
        assert_eq!(alter(OF_TOPICS, &set, &parse("")).unwrap(), set);
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "+queue.type=OtherCQ",
            "+nothing=1",
            "message.type=FIFO",
            "+message.type",
            "-nothing",
            "+required.codecs=A,B",
        ] {
            assert!(alter(OF_TOPICS, &BTreeMap::new(), &parse(text)).is_err(), "{text}");
        }
    }
}
