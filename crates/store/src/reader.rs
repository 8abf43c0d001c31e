//! Reading from a queue: slices of the log, no copies.

use std::io;

use apogee_message::light;
use apogee_message::record::Record;
use bytes::Bytes;

use crate::integrity::Led;
use crate::log::View;
use crate::queue::{SharedQueue, Unit};
use crate::scan::{Checks, Damage, Found, Scan};
use crate::store::Store;

/// How a read ended (upstream `GetMessageStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// There are messages.
    Found,
    /// None of the messages looked at matched.
    NoMatchedMessage,
    /// The messages were removed from the log.
    MessageWasRemoving,
    /// The queue cannot be read there.
    OffsetFoundNull,
    /// The offset is past the end by more than one message.
    OffsetOverflowBadly,
    /// The offset is the end: nothing yet.
    OffsetOverflowOne,
    /// The offset is before the beginning.
    OffsetTooSmall,
    /// There is no such queue.
    NoMatchedLogicQueue,
    /// The queue is empty.
    NoMessageInQueue,
}

impl ReadStatus {
    /// Upstream's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}

/// Bounds of one read.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Most messages.
    pub messages: usize,
    /// Most bytes, but always one message.
    pub bytes: usize,
    /// Most messages when they are cold, so likely on disk.
    pub cold_messages: usize,
    /// Most bytes when they are cold.
    pub cold_bytes: usize,
}

/// What a read brought.
#[derive(Debug)]
pub struct ReadResult {
    /// How it ended.
    pub status: ReadStatus,
    /// Records one after the other; records that follow each other in the log share a slice.
    pub slices: Vec<Bytes>,
    /// Messages in the slices.
    pub messages: usize,
    /// Bytes in the slices.
    pub bytes: usize,
    /// Where to read next.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// End of the queue.
    pub max_offset: i64,
    /// Bytes of the log between what was read and its end.
    pub behind_bytes: i64,
}

/// Which messages a read returns. A closure asked with tag codes is one.
pub trait Filter {
    /// Whether a message with this tag code may be wanted: what can be said without the log.
    fn by_unit(&mut self, tag_code: i64) -> bool;

    /// Whether a message that [`Filter::by_unit`] let pass is wanted, by its record.
    fn by_record(&mut self, record: &Record<'_>) -> Verdict {
        let _ = record;
        Verdict::Take
    }
}

impl<F: FnMut(i64) -> bool> Filter for F {
    fn by_unit(&mut self, tag_code: i64) -> bool {
        self(tag_code)
    }
}

/// What a filter says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted.
    Take,
    /// It is not.
    Skip,
    /// It was not looked at: the read has cost enough and ends before it. Said of the first record of
    /// a read, it would be said again and again.
    Stop,
}

/// Which end of a run of equal or bracketing store times is meant (upstream `BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first message at or after a time.
    Lower,
    /// The last message at or before a time.
    Upper,
}

/// Bytes of the log that are asked for together when cold messages are read: few enough that a sync that
/// is waiting behind them does not wait long.
const READ_AHEAD: i64 = 256 << 10;
/// The same of one record, however long its unit says that it is.
const MOST_OF_ONE: i64 = 4 << 20;
/// Units looked at in one go.
const STEP: usize = 256;
/// Records whose memory is asked for together: about as many as a processor has outstanding.
const TOUCHED: usize = 8;
/// Messages in a row without a time that a search by time looks over.
const MOST_WITHOUT_TIME: i64 = 32;
/// Units looked at by one read that finds no match, as upstream has it.
const MOST_LOOKED_AT: usize = 800;

