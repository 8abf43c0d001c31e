//! Frames where roles are set by hand (upstream `DefaultHAService`).
//!
//! A slave says where its log ends, 8 bytes, first as a question for what follows, then to acknowledge it. The
//! master sends pieces of its log, each behind a head of 12 bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{FrameError, MOST_BYTES, length, place, shortened, take};

/// Bytes of what a slave says.
pub const ACK: usize = 8;
/// Bytes before a piece of the log.
pub const HEAD: usize = 12;
/// The offset of a frame whose bytes are no log but the reason why the master sends none. Upstream's slave closes the
/// connection for it, unless its log is empty: such a slave must not be sent one.
const REFUSED: i64 = -1;

/// What a master sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromMaster {
    /// Bytes of its log; none: it is still there.
    Piece {
        /// Where they stand in the log.
        offset: i64,
        /// The bytes.
        bytes: Bytes,
    },
    /// It sends nothing, for this reason. Not a part of upstream's protocol.
    Refused(String),
}

/// What a slave says of the end of its log.
pub fn ack(end: i64) -> [u8; ACK] {
    end.to_be_bytes()
}

/// The first that a slave said, once it is there.
pub fn decode_first(buffer: &mut BytesMut) -> Result<Option<i64>, FrameError> {
    if buffer.len() < ACK {
        return Ok(None);
    }
    checked(buffer.get_i64()).map(Some)
}

/// The last of what a slave said; what is not complete stays in the buffer.
pub fn decode_ack(buffer: &mut BytesMut) -> Result<Option<i64>, FrameError> {
    let complete = buffer.len() / ACK * ACK;
    if complete == 0 {
        return Ok(None);
    }
    buffer.advance(complete - ACK);
    checked(buffer.get_i64()).map(Some)
}

fn checked(offset: i64) -> Result<i64, FrameError> {
    if offset < 0 { Err(FrameError::Offset(offset)) } else { Ok(offset) }
}

/// What stands before so many bytes of the log.
pub fn head(offset: i64, size: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&offset.to_be_bytes());
    head[8..].copy_from_slice(&size.to_be_bytes());
    head
}

/// A frame that says why nothing is sent.
pub fn refusal(reason: &str) -> Vec<u8> {
    let text = shortened(reason);
    [&head(REFUSED, text.len() as u32)[..], text.as_bytes()].concat()
}

/// Takes the next frame of a master from the front of a buffer.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<FromMaster>, FrameError> {
    let Some((mut offset, mut size)) = buffer.split_at_checked(8) else { return Ok(None) };
    if size.len() < 4 {
        return Ok(None);
    }
    let (offset, size) = (offset.get_i64(), length(size.get_i32(), MOST_BYTES)?);
    if offset < REFUSED {
        return Err(FrameError::Offset(offset));
    }
    let Some((_, bytes)) = take::<HEAD>(buffer, size) else { return Ok(None) };
    if offset == REFUSED && size > 0 {
        return Ok(Some(FromMaster::Refused(String::from_utf8_lossy(&bytes).into_owned())));
    }
    // Only one that brings nothing may stand nowhere.
    if size > 0 {
        place(offset, &bytes)?;
    }
    Ok(Some(FromMaster::Piece { offset, bytes }))
}
