//! Several messages as one record, in queues that keep batches so (upstream's inner batch): how many they are and
//! which offset the first of them has are properties.

use crate::names::property;
use crate::properties;

/// Most bytes of the property that tells the first offset.
pub(super) const MOST_BASE: usize = property::INNER_BASE.len() + 2 + 20;

/// What a draft knows of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner {
    /// Messages.
    pub count: u16,
    /// Where in the tail the first offset is told.
    pub base_at: usize,
}

/// Messages of a record, as its properties say: 1 to 32767. `None`: they do not.
pub(super) fn count(text: &[u8]) -> Option<u16> {
    let count = properties::get(text, property::INNER_NUM)?.parse::<i16>().ok()?;
    Some(count.max(1) as u16)
}

/// The properties without the first offset, which a record that is written again gets anew.
pub(super) fn without_base(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1);
    properties::copy_without(&mut out, text, &[property::INNER_BASE]);
    out
}
