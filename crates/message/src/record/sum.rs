//! The sum over a whole record, in upstream's place and form: the last property of all, `__CRC32#`,
//! with the CRC-32 of all bytes before it without the sign bit, as ten decimal digits, the least one
//! first.

use crate::properties::{self, VALUE_END};

const NAME: &[u8] = b"__CRC32#\x01";
const DIGITS: usize = 10;

/// Bytes of the property.
pub const LENGTH: usize = NAME.len() + DIGITS + 1;

/// What the sum at the end of the properties says. `None` when there is none; an inner `None` when
/// there is one that cannot be right.
pub(super) fn of(properties: &[u8]) -> Option<Option<u32>> {
    let last = properties.last_chunk::<LENGTH>()?;
    if last.ends_with(&[0]) {
        // Of a torn write the end is zeros, where no text ends.
        return Some(None);
    }
    let (name, rest) = last.split_at(NAME.len());
    let differ = |one: &u8, other: &u8| (one ^ other).count_ones();
    let wrong_bits =
        name.iter().zip(NAME).map(|(one, other)| differ(one, other)).sum::<u32>() + differ(&rest[DIGITS], &VALUE_END);
    match wrong_bits {
        0 => {}
        // Its name itself is damaged: without this the record would pass as one that has no sum.
        1..=2 => return Some(None),
        _ => return None,
    }
    let digit = |sum: Option<u64>, digit: &u8| {
        sum.filter(|_| digit.is_ascii_digit()).map(|sum| sum * 10 + u64::from(digit - b'0'))
    };
    Some(rest[..DIGITS].iter().rev().fold(Some(0), digit).and_then(|sum| u32::try_from(sum).ok()))
}

/// Writes the property to its place of [`LENGTH`] bytes.
pub(super) fn write(place: &mut [u8], mut sum: u32) {
    let (name, rest) = place.split_at_mut(NAME.len());
    name.copy_from_slice(NAME);
    for digit in &mut rest[..DIGITS] {
        *digit = b'0' + (sum % 10) as u8;
        sum /= 10;
    }
    rest[DIGITS] = VALUE_END;
}

/// Whether another property needs a separator before it.
pub(super) fn needs_separator(properties: &[u8]) -> bool {
    properties.last().is_some_and(|last| *last != VALUE_END)
}

/// The properties without a sum; `None` when there is none.
pub(super) fn without(text: &[u8]) -> Option<Vec<u8>> {
    // Looking for one byte is cheap, and it is a rare one.
    if memchr::memchr(b'#', text).is_none() || !text.windows(NAME.len()).any(|part| part == NAME) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    properties::copy_without(&mut out, text, &[]);
    Some(out)
}
