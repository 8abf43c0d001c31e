//! The reader: the dialect, and what Java reads beyond it, to serde's data model.
//!
//! Numbers and booleans may be quoted and texts may be bare, as clients in other languages write
//! them; quotes may be single. A pair whose value is `null` is absent.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::text::{Malformed, Reader, Scalar};

/// Reads one value; nothing but blanks may follow it.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Malformed> {
    let text =
        std::str::from_utf8(json).map_err(|error| Malformed::new("the text is not UTF-8", error.valid_up_to()))?;
    let mut reader = Reader::new(text, 0);
    let value = T::deserialize(&mut reader).map_err(|error| reader.place(error))?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.error("more text after the value")),
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// An integer, or a decimal number without a fraction, as some peers write integers.
fn parse_integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        // 2^53: below it every integer has an exact decimal form.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

macro_rules! integers {
    ($($method:ident $visit:ident $ty:ty: $what:literal,)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
            let number = self.parse($what, |text| {
                text.parse::<$ty>().ok().or_else(|| parse_integer(text)?.try_into().ok())
            })?;
            visitor.$visit(number)
        }
    )+};
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Malformed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        match self.peek() {
            Some(b'{') => return self.deserialize_map(visitor),
            Some(b'[') => return self.deserialize_seq(visitor),
            _ => {}
        }
        match self.scalar()? {
            Scalar::Quoted(text) => visitor.visit_str(&text),
            Scalar::Bare("null") => visitor.visit_unit(),
            Scalar::Bare("true") => visitor.visit_bool(true),
            Scalar::Bare("false") => visitor.visit_bool(false),
            Scalar::Bare(word) => match (word.parse::<i64>(), word.parse::<u64>(), word.parse::<f64>()) {
                (Ok(number), ..) => visitor.visit_i64(number),
                (_, Ok(number), _) => visitor.visit_u64(number),
                (_, _, Ok(number)) => visitor.visit_f64(number),
                _ => visitor.visit_str(word),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        let value = self.parse("a boolean", parse_bool)?;
        visitor.visit_bool(value)
    }

    integers! {
        deserialize_i8 visit_i8 i8: "an 8-bit integer",
        deserialize_i16 visit_i16 i16: "a 16-bit integer",
        deserialize_i32 visit_i32 i32: "a 32-bit integer",
        deserialize_i64 visit_i64 i64: "a 64-bit integer",
        deserialize_u8 visit_u8 u8: "an unsigned 8-bit integer",
        deserialize_u16 visit_u16 u16: "an unsigned 16-bit integer",
        deserialize_u32 visit_u32 u32: "an unsigned 32-bit integer",
        deserialize_u64 visit_u64 u64: "an unsigned 64-bit integer",
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        let number = self.parse("a number", |text| text.parse::<f64>().ok())?;
        visitor.visit_f64(number)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.key && self.peek() == Some(b'{') {
            // An object as a key where a text is wanted: its JSON.
            let start = self.at;
            self.skip()?;
            return visitor.visit_str(&self.text[start..self.at]);
        }
        match self.scalar()?.into_text() {
            Cow::Borrowed(text) => visitor.visit_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.null() { visitor.visit_unit() } else { Err(self.error("expected null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Malformed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.enter(b'[')?;
        visitor.visit_seq(Elements { reader: self, first: true })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        if self.key && matches!(self.peek(), Some(b'"' | b'\'')) {
            // An object as a key in standard JSON: a quoted text that holds the object.
            let at = self.at;
            let text = self.scalar()?.into_text();
            let mut inner = Reader::new(&text, self.depth);
            let value = (&mut inner).deserialize_map(visitor);
            let value = value.map_err(|error| error.placed(at))?;
            return if inner.peek().is_none() { Ok(value) } else { Err(Malformed::new("a key of two values", at)) };
        }
        self.enter(b'{')?;
        visitor.visit_map(Elements { reader: self, first: true })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Malformed> {
        let name: CowStrDeserializer<'_, Malformed> = self.scalar()?.into_text().into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Malformed> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// The elements of an array or the pairs of an object.
struct Elements<'r, 't> {
    reader: &'r mut Reader<'t>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Malformed;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Malformed> {
        if !self.reader.next_element(&mut self.first, b']')? {
            return Ok(None);
        }
        self.value(seed).map(Some)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, '_> {
    type Error = Malformed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Malformed> {
        loop {
            if !self.reader.next_element(&mut self.first, b'}')? {
                return Ok(None);
            }
            // A pair whose value is null counts as absent: look past the key before reading it.
            let (start, depth) = (self.reader.at, self.reader.depth);
            self.reader.key = true;
            self.reader.skip()?;
            self.reader.key = false;
            self.reader.expect(b':')?;
            if self.reader.null() {
                continue;
            }
            (self.reader.at, self.reader.depth) = (start, depth);
            self.reader.key = true;
            let key = self.value(seed);
            self.reader.key = false;
            return key.map(Some);
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Malformed> {
        self.reader.expect(b':')?;
        self.value(seed)
    }
}

impl Elements<'_, '_> {
    fn value<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Malformed> {
        let value = seed.deserialize(&mut *self.reader);
        value.map_err(|error| self.reader.place(error))
    }
}
