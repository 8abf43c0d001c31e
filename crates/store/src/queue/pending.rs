//! Units that wait in memory to be written.

use super::{UNIT, Unit};

/// A list that grows at its end and is taken from at its beginning, as dense as a million of them, with
/// few units each, should be: packed as in files, the first one in place.
#[derive(Default)]
pub(super) struct Pending(smallvec::SmallVec<[[u8; UNIT as usize]; 1]>);

/// Up to so many units the list has room for just those it holds.
const FEW: usize = 8;

impl Pending {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, at: usize) -> Option<Unit> {
        self.0.get(at).map(|unit| Unit::decode(unit))
    }

    pub fn iter(&self) -> impl Iterator<Item = Unit> {
        self.0.iter().map(|unit| Unit::decode(unit))
    }

    pub fn push(&mut self, unit: Unit) {
        if self.0.len() < FEW {
            self.0.reserve_exact(1);
        }
        self.0.push(unit.encoded());
    }

    /// Whether it needs no memory of its own.
    #[cfg(test)]
    pub fn is_in_place(&self) -> bool {
        !self.0.spilled()
    }

    /// How many are of records before `end` of the log.
    pub fn count_before(&self, end: i64) -> usize {
        self.0.partition_point(|unit| Unit::decode(unit).end_offset() <= end)
    }

    /// Removes the first `count`, and gives memory back when none is left. Returns where the last of
    /// their records ends in the log.
    pub fn remove(&mut self, count: usize) -> i64 {
        let end = self.0.drain(..count).map(|unit| Unit::decode(&unit).end_offset()).max().unwrap_or_default();
        if self.0.is_empty() {
            self.0 = smallvec::SmallVec::new();
        }
        end
    }
}
