//! Consume queues: for each queue of each topic where its messages are in the log
//! (upstream `ConsumeQueue`). The newest units are in memory until a background step writes them;
//! older ones are read from files.

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod files;
mod kept;
mod mend;
mod table;

use files::Contents;
pub(crate) use files::{QueueFiles, first_kept, partition};
pub(crate) use kept::{Batch, KeptUnits, Run, Runs};
pub(crate) use mend::Source;
pub(crate) use table::{QueueTable, is_folder_name};

/// Bytes of a unit.
pub(crate) const UNIT: u64 = 20;
/// Messages that may be missing in a row; more are a sign that the record itself is damaged.
const MOST_MISSING: i64 = 1 << 20;
/// Units in memory that make a queue worth writing before the next checkpoint.
const RIPE: usize = 128;
/// Marks of where the log was that a queue keeps: how finely it knows what is hot.
const MARKS: usize = 16;
/// Size of units that fill the place of offsets which were never there.
const BLANK_SIZE: u32 = 0x7fff_ffff;

/// Where one message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Offset in the commit log.
    pub physical_offset: i64,
    /// Bytes of the record.
    pub size: u32,
    /// The tag's hash code; in the schedule topic, when the message is due.
    pub tag_code: i64,
}

impl Unit {
    /// Stands where there is no message.
    pub(crate) const BLANK: Self = Self { physical_offset: 0, size: BLANK_SIZE, tag_code: 0 };

    /// Whether there is no message.
    pub fn is_blank(&self) -> bool {
        self.size == BLANK_SIZE
    }

    /// End of the record in the log.
    pub(crate) fn end_offset(&self) -> i64 {
        if self.is_blank() { 0 } else { self.physical_offset.saturating_add(i64::from(self.size)) }
    }

    fn encoded(&self) -> [u8; UNIT as usize] {
        let mut bytes = [0; UNIT as usize];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tag_code.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        use bytes::Buf;
        let mut bytes = bytes;
        Self { physical_offset: bytes.get_i64(), size: bytes.get_u32(), tag_code: bytes.get_i64() }
    }
}

/// One queue.
pub(crate) struct Queue {
    pub topic: Arc<str>,
    pub id: i32,
    /// The offset that the next message gets; only the log's writer changes it.
    pub next: AtomicI64,
    /// Names the queue's files in the cache.
    key: u64,
    /// On the list of queues with units to write.
    dirty: AtomicBool,
    units: RwLock<Units>,
}

struct Units {
    /// First offset kept.
    min: i64,
    /// Units before this offset are in files.
    in_files: i64,
    /// The units from there on.
    in_memory: Vec<Unit>,
    /// Units before this offset are in files, the queue's own or those of kept units.
    kept_to: i64,
    /// What files of kept units tell is void: the queue begins anew.
    begins_anew: bool,
    /// The last unit in files, while it is damaged and the log may bring it back.
    doubtful: Option<i64>,
    /// End of the last unit's record in the log.
    log_end: i64,
    /// Places before which the queue was written: an offset, and where the log was. The oldest first.
    marks: Vec<(i64, i64)>,
    /// The topic was deleted: nothing is to be added or written any more.
    deleted: bool,
}

/// What became of a unit that was to be added.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    /// So many units are in memory now that were not, more than one when a gap was filled; and whether
    /// the queue has become worth writing.
    Added { units: usize, ripe: bool },
    /// The queue has it, as recovery may bring it again, or was deleted.
    Needless,
    /// The record is later in the log than all that the queue knows, and yet the first of its queue: the topic was deleted and made again between the two.
    BeginsAnew,
}

impl Queue {
    fn new(topic: Arc<str>, id: i32, key: u64, contents: Contents, log_start: i64) -> Self {
        let Contents { min, max, doubtful, log_end, .. } = contents;
        let units = Units {
            min,
            in_files: max,
            doubtful,
            in_memory: Vec::new(),
            kept_to: max,
            begins_anew: false,
            log_end,
            marks: vec![(min, log_start), (max, log_end)],
            deleted: false,
        };
        Self { topic, id, next: AtomicI64::new(max), key, dirty: AtomicBool::new(false), units: RwLock::new(units) }
    }

    /// Names the queue as long as the process lives; never 0.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// First and end offset.
    pub fn range(&self) -> (i64, i64) {
        let units = self.read();
        (units.min, units.max())
    }

