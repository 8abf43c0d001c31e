//! Comparing JSON of the dialect: the same values, and the same kinds of keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether two texts say the same in the same dialect; if not, where they part.
pub fn same(golden: &[u8], written: &[u8]) -> Result<(), String> {
    let (golden, written) = (read(golden)?, read(written)?);
    if golden == written { Ok(()) } else { Err(difference(&golden, &written)) }
}

/// Whether the second text says all that the first says, in the same dialect.
pub fn holds(golden: &[u8], written: &[u8]) -> Result<(), String> {
    let (golden, written) = (read(golden)?, read(written)?);
    if written.holds(&golden) { Ok(()) } else { Err(difference(&golden, &written)) }
}

/// Whether the members of all objects stand in the order of their names, as upstream writes them.
pub fn in_order(standard: &[u8]) -> Result<(), String> {
    fn check(value: &serde_json::Value) -> Result<(), String> {
        let members = value.as_object().into_iter().flatten();
        let names: Vec<&str> = members.map(|(name, _)| name.as_str()).collect();
        // Keys that are numbers are in the order of numbers; objects have their own.
        let plain = |name: &&str| !name.starts_with('{') && name.parse::<i64>().is_err();
        // Upstream puts this one object together by hand.
        let by_hand = names.first() == Some(&"runtimeTable");
        if !names.is_sorted() && names.iter().all(plain) && !by_hand {
            return Err(format!("the members {names:?} are not in order"));
        }
        let members = value.as_object().into_iter().flatten().map(|(_, value)| value);
        members.chain(value.as_array().into_iter().flatten()).try_for_each(check)
    }
    check(&serde_json::from_slice(standard).map_err(|error| error.to_string())?)
}

fn read(json: &[u8]) -> Result<Node, String> {
    apogee_wire::json::from_slice(json).map_err(|error| error.to_string())
}

fn difference(golden: &Node, written: &Node) -> String {
    let (golden, written) = (golden.to_string(), written.to_string());
    let part = golden.chars().zip(written.chars()).take_while(|(one, other)| one == other).count();
    let show = |text: &str| text.chars().skip(part.saturating_sub(60)).take(160).collect::<String>();
    format!("the JSON differs:\n  golden  …{}\n  written …{}", show(&golden), show(&written))
}

/// A value. Members are sorted, as are elements that are no objects: the order of Java's maps and
/// sets means nothing. Keys and scalars are kept as they were written, raw or quoted.
#[derive(PartialEq, Eq)]
enum Node {
    Scalar(String),
    Array(Vec<Node>),
    Object(BTreeMap<String, Node>),
}

impl Node {
    fn holds(&self, other: &Node) -> bool {
        match (self, other) {
            (Self::Array(all), Self::Array(some)) => {
                all.len() == some.len() && all.iter().zip(some).all(|(one, other)| one.holds(other))
            }
            (Self::Object(all), Self::Object(some)) => {
                some.iter().all(|(key, value)| all.get(key).is_some_and(|held| held.holds(value)))
            }
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => f.write_str(text),
            Self::Array(elements) => {
                f.write_str("[")?;
                elements.iter().try_for_each(|element| write!(f, "{element},"))?;
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                members.iter().try_for_each(|(key, value)| write!(f, "{key}:{value},"))?;
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Canonical)
    }
}

struct Canonical;

impl<'de> Visitor<'de> for Canonical {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(format!("{value:?}")))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar("null".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = elements.next_element::<Node>()? {
            all.push(element);
        }
        if all.iter().all(|element| matches!(element, Node::Scalar(_))) {
            all.sort_by_key(Node::to_string);
        }
        Ok(Node::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((key, value)) = members.next_entry::<Node, Node>()? {
            all.insert(key.to_string(), value);
        }
        Ok(Node::Object(all))
    }
}
