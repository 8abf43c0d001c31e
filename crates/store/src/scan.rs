//! Walking the log record by record, on over what is damaged.

use apogee_message::record::{HEAD_LENGTH, MAGIC_BLANK, MAGIC_V1, MAGIC_V2, Record};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::log::{Log, Segment};

/// Bytes that are searched at a time.
const STEP: usize = 4 << 10;
/// Bytes of the log that are asked for before they are needed.
const READ_AHEAD: i64 = 2 << 20;
/// So many zeros are the unused end of the log, and no hole in it: more than a record is long.
const MOST_ZEROS: usize = 8 << 20;

/// What is asked of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks {
    /// Its sums are right.
    pub sums: bool,
    /// It has a sum of the whole record.
    pub whole_sum: bool,
}

/// Why a record is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("{0}")]
    Unreadable(#[from] apogee_message::record::RecordError),
    #[error("it says that it stands at {0}")]
    Elsewhere(i64),
    #[error("its check sum is not that of its bytes")]
    Sum,
    #[error("it has no check sum of the whole record, and forceVerifyPropCRC is set")]
    NoSum,
    #[error("it is not the one that its queue means")]
    NotMeant,
    #[error("the file is missing")]
    Missing,
}

impl Checks {
    /// The record that begins `bytes`, if it is one that was written at that place of the log.
    #[inline]
    pub fn read<'b>(&self, bytes: &'b [u8], at: i64) -> Result<Record<'b>, Damage> {
        let record = Record::read(bytes)?;
        if record.physical_offset != at {
            return Err(Damage::Elsewhere(record.physical_offset));
        }
        if self.whole_sum && !record.has_sum() {
            return Err(Damage::NoSum);
        }
        if self.sums && !record.is_intact(bytes) {
            return Err(Damage::Sum);
        }
        Ok(record)
    }
}

/// What stands in the log.
#[derive(Debug)]
pub(crate) enum Found {
    /// A whole record.
    Record(Bytes),
    /// No whole record, and yet not the end.
    Damaged(Damaged),
}

/// A part of the log where no whole record stands.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub at: i64,
    pub length: i64,
    /// Why the record that should begin there is none.
    pub reason: Damage,
    /// It is one record whose parts can be told from each other; any of them may be wrong.
    pub legible: Option<Bytes>,
}

/// Walks the log, published or not, from a place on.
pub(crate) struct Scan<'l> {
    pub log: &'l Log,
    pub checks: Checks,
    /// Where it is. After the last record: the end of the log.
    pub at: i64,
    /// It goes no further.
    pub to: i64,
    /// Up to here the log was asked for before it is needed. 0 at first.
    pub ahead: i64,
    /// The log is known to have been written up to here: zeros before it are damage, not the end.
    pub known: i64,
    /// From here on the log ends before the first place that is not whole.
    pub ends_from: i64,
}

impl Iterator for Scan<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while self.at < self.to {
            let segment = self.log.segment_from(self.at)?;
            if segment.base > self.at {
                let (at, length) = (self.at, segment.base - self.at);
                self.at = segment.base;
                return Some(Found::Damaged(Damaged { at, length, reason: Damage::Missing, legible: None }));
            }
            let end = segment.base + self.log.segment_size as i64;
            if self.at + READ_AHEAD > self.ahead {
                let from = self.at.max(self.ahead);
                self.ahead = from + 2 * READ_AHEAD;
                self.log.prefetch(from, self.ahead);
            }
            match self.look(&segment, self.at) {
                Ok(Stands::Record(bytes)) => {
                    self.at += bytes.len() as i64;
                    return Some(Found::Record(bytes));
                }
                Ok(Stands::Blank) => self.at = end,
                Err(_) if self.at >= self.ends_from => return None,
                Err(reason) => {
                    let damaged = self.damaged(&segment, reason)?;
                    self.at += damaged.length;
                    return Some(Found::Damaged(damaged));
                }
            }
        }
        None
    }
}