impl Store {
    /// Reads from a queue what the filter lets pass.
    pub fn read(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        limits: ReadLimits,
        filter: &mut dyn Filter,
    ) -> ReadResult {
        let ended = |status, next_offset, min_offset, max_offset| ReadResult {
            status,
            slices: Vec::new(),
            messages: 0,
            bytes: 0,
            next_offset,
            min_offset,
            max_offset,
            behind_bytes: 0,
        };
        let (mut offset, compacted) = (offset, self.compacted(topic, queue_id));
        let queue = match self.queues.get(topic, queue_id) {
            Ok(Some(queue)) => queue,
            Ok(None) => return ended(ReadStatus::NoMatchedLogicQueue, 0, 0, 0),
            Err(error) => {
                tracing::error!(topic, queue_id, %error, "a queue cannot be opened");
                return ended(ReadStatus::OffsetFoundNull, offset, 0, 0);
            }
        };
        let (mut min, mut max) = queue.range();
        if let Some(compacted) = compacted {
            (min, max) = (min.min(compacted.first()), max.max(compacted.end()));
            if offset < compacted.end().max(min) {
                match self.read_compacted(&compacted, offset, (min, max), limits, filter) {
                    Ok(read) => return read,
                    Err(_) if max <= compacted.end() => return ended(ReadStatus::NoMatchedMessage, max, min, max),
                    Err(next) => offset = next.max(queue.range().0),
                }
            }
        }
        match offset {
            _ if max == 0 => return ended(ReadStatus::NoMessageInQueue, 0, min, max),
            _ if offset < min => return ended(ReadStatus::OffsetTooSmall, min, min, max),
            _ if offset == max => return ended(ReadStatus::OffsetOverflowOne, offset, min, max),
            // An expired light queue was removed, and began anew: who read it before has read none of this.
            _ if offset > max && light::is_light(topic) => {
                return ended(ReadStatus::OffsetOverflowBadly, min, min, max);
            }
            _ if offset > max => return ended(ReadStatus::OffsetOverflowBadly, max, min, max),
            _ => {}
        }
        let mut result = ended(ReadStatus::NoMatchedMessage, offset, min, max);
        let log_end = self.log.written();
        let (mut looked_at, mut fetched) = (0, 0);
        let mut view = View::default();
        let mut last = Unit { physical_offset: log_end, size: 0, tag_code: 0 };
        'looking: while result.next_offset < max && looked_at < MOST_LOOKED_AT.max(limits.messages * 20) {
            // Most reads take what they look at, and those with few messages to take need few units.
            let step = STEP.min(limits.messages.max(1) * if looked_at == 0 { 1 } else { 4 });
            let units = match self.queues.read(&queue, result.next_offset, step) {
                Ok(units) => units,
                Err(error) => {
                    tracing::error!(topic, queue_id, offset = result.next_offset, %error, "a queue cannot be read: see to the disk; a restart mends queues by the log");
                    if result.messages == 0 {
                        result.status = ReadStatus::OffsetFoundNull;
                        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) {
                            // What isn't there will not come back; anything else may be read later.
                            result.next_offset = self.queues.next_file(&queue, result.next_offset).min(max);
                        }
                    }
                    break;
                }
            };
            // Up to here memory was asked for; and whether the unit before was let pass.
            let (mut touched, mut is_dense) = (0, false);
            let mut each = units.iter().copied().enumerate().take((max - result.next_offset) as usize);
            while let Some((index, unit)) = each.next() {
                looked_at += 1;
                if unit.is_blank() || !filter.by_unit(unit.tag_code) {
                    result.next_offset += 1;
                    is_dense = false;
                    continue;
                }
                let cold = log_end.saturating_sub(unit.physical_offset) > self.options.hot_bytes as i64;
                let (messages, bytes) =
                    if cold { (limits.cold_messages, limits.cold_bytes) } else { (limits.messages, limits.bytes) };
                let messages = messages.min(limits.messages).max(1);
                let full = result.messages >= messages || result.bytes + unit.size as usize > bytes;
                if result.messages > 0 && full {
                    break 'looking;
                }
                let may_wait = cold || unit.physical_offset < self.log.found_at_start();
                if may_wait && unit.end_offset() > fetched {
                    fetched = self.prefetch(&units[index..]);
                }
                if is_dense && !may_wait && index >= touched {
                    touched = units.len().min(index + TOUCHED.min(limits.messages - result.messages));
                    let bytes =
                        units[index..touched].iter().map(|unit| view.touch(unit.physical_offset, unit.size as usize));
                    std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
                }
                is_dense = true;
                let mut end = result.next_offset + 1;
                let mut decide = |record: &Record<'_>| {
                    let count = i64::from(record.messages());
                    // In a light queue a batch is one message.
                    if count > 1 && !light::is_light(topic) {
                        end = end.max(record.queue_offset + count);
                        if result.messages > 0 && result.messages + count as usize > messages {
                            return Verdict::Stop;
                        }
                    }
                    filter.by_record(record)
                };
                let meant = self.meant(&mut view, &queue, result.next_offset, unit);
                let (verdict, elsewhere, unit) = match meant.map(|record| decide(&record)) {
                    Ok(verdict) => (verdict, None, unit),
                    Err(reason) => match self.led_astray(&queue, result.next_offset, unit, reason) {
                        Led::Record(bytes, right) => {
                            let verdict = Record::read(&bytes).map_or(Verdict::Skip, |record| decide(&record));
                            (verdict, Some(bytes), right)
                        }
                        Led::Gone => {
                            result.next_offset += 1;
                            if result.messages == 0 {
                                result.status = ReadStatus::MessageWasRemoving;
                            }
                            continue;
                        }
                        Led::Damaged => (Verdict::Skip, None, unit),
                    },
                };
                if end > result.next_offset + 1 {
                    // The other messages of the record are decided on with it.
                    let _ = each.nth((end - result.next_offset) as usize - 2);
                }
                let slice = match verdict {
                    Verdict::Take => elsewhere.or_else(|| view.slice(unit.physical_offset, unit.size as usize)),
                    Verdict::Skip => None,
                    Verdict::Stop => break 'looking,
                };
                let Some(slice) = slice else {
                    result.next_offset = end.min(max);
                    continue;
                };
                self.join(&mut result.slices, &view, &last, &unit, slice);
                (last, result.status) = (unit, ReadStatus::Found);
                result.messages += (end - result.next_offset) as usize;
                result.bytes += unit.size as usize;
                result.next_offset = end.min(max);
                if result.messages >= messages {
                    break 'looking;
                }
            }
        }
        result.behind_bytes = log_end - last.end_offset();
        result
    }

    /// Has the record of the first unit read into memory, with those that follow it closely. Returns up to
    /// where.
    fn prefetch(&self, units: &[Unit]) -> i64 {
        let Some(first) = units.first() else { return 0 };
        // A damaged unit may say anything.
        let within = |bytes| first.physical_offset.saturating_add(bytes);
        let near = units.iter().map(|unit| unit.end_offset()).take_while(|end| *end <= within(READ_AHEAD));
        let end = near.fold(first.end_offset().min(within(MOST_OF_ONE)), i64::max);
        self.log.prefetch(first.physical_offset, end);
        end
    }

    /// Adds a record's slice, as a longer last slice when the record follows the one before it.
    fn join(&self, slices: &mut Vec<Bytes>, view: &View, last: &Unit, unit: &Unit, slice: Bytes) {
        if let Some(before) = slices.last_mut()
            && last.end_offset() == unit.physical_offset
        {
            let (from, length) = (unit.physical_offset - before.len() as i64, before.len() + slice.len());
            if let Some(both) = view.slice(from, length).or_else(|| self.log.slice(from, length)) {
                *before = both;
                return;
            }
        }
        slices.push(slice);
    }

    /// Whether a read from there may have to wait for the disk. Never waits itself, and so says yes
    /// where it cannot know without the disk.
    pub fn may_wait(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        if self.compacted(topic, queue_id).is_some_and(|compacted| offset < compacted.end()) {
            return true;
        }
        let since = self.log.written() - self.options.hot_bytes as i64;
        self.queues.may_wait(topic, queue_id, offset, since)
    }

    /// Whether a message is likely on disk only. May wait for the disk.
    pub fn is_cold(&self, topic: &str, queue_id: i32, offset: i64) -> bool {
        // A log that is in memory as a whole needs no look at the queue.
        if self.log.written() - self.log.min_offset() <= self.options.hot_bytes as i64 {
            return false;
        }
        let unit = self.unit(topic, queue_id, offset);
        unit.is_some_and(|unit| self.log.written().saturating_sub(unit.physical_offset) > self.options.hot_bytes as i64)
    }

    /// First and end offset of a queue; `None` when there is no such queue.
    pub fn queue_range(&self, topic: &str, queue_id: i32) -> Option<(i64, i64)> {
        let range = self.queue(topic, queue_id)?.range();
        Some(self.compacted(topic, queue_id).map_or(range, |compacted| Self::widened(&compacted, range)))
    }

    /// Where a message of a queue is.
    pub fn unit(&self, topic: &str, queue_id: i32, offset: i64) -> Option<Unit> {
        self.units(topic, queue_id, offset, 1).first().copied()
    }

    /// Where messages of a queue are, from an offset on; fewer than `count` at the end and at the
    /// end of a file. Blank units stand where there is no message, or a damaged one.
    pub fn units(&self, topic: &str, queue_id: i32, offset: i64, count: usize) -> Vec<Unit> {
        let Some(queue) = self.queue(topic, queue_id) else { return Vec::new() };
        let (min, max) = queue.range();
        if offset < min || offset >= max {
            return Vec::new();
        }
        let units = self.queues.read(&queue, offset, count.min((max - offset) as usize));
        let mut units = units.unwrap_or_else(|error| {
            tracing::error!(topic, queue_id, offset, %error, "a queue cannot be read: see to the disk; a restart mends queues by the log");
            Vec::new()
        });
        for (offset, unit) in (offset..).zip(&mut units) {
            *unit = self.righted(&queue, offset, *unit);
        }
        units
    }

    fn queue(&self, topic: &str, queue_id: i32) -> Option<SharedQueue> {
        self.queues.get(topic, queue_id).unwrap_or_else(|error| {
            tracing::error!(topic, queue_id, %error, "a queue cannot be opened");
            None
        })
    }

    /// The confirmed record at a physical offset; `None` where none begins.
    pub fn record_at(&self, physical_offset: i64) -> Option<Bytes> {
        let bytes = self.log.record(physical_offset)?;
        let record = self.checked(&bytes, physical_offset).inspect_err(|damage| match damage {
            // Anyone may ask for what was never the place of a record.
            Damage::Unreadable(_) | Damage::Elsewhere(_) | Damage::NotMeant | Damage::Missing => {}
            Damage::Sum | Damage::NoSum => self.tell(physical_offset, damage),
        });
        let end = physical_offset + i64::from(record.ok()?.size);
        // Not the end of what is dispatched: who sees a unit in a queue shall find its record, and the
        // unit is there a moment before that end moves on.
        let confirmed = if self.options.sync_flush { self.log.flushed() } else { self.log.written() };
        (end <= confirmed).then_some(bytes)
    }

    /// The confirmed records from a place of the log on, in order; from the next one on if it is no
    /// place of a record. Passes over what is damaged.
    pub fn records(&self, from: i64) -> impl Iterator<Item = Bytes> + '_ {
        let to = self.confirmed_offset();
        let checks = Checks { sums: true, whole_sum: self.options.require_sums };
        let at = from.max(self.log_min_offset());
        let scan = Scan { log: &self.log, checks, at, to, ahead: 0, known: to, ends_from: i64::MAX };
        scan.filter_map(|found| match found {
            Found::Record(bytes) => Some(bytes),
            Found::Damaged(damaged) => {
                self.tell(damaged.at, &damaged.reason);
                None
            }
        })
    }

    /// When a message of a queue was stored, in milliseconds since 1970.
    pub fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
        if let Some(compacted) = self.compacted(topic, queue_id).filter(|compacted| offset < compacted.end())
            && let Some(time) = Self::compacted_time(&compacted, offset)
        {
            return Some(time);
        }
        let queue = self.queue(topic, queue_id)?;
        let unit = self.unit(topic, queue_id, offset).filter(|unit| !unit.is_blank())?;
        let Led::Record(bytes, _) = self.led_to(&queue, offset, unit) else { return None };
        Record::read(&bytes).ok().map(|record| record.store_timestamp)
    }

    /// The offset of a message by its store time; the queue's beginning before its first message,
    /// with [`Boundary::Lower`] its end after the last (upstream `getOffsetInQueueByTime`). Where the
    /// clock was put back, one of several places at which the time lies. `None` when there is no such
    /// queue.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp: i64, boundary: Boundary) -> Option<i64> {
        let (mut min, max) = self.queue(topic, queue_id)?.range();
        let mut before = None;
        if let Some(compacted) = self.compacted(topic, queue_id) {
            if let Some(offset) = Self::compacted_by_time(&compacted, timestamp, boundary) {
                return Some(offset);
            }
            (before, min) = (compacted.last(), min.max(compacted.end()));
        }
        let earlier = |offset: i64| {
            // A message that is damaged or missing has the time of the next one.
            let near = offset..max.min(offset + MOST_WITHOUT_TIME);
            let time = near.into_iter().find_map(|offset| self.store_time(topic, queue_id, offset));
            Ok(match boundary {
                Boundary::Lower => time.is_none_or(|time| time < timestamp),
                Boundary::Upper => time.is_none_or(|time| time <= timestamp),
            })
        };
        // The condition itself never fails.
        let first_later = crate::queue::partition(min, max, earlier).unwrap_or(max);
        Some(match boundary {
            Boundary::Upper if first_later <= min => before.unwrap_or(first_later),
            Boundary::Upper if first_later > min => first_later - 1,
            _ => first_later,
        })
    }
}
