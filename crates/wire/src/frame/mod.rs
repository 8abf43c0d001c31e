//! Frames: how commands are cut from and written to a byte stream
//! (upstream `NettyDecoder`, `NettyEncoder`, `RocketMQSerializable`).
//!
//! ```text
//! length(4) = 4 + header + body | encoding(1) headerLength(3) | header | body
//! ```

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};

use crate::command::{Command, Encoding};
use crate::fields::PutField;

mod binary;
mod json;
mod scan;

/// Upstream's limit for one frame, in bytes.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Bytes before the header: length, encoding, header length.
const PREFIX: usize = 8;

/// Why a stream cannot be cut into commands. There is no way to answer or to go on: the
/// connection has to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than this side reads.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// As announced.
        length: u32,
        /// As configured.
        limit: usize,
    },
    /// The frame is too short for the header it announces.
    #[error("a frame of {length} bytes cannot hold the header of {header} bytes that it announces")]
    TooShort {
        /// As announced.
        length: u32,
        /// As announced.
        header: usize,
    },
    /// Neither JSON nor binary.
    #[error("unknown header encoding {0}; 0 is JSON, 1 is ROCKETMQ")]
    UnknownEncoding(u8),
    /// The header is not what its encoding asks for.
    #[error("malformed header: {0}")]
    Malformed(String),
}

/// Cuts the next command from `buffer` into `command`; false when it is not there as a whole yet.
/// The body is a slice of the buffer, not a copy. `limit` bounds a frame, in bytes.
pub fn decode(buffer: &mut BytesMut, command: &mut Command, limit: usize) -> Result<bool, FrameError> {
    if buffer.len() < 4 {
        return Ok(false);
    }
    let length = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
    // A stream of another protocol shows here first: refuse before waiting for more of it.
    if length as usize > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    if length < 4 {
        return Err(FrameError::TooShort { length, header: 0 });
    }
    if buffer.len() < PREFIX {
        return Ok(false);
    }
    let encoding = match buffer[4] {
        0 => Encoding::Json,
        1 => Encoding::Binary,
        other => return Err(FrameError::UnknownEncoding(other)),
    };
    let header = u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]]) as usize;
    if header > length as usize - 4 {
        return Err(FrameError::TooShort { length, header });
    }
    if buffer.len() < 4 + length as usize {
        return Ok(false);
    }
    let mut frame = buffer.split_to(4 + length as usize).freeze();
    frame.advance(PREFIX);
    let header = frame.split_to(header);
    command.reset();
    command.encoding = encoding;
    match encoding {
        Encoding::Json => json::decode(&header, command)?,
        Encoding::Binary => binary::decode(&header, command)?,
    }
    command.body = frame;
    Ok(true)
}

/// Writes the frame's prefix and header; the caller sends `body` bytes after it, from wherever
/// they are. The command's own body is not written.
pub fn encode_head(command: &Command, body: usize, out: &mut BytesMut) {
    encode_head_with(command, body, out, |fields| {
        command.fields.iter().for_each(|(name, value)| fields.text(name, value));
    });
}

/// The same with the fields that `write` gives instead of the command's own: an answer that each message gets
/// needs no map of them.
pub fn encode_head_with(command: &Command, body: usize, out: &mut BytesMut, write: impl FnOnce(&mut FieldWriter<'_>)) {
    thread_local! {
        /// A head is put together here: piece by piece that costs less than in a `BytesMut`.
        static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    HEAD.with_borrow_mut(|head| {
        head.clear();
        head.extend_from_slice(&[0; PREFIX]);
        let encoding: u8 = match command.encoding {
            Encoding::Json => {
                json::encode(command, head, write);
                0
            }
            Encoding::Binary => {
                binary::encode(command, head, write);
                1
            }
        };
        let header = head.len() - PREFIX;
        let length = (4 + header + body) as u32;
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4..PREFIX].copy_from_slice(&(header as u32 | u32::from(encoding) << 24).to_be_bytes());
        out.extend_from_slice(head);
    });
}

/// Writes the ext fields of one head. A name must not be given twice.
pub struct FieldWriter<'o> {
    out: &'o mut Vec<u8>,
    encoding: Encoding,
    is_first: bool,
}

impl PutField for FieldWriter<'_> {
    #[inline]
    fn text(&mut self, name: &str, value: &str) {
        match self.encoding {
            Encoding::Json => json::field(name, value, self.is_first, self.out),
            Encoding::Binary => binary::field(name, value, self.out),
        }
        self.is_first = false;
    }

    #[inline]
    fn number(&mut self, name: &str, value: i64) {
        self.text(name, itoa::Buffer::new().format(value));
    }
}

/// Writes the whole frame, body included.
pub fn encode(command: &Command, out: &mut BytesMut) {
    encode_head(command, command.body.len(), out);
    out.extend_from_slice(&command.body);
}

/// The whole frame as one piece of memory: for tests and rare requests.
pub fn to_bytes(command: &Command) -> Bytes {
    let mut out = BytesMut::new();
    encode(command, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests;
