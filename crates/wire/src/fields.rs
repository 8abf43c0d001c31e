//! The ext fields of a command: a flat map from text to text.

use std::fmt::{self, Display, Write};
use std::ops::Range;

/// Fields that a frame may have; upstream's largest headers have some twenty. Bounds the work of
/// looking each name up, too.
pub const MAX_FIELDS: usize = 256;

/// Ext fields in the order they came. One text buffer holds all names and values, so that a
/// reused map costs no allocation per field or per frame. Look-up guesses by a name's bit, and else is a
/// scan: headers have some twenty fields at most, and a name's number rules out nearly all others.
#[derive(Clone)]
pub struct Fields {
    text: String,
    entries: Vec<Entry>,
    /// Bits of the names that are or were there: most names that are asked for and absent need no scan.
    seen: u64,
    /// For each bit of a name, which entry had it last; a guess, as names share bits and entries move.
    last: [u8; u64::BITS as usize],
}

impl Default for Fields {
    fn default() -> Self {
        Self { text: String::new(), entries: Vec::new(), seen: 0, last: [0; _] }
    }
}

/// Where in the text a field's name and value are.
#[derive(Clone, Copy)]
struct Entry {
    number: u64,
    name: (u32, u32),
    value: (u32, u32),
}

/// What takes the fields of a header: [`Fields`] to keep them, [`crate::frame::FieldWriter`] to send them at once.
pub trait PutField {
    /// A field that is a text.
    fn text(&mut self, name: &str, value: &str);
    /// A field that is a number.
    fn number(&mut self, name: &str, value: i64);
}

impl PutField for Fields {
    fn text(&mut self, name: &str, value: &str) {
        self.set_str(name, value);
    }

    fn number(&mut self, name: &str, value: i64) {
        self.set_number(name, value);
    }
}

impl Fields {
    /// Removes all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.seen = 0;
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value_of(&Name::of(name))
    }

    /// The value of a field whose name was made a number before.
    #[inline(always)]
    pub(crate) fn value_of(&self, name: &Name<'_>) -> Option<&str> {
        if self.seen & 1 << name.bit == 0 {
            return None;
        }
        let guess = self.entries.get(usize::from(self.last[name.bit as usize]));
        let entry = match guess {
            // The number says all of a short name.
            Some(entry) if entry.number == name.number && name.text.len() <= WHOLE => entry,
            _ => self.find(name.number, name.text)?,
        };
        Some(self.value(entry))
    }

    fn find(&self, number: u64, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number && self.name(entry) == name)
    }

    /// All names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (self.name(entry), self.value(entry)))
    }

    /// Sets a field to what a value displays as.
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.begin(name);
        self.finish_with(value);
    }

    /// Sets a field to a text.
    pub fn set_str(&mut self, name: &str, value: &str) {
        self.text.reserve(name.len() + value.len());
        self.begin(name);
        self.text.push_str(value);
        self.finish();
    }

    /// Sets a field to what is written to the end of a text.
    pub fn set_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.begin(name);
        write(&mut self.text);
        self.finish();
    }

    /// Sets a field to a number.
    pub fn set_number(&mut self, name: &str, value: i64) {
        self.set_str(name, itoa::Buffer::new().format(value));
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        let (number, text) = (Name::of(name).number, &self.text);
        self.entries.retain(|entry| entry.number != number || part(text, entry.name) != name);
    }

    /// Empties the map and takes the text whose parts become its fields.
    pub(crate) fn begin_with(&mut self, text: &str) {
        self.clear();
        self.text.push_str(text);
    }

    /// Sets a field whose name and value are parts of the text that the map began with.
    #[inline]
    pub(crate) fn add_part(&mut self, name: Range<usize>, value: Range<usize>) {
        let (number, bit) = Name::within(&self.text, name.clone());
        self.add(Entry { number, name: narrow(name), value: narrow(value) }, bit);
    }

    /// The same with a value that is written to the end of a text; `None` when it cannot be.
    pub(crate) fn add_part_with(
        &mut self,
        name: Range<usize>,
        write: impl FnOnce(&mut String) -> Option<()>,
    ) -> Option<()> {
        let start = self.text.len();
        write(&mut self.text)?;
        self.add_part(name, start..self.text.len());
        Some(())
    }

    /// Begins a field whose value comes next, by what is written to the text until `finish`, or `abandon`.
    #[inline]
    pub(crate) fn begin(&mut self, name: &str) {
        let Name { number, bit, .. } = Name::of(name);
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        self.add(Entry { number, name: narrow(start..middle), value: narrow(middle..middle) }, bit);
    }

    #[inline]
    fn add(&mut self, entry: Entry, bit: u32) {
        if self.seen & 1 << bit != 0 {
            let (number, text) = (entry.number, &self.text);
            self.entries.retain(|other| other.number != number || part(text, other.name) != part(text, entry.name));
        }
        self.seen |= 1 << bit;
        self.last[bit as usize] = self.entries.len() as u8;
        self.entries.push(entry);
    }

    /// Gives the field begun last its value.
    pub(crate) fn finish_with(&mut self, value: impl Display) {
        // Writing to a String cannot fail; a Display that fails leaves what it wrote.
        let _ = write!(self.text, "{value}");
        self.finish();
    }

    /// Takes back the field begun last.
    pub(crate) fn abandon(&mut self) {
        self.entries.pop();
    }

    /// The field begun last has its value.
    #[inline]
    fn finish(&mut self) {
        if let Some(entry) = self.entries.last_mut() {
            entry.value.1 = self.text.len() as u32;
        }
    }

    #[inline]
    fn name(&self, entry: &Entry) -> &str {
        part(&self.text, entry.name)
    }

    #[inline]
    fn value(&self, entry: &Entry) -> &str {
        part(&self.text, entry.value)
    }
}

