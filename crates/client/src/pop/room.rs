//! How much of a topic one broker may have handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Room for messages that are handed out and not settled, by count and by bytes.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    bytes: AtomicUsize,
    max_bytes: usize,
    freed: Notify,
}

/// What a message takes of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: Arc<Room>,
    bytes: usize,
    _place: OwnedSemaphorePermit,
}

impl Room {
    pub fn new(messages: u32, max_bytes: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(messages as usize));
        Arc::new(Self { places, bytes: AtomicUsize::new(0), max_bytes, freed: Notify::new() })
    }

    /// Waits until there are so many places, and less than the bytes allowed are taken: the next messages may go
    /// beyond these. `None` never comes, as nobody closes it.
    pub async fn places(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places).acquire_many_owned(count).await.ok()?;
        // One waits at most: what was freed before it came is kept for it.
        while self.bytes.load(Ordering::Acquire) >= self.max_bytes {
            self.freed.notified().await;
        }
        Some(places)
    }

    /// A message takes one of the places, and its bytes.
    pub fn take(self: &Arc<Self>, places: &mut OwnedSemaphorePermit, bytes: usize) -> Option<Taken> {
        let place = places.split(1)?;
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Some(Taken { room: Arc::clone(self), bytes, _place: place })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_full(room: &Arc<Room>, count: u32) -> bool {
        tokio::time::timeout(Duration::from_secs(9), room.places(count)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_of_messages_and_of_bytes() {
        let room = Room::new(4, 100);
        let mut places = room.places(3).await.expect("open");
        let small = room.take(&mut places, 1).expect("a place");
        let large = room.take(&mut places, 200).expect("a place");
        drop(places);
        assert!(is_full(&room, 1).await, "too many bytes");
        drop(large);
        assert!(!is_full(&room, 3).await && is_full(&room, 4).await, "one message is open");
        drop(small);
        assert!(!is_full(&room, 4).await);
    }
}