    /// Adds a unit. A gap before it is filled with blanks: those messages are lost.
    fn push(&self, offset: i64, unit: Unit) -> Pushed {
        let mut units = self.write();
        if units.deleted {
            return Pushed::Needless;
        }
        if units.doubtful.take_if(|doubtful| offset >= *doubtful) == Some(offset) && offset + 1 == units.max() {
            (units.in_files, units.kept_to) = (offset, offset);
        }
        let max = units.max();
        if offset < max {
            if unit.physical_offset >= units.log_end && offset == 0 {
                return Pushed::BeginsAnew;
            }
            if unit.physical_offset >= units.log_end && !unit.is_blank() {
                tracing::error!(topic = %self.topic, queue = self.id, offset, max, "a record's offset was given already: it is not served");
            }
            return Pushed::Needless;
        }
        let before = units.in_memory.len();
        if offset > max {
            let missing = offset - max;
            let is_empty = max == units.min;
            if is_empty && (units.log_end == 0 || missing > MOST_MISSING) {
                // Its files are gone, or it never had any.
                (units.min, units.in_files) = (offset, offset);
            } else if is_empty {
                // Those before are removed from the log; its files go on without a hole.
                units.in_memory.extend(std::iter::repeat_n(Unit::BLANK, missing as usize));
                units.min = offset;
            } else if missing > MOST_MISSING {
                tracing::error!(topic = %self.topic, queue = self.id, offset, max, "a record's offset cannot be right: it is not served");
                return Pushed::Needless;
            } else {
                tracing::error!(topic = %self.topic, queue = self.id, from = max, to = offset, "messages are missing");
                units.in_memory.extend(std::iter::repeat_n(Unit::BLANK, missing as usize));
            }
        }
        units.in_memory.push(unit);
        units.log_end = units.log_end.max(unit.end_offset());
        let after = units.in_memory.len();
        Pushed::Added { units: after - before, ripe: before < RIPE && after >= RIPE }
    }

    /// Forgets all units, to begin with the one at an offset. Says how many were in memory.
    fn restart(&self, offset: i64) -> usize {
        let mut units = self.write();
        (units.min, units.in_files, units.log_end) = (offset, offset, 0);
        (units.kept_to, units.begins_anew) = (offset, true);
        units.marks.clear();
        std::mem::take(&mut units.in_memory).len()
    }

    /// The queue begins at `min` now, if it began at `before` until now. Units in memory stay: they are
    /// few, and written soon.
    fn advance(&self, before: i64, min: i64) {
        let mut units = self.write();
        if units.min == before {
            units.min = min;
        }
    }

    /// Whether the message at an offset, if there is one, is surely not before `since` in the log. Asks
    /// memory alone: of a message that is a little later than `since` it may say no.
    pub fn is_after(&self, offset: i64, since: i64) -> bool {
        let units = self.read();
        if let Some(unit) = offset.checked_sub(units.in_files).and_then(|at| units.in_memory.get(at as usize)) {
            return unit.physical_offset >= since;
        }
        let known = units.marks.iter().find(|(_, log)| *log >= since);
        offset >= known.map_or(units.in_files, |(offset, _)| *offset)
    }

    /// Units in memory from an offset on, or where the files' part ends that it lies in.
    fn in_memory(&self, offset: i64, count: usize) -> Result<Vec<Unit>, i64> {
        let units = self.read();
        if offset < units.in_files {
            return Err(units.in_files);
        }
        let from = (offset - units.in_files) as usize;
        Ok(units.in_memory.iter().skip(from).take(count).copied().collect())
    }

    /// What is to be written: the first offset and the units before `end` of the log.
    fn to_write(&self, end: i64) -> Option<(i64, Vec<Unit>)> {
        let units = self.read();
        let count = units.in_memory.partition_point(|unit| unit.end_offset() <= end);
        (count > 0 && !units.deleted).then(|| (units.in_files, units.in_memory[..count].to_vec()))
    }

    /// Whether a unit in memory is that of a record before a place of the log.
    fn has_before(&self, place: i64) -> bool {
        self.read().in_memory.first().is_some_and(|unit| unit.physical_offset < place)
    }