impl Scan<'_> {
    /// What stands at a place of a segment.
    fn look(&self, segment: &Segment, at: i64) -> Result<Stands, Damage> {
        const SHORT: Damage = Damage::Unreadable(apogee_message::record::RecordError::Short);
        let end = segment.base + self.log.segment_size as i64;
        let bytes = |length: usize| segment.file.slice((at - segment.base) as u64, length).ok();
        let mut head = (at + 8 <= end).then(|| bytes(8)).flatten().ok_or(SHORT)?;
        let (size, magic) = (head.get_u32(), head.get_u32());
        if magic == MAGIC_BLANK && at + i64::from(size) == end {
            return Ok(Stands::Blank);
        }
        if at + i64::from(size) > end {
            return Err(SHORT);
        }
        let bytes = bytes(size as usize).ok_or(SHORT)?;
        self.checks.read(&bytes, at)?;
        Ok(Stands::Record(bytes))
    }

    /// Whether something whole stands at a place of a segment.
    pub fn is_whole(&self, segment: &Segment, at: i64) -> bool {
        self.look(segment, at).is_ok()
    }

    /// How far it is from here to the next place where something whole stands. `None` when this is the
    /// end of the log.
    fn damaged(&self, segment: &Segment, reason: Damage) -> Option<Damaged> {
        let end = segment.base + self.log.segment_size as i64;
        let rest = segment.file.slice((self.at - segment.base) as u64, (end - self.at) as usize).ok()?;
        let own = Record::read(&rest).ok().filter(|own| own.physical_offset == self.at);
        let own_end = own.map(|own| self.at + i64::from(own.size));
        let next = match own_end {
            Some(own_end) if self.is_whole(segment, own_end) => Some(own_end),
            _ => self.search(segment, &rest),
        };
        let next = next.or_else(|| {
            let following = self.log.segment_from(end)?;
            // Behind a file that is missing anything may stand.
            (following.base > end || self.is_whole(&following, end)).then_some(end)
        });
        // The last record of all: it keeps its place, if it says how long it is.
        let length = next.or(own_end)? - self.at;
        let legible = legible(&rest[..length as usize], self.at);
        Some(Damaged { at: self.at, length, reason, legible })
    }

    /// The next place of a segment after this one where something whole stands.
    fn search(&self, segment: &Segment, rest: &[u8]) -> Option<i64> {
        let mut zeros = 0;
        // A magic number stands four bytes after the beginning, and may lie across two steps.
        for from in (1..rest.len()).step_by(STEP) {
            let step = &rest[from..rest.len().min(from + STEP + 7)];
            if step.iter().all(|byte| *byte == 0) {
                zeros += STEP;
                if zeros >= MOST_ZEROS && self.at + from as i64 >= self.known {
                    return None;
                }
                continue;
            }
            zeros = 0;
            let is_magic =
                |bytes: &[u8]| [MAGIC_V1, MAGIC_V2, MAGIC_BLANK].iter().any(|magic| bytes[4..] == magic.to_be_bytes());
            let mut places = step.windows(8).enumerate().filter(|(_, bytes)| is_magic(bytes));
            let place = places.find_map(|(index, _)| {
                let place = self.at + (from + index) as i64;
                self.is_whole(segment, place).then_some(place)
            });
            if place.is_some() {
                return place;
            }
        }
        None
    }
}

/// Reads what should be one record that fills the place, at worst with another head than its own.
fn legible(bytes: &[u8], at: i64) -> Option<Bytes> {
    let fits = |bytes: &[u8]| {
        Record::read(bytes).is_ok_and(|record| record.physical_offset == at && record.size as usize == bytes.len())
    };
    if fits(bytes) {
        return Some(Bytes::copy_from_slice(bytes));
    }
    let mut mended = BytesMut::with_capacity(bytes.len());
    mended.put_u32(u32::try_from(bytes.len()).ok().filter(|length| *length as usize > HEAD_LENGTH)?);
    mended.put_u32(MAGIC_V1);
    mended.put_slice(&bytes[8..]);
    // Its own place is given; what of the rest is right decides whether it can be read.
    fits(&mended).then(|| mended.freeze())
}

enum Stands {
    Record(Bytes),
    /// The rest of the segment is unused.
    Blank,
}
