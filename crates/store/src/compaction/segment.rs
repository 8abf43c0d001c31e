//! One file of a queue's compacted log, with the file of its units (upstream `TopicPartitionLog`).

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use apogee_base::disk::{self, Disk, DiskFile};
use apogee_message::names::property;
use apogee_message::record::{MAGIC_BLANK, Record};
use apogee_message::tag;
use bytes::Bytes;

use super::layout::{Folders, Sizes};
use crate::log::file_name;
use crate::queue::{BatchUnit, Unit, partition};

/// Units that are read together.
const STEP: i64 = 64;
/// Bytes at the end of a file that may not be durable when a process ends; more than are added between two syncs.
const DOUBTFUL: u64 = 16 << 20;
/// Bytes that are written together.
const WRITTEN: i64 = 1 << 20;
/// Stands behind the last unit of a file that is full.
const END: BatchUnit =
    BatchUnit { unit: Unit { physical_offset: -1, size: 0, tag_code: 0 }, store_timestamp: 0, first: 0, messages: 0 };

/// A file that grows at its end, or is full and never changes. Who reads sees what is published.
pub(super) struct Segment {
    /// Its name: where in the compacted log it begins.
    pub base: i64,
    sizes: Sizes,
    log: Arc<dyn DiskFile>,
    units: Arc<dyn DiskFile>,
    /// Units that may be read.
    count: AtomicI64,
    /// Bytes of their records.
    end: AtomicI64,
    /// Offset of the first message; the highest number while there is none.
    first: AtomicI64,
    /// Offset of the last message.
    last: AtomicI64,
}

impl Segment {
    /// A new one, empty; for a first record of so many bytes. Not durable before it is synced, and its folders are.
    pub fn create(disk: &dyn Disk, folders: &Folders, base: i64, sizes: Sizes, bytes: u64) -> io::Result<Self> {
        let file = |folder: &Path, length: u64| -> io::Result<Arc<dyn DiskFile>> {
            let file = disk::create(disk, &folder.join(file_name(base)))?;
            file.set_len(length)?;
            Ok(file)
        };
        let sizes = Sizes { log: sizes.log_for(bytes), units: sizes.units };
        let units = file(&folders.units, sizes.units)?;
        let log = file(&folders.log, sizes.log)?;
        Ok(Self::new(base, sizes, log, units))
    }

    fn new(base: i64, sizes: Sizes, log: Arc<dyn DiskFile>, units: Arc<dyn DiskFile>) -> Self {
        let (count, end, first, last) = (0.into(), 0.into(), i64::MAX.into(), (-1).into());
        Self { base, sizes, log, units, count, end, first, last }
    }

    /// One that is there. With `verify` its units count up to the first whose record is not whole. Units that are gone
    /// are made anew from the records.
    pub fn open(disk: &dyn Disk, folders: &Folders, base: i64, sizes: Sizes, verify: bool) -> io::Result<Self> {
        let log = disk.open(&folders.log.join(file_name(base)), false)?;
        let path = folders.units.join(file_name(base));
        let is_there = disk.exists(&path);
        let units = disk.open(&path, true)?;
        let length = units.length()? / BatchUnit::SIZE as u64 * BatchUnit::SIZE as u64;
        if log.length()? == 0 {
            // It was just made.
            log.set_len(sizes.log)?;
        }
        let sizes = Sizes { log: log.length()?, units: if length == 0 { sizes.units } else { length } };
        let segment = Self::new(base, sizes, log, units);
        if !is_there || length == 0 {
            segment.units.set_len(sizes.units)?;
            segment.make_units()?;
        }
        let all = (sizes.units / BatchUnit::SIZE as u64) as i64;
        let mut count = partition(0, all, |at| Ok(segment.unit(at)?.is_valid()))?;
        if verify {
            count = segment.whole(all)?;
        }
        segment.publish(count)?;
        Ok(segment)
    }

