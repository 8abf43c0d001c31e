//! The writer: serde's data model to the dialect and its sisters.

use std::fmt::Display;
use std::io;

use serde::ser::{self, Serialize};

/// How the text shall look.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Style {
    Dialect,
    Standard,
    Pretty,
}

pub(super) fn write<T: Serialize + ?Sized>(value: &T, style: Style) -> Vec<u8> {
    let mut out = Out { text: Vec::with_capacity(128), sink: None };
    Writer { out: &mut out, style, indent: 0, is_held: false }.put(value);
    out.text
}

/// The same text, in pieces of little more than [`PIECE`] bytes.
pub(super) fn write_to<T: Serialize + ?Sized>(value: &T, style: Style, sink: &mut dyn io::Write) -> io::Result<()> {
    let sink = Some(Sink { to: sink, failed: Ok(()) });
    let mut out = Out { text: Vec::with_capacity(PIECE + PIECE / 8), sink };
    Writer { out: &mut out, style, indent: 0, is_held: false }.put(value);
    out.pass_on();
    out.sink.map_or(Ok(()), |sink| sink.failed)
}

/// Bytes from which on text is passed on.
const PIECE: usize = 64 << 10;

/// The text, or what of it was not passed on yet.
struct Out<'s> {
    text: Vec<u8>,
    sink: Option<Sink<'s>>,
}

struct Sink<'s> {
    to: &'s mut dyn io::Write,
    /// Why it takes no more.
    failed: io::Result<()>,
}

impl Out<'_> {
    fn pass_on(&mut self) {
        if let Some(sink) = &mut self.sink {
            if sink.failed.is_ok() {
                sink.failed = sink.to.write_all(&self.text);
            }
            self.text.clear();
        }
    }
}

/// Whether what was written is `null`: a member that is has to go.
type Written = Result<bool, Unwritable>;

/// A type's own `Serialize` gave up; the ones of bodies don't.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unwritable(String);

impl ser::Error for Unwritable {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Writer<'o, 's> {
    out: &'o mut Out<'s>,
    style: Style,
    indent: usize,
    /// Within an array: what an element's text looks like is known at its end.
    is_held: bool,
}

impl Writer<'_, '_> {
    /// Writes a value; true when it is `null`, which is also what an unwritable value becomes.
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> bool {
        let start = self.out.text.len();
        let inner = Writer { out: self.out, style: self.style, indent: self.indent, is_held: self.is_held };
        value.serialize(inner).unwrap_or_else(|error| {
            debug_assert!(false, "{error}");
            if let Some(sink) = &mut self.out.sink {
                sink.failed = Err(io::Error::other(error));
            }
            self.out.text.truncate(start);
            self.out.text.extend_from_slice(b"null");
            true
        })
    }

    fn text(self, text: &str) -> Written {
        self.out.text.extend_from_slice(text.as_bytes());
        Ok(false)
    }

    /// Begins a line of a pretty object or array.
    fn line(&mut self, indent: usize) {
        if self.style == Style::Pretty {
            self.out.text.push(b'\n');
            self.out.text.resize(self.out.text.len() + indent, b'\t');
        }
    }
}

/// Writes a quoted string.
fn quote(out: &mut Vec<u8>, text: &str, ascii: bool) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            ' '..='~' => out.push(character as u8),
            _ if ascii || character < ' ' => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

macro_rules! plain {
    ($($method:ident: $ty:ty),+) => {$(
        fn $method(self, value: $ty) -> Written {
            self.text(&value.to_string())
        }
    )+};
}

impl<'o, 's> ser::Serializer for Writer<'o, 's> {
    type Ok = bool;
    type Error = Unwritable;
    type SerializeSeq = Array<'o, 's>;
    type SerializeTuple = Array<'o, 's>;
    type SerializeTupleStruct = Array<'o, 's>;
    type SerializeTupleVariant = ser::Impossible<bool, Unwritable>;
    type SerializeMap = Object<'o, 's>;
    type SerializeStruct = Object<'o, 's>;
    type SerializeStructVariant = ser::Impossible<bool, Unwritable>;

    plain! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_f32(self, value: f32) -> Written {
        self.serialize_f64(f64::from(value))
    }

