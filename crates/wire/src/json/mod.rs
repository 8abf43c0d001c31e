//! The JSON that upstream speaks in bodies and keeps in its config files.
//!
//! Upstream's library (fastjson) writes map keys as what they are: `{0:"a"}` for numbers and
//! `{{"brokerName":"b","queueId":0,"topic":"t"}:1}` for objects. That is no JSON, yet all of
//! upstream's clients expect it. [`from_slice`] reads it and standard JSON alike; [`to_vec`]
//! writes the dialect, [`to_vec_standard`] strict JSON, [`to_vec_pretty`] the dialect as config
//! files have it, [`write_pretty`] the same piece by piece.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

mod read;
mod text;
mod write;

/// Why a body cannot be read. The text is meant for the peer that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a {expected}: {reason}")]
pub struct BodyError {
    expected: &'static str,
    reason: String,
}

impl BodyError {
    pub(crate) fn new<T>(reason: impl Into<String>) -> Self {
        let path = std::any::type_name::<T>();
        // `a::b::Name<a::c::Other>` is `Name<a::c::Other>` to a peer.
        let generic = path.find('<').unwrap_or(path.len());
        let start = path[..generic].rfind("::").map_or(0, |colons| colons + 2);
        Self { expected: &path[start..], reason: reason.into() }
    }
}

/// Reads the dialect or standard JSON. A member whose value is `null` counts as absent. Nesting is
/// bounded by 64 levels.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, BodyError> {
    read::read(text).map_err(|error| BodyError::new::<T>(error.to_string()))
}

/// Writes the dialect: raw keys, no blanks, absent options left out.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::write(value, write::Style::Dialect)
}

/// Writes JSON that every parser reads: quoted keys, everything beyond ASCII escaped.
pub fn to_vec_standard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::write(value, write::Style::Standard)
}

/// Writes the dialect one member a line, indented by tabs, as upstream's config files are.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write::write(value, write::Style::Pretty)
}

/// Writes the same text piece by piece, without ever holding the whole of a table. An error is the first one of
/// `sink`, which gets nothing more after it.
pub fn write_pretty<T: Serialize + ?Sized>(value: &T, sink: &mut dyn io::Write) -> io::Result<()> {
    write::write_to(value, write::Style::Pretty, sink)
}

#[cfg(test)]
mod tests;