#[inline]
fn part(text: &str, (start, end): (u32, u32)) -> &str {
    &text[start as usize..end as usize]
}

/// A place in a text, which is shorter than a frame.
#[inline]
fn narrow(place: Range<usize>) -> (u32, u32) {
    (place.start as u32, place.end as u32)
}

/// Longest name that its number holds as a whole.
const WHOLE: usize = 7;

/// A field's name, with what it is found by.
pub(crate) struct Name<'n> {
    pub text: &'n str,
    /// Its length and first bytes.
    number: u64,
    /// Number of its bit in [`Fields::seen`].
    bit: u32,
}

impl<'n> Name<'n> {
    #[inline]
    pub const fn of(text: &'n str) -> Self {
        let bytes = text.as_bytes();
        let mut number = if bytes.len() < 255 { bytes.len() as u64 } else { 255 };
        let mut at = 0;
        while at < WHOLE {
            number = number << 8 | if at < bytes.len() { bytes[at] as u64 } else { 0 };
            at += 1;
        }
        Self { text, number, bit: Self::bit_of(number) }
    }

    /// Number and bit of a part of a text.
    #[inline]
    fn within(text: &str, name: Range<usize>) -> (u64, u32) {
        let length = name.end - name.start;
        let eight = text.as_bytes().get(name.start..).and_then(<[u8]>::first_chunk);
        let Some(eight) = eight.filter(|_| (1..=WHOLE).contains(&length)) else {
            let Name { number, bit, .. } = Name::of(&text[name]);
            return (number, bit);
        };
        // What follows the name is shifted out.
        let follow = 64 - 8 * length as u32;
        let number = (length as u64) << 56 | u64::from_be_bytes(*eight) >> follow << follow >> 8;
        (number, Self::bit_of(number))
    }

    #[inline]
    const fn bit_of(number: u64) -> u32 {
        // Multiplied by an odd number of many bits, the uppermost bits depend on all others.
        (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as u32
    }
}

impl PartialEq for Fields {
    /// Equal maps; the order does not count.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, V: Display> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.set(name.as_ref(), value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts() {
        let mut fields = Fields::default();
        fields.set("a", 1);
        fields.set_str("b", "x");
        fields.set("a", true);
        assert_eq!(fields.get("a"), Some("true"));
        assert_eq!(fields.len(), 2);
        fields.remove("b");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("a", "true")]);
    }

    #[test]
    fn names_with_the_same_beginning_and_length_are_told_apart() {
        let names = ["consumerGroup1", "consumerGroup2", "consumers", "consume", "consumed", "a", "b", ""];
        let fields: Fields = names.into_iter().map(|name| (name, name)).collect();
        assert!(names.into_iter().all(|name| fields.get(name) == Some(name)));
        assert!(["consumerGroup3", "consumer", "c", "consumf"].into_iter().all(|name| fields.get(name).is_none()));
    }

    #[test]
    fn order_does_not_make_maps_differ() {
        let one: Fields = [("a", 1), ("b", 2)].into_iter().collect();
        let other: Fields = [("b", 2), ("a", 1)].into_iter().collect();
        assert_eq!(one, other);
        assert_ne!(one, [("a", 1), ("b", 3)].into_iter().collect());
    }
}
