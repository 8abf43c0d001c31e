//! Reading what is in a compacted log.

use std::io;

use apogee_message::record::Record;
use bytes::Bytes;

use super::queue::CompactedQueue;
use super::round::files_from;
use super::segment::Segment;
use crate::queue::BatchUnit;
use crate::reader::{Boundary, Filter, ReadLimits, Verdict};

/// Messages looked at by one read that finds no match.
const MOST_LOOKED_AT: usize = 800;
/// Bytes that are asked for before they are needed.
const READ_AHEAD: u64 = 256 << 10;

/// What a read of a compacted log brought.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub slices: Vec<Bytes>,
    pub messages: usize,
    pub bytes: usize,
    /// Where to read next: the end of the compacted log when nothing is left.
    pub next_offset: i64,
}

/// Records that follow one another, not yet cut out of their file.
struct Stretch<'f> {
    file: &'f Segment,
    from: i64,
    to: i64,
}

impl CompactedQueue {
    /// Reads what the filter lets pass, from the first message at or behind an offset on.
    pub fn read(&self, offset: i64, limits: ReadLimits, hot_bytes: u64, filter: &mut dyn Filter) -> io::Result<Taken> {
        let end = self.end();
        let files = self.files();
        let log_end = files.last().map_or(0, |last| last.base + last.bytes() as i64);
        let mut taken = Taken { next_offset: offset, ..Taken::default() };
        let mut stretch: Option<Stretch<'_>> = None;
        let (mut looked_at, most) = (0, MOST_LOOKED_AT.max(limits.messages * 20));
        'looking: for file in files_from(&files, offset) {
            let mut at = file.find(|unit| unit.first < offset)?;
            let mut fetched = 0;
            while at < file.count() {
                for unit in file.units(at)? {
                    let cold = log_end - unit.unit.physical_offset > hot_bytes as i64;
                    let (messages, bytes) =
                        if cold { (limits.cold_messages, limits.cold_bytes) } else { (limits.messages, limits.bytes) };
                    let is_full = taken.messages >= messages.min(limits.messages).max(1)
                        || taken.bytes + unit.unit.size as usize > bytes;
                    if taken.messages > 0 && is_full || looked_at >= most {
                        break 'looking;
                    }
                    (at, looked_at) = (at + 1, looked_at + 1);
                    taken.next_offset = unit.end();
                    if !filter.by_unit(unit.unit.tag_code) {
                        continue;
                    }
                    if unit.unit.end_offset() > fetched {
                        fetched = unit.unit.end_offset() + READ_AHEAD as i64;
                        file.prefetch(unit.unit.physical_offset, u64::from(unit.unit.size) + READ_AHEAD);
                    }
                    let verdict = self.whole(file, &unit)?.map_or(Verdict::Skip, |bytes| {
                        Record::read(&bytes).map_or(Verdict::Skip, |record| filter.by_record(&record))
                    });
                    match verdict {
                        Verdict::Skip => continue,
                        Verdict::Stop => {
                            taken.next_offset = unit.first;
                            break 'looking;
                        }
                        Verdict::Take => {}
                    }
                    let (from, to) = (unit.unit.physical_offset, unit.unit.end_offset());
                    match &mut stretch {
                        Some(stretch) if std::ptr::eq(stretch.file, &**file) && stretch.to == from => stretch.to = to,
                        _ => taken.cut(stretch.replace(Stretch { file, from, to }))?,
                    }
                    taken.messages += 1;
                    taken.bytes += unit.unit.size as usize;
                }
            }
        }
        if files_from(&files, taken.next_offset).iter().all(|file| file.count() == 0) {
            taken.next_offset = taken.next_offset.max(end);
        }
        taken.cut(stretch)?;
        Ok(taken)
    }

    /// The record of a unit; `None` when it is damaged, which is told.
    fn whole(&self, file: &Segment, unit: &BatchUnit) -> io::Result<Option<Bytes>> {
        let bytes = file.record(unit)?;
        if bytes.is_none() {
            tracing::error!(topic = %self.topic, queue = self.id, offset = unit.first, "a message of the compacted log is damaged: it is passed over");
        }
        Ok(bytes)
    }

    /// The first message at or behind an offset, as its unit tells; `None` when there is none.
    pub fn unit_from(&self, offset: i64) -> io::Result<Option<BatchUnit>> {
        let files = self.files();
        let Some(file) = files_from(&files, offset).first() else { return Ok(None) };
        Ok(file.units(file.find(|unit| unit.first < offset)?)?.first().copied())
    }

    /// The message of an offset; `None` when there is none any more.
    pub fn message(&self, offset: i64) -> io::Result<Option<Bytes>> {
        let files = self.files();
        let Some(file) = files_from(&files, offset).first() else { return Ok(None) };
        let unit = file.units(file.find(|unit| unit.first < offset)?)?.first().copied();
        unit.filter(|unit| unit.first == offset).map_or(Ok(None), |unit| self.whole(file, &unit))
    }

    /// The offset of a message by its store time; `None` when all that are here were stored before.
    pub fn offset_by_time(&self, timestamp: i64, boundary: Boundary) -> io::Result<Option<i64>> {
        let is_before = |unit: &BatchUnit| match boundary {
            Boundary::Lower => unit.store_timestamp < timestamp,
            Boundary::Upper => unit.store_timestamp <= timestamp,
        };
        let mut last = None;
        for file in self.files().iter().filter(|file| file.count() > 0) {
            let at = file.find(is_before)?;
            if at > 0 {
                last = file.units(at - 1)?.first().map(|unit| unit.first);
            }
            if at < file.count() {
                let found = file.units(at)?.first().map(|unit| unit.first);
                return Ok(if boundary == Boundary::Upper { last.or(found) } else { found });
            }
        }
        Ok(None)
    }

    /// Offset of the last message that is here; `None` when there is none.
    pub fn last(&self) -> Option<i64> {
        self.files().iter().map(|file| file.last()).max().filter(|last| *last >= 0)
    }
}

impl Taken {
    fn cut(&mut self, stretch: Option<Stretch<'_>>) -> io::Result<()> {
        if let Some(Stretch { file, from, to }) = stretch {
            self.slices.push(file.slice(from, to)?);
        }
        Ok(())
    }
}
