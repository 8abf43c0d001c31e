//! Consume queues: for each queue of each topic where its messages are in the log
//! (upstream `ConsumeQueue`). The newest units are in memory until a background step writes them;
//! older ones are read from files.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod batches;
mod files;
mod folders;
mod kept;
mod mend;
mod pending;
mod table;

pub(crate) use batches::{BatchFiles, BatchUnit};
use files::Contents;
pub(crate) use files::{QueueFiles, first_kept, partition};
pub(crate) use kept::{Batch, KeptUnits, Run, Runs};
pub(crate) use mend::Source;
use pending::Pending;
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

/// In which files a topic's queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A unit for each message.
    Simple,
    /// A unit for each record, which may be several messages (upstream `BatchConsumeQueue`). In memory each message
    /// has a unit all the same: that of its record.
    Batch,
}

impl Kind {
    /// That of a topic, by what its first record says. Retry topics may have batches that are one record, too, and are as
    /// upstream has them all the same.
    pub fn of(topic: &str, is_of_batches: bool) -> Self {
        if is_of_batches && !topic.starts_with('%') { Self::Batch } else { Self::Simple }
    }
}

/// Set in the keys of queues that keep batches.
const BATCH_KEY: u32 = 1 << 31;

/// A queue, shared: without a count of weak references, which would make each of a million 16 bytes larger.
pub(crate) type SharedQueue = triomphe::Arc<Queue>;

/// One queue. There may be a million of them: what few have is in [`Rare`].
pub(crate) struct Queue {
    pub topic: Arc<str>,
    pub id: i32,
    /// Names the queue's files in the cache.
    key: u32,
    /// The offset that the next message gets; only the log's writer changes it.
    pub next: AtomicI64,
    units: Mutex<Units>,
}

struct Units {
    /// First offset kept.
    min: i64,
    /// Units before this offset are in files.
    in_files: i64,
    /// The units from there on.
    in_memory: Pending,
    /// So many of them are in files of kept units.
    kept: u32,
    /// On the list of queues with units to write.
    dirty: bool,
    /// What files of kept units tell is void: the queue begins anew.
    begins_anew: bool,
    /// The topic was deleted: nothing is to be added or written any more.
    deleted: bool,
    /// End of the last unit's record in the log.
    log_end: i64,
    rare: Option<Box<Rare>>,
}

/// What few queues of many have.
#[derive(Default)]
struct Rare {
    /// The last unit in files, while it is damaged and the log may bring it back.
    doubtful: Option<i64>,
    /// Places before which a busy queue was written: an offset, and where the log was. The oldest first.
    marks: Vec<(i64, i64)>,
}

/// What became of a unit that was to be added.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    /// So many units are in memory now that were not, more than one when a gap was filled; whether the
    /// queue has units to write now and had none; and whether it has become worth writing.
    Added { units: usize, dirty: bool, ripe: bool },
    /// The queue has it, as recovery may bring it again, or was deleted.
    Needless,
    /// The record is later in the log than all that the queue knows, and yet the first of its queue: the topic was deleted and made again between the two.
    BeginsAnew,
}

impl Queue {
    fn new(topic: Arc<str>, id: i32, key: u32, contents: Contents) -> Self {
        let Contents { min, max, doubtful, log_end, .. } = contents;
        let units = Units {
            min,
            in_files: max,
            in_memory: Pending::default(),
            kept: 0,
            dirty: false,
            begins_anew: false,
            deleted: false,
            log_end,
            rare: doubtful.map(|_| Box::new(Rare { doubtful, ..Rare::default() })),
        };
        Self { topic, id, key, next: AtomicI64::new(max), units: Mutex::new(units) }
    }

    /// Names the queue as long as the process lives; never 0.
    pub fn key(&self) -> u64 {
        u64::from(self.key)
    }

    /// In which files it is.
    pub fn kind(&self) -> Kind {
        if self.key & BATCH_KEY == 0 { Kind::Simple } else { Kind::Batch }
    }

    /// First and end offset.
    pub fn range(&self) -> (i64, i64) {
        let units = self.lock();
        (units.min, units.max())
    }

