//! The binary header (`ROCKETMQ`).
//!
//! ```text
//! code(2) language(1) version(2) opaque(4) flag(4) remark(4+n) fieldsLength(4) { name(2+n) value(4+n) }*
//! ```
//! A code over 32,767 doesn't fit: the wire carries its low 16 bits, as upstream's does.

use bytes::{Buf, BufMut};

use super::{FieldWriter, FrameError};
use crate::command::{Command, Encoding, Language};
use crate::fields::MAX_FIELDS;

pub(super) fn decode(header: &[u8], command: &mut Command) -> Result<(), FrameError> {
    let mut rest = header;
    let fixed = take(&mut rest, 13, "its fixed part")?;
    let mut fixed = fixed;
    command.code = i32::from(fixed.get_i16());
    command.language = Language::from_code(fixed.get_u8());
    command.version = i32::from(fixed.get_i16());
    command.opaque = fixed.get_i32();
    command.flag = fixed.get_i32();
    let remark = sized(&mut rest, "the remark")?;
    command.remark = (!remark.is_empty()).then(|| remark.to_owned());
    let fields = take_u32(&mut rest, "the length of the ext fields")?;
    let mut fields = take(&mut rest, fields, "the ext fields")?;
    while !fields.is_empty() {
        if command.fields.len() >= MAX_FIELDS {
            return Err(FrameError::Malformed(format!("more than {MAX_FIELDS} ext fields")));
        }
        let length = take(&mut fields, 2, "the length of a field's name")?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let name = utf8(take(&mut fields, length, "a field's name")?, "a field's name")?;
        let value = sized(&mut fields, "a field's value")?;
        // Upstream cannot tell an empty value from none.
        if !value.is_empty() {
            command.fields.set_str(name, value);
        }
    }
    Ok(())
}

fn take<'b>(rest: &mut &'b [u8], length: usize, what: &str) -> Result<&'b [u8], FrameError> {
    let taken = rest.split_off(..length);
    taken.ok_or_else(|| FrameError::Malformed(format!("{what} goes past the header's end")))
}

fn take_u32(rest: &mut &[u8], what: &str) -> Result<usize, FrameError> {
    take(rest, 4, what).map(|mut bytes| bytes.get_u32() as usize)
}

fn sized<'b>(rest: &mut &'b [u8], what: &str) -> Result<&'b str, FrameError> {
    let length = take_u32(rest, what)?;
    utf8(take(rest, length, what)?, what)
}

fn utf8<'b>(bytes: &'b [u8], what: &str) -> Result<&'b str, FrameError> {
    std::str::from_utf8(bytes).map_err(|error| FrameError::Malformed(format!("{what} is not UTF-8: {error}")))
}

pub(super) fn encode(command: &Command, out: &mut Vec<u8>, fields: impl FnOnce(&mut FieldWriter<'_>)) {
    out.put_i16(command.code as i16);
    out.put_u8(command.language.code());
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    let remark = command.remark.as_deref().unwrap_or_default();
    out.put_u32(remark.len() as u32);
    out.put_slice(remark.as_bytes());
    let length_at = out.len();
    out.put_u32(0);
    fields(&mut FieldWriter { out, encoding: Encoding::Binary, is_first: true });
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

/// One of the ext fields.
pub(super) fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    // A name over 65,535 bytes has no place in this form; none is that long in any header.
    let Ok(length) = u16::try_from(name.len()) else { return };
    out.put_u16(length);
    out.put_slice(name.as_bytes());
    out.put_u32(value.len() as u32);
    out.put_slice(value.as_bytes());
}