    /// Writes the units of the records that are there.
    fn make_units(&self) -> io::Result<()> {
        let rest = self.slice(self.base, self.base + self.sizes.log as i64)?;
        let (mut at, mut units, mut count) = (0, Vec::new(), 0);
        while let Ok(record) = Record::read(&rest[at..])
            && self.sizes.fit(count + 1, (at + record.size as usize) as u64)
        {
            let tag_code = tag::tag_code(record.property(property::TAGS));
            let unit = Unit { physical_offset: self.base + at as i64, size: record.size, tag_code };
            let (store_timestamp, first) = (record.store_timestamp, record.queue_offset);
            BatchUnit { unit, store_timestamp, first, messages: 1 }.put(&mut units);
            at += record.size as usize;
            count += 1;
        }
        self.units.write_at(&mut [IoSlice::new(&units)], 0)?;
        self.units.sync()
    }

    /// Units from the first on that follow one another, and whose records are whole as far as they may not have been
    /// durable.
    fn whole(&self, most: i64) -> io::Result<i64> {
        let (mut count, mut end, mut next) = (0, self.base, 0);
        'following: while count < most {
            let units = self.read_units(count, STEP)?;
            for unit in &units {
                if !unit.is_valid() || unit.unit.physical_offset != end || unit.first < next {
                    break 'following;
                }
                (count, end, next) = (count + 1, unit.unit.end_offset(), unit.end());
            }
            if units.is_empty() {
                break;
            }
        }
        let first = self.first_doubtful(count, end)?;
        for at in first..count {
            if self.record(&self.unit(at)?)?.is_none() {
                return Ok(at);
            }
        }
        Ok(count)
    }

    /// The first of so many units, up to a place, that may not have been durable.
    fn first_doubtful(&self, count: i64, end: i64) -> io::Result<i64> {
        partition(0, count, |at| Ok(self.unit(at)?.unit.physical_offset < end - DOUBTFUL as i64))
    }

    fn publish(&self, count: i64) -> io::Result<()> {
        if count > 0 {
            let last = self.unit(count - 1)?;
            self.first.store(self.unit(0)?.first, Ordering::Relaxed);
            self.last.store(last.first, Ordering::Relaxed);
            self.end.store(last.unit.end_offset() - self.base, Ordering::Relaxed);
        }
        self.count.store(count, Ordering::Release);
        Ok(())
    }

    /// Bytes of its file.
    pub fn length(&self) -> u64 {
        self.sizes.log
    }

    /// How long its files are.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Messages.
    pub fn count(&self) -> i64 {
        self.count.load(Ordering::Acquire)
    }

    /// Bytes of records.
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed) as u64
    }

    /// Offset of the first message; the highest number while there is none.
    pub fn first(&self) -> i64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Offset of the last message; -1 while there is none.
    pub fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Whether a further record of so many bytes fits.
    pub fn fits(&self, bytes: usize) -> bool {
        self.fits_after(0, bytes)
    }

    /// Whether one fits behind so many others, with which it has so many bytes.
    pub fn fits_after(&self, count: i64, bytes: usize) -> bool {
        self.sizes.fit(self.count() + count + 1, self.bytes() + bytes as u64)
    }

    /// The unit at an index. One that is not valid where there is none.
    fn unit(&self, at: i64) -> io::Result<BatchUnit> {
        Ok(self.read_units(at, 1)?.first().copied().unwrap_or(END))
    }

    /// Units from an index on, published or not.
    fn read_units(&self, at: i64, count: i64) -> io::Result<Vec<BatchUnit>> {
        let mut bytes = vec![0; count as usize * BatchUnit::SIZE];
        let read = self.units.read_at(&mut bytes, at as u64 * BatchUnit::SIZE as u64)?;
        Ok(bytes[..read].chunks_exact(BatchUnit::SIZE).map(BatchUnit::decode).collect())
    }

    /// Published units from an index on, some at a time.
    pub fn units(&self, at: i64) -> io::Result<Vec<BatchUnit>> {
        let count = STEP.min(self.count() - at);
        if count <= 0 {
            return Ok(Vec::new());
        }
        let units = self.read_units(at, count)?;
        if units.len() < count as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(units) }
    }

    /// The index of the first unit that doesn't come before a place, as `is_before` has it.
    pub fn find(&self, is_before: impl Fn(&BatchUnit) -> bool) -> io::Result<i64> {
        partition(0, self.count(), |at| Ok(is_before(&self.unit(at)?)))
    }

    /// Bytes of records from one place of the compacted log to another.
    pub fn slice(&self, from: i64, to: i64) -> io::Result<Bytes> {
        self.log.slice((from - self.base) as u64, (to - from) as usize)
    }

    /// Has a part read into memory soon.
    pub fn prefetch(&self, from: i64, length: u64) {
        self.log.prefetch((from - self.base).max(0) as u64, length);
    }

    /// The record of a unit, if it is the one that is meant, and whole. An error when it cannot be read.
    pub fn record(&self, unit: &BatchUnit) -> io::Result<Option<Bytes>> {
        let bytes = self.look(unit)?;
        // Upstream writes another place into its copies, and the sum of the whole record is not theirs any more.
        Ok(bytes.filter(|bytes| Record::read(bytes).is_ok_and(|record| record.body_is_intact())))
    }

    /// The same without a look at its body.
    pub fn look(&self, unit: &BatchUnit) -> io::Result<Option<Bytes>> {
        let (from, to) = (unit.unit.physical_offset, unit.unit.end_offset());
        if from < self.base || to > self.base + self.sizes.log as i64 {
            return Ok(None);
        }
        let bytes = self.slice(from, to)?;
        let is_meant = |record: Record<'_>| record.size == unit.unit.size && record.queue_offset == unit.first;
        Ok(Record::read(&bytes).is_ok_and(is_meant).then_some(bytes))
    }

    /// Adds records that [fit](Self::fits) together, each with its unit, of which the place is filled in. One caller
    /// at a time.
    pub fn append(&self, records: &[(BatchUnit, Bytes)]) -> io::Result<()> {
        let (count, end) = (self.count(), self.bytes());
        let (mut units, mut at) = (Vec::with_capacity(records.len() * BatchUnit::SIZE), self.base + end as i64);
        for (unit, bytes) in records {
            let placed = Unit { physical_offset: at, size: bytes.len() as u32, ..unit.unit };
            BatchUnit { unit: placed, ..*unit }.put(&mut units);
            at += bytes.len() as i64;
        }
        let mut pieces: Vec<_> = records.iter().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        self.log.write_at(&mut pieces, end)?;
        self.units.write_at(&mut [IoSlice::new(&units)], count as u64 * BatchUnit::SIZE as u64)?;
        self.publish(count + records.len() as i64)
    }

    /// Marks it as full: nothing is added any more.
    pub fn end(&self) -> io::Result<()> {
        let (count, end) = (self.count(), self.bytes());
        let rest = (self.sizes.log - end) as u32;
        let blank = [rest.to_be_bytes(), MAGIC_BLANK.to_be_bytes()].concat();
        self.log.write_at(&mut [IoSlice::new(&blank)], end)?;
        let mut unit = Vec::new();
        END.put(&mut unit);
        self.units.write_at(&mut [IoSlice::new(&unit)], count as u64 * BatchUnit::SIZE as u64)
    }

    /// Makes it durable.
    pub fn sync(&self) -> io::Result<()> {
        self.log.sync()?;
        self.units.sync()
    }

    /// Writes its end again as it stands, and zeros behind its units, and makes it durable: what an earlier process could
    /// not flush may be in memory only, and look as if it were on disk.
    pub fn write_again(&self) -> io::Result<()> {
        let (count, end) = (self.count(), self.base + self.bytes() as i64);
        let first = self.first_doubtful(count, end)?;
        let mut from = if first < count { self.unit(first)?.unit.physical_offset } else { end };
        while from < end {
            let to = end.min(from + WRITTEN);
            let bytes = self.slice(from, to)?;
            self.log.write_at(&mut [IoSlice::new(&bytes)], (from - self.base) as u64)?;
            from = to;
        }
        let mut units = vec![0; (count - first) as usize * BatchUnit::SIZE];
        let at = first as u64 * BatchUnit::SIZE as u64;
        self.units.read_at(&mut units, at)?;
        self.cut_units(count)?;
        self.units.write_at(&mut [IoSlice::new(&units)], at)?;
        self.sync()
    }

    /// Leaves zeros behind so many units. Their file is never mapped, so it may be cut.
    fn cut_units(&self, count: i64) -> io::Result<()> {
        self.units.set_len(count as u64 * BatchUnit::SIZE as u64)?;
        self.units.set_len(self.sizes.units)
    }

    /// Messages before the first one that stands at or behind a place of the commit log, looked for from the end.
    pub fn count_before(&self, to: i64) -> io::Result<i64> {
        let mut count = self.count();
        while count > 0 {
            let bytes = self.look(&self.unit(count - 1)?)?;
            let place = bytes.as_deref().and_then(|bytes| Some(Record::read(bytes).ok()?.physical_offset));
            if place.is_some_and(|place| place < to) {
                break;
            }
            count -= 1;
        }
        Ok(count)
    }

    /// Forgets all but so many messages, at least one, durably.
    pub fn cut(&self, count: i64) -> io::Result<()> {
        self.cut_units(count)?;
        self.units.sync()?;
        self.publish(count)
    }
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;
    use apogee_message::record::{Draft, NewMessage};
    use bytes::BytesMut;

    use super::*;

    const MIB: usize = 1 << 20;

    fn record(offset: i64, body: usize) -> (BatchUnit, Bytes) {
        let message = NewMessage {
            properties: "KEYS\u{1}k\u{2}".into(),
            ..NewMessage::own("T", vec![7; body], ([127, 0, 0, 1], 1), 1)
        };
        let mut draft = Draft::new(&message, &mut BytesMut::new()).unwrap();
        draft.assign(offset, 0, 1);
        let bytes = Bytes::from(draft.to_vec());
        let unit = Unit { physical_offset: 0, size: bytes.len() as u32, tag_code: 0 };
        (BatchUnit { unit, store_timestamp: 1, first: offset, messages: 1 }, bytes)
    }

    #[test]
    fn only_the_end_of_a_large_file_is_looked_at_again() {
        let disk = SimDisk::new(1);
        let folders = Folders { log: "/log".into(), units: "/units".into() };
        folders.create(&disk).unwrap();
        let sizes = Sizes::of(64 << 20, 4_600);
        let segment = Segment::create(&disk, &folders, 0, sizes, 0).unwrap();
        for offset in 0..24 {
            segment.append(&[record(offset * 3, MIB)]).unwrap();
        }
        segment.sync().unwrap();
        let log = disk.open(&folders.log.join(file_name(0)), false).unwrap();
        let open = || Segment::open(&disk, &folders, 0, sizes, true).unwrap();
        let damage = |at: usize| log.write_at(&mut [IoSlice::new(b"damage")], (at * MIB) as u64).unwrap();
        damage(1);
        let before = disk.bytes_read();
        assert_eq!((open().count(), open().last()), (24, 69), "what was durable is looked at when it is read");
        assert!(disk.bytes_read() - before < 2 * 18 * MIB as u64);
        damage(20);
        let cut = open();
        assert_eq!((cut.count(), cut.last()), (19, 54), "what is not whole at the end is copied again");
        cut.write_again().unwrap();
        assert_eq!(Segment::open(&disk, &folders, 0, sizes, false).unwrap().count(), 19);
    }
}
