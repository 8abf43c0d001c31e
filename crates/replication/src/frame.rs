//! What frames of both protocols have in common: bounds, and what is wrong with those that are none.

use bytes::{Buf, Bytes, BytesMut};

use crate::epochs::Epoch;

/// Most bytes of the log in one frame: above the largest `haTransferBatchSize` that makes sense.
pub(crate) const MOST_BYTES: usize = 16 << 20;
/// Most bytes of a text that says why a slave is refused.
pub(crate) const MOST_TEXT: usize = 1_024;

/// Why the bytes of a peer are no frame. The connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame announces more than any has.
    #[error(
        "a frame of {size} bytes is announced, over the limit of {most}: the other side does not speak this protocol, or its haTransferBatchSize is too large"
    )]
    TooLarge {
        /// Bytes announced; negative when the other side says so.
        size: i64,
        /// Bytes allowed.
        most: usize,
    },
    /// A frame begins with what no frame begins with.
    #[error(
        "a frame begins with {0}: the other side does not speak this protocol; is enableControllerMode the same on both?"
    )]
    State(i32),
    /// An offset that no log has.
    #[error("a frame tells of offset {0}, which no log has")]
    Offset(i64),
    /// An epoch that no controller gives.
    #[error("a frame tells of epoch {} from {} on, which no log has", .0.number, .0.start)]
    Epoch(Epoch),
}

/// The length of a frame's body, if it is within bounds.
pub(crate) fn length(size: i32, most: usize) -> Result<usize, FrameError> {
    let within = usize::try_from(size).ok().filter(|size| *size <= most);
    within.ok_or(FrameError::TooLarge { size: size.into(), most })
}

/// Refuses bytes of a log that no log has there.
pub(crate) fn place(offset: i64, bytes: &Bytes) -> Result<(), FrameError> {
    let is_somewhere = offset >= 0 && offset.checked_add(bytes.len() as i64).is_some();
    if is_somewhere { Ok(()) } else { Err(FrameError::Offset(offset)) }
}

/// An epoch as a log has it: a slave writes it to its file, and has to read it again.
pub(crate) fn checked(epoch: Epoch) -> Result<Epoch, FrameError> {
    if epoch.number < 0 || epoch.start < 0 { Err(FrameError::Epoch(epoch)) } else { Ok(epoch) }
}

/// Takes a frame of a head and a body from the front of a buffer; `None`, and room for it, until all is there.
pub(crate) fn take<const HEAD: usize>(buffer: &mut BytesMut, body: usize) -> Option<([u8; HEAD], Bytes)> {
    if buffer.len() < HEAD + body {
        buffer.reserve(HEAD + body - buffer.len());
        return None;
    }
    let mut head = [0; HEAD];
    buffer.copy_to_slice(&mut head);
    Some((head, buffer.split_to(body).freeze()))
}

/// A text, cut to its bound between two characters.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT)]
}
