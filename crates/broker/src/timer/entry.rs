//! What the timer keeps of a message that waits: when it is due, and where it is.

use std::cmp::Ordering;

use bytes::{Buf, BufMut};

/// Bytes of an entry on disk.
pub(super) const SIZE: usize = 24;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Messages with a key are not to be delivered, if they are due at this very time.
    Delete,
    /// The message at this place in the log has been delivered, as the log tells.
    Settled,
    /// A message to deliver.
    Message,
}

/// An entry. They are ordered by time; at one time those that delete come first, then the messages
/// in order of the log, each after the note that it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it is due, in milliseconds since 1970.
    pub time: i64,
    /// Physical offset of its record.
    pub offset: i64,
    /// Bytes of its record.
    pub size: u32,
    pub kind: Kind,
}

impl Entry {
    fn rank(&self) -> (i64, bool, i64, Kind) {
        (self.time, self.kind != Kind::Delete, self.offset, self.kind)
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_i64(self.time);
        out.put_i64(self.offset);
        out.put_u32(self.size);
        out.put_u32(match self.kind {
            Kind::Delete => 0,
            Kind::Settled => 1,
            Kind::Message => 2,
        });
    }

    /// Reads one from the beginning of `bytes` and moves on; `None` where none is.
    pub fn get(bytes: &mut &[u8]) -> Option<Self> {
        let time = bytes.try_get_i64().ok()?;
        let offset = bytes.try_get_i64().ok()?;
        let size = bytes.try_get_u32().ok()?;
        let kind = match bytes.try_get_u32().ok()? {
            0 => Kind::Delete,
            1 => Kind::Settled,
            2 => Kind::Message,
            _ => return None,
        };
        Some(Self { time, offset, size, kind })
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
