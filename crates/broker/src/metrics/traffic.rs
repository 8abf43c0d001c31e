//! What came in for one topic, by type of message.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message_type::MessageType;

/// Bounds of the sizes of messages in bytes, as upstream has them.
pub(crate) const SIZES: [u64; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Counters of one topic. Those of a type are made when its first message comes: most topics have one.
#[derive(Default)]
pub(crate) struct Traffic {
    types: [OnceLock<Box<Counts>>; MessageType::ALL.len()],
}

#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Bytes of batches above those of one message of each: what `bytes` has more than the sizes add up to.
    surplus: AtomicU64,
    /// Requests by the size of their messages; the last is above all bounds.
    sizes: [AtomicU64; SIZES.len() + 1],
}

/// What came in of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Messages.
    pub messages: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// Sum of the sizes; of a batch the mean size counts once, as upstream counts it.
    pub sizes_sum: u64,
    /// Requests by size.
    pub sizes: [u64; SIZES.len() + 1],
}

impl Traffic {
    /// Counts the messages of one request.
    pub fn count(&self, kind: MessageType, messages: u64, bytes: u64) {
        let counts = self.types[kind as usize].get_or_init(Box::default);
        counts.messages.fetch_add(messages, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut size = bytes;
        if messages > 1 {
            size = bytes / messages;
            counts.surplus.fetch_add(bytes - size, Ordering::Relaxed);
        }
        counts.sizes[SIZES.partition_point(|bound| *bound < size)].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests, messages and bytes of all types.
    pub fn totals(&self) -> (u64, [u64; 2]) {
        self.all().fold((0, [0; 2]), |(calls, [messages, bytes]), (_, received)| {
            let calls = calls + received.sizes.iter().sum::<u64>();
            (calls, [messages + received.messages, bytes + received.bytes])
        })
    }

    /// What came in, by type; not of types that never came.
    pub fn all(&self) -> impl Iterator<Item = (MessageType, Received)> {
        let types = MessageType::ALL.into_iter().zip(&self.types);
        types.filter_map(|(kind, counts)| Some((kind, counts.get()?.received())))
    }
}

impl Counts {
    fn received(&self) -> Received {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // The surplus first: it must not be ahead of the bytes.
        let surplus = load(&self.surplus);
        let bytes = load(&self.bytes);
        Received {
            messages: load(&self.messages),
            bytes,
            sizes_sum: bytes.saturating_sub(surplus),
            sizes: std::array::from_fn(|size| load(&self.sizes[size])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_once_among_the_sizes() {
        let traffic = Traffic::default();
        traffic.count(MessageType::Normal, 1, 1024);
        traffic.count(MessageType::Normal, 3, 3_100);
        traffic.count(MessageType::Fifo, 1, 5 << 20);
        let expected = Received { messages: 4, bytes: 4_124, sizes_sum: 1024 + 1033, sizes: [1, 1, 0, 0, 0, 0, 0] };
        assert_eq!(traffic.all().next(), Some((MessageType::Normal, expected)));
        assert_eq!(traffic.all().nth(1).map(|(_, fifo)| fifo.sizes), Some([0, 0, 0, 0, 0, 0, 1]));
        assert_eq!(traffic.totals(), (3, [5, 4_124 + (5 << 20)]));
    }
}