    /// Adds the unit of a record that is so many messages, all of them or none. A gap before it is filled with blanks:
    /// those messages are lost.
    fn push(&self, offset: i64, unit: Unit, messages: u16) -> Pushed {
        let mut units = self.lock();
        if units.deleted {
            return Pushed::Needless;
        }
        let doubtful = units.rare.as_mut().and_then(|rare| rare.doubtful.take_if(|doubtful| offset >= *doubtful));
        if doubtful == Some(offset) && offset + 1 == units.max() {
            (units.in_files, units.kept) = (offset, 0);
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
                (units.min, units.in_files, units.kept) = (offset, offset, 0);
            } else if is_empty {
                // Those before are removed from the log; its files go on without a hole.
                (0..missing).for_each(|_| units.in_memory.push(Unit::BLANK));
                units.min = offset;
            } else if missing > MOST_MISSING {
                tracing::error!(topic = %self.topic, queue = self.id, offset, max, "a record's offset cannot be right: it is not served");
                return Pushed::Needless;
            } else {
                tracing::error!(topic = %self.topic, queue = self.id, from = max, to = offset, "messages are missing");
                (0..missing).for_each(|_| units.in_memory.push(Unit::BLANK));
            }
        }
        (0..messages).for_each(|_| units.in_memory.push(unit));
        units.log_end = units.log_end.max(unit.end_offset());
        let after = units.in_memory.len();
        let dirty = !std::mem::replace(&mut units.dirty, true);
        Pushed::Added { units: after - before, dirty, ripe: before < RIPE && after >= RIPE }
    }

    /// Forgets all units, to begin with the one at an offset. Says how many were in memory.
    fn restart(&self, offset: i64) -> usize {
        let mut units = self.lock();
        (units.min, units.in_files, units.log_end) = (offset, offset, 0);
        (units.kept, units.begins_anew, units.rare) = (0, true, None);
        std::mem::take(&mut units.in_memory).len()
    }

    /// The queue begins at `min` now, if it began at `before` until now. Units in memory stay: they are
    /// few, and written soon.
    fn advance(&self, before: i64, min: i64) {
        let mut units = self.lock();
        if units.min == before {
            units.min = min;
        }
    }

    /// Whether the message at an offset, if there is one, is surely not before `since` in the log, which
    /// begins at `start`. Asks memory alone: of a message that is a little later than `since` it may say
    /// no.
    pub fn is_after(&self, offset: i64, since: i64, start: i64) -> bool {
        if since <= start {
            return true;
        }
        let units = self.lock();
        if let Some(unit) = offset.checked_sub(units.in_files).and_then(|at| units.in_memory.get(at as usize)) {
            return unit.physical_offset >= since;
        }
        let known = units.rare.iter().flat_map(|rare| &rare.marks).find(|(_, log)| *log >= since);
        offset >= known.map_or(units.in_files, |(offset, _)| *offset)
    }

    /// Units in memory from an offset on, or where the files' part ends that it lies in.
    fn in_memory(&self, offset: i64, count: usize) -> Result<Vec<Unit>, i64> {
        let units = self.lock();
        if offset < units.in_files {
            return Err(units.in_files);
        }
        let from = (offset - units.in_files) as usize;
        Ok(units.in_memory.iter().skip(from).take(count).collect())
    }

    /// What is to be written: the first offset and the units before `end` of the log.
    fn to_write(&self, end: i64) -> Option<(i64, Vec<Unit>)> {
        let units = self.lock();
        let count = units.in_memory.count_before(end);
        (count > 0 && !units.deleted).then(|| (units.in_files, units.in_memory.iter().take(count).collect()))
    }

    /// Whether a unit in memory is that of a record before a place of the log.
    fn has_before(&self, place: i64) -> bool {
        self.lock().in_memory.get(0).is_some_and(|unit| unit.physical_offset < place)
    }

    /// Adds to a batch the units of records before `end` of the log that no file has. Returns where
    /// they end, if there are any.
    fn keep(&self, end: i64, batch: &mut Batch) -> Option<i64> {
        let units = self.lock();
        let (from, to) = (units.kept as usize, units.in_memory.count_before(end));
        if to <= from || units.deleted {
            return None;
        }
        let offset = units.in_files + from as i64;
        batch.add(&self.topic, self.id, units.begins_anew, offset, units.in_memory.iter().take(to).skip(from));
        Some(units.in_files + to as i64)
    }

    /// Units are in files up to an offset.
    fn kept(&self, to: i64) {
        let mut units = self.lock();
        units.kept = units.kept.max((to - units.in_files).max(0) as u32);
        units.begins_anew = false;
    }

    /// Takes over units that were kept. Says how many are in memory now.
    fn take_over(&self, run: &Run) -> usize {
        let mut count = 0;
        for (offset, unit) in (run.offset..).zip(&run.units) {
            if let Pushed::Added { units, .. } = self.push(offset, *unit, 1) {
                count += units;
            }
        }
        let mut units = self.lock();
        units.kept = units.in_memory.len() as u32;
        count
    }

    /// Units were written up to an offset: memory can be given back. `apart` is how far a queue's
    /// marks are from each other in the log.
    fn written(&self, to: i64, apart: i64) {
        let mut units = self.lock();
        let (from, count) = (units.in_files, (to - units.in_files) as usize);
        let first = units.in_memory.get(0).map_or(0, |unit| unit.physical_offset);
        let log = units.in_memory.remove(count);
        units.kept = units.kept.saturating_sub(count as u32);
        units.in_files = to;
        if count < RIPE {
            // Who reads a rare queue's old messages may have to wait: no reason to remember.
            return;
        }
        let marks = &mut units.rare.get_or_insert_default().marks;
        if marks.is_empty() {
            marks.push((from, first));
        }
        if marks.last().is_none_or(|(_, before)| log >= before + apart) {
            if marks.len() > MARKS {
                marks.remove(0);
            }
            marks.push((to, log));
        }
    }

    /// From now on nothing is added or written. Says how many units were in memory.
    fn delete(&self) -> usize {
        let mut units = self.lock();
        units.deleted = true;
        std::mem::take(&mut units.in_memory).len()
    }

    /// Whether there are still units to write; if not, the queue leaves the list of those with some.
    fn stays_dirty(&self) -> bool {
        let mut units = self.lock();
        units.dirty = units.in_memory.len() > 0;
        units.dirty
    }

    fn is_ripe(&self) -> bool {
        self.lock().in_memory.len() >= RIPE
    }

    fn lock(&self) -> MutexGuard<'_, Units> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
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
        Queue::new("T".into(), 0, 0, Contents { max: units, log_end: units * 100, ..Contents::default() })
    }

    /// Adds units of 100 bytes and writes them whenever that is worth it.
    fn grow(queue: &Queue, from: i64, to: i64, apart: i64) {
        for offset in from..to {
            let unit = Unit { physical_offset: offset * 100, size: 100, tag_code: 0 };
            let Pushed::Added { units: 1, ripe, .. } = queue.push(offset, unit, 1) else { panic!("{offset}") };
            if ripe || offset + 1 == to {
                queue.written(offset + 1, apart);
            }
        }
    }

    #[test]
    fn a_million_queues_with_a_message_each_are_128_megabytes() {
        // Of theirs the allocator takes so much, too; it gives multiples of 16.
        let count = size_of::<usize>();
        assert!(2 * count + size_of::<Queue>() <= 128, "{} bytes", size_of::<Queue>());
        let queue = queue(0);
        queue.push(0, Unit { physical_offset: 0, size: 100, tag_code: 0 }, 1);
        assert!(queue.lock().in_memory.is_in_place());
    }

    #[test]
    fn a_log_that_is_hot_as_a_whole_has_hot_queues() {
        let queue = queue(1_000);
        assert!(queue.is_after(0, -1, 0));
        assert!(queue.is_after(0, 0, 0));
        assert!(!queue.is_after(0, 1, 0), "it began before");
    }

    #[test]
    fn what_is_hot_is_known_to_a_sixteenth_without_the_files() {
        const HOT: i64 = 160_000;
        let queue = queue(1_000);
        assert!(!queue.is_after(999, 99_900, 0), "of before the restart only the end is known");
        assert!(queue.is_after(1_000, 100_000, 0));
        grow(&queue, 1_000, 9_000, HOT / MARKS as i64);
        let since = 900_000 - HOT;
        let first = (0..9_000).find(|offset| queue.is_after(*offset, since, 0)).expect("the end is hot");
        assert!((7_400..7_400 + 200).contains(&first), "{first}");
        assert!(!queue.is_after(0, since, 0));
        assert!(queue.lock().rare.as_ref().unwrap().marks.len() <= MARKS + 1, "its memory is bounded");
        assert!(!queue.is_after(8_999, 900_000 + 1, 0), "others have written so much that all of it is cold");
        assert!(queue.is_after(9_000, 900_000 + 1, 0), "the end waits for nothing");
    }
}
