//! The message: what it is on the wire and on disk, without I/O.
//!
//! - [`record`] is the stored form: reading it ([`record::Record`]) and making it ([`record::Draft`]);
//! - [`properties`] is the text of names and values that travels with a message;
//! - [`names`] are reserved properties and topics, and the rules for names;
//! - [`codecs`] tells what a body went through;
//! - [`light`] tells of messages that are in many queues;
//! - [`ids`], [`tag`], [`sysflag`], [`batch`], [`handle`] and [`compression`] are what their names say.

pub mod batch;
pub mod codecs;
pub mod compression;
pub mod handle;
pub mod ids;
pub mod light;
pub mod names;
pub mod properties;
pub mod record;
pub mod sysflag;
pub mod tag;

/// CRC-32 of a body as records carry it: without the sign bit (upstream `UtilAll.crc32`).
pub fn crc31(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7fff_ffff
}
