//! Frames where a controller elects the master (upstream `AutoSwitchHAService`).
//!
//! A slave says who it is; the master tells which epochs its log has; the slave finds where the logs part, and says
//! where its own ends. From then on it is as without a controller, with the epoch beside each piece.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::epochs::Epoch;
use crate::frame::{FrameError, MOST_BYTES, checked, length, place, shortened, take};

/// Bytes of a slave's first word.
pub const HANDSHAKE: usize = 16;
/// Bytes of what a slave says of its log's end.
pub const REPORT: usize = 12;
/// Bytes before the epochs of a master.
const REPLY_HEAD: usize = 20;
/// Bytes before a piece of the log.
pub const HEAD: usize = 36;
/// Bytes of one epoch.
const EPOCH: usize = 12;
/// Most epochs in an answer: elections of many years.
const MOST_EPOCHS: usize = 65_536;

const STATE_HANDSHAKE: i32 = 1;
const STATE_TRANSFER: i32 = 2;
/// Of a frame whose body is the reason why the master sends nothing. Upstream's slave closes the connection for it.
const STATE_SHUTDOWN: i32 = 4;

/// What a slave says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromSlave {
    /// Who it is.
    Handshake(Handshake),
    /// Where its log ends; 0: it has none.
    Report(i64),
}

/// A slave's first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// An empty log shall begin with the last file of the master's.
    pub from_last_file: bool,
    /// It wants the log and no part in elections.
    pub is_learner: bool,
    /// The number that the controller knows it by.
    pub broker_id: i64,
}

/// What a master sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromMaster {
    /// Its log: where it ends, and its epochs.
    Reply {
        /// End of the log.
        end: i64,
        /// Its present epoch.
        epoch: i32,
        /// All of them, as they follow one another.
        epochs: Vec<Epoch>,
    },
    /// Bytes of its log.
    Piece(Piece),
    /// It sends nothing, for this reason. Not a part of upstream's protocol.
    Refused(String),
}

/// A piece of the log, all of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What stands before it.
    pub head: Head,
    /// The bytes; none: the master is still there.
    pub bytes: Bytes,
}

/// What a master says of a piece of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Where it stands in the log; -1 while the log is empty.
    pub offset: i64,
    /// The epoch that it was written in.
    pub epoch: Epoch,
    /// Up to where all replicas in sync have the log.
    pub confirmed: i64,
}

impl Handshake {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HANDSHAKE] {
        let mut bytes = [0; HANDSHAKE];
        let mut put = &mut bytes[..];
        put.put_i32(STATE_HANDSHAKE);
        put.put_i16(self.from_last_file.into());
        put.put_i16(self.is_learner.into());
        put.put_i64(self.broker_id);
        bytes
    }
}

/// What a slave says of the end of its log.
pub fn report(end: i64) -> [u8; REPORT] {
    let mut bytes = [0; REPORT];
    bytes[..4].copy_from_slice(&STATE_TRANSFER.to_be_bytes());
    bytes[4..].copy_from_slice(&end.to_be_bytes());
    bytes
}

/// Takes the next of what a slave says from the front of a buffer.
pub fn decode_slave(buffer: &mut BytesMut) -> Result<Option<FromSlave>, FrameError> {
    let Some(mut state) = buffer.get(..4) else { return Ok(None) };
    match state.get_i32() {
        STATE_HANDSHAKE => Ok(take::<HANDSHAKE>(buffer, 0).map(|(head, _)| {
            let mut rest = &head[4..];
            let (from_last_file, is_learner) = (rest.get_i16() != 0, rest.get_i16() != 0);
            FromSlave::Handshake(Handshake { from_last_file, is_learner, broker_id: rest.get_i64() })
        })),
        STATE_TRANSFER => {
            let Some((head, _)) = take::<REPORT>(buffer, 0) else { return Ok(None) };
            let end = (&head[4..]).get_i64();
            if end < 0 { Err(FrameError::Offset(end)) } else { Ok(Some(FromSlave::Report(end))) }
        }
        other => Err(FrameError::State(other)),
    }
}

/// What a master answers to a handshake.
pub fn reply(end: i64, epoch: i32, epochs: &[Epoch]) -> Vec<u8> {
    // The oldest are of no use to a slave that has the newest.
    let epochs = &epochs[epochs.len().saturating_sub(MOST_EPOCHS)..];
    let mut bytes = Vec::with_capacity(REPLY_HEAD + EPOCH * epochs.len());
    bytes.put_i32(STATE_HANDSHAKE);
    bytes.put_i32((EPOCH * epochs.len()) as i32);
    bytes.put_i64(end);
    bytes.put_i32(epoch);
    for epoch in epochs {
        bytes.put_i32(epoch.number);
        bytes.put_i64(epoch.start);
    }
    bytes
}

/// What stands before so many bytes of the log.
pub fn head(size: u32, head: &Head) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    let mut put = &mut bytes[..];
    put.put_i32(STATE_TRANSFER);
    put.put_u32(size);
    put.put_i64(head.offset);
    put.put_i32(head.epoch.number);
    put.put_i64(head.epoch.start);
    put.put_i64(head.confirmed);
    bytes
}

/// A frame that says why nothing is sent.
pub fn refusal(reason: &str) -> Vec<u8> {
    let text = shortened(reason);
    let mut bytes = Vec::with_capacity(REPLY_HEAD + text.len());
    bytes.put_i32(STATE_SHUTDOWN);
    bytes.put_i32(text.len() as i32);
    // As long as the other answer to a handshake.
    bytes.put_i64(0);
    bytes.put_i32(0);
    bytes.put_slice(text.as_bytes());
    bytes
}

/// Takes the next frame of a master from the front of a buffer.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<FromMaster>, FrameError> {
    let Some(mut start) = buffer.get(..8) else { return Ok(None) };
    let (state, size) = (start.get_i32(), start.get_i32());
    match state {
        STATE_HANDSHAKE => {
            let size = length(size, EPOCH * MOST_EPOCHS)?;
            let Some((head, mut body)) = take::<REPLY_HEAD>(buffer, size) else { return Ok(None) };
            let mut rest = &head[8..];
            let (end, epoch) = (rest.get_i64(), rest.get_i32());
            let mut epochs = Vec::with_capacity(size / EPOCH);
            while body.len() >= EPOCH {
                epochs.push(checked(Epoch { number: body.get_i32(), start: body.get_i64() })?);
            }
            if end < 0 { Err(FrameError::Offset(end)) } else { Ok(Some(FromMaster::Reply { end, epoch, epochs })) }
        }
        STATE_TRANSFER => {
            let Some((head, bytes)) = take::<HEAD>(buffer, length(size, MOST_BYTES)?) else { return Ok(None) };
            let mut rest = &head[8..];
            let offset = rest.get_i64();
            let epoch = Epoch { number: rest.get_i32(), start: rest.get_i64() };
            let head = Head { offset, epoch, confirmed: rest.get_i64() };
            // Only one that brings nothing may stand nowhere.
            if !bytes.is_empty() {
                place(offset, &bytes)?;
                checked(epoch)?;
            } else if offset < -1 {
                return Err(FrameError::Offset(offset));
            }
            Ok(Some(FromMaster::Piece(Piece { head, bytes })))
        }
        STATE_SHUTDOWN => {
            let Some((_, text)) = take::<REPLY_HEAD>(buffer, length(size, MOST_BYTES)?) else { return Ok(None) };
            Ok(Some(FromMaster::Refused(String::from_utf8_lossy(&text).into_owned())))
        }
        other => Err(FrameError::State(other)),
    }
}
