//! Attributes of topics and groups: `+key=value` sets one, `-key` removes one.

use std::collections::BTreeMap;

use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::message_type;

/// An attribute and the values it may have here.
pub(super) type Known = (&'static str, &'static [&'static str]);

/// Attributes of topics. Those that upstream has beside are for what is not here: retention of single
/// topics, light topics, priorities.
pub(super) const OF_TOPICS: &[Known] = &[
    (message_type::ATTRIBUTE, &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"]),
    ("queue.type", &["SimpleCQ"]),
    ("cleanup.policy", &["DELETE"]),
];
/// Attributes of groups: none has a meaning here.
pub(super) const OF_GROUPS: &[Known] = &[];

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
            if !values.contains(&value.as_str()) {
                return refused(format!("attribute `{key}={value}`: supported values are [{}]", values.join(", ")));
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
        for text in ["+queue.type=BatchCQ", "+nothing=1", "message.type=FIFO", "+message.type", "-nothing"] {
            assert!(alter(OF_TOPICS, &BTreeMap::new(), &parse(text)).is_err(), "{text}");
        }
    }
}
