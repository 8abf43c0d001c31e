//! What is queued for a peer.

use std::collections::VecDeque;
use std::task::Waker;

use apogee_wire::Command;
use apogee_wire::frame::{self, FieldWriter};
use bytes::{Bytes, BytesMut};

/// A body up to this size is copied behind its head: one more piece in a vectored write costs more.
const COPY_UP_TO: usize = 512;

/// Something to be done on the connection's task.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Frames in the order they will leave. Heads are collected in one growing buffer; a large body is
/// put between as the slice it is.
#[derive(Default)]
pub(crate) struct Outbound {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// To be done on the connection's task.
    pub(crate) work: Vec<Work>,
    /// The connection's task, when it sleeps.
    pub(crate) waker: Option<Waker>,
}

impl Outbound {
    /// Queues one frame, whose body has `length` bytes; returns its own length in bytes.
    pub(crate) fn push(&mut self, head: &Command, length: usize, body: impl Iterator<Item = Bytes>) -> usize {
        let start = self.tail.len();
        frame::encode_head(head, length, &mut self.tail);
        let head_length = self.tail.len() - start;
        body.for_each(|slice| self.push_slice(&slice));
        head_length + length
    }

    /// Queues a frame with the fields that `write` gives; returns its length in bytes.
    pub(crate) fn push_with(&mut self, head: &Command, write: impl FnOnce(&mut FieldWriter<'_>)) -> usize {
        let start = self.tail.len();
        frame::encode_head_with(head, head.body.len(), &mut self.tail, write);
        let head_length = self.tail.len() - start;
        self.push_slice(&head.body);
        head_length + head.body.len()
    }

    fn push_slice(&mut self, slice: &Bytes) {
        if slice.len() <= COPY_UP_TO {
            self.tail.extend_from_slice(slice);
        } else {
            self.cut();
            self.pieces.push_back(slice.clone());
        }
    }

    /// Moves everything queued behind what is being sent. Returns what is to be done. The task that asks is
    /// awake, and looks once more before it sleeps: nobody needs to wake it.
    pub(crate) fn take_into(&mut self, sending: &mut VecDeque<Bytes>) -> Vec<Work> {
        self.waker = None;
        self.cut();
        if sending.is_empty() {
            std::mem::swap(sending, &mut self.pieces);
        } else {
            sending.append(&mut self.pieces);
        }
        std::mem::take(&mut self.work)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty() && self.work.is_empty()
    }

    fn cut(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}
