//! Which message of a key is the newest.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Bytes that an entry takes in the table: two hashes, an offset, and the table's own byte.
const ENTRY: usize = 25;
/// Keys of which there is room at least, as upstream has it.
const LEAST: usize = 100;

/// The newest offset of each key, within a bounded number of bytes. Keys are told apart by 128 bits that nobody can
/// foresee.
pub(super) struct Keys {
    hashes: [RandomState; 2],
    newest: HashMap<[u64; 2], i64>,
    most: usize,
    /// Last offset that was taken in; -1 at first.
    to: i64,
}

impl Keys {
    /// An empty one of so many bytes at most.
    pub fn new(bytes: usize) -> Self {
        // The table doubles when seven of eight places are taken.
        let places = (bytes / ENTRY + 1).next_power_of_two() / 2;
        let most = (places / 8 * 7).max(LEAST);
        Self { hashes: [RandomState::new(), RandomState::new()], newest: HashMap::new(), most, to: -1 }
    }

    fn hash(&self, key: &str) -> [u64; 2] {
        [self.hashes[0].hash_one(key), self.hashes[1].hash_one(key)]
    }

    /// Takes in a message, in the order of offsets. Says no when there is no room for its key.
    pub fn put(&mut self, key: &str, offset: i64) -> bool {
        let hash = self.hash(key);
        if self.newest.len() >= self.most && !self.newest.contains_key(&hash) {
            return false;
        }
        self.newest.insert(hash, offset);
        self.to = offset;
        true
    }

    /// Takes in that a message has no key.
    pub fn pass(&mut self, offset: i64) {
        self.to = offset;
    }

    /// Last offset that was taken in; -1 when there is none.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// Whether a newer message of the key was taken in.
    pub fn has_newer(&self, key: &str, offset: i64) -> bool {
        self.newest.get(&self.hash(key)).is_some_and(|newest| *newest > offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_key_is_known_within_the_bound() {
        let mut keys = Keys::new(0);
        for offset in 0..LEAST as i64 {
            assert!(keys.put(&format!("k{offset}"), offset));
        }
        assert!(!keys.put("one more", 100), "there is no room for another key");
        assert_eq!(keys.to(), 99);
        assert!(keys.put("k7", 101), "a known key takes none");
        assert!(keys.has_newer("k7", 7) && !keys.has_newer("k7", 101));
        assert!(!keys.has_newer("k8", 8) && !keys.has_newer("unknown", 0));
    }

    #[test]
    fn the_bound_is_one_of_bytes() {
        let mut keys = Keys::new(1 << 20);
        let count = (0..).take_while(|offset| keys.put(&offset.to_string(), *offset)).count();
        assert!(keys.newest.capacity() * 8 / 7 * ENTRY <= 1 << 20, "{}", keys.newest.capacity());
        assert!(count * ENTRY * 3 > 1 << 20, "{count}: and it is made use of");
    }
}
