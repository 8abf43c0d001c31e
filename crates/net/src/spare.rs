//! Buffers to read into, for the connections of a thread in turn: one that waits for its peer holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// Most buffers kept: those of connections that are read from at about the same time.
const MOST: usize = 16;
/// Longest buffer kept, in bytes: longer ones stay with their connections, whose peers send much at a time.
const LONGEST: usize = 64 << 10;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, with memory if there is one to spare.
pub(crate) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Takes a buffer that is empty and not too long.
pub(crate) fn give(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() <= LONGEST {
        let buffer = std::mem::take(buffer);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(buffer);
            }
        });
    }
}