    /// Adds to a batch the units of records before `end` of the log that no file has. Returns where
    /// they end, if there are any.
    fn keep(&self, end: i64, batch: &mut Batch) -> Option<i64> {
        let units = self.read();
        let from = (units.kept_to - units.in_files).max(0) as usize;
        let rest = units.in_memory.get(from..).unwrap_or_default();
        let count = rest.partition_point(|unit| unit.end_offset() <= end);
        if count == 0 || units.deleted {
            return None;
        }
        let offset = units.in_files + from as i64;
        batch.add(&self.topic, self.id, units.begins_anew, offset, &rest[..count]);
        Some(offset + count as i64)
    }

    /// Units are in files up to an offset.
    fn kept(&self, to: i64) {
        let mut units = self.write();
        units.kept_to = units.kept_to.max(to);
        units.begins_anew = false;
    }

    /// Takes over units that were kept. Says how many are in memory now.
    fn take_over(&self, run: &Run) -> usize {
        let mut count = 0;
        for (offset, unit) in (run.offset..).zip(&run.units) {
            if let Pushed::Added { units, .. } = self.push(offset, *unit) {
                count += units;
            }
        }
        let mut units = self.write();
        units.kept_to = units.max();
        count
    }

    /// Units were written up to an offset: memory can be given back. `apart` is how far the queue's
    /// marks are from each other in the log.
    fn written(&self, to: i64, apart: i64) {
        let mut units = self.write();
        let count = (to - units.in_files) as usize;
        let log = units.in_memory.drain(..count).map(|unit| unit.end_offset()).max().unwrap_or_default();
        if units.marks.last().is_none_or(|(_, before)| log >= before + apart) {
            if units.marks.len() > MARKS {
                units.marks.remove(0);
            }
            units.marks.push((to, log));
        }
        if units.in_memory.is_empty() {
            // There may be a million queues.
            units.in_memory = Vec::new();
        }
        units.in_files = to;
    }

    /// From now on nothing is added or written. Says how many units were in memory.
    fn delete(&self) -> usize {
        let mut units = self.write();
        units.deleted = true;
        std::mem::take(&mut units.in_memory).len()
    }

    fn is_clean(&self) -> bool {
        self.read().in_memory.is_empty()
    }

    fn is_ripe(&self) -> bool {
        self.read().in_memory.len() >= RIPE
    }

    fn read(&self) -> RwLockReadGuard<'_, Units> {
        self.units.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Units> {
        self.units.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Units {
    fn max(&self) -> i64 {
        self.in_files + self.in_memory.len() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of so many units of 100 bytes in files, as a restart finds it.
    fn queue(units: i64) -> Queue {
        Queue::new("T".into(), 0, 0, Contents { max: units, log_end: units * 100, ..Contents::default() }, 0)
    }

    /// Adds units of 100 bytes and writes each.
    fn grow(queue: &Queue, from: i64, to: i64, apart: i64) {
        for offset in from..to {
            let unit = Unit { physical_offset: offset * 100, size: 100, tag_code: 0 };
            assert_eq!(queue.push(offset, unit), Pushed::Added { units: 1, ripe: false });
            queue.written(offset + 1, apart);
        }
    }

    #[test]
    fn a_log_that_is_hot_as_a_whole_has_hot_queues() {
        let queue = queue(1_000);
        assert!(queue.is_after(0, -1));
        assert!(queue.is_after(0, 0));
        assert!(!queue.is_after(0, 1), "it began before");
    }

    #[test]
    fn what_is_hot_is_known_to_a_sixteenth_without_the_files() {
        const HOT: i64 = 160_000;
        let queue = queue(1_000);
        assert!(!queue.is_after(999, 99_900), "of before the restart only the end is known");
        assert!(queue.is_after(1_000, 100_000));
        grow(&queue, 1_000, 9_000, HOT / MARKS as i64);
        let since = 900_000 - HOT;
        let first = (0..9_000).find(|offset| queue.is_after(*offset, since)).expect("the end is hot");
        assert!((7_400..7_400 + 200).contains(&first), "{first}");
        assert!(!queue.is_after(0, since));
        assert!(queue.read().marks.len() <= MARKS + 1, "its memory is bounded");
        assert!(!queue.is_after(8_999, 900_000 + 1), "others have written so much that all of it is cold");
        assert!(queue.is_after(9_000, 900_000 + 1), "the end waits for nothing");
    }
}
