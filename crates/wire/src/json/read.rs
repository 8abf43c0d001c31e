//! The reader: the dialect, and what Java reads beyond it, to serde's data model.
//!
//! Numbers and booleans may be quoted and texts may be bare, as clients in other languages write
//! them; quotes may be single. A pair whose value is `null` is absent.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// How deep objects and arrays may nest: the deepest body has seven levels, and hostile input
/// must not exhaust the stack.
const MAX_DEPTH: usize = 64;

/// What is wrong with a text, and where.
#[derive(Debug, thiserror::Error)]
#[error("{problem} at byte {at}", at = .at.unwrap_or_default())]
pub(super) struct Malformed {
    problem: String,
    /// Known as soon as the error passes the reader.
    at: Option<usize>,
}

impl Malformed {
    fn new(problem: impl Into<String>, at: usize) -> Self {
        Self { problem: problem.into(), at: Some(at) }
    }
}

impl de::Error for Malformed {
    fn custom<T: std::fmt::Display>(problem: T) -> Self {
        Self { problem: problem.to_string(), at: None }
    }
}

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

/// A place in a text. Strings are handed out for the moment only and never borrowed by values,
/// so that a key which is itself a quoted object can be read by a reader of its own.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// While a key is read: any bare word is a text.
    key: bool,
}

/// A value that is neither object nor array.
enum Scalar<'t> {
    Quoted(Cow<'t, str>),
    Bare(&'t str),
}

impl<'t> Scalar<'t> {
    fn into_text(self) -> Cow<'t, str> {
        match self {
            Self::Quoted(text) => text,
            Self::Bare(text) => Cow::Borrowed(text),
        }
    }
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, depth: usize) -> Self {
        Self { text, at: 0, depth, key: false }
    }

    fn error(&self, message: impl Into<String>) -> Malformed {
        Malformed::new(message, self.at)
    }

    /// Adds the position to an error that a type's own code has raised.
    fn place(&self, error: Malformed) -> Malformed {
        Malformed { at: error.at.or(Some(self.at)), ..error }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that isn't white space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.byte()
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        match self.peek() {
            Some(found) if found == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(format!("expected `{}`", char::from(wanted)))),
            None => Err(self.error(format!("the text ends where `{}` is due", char::from(wanted)))),
        }
    }

    /// Enters an object or an array.
    fn enter(&mut self, opening: u8) -> Result<(), Malformed> {
        self.expect(opening)?;
        self.key = false;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    /// Goes to the next element: `false` when the closing byte came instead.
    fn next_element(&mut self, first: &mut bool, closing: u8) -> Result<bool, Malformed> {
        if self.peek() == Some(closing) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Whether the value ahead is the bare word `null`; if so, passes it.
    fn null(&mut self) -> bool {
        self.peek();
        let rest = &self.text.as_bytes()[self.at..];
        let null = rest.starts_with(b"null") && !rest.get(4).is_some_and(|byte| is_word(*byte));
        if null {
            self.at += 4;
        }
        null
    }

    fn scalar(&mut self) -> Result<Scalar<'t>, Malformed> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Scalar::Quoted),
            Some(byte) if is_word(byte) => {
                let start = self.at;
                while self.byte().is_some_and(is_word) {
                    self.at += 1;
                }
                let word = &self.text[start..self.at];
                if self.key || matches!(word, "true" | "false" | "null") || word.parse::<f64>().is_ok() {
                    return Ok(Scalar::Bare(word));
                }
                self.at = start;
                Err(self.error("a bare word that is no number, boolean or null"))
            }
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value is due")),
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Cow<'t, str>, Malformed> {
        let opening = self.at;
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            match self.byte() {
                None => return Err(Malformed::new("a text without its closing quote", opening)),
                Some(byte) if byte == quote => break,
                Some(b'\\') => {
                    unescaped.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    self.escape(&mut unescaped)?;
                    start = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
        let rest = &self.text[start..self.at];
        self.at += 1;
        if unescaped.is_empty() {
            return Ok(Cow::Borrowed(rest));
        }
        unescaped.push_str(rest);
        Ok(Cow::Owned(unescaped))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, out: &mut String) -> Result<(), Malformed> {
        let Some(byte) = self.byte() else { return Err(self.error("the text ends in an escape")) };
        self.at += 1;
        out.push(match byte {
            b'"' | b'\'' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'u' => {
                let unit = self.hex()?;
                self.utf16(unit)?
            }
            _ => {
                self.at -= 1;
                return Err(self.error("an unknown escape"));
            }
        });
        Ok(())
    }

    /// The character of a UTF-16 unit and, where it is half of one, of the escape after it. A
    /// half alone has no counterpart here and becomes the replacement character.
    fn utf16(&mut self, unit: u16) -> Result<char, Malformed> {
        if !(0xd800..0xdc00).contains(&unit) || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Ok(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 2;
        let low = self.hex()?;
        if !(0xdc00..0xe000).contains(&low) {
            self.at = before;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = 0x10000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u16, Malformed> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error("`\\u` without four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    /// Passes a value that nobody wants.
    fn skip(&mut self) -> Result<(), Malformed> {
        let mut first = true;
        match self.peek() {
            Some(b'{') => {
                self.enter(b'{')?;
                while self.next_element(&mut first, b'}')? {
                    self.key = true;
                    self.skip()?;
                    self.key = false;
                    self.expect(b':')?;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.enter(b'[')?;
                while self.next_element(&mut first, b']')? {
                    self.skip()?;
                }
                Ok(())
            }
            _ => self.scalar().map(drop),
        }
    }

    /// Reads a scalar as a number or boolean, quoted or not.
    fn parse<T>(&mut self, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Malformed> {
        self.peek();
        let start = self.at;
        let text = self.scalar()?.into_text();
        parse(text.trim()).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Malformed::new(format!("`{shown}` is not {what}"), start)
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.' | b'%' | b'@') || byte >= 0x80
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
            let value = value.map_err(|error| Malformed { at: Some(at), ..error })?;
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
