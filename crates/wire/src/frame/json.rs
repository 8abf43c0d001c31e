//! The JSON header.

use std::fmt;

use bytes::BufMut;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{FieldWriter, FrameError, scan};
use crate::command::{Command, Encoding, Language};
use crate::fields::{Fields, MAX_FIELDS};

/// Fills an empty command.
pub(super) fn decode(header: &[u8], command: &mut Command) -> Result<(), FrameError> {
    if scan::scan(header, command).is_some() {
        return Ok(());
    }
    command.empty_header();
    decode_exactly(header, command)
}

/// The same without a short cut.
pub(super) fn decode_exactly(header: &[u8], command: &mut Command) -> Result<(), FrameError> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let read = json.deserialize_map(Head(command)).and_then(|()| json.end());
    read.map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Fills a command from the header's object.
struct Head<'c>(&'c mut Command);

impl<'de> Visitor<'de> for Head<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the JSON object of a remoting header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let command = self.0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Code => command.code = map.next_value::<Option<i32>>()?.unwrap_or_default(),
                Key::Version => command.version = map.next_value::<Option<i32>>()?.unwrap_or_default(),
                Key::Opaque => command.opaque = map.next_value::<Option<i32>>()?.unwrap_or_default(),
                Key::Flag => command.flag = map.next_value::<Option<i32>>()?.unwrap_or_default(),
                Key::Remark => command.remark = map.next_value()?,
                Key::Language => command.language = map.next_value_seed(LanguageSeed)?,
                Key::ExtFields => map.next_value_seed(FieldsSeed(&mut command.fields))?,
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

enum Key {
    Code,
    Version,
    Opaque,
    Flag,
    Remark,
    Language,
    ExtFields,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of a remoting header")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "code" => Key::Code,
            "version" => Key::Version,
            "opaque" => Key::Opaque,
            "flag" => Key::Flag,
            "remark" => Key::Remark,
            "language" => Key::Language,
            "extFields" => Key::ExtFields,
            _ => Key::Other,
        })
    }
}

/// A language comes by its name, from some clients by its number.
struct LanguageSeed;

impl<'de> DeserializeSeed<'de> for LanguageSeed {
    type Value = Language;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Language, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for LanguageSeed {
    type Value = Language;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name or number of a language")
    }

    fn visit_str<E>(self, name: &str) -> Result<Language, E> {
        Ok(Language::from_name(name))
    }

    fn visit_u64<E>(self, code: u64) -> Result<Language, E> {
        Ok(u8::try_from(code).map_or(Language::OTHER, Language::from_code))
    }

    fn visit_unit<E>(self) -> Result<Language, E> {
        Ok(Language::OTHER)
    }
}

/// Reads an object of texts into the map without a string of its own for each.
struct FieldsSeed<'f>(&'f mut Fields);

impl<'de> DeserializeSeed<'de> for FieldsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of ext fields")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(NameSeed(self.0))?.is_some() {
            if self.0.len() > MAX_FIELDS {
                return Err(A::Error::custom(format_args!("more than {MAX_FIELDS} ext fields")));
            }
            map.next_value_seed(ValueSeed(self.0))?;
        }
        Ok(())
    }
}

struct NameSeed<'f>(&'f mut Fields);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an ext field")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        self.0.begin(name);
        Ok(())
    }
}

/// Values are texts; numbers and booleans, which some clients send bare, are taken as their text.
struct ValueSeed<'f>(&'f mut Fields);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of an ext field")
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.finish_with(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.finish_with(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.finish_with(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.finish_with(value);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.finish_with(value);
        Ok(())
    }

    /// A null is a field that isn't there.
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.abandon();
        Ok(())
    }
}

pub(super) fn encode(command: &Command, out: &mut Vec<u8>, fields: impl FnOnce(&mut FieldWriter<'_>)) {
    out.put_slice(b"{\"code\":");
    number(command.code, out);
    let mut writer = FieldWriter { out, encoding: Encoding::Json, is_first: true };
    fields(&mut writer);
    if !writer.is_first {
        out.put_u8(b'}');
    }
    out.put_slice(b",\"flag\":");
    number(command.flag, out);
    out.put_slice(b",\"language\":\"");
    out.put_slice(command.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    number(command.opaque, out);
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        text(remark, out);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    number(command.version, out);
    out.put_u8(b'}');
}

fn number(value: i32, out: &mut Vec<u8>) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A member of the object of ext fields, which the first one begins.
pub(super) fn field(name: &str, value: &str, is_first: bool, out: &mut Vec<u8>) {
    out.put_slice(if is_first { b",\"extFields\":{" } else { b"," });
    text(name, out);
    out.put_u8(b':');
    text(value, out);
}

/// A JSON string; what must be escaped is.
fn text(value: &str, out: &mut Vec<u8>) {
    let value = value.as_bytes();
    out.reserve(value.len() + 2);
    out.push(b'"');
    let (plain, special) = value.split_at(scan::plain_length(value));
    out.extend_from_slice(plain);
    if !special.is_empty() {
        escaped(special, out);
    }
    out.push(b'"');
}

/// A text that begins with what must be escaped.
fn escaped(mut rest: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    while let Some((&byte, others)) = rest.split_first() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[0], digits[1]]);
            }
        }
        let (plain, special) = others.split_at(scan::plain_length(others));
        out.extend_from_slice(plain);
        rest = special;
    }
}