    /// Java has `1.0` for 1; JSON has no infinity.
    fn serialize_f64(self, value: f64) -> Written {
        if value.is_finite() { self.text(&format!("{value:?}")) } else { self.serialize_none() }
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Written {
        quote(&mut self.out.text, value, self.style == Style::Standard);
        Ok(false)
    }

    fn serialize_bytes(self, value: &[u8]) -> Written {
        value.serialize(self)
    }

    fn serialize_none(self) -> Written {
        self.text("null").map(|_| true)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Written {
        Err(unsupported(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Array<'o, 's>, Unwritable> {
        self.out.text.push(b'[');
        Ok(Array { writer: self, empty: true, lines: false })
    }

    fn serialize_tuple(self, _: usize) -> Result<Array<'o, 's>, Unwritable> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Array<'o, 's>, Unwritable> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unwritable> {
        Err(unsupported(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'o, 's>, Unwritable> {
        self.out.text.push(b'{');
        Ok(Object { before: self.out.text.len(), writer: self, empty: true })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'o, 's>, Unwritable> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unwritable> {
        Err(unsupported(variant))
    }
}

fn unsupported(variant: &'static str) -> Unwritable {
    Unwritable(format!("the variant {variant} carries data, which upstream's JSON has no form for"))
}

/// An array being written.
struct Array<'o, 's> {
    writer: Writer<'o, 's>,
    empty: bool,
    /// Whether elements stand on lines of their own: pretty, and no numbers.
    lines: bool,
}

impl Array<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) {
        if !self.empty {
            self.writer.out.text.push(b',');
        }
        let start = self.writer.out.text.len();
        self.writer.indent += 1;
        let is_held = std::mem::replace(&mut self.writer.is_held, true);
        self.writer.put(value);
        self.writer.is_held = is_held;
        let number = matches!(self.writer.out.text.get(start), Some(b'0'..=b'9' | b'-'));
        if self.writer.style == Style::Pretty && !number {
            self.lines = true;
            let tabs = std::iter::repeat_n(b'\t', self.writer.indent);
            self.writer.out.text.splice(start..start, std::iter::once(b'\n').chain(tabs));
        }
        self.writer.indent -= 1;
        self.empty = false;
    }

    fn close(mut self) -> Written {
        if self.lines {
            let indent = self.writer.indent;
            self.writer.line(indent);
        }
        self.writer.out.text.push(b']');
        Ok(false)
    }
}

impl ser::SerializeSeq for Array<'_, '_> {
    type Ok = bool;
    type Error = Unwritable;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.element(value);
        Ok(())
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeTuple for Array<'_, '_> {
    type Ok = bool;
    type Error = Unwritable;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.element(value);
        Ok(())
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Array<'_, '_> {
    type Ok = bool;
    type Error = Unwritable;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.element(value);
        Ok(())
    }
    fn end(self) -> Written {
        self.close()
    }
}

/// An object being written, from a map or a struct.
struct Object<'o, 's> {
    writer: Writer<'o, 's>,
    empty: bool,
    /// Where the member being written began, to take it back.
    before: usize,
}

impl Object<'_, '_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) {
        self.before = self.writer.out.text.len();
        if !self.empty {
            self.writer.out.text.push(b',');
        }
        self.writer.line(self.writer.indent + 1);
        match self.writer.style {
            Style::Dialect => drop(self.writer.put(key)),
            Style::Pretty => self.writer.out.text.extend_from_slice(&write(key, Style::Dialect)),
            Style::Standard => {
                let key = write(key, Style::Standard);
                if key.first() == Some(&b'"') {
                    self.writer.out.text.extend_from_slice(&key);
                } else {
                    quote(&mut self.writer.out.text, &String::from_utf8_lossy(&key), true);
                }
            }
        }
        self.writer.out.text.push(b':');
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.writer.indent += 1;
        let null = self.writer.put(value);
        self.writer.indent -= 1;
        if null {
            self.writer.out.text.truncate(self.before);
            return;
        }
        self.empty = false;
        // Nobody takes it back from here on: an object that has a member is not `null`.
        if !self.writer.is_held && self.writer.out.text.len() >= PIECE {
            self.writer.out.pass_on();
        }
    }

    fn close(mut self) -> Written {
        if !self.empty {
            let indent = self.writer.indent;
            self.writer.line(indent);
        }
        self.writer.out.text.push(b'}');
        Ok(false)
    }
}

impl ser::SerializeMap for Object<'_, '_> {
    type Ok = bool;
    type Error = Unwritable;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unwritable> {
        self.key(key);
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        self.value(value);
        Ok(())
    }
    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeStruct for Object<'_, '_> {
    type Ok = bool;
    type Error = Unwritable;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unwritable> {
        self.key(key);
        self.value(value);
        Ok(())
    }
    fn end(self) -> Written {
        self.close()
    }
}
