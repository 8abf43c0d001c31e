//! Nothing is served that is not what was stored.
//!
//! Every record that leaves the store was checked: it can be read, stands where it says, and is the
//! one that its unit means. Its sums are checked, too, unless this process wrote it, and so lately
//! that it is expected in memory still: those bytes came through our own hands and were nowhere else.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use apogee_message::light;
use apogee_message::record::Record;
use bytes::Bytes;

use crate::log::{View, file_name};
use crate::queue::{Queue, Unit};
use crate::scan::{Checks, Damage, Found, Scan};
use crate::store::Store;

/// Damaged places that are told one by one; a disk that is full of them must not fill the log file.
const MOST_TOLD: usize = 10_000;
/// Bytes of the log that are searched for the record of one damaged unit.
const MOST_SEARCHED: i64 = 256 << 20;
/// Units to either side of a damaged one that are asked where its record should be.
const NEIGHBOURS: i64 = 8;

/// The places that were found damaged.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashSet<(u64, i64)>>);

impl Told {
    /// Whether a place has to be told, as it wasn't yet. `of` is a queue's key; 0: the log.
    pub fn is_new(&self, of: u64, place: i64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > MOST_TOLD {
            return false;
        }
        if told.len() == MOST_TOLD {
            tracing::error!("so many records are damaged that no more are told: run `apogee store check`");
        }
        told.insert((of, place))
    }

    fn knows(&self, of: u64, place: i64) -> bool {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() > MOST_TOLD || told.contains(&(of, place))
    }
}

/// What a unit leads to.
pub(crate) enum Led {
    /// Its record; with the unit as it should be.
    Record(Bytes, Unit),
    /// The record was removed with its part of the log.
    Gone,
    /// Nothing that may be served.
    Damaged,
}

impl Store {
    /// The record that begins `bytes`, checked, or why not.
    #[inline]
    pub(crate) fn checked<'b>(&self, bytes: &'b [u8], at: i64) -> Result<Record<'b>, Damage> {
        let ours = at >= self.log.found_at_start() && self.log.written() - at <= self.options.hot_bytes as i64;
        Checks { sums: !ours, whole_sum: self.options.require_sums && !ours }.read(bytes, at)
    }

    /// Tells of a damaged record, once.
    pub(crate) fn tell(&self, at: i64, damage: &Damage) {
        if self.told.is_new(0, at) {
            let base = self.log.segment(at).map_or(at, |segment| segment.base);
            let file = self.log.folder().join(file_name(base));
            tracing::error!(file = %file.display(), offset = at, reason = %damage, "a record of the commit log is damaged: it is not served");
        }
    }

    /// The record that a unit of a queue leads to. A unit that leads elsewhere is put right.
    pub(crate) fn led_to(&self, queue: &Queue, offset: i64, unit: Unit) -> Led {
        let mut view = View::default();
        let meant = self.meant(&mut view, queue, offset, unit).map(|_| ());
        match meant.map(|()| view.slice(unit.physical_offset, unit.size as usize)) {
            Ok(bytes) => bytes.map_or(Led::Damaged, |bytes| Led::Record(bytes, unit)),
            Err(reason) => self.led_astray(queue, offset, unit, reason),
        }
    }

    /// The same for a unit whose record isn't the one meant, or was removed, as [`Self::meant`] said.
    #[cold]
    pub(crate) fn led_astray(&self, queue: &Queue, offset: i64, unit: Unit, reason: Option<Damage>) -> Led {
        let Some(damage) = reason else { return Led::Gone };
        // Told when the store was opened.
        if self.log.is_missing(unit.physical_offset) {
            return Led::Damaged;
        }
        let key = queue.key();
        if self.told.knows(key, offset) {
            return Led::Damaged;
        }
        // Which of the two is wrong? If the log has the record elsewhere, the unit is.
        if let Some((bytes, right)) = self.find(queue, offset) {
            if right != unit {
                tracing::error!(topic = %queue.topic, queue = queue.id, offset, log = right.physical_offset, "a unit of a queue was damaged: put right by the commit log");
                if let Err(error) = self.queues.put_right(queue, offset, right) {
                    tracing::error!(topic = %queue.topic, queue = queue.id, offset, %error, "a queue cannot be written");
                }
            }
            return Led::Record(bytes, right);
        }
        if self.told.is_new(key, offset) {
            tracing::error!(topic = %queue.topic, queue = queue.id, offset, log = unit.physical_offset, reason = %damage, "a message is damaged: it is passed over");
        }
        Led::Damaged
    }

    /// A unit as it should be; blank when its message is damaged. Looks at the head of its record only.
    pub(crate) fn righted(&self, queue: &Queue, offset: i64, unit: Unit) -> Unit {
        let is_published = unit.end_offset() <= self.log.written();
        let fits = is_published && self.log.leads_to(&unit, &queue.topic, queue.id, offset) == Some(true);
        if unit.is_blank() || fits {
            return unit;
        }
        match self.led_to(queue, offset, unit) {
            Led::Record(_, right) => right,
            Led::Gone => unit,
            Led::Damaged => Unit::BLANK,
        }
    }

    /// The record of a unit if it is the one meant. `None` as the reason: it was removed.
    pub(crate) fn meant<'v>(
        &self,
        view: &'v mut View,
        queue: &Queue,
        offset: i64,
        unit: Unit,
    ) -> Result<Record<'v>, Option<Damage>> {
        let at = unit.physical_offset;
        let Some(bytes) = self.log.look(view, at, unit.size as usize) else {
            let is_gone = at >= 0 && at < self.log.min_offset() && unit.size > 0 && !self.is_amid(queue, offset);
            return Err((!is_gone).then_some(Damage::NotMeant));
        };
        match self.checked(bytes, at) {
            Ok(record) if record.size == unit.size && is_of(&record, queue, offset) => Ok(record),
            Ok(_) => Err(Some(Damage::NotMeant)),
            Err(damage) => {
                if !matches!(damage, Damage::Unreadable(_) | Damage::Elsewhere(_)) {
                    self.tell(at, &damage);
                }
                Err(Some(damage))
            }
        }
    }

    /// Whether the message before this one is there still: then this one was not removed.
    fn is_amid(&self, queue: &Queue, offset: i64) -> bool {
        let before = offset - 1;
        let unit = if before >= queue.range().0 { self.queues.read(queue, before, 1).ok() } else { None };
        unit.is_some_and(|units| units.first().is_some_and(|unit| unit.physical_offset >= self.log.min_offset()))
    }

    /// Looks for the record of a place in a queue between those of its neighbours.
    fn find(&self, queue: &Queue, offset: i64) -> Option<(Bytes, Unit)> {
        let (min, max) = queue.range();
        let neighbour = |offset: i64| {
            let unit = self.queues.read(queue, offset, 1).ok()?.first().copied()?;
            self.meant(&mut View::default(), queue, offset, unit).ok().map(|_| unit)
        };
        let before = (min.max(offset - NEIGHBOURS)..offset).rev().find_map(neighbour);
        let after = (offset + 1..max.min(offset + 1 + NEIGHBOURS)).find_map(neighbour);
        let to = after.map_or(self.log.written(), |unit| unit.physical_offset);
        let from = match before {
            Some(unit) => unit.end_offset(),
            // The first of its queue: a record begins where its log file does.
            None => self.log.segment(to - 1)?.base,
        };
        let checks = Checks { sums: true, whole_sum: self.options.require_sums };
        let scan = Scan {
            log: &self.log,
            checks,
            at: from,
            to: to.min(from + MOST_SEARCHED),
            ahead: 0,
            known: to,
            ends_from: i64::MAX,
        };
        for found in scan {
            let Found::Record(bytes) = found else { continue };
            let Ok(record) = Record::read(&bytes) else { continue };
            if is_of(&record, queue, offset) {
                let tag_code = self.tagger.tag_code(record.topic, record.properties, record.store_timestamp);
                let unit = Unit { physical_offset: record.physical_offset, size: record.size, tag_code };
                return Some((bytes, unit));
            }
        }
        None
    }
}

/// Whether a record is the one of a place in a queue.
fn is_of(record: &Record<'_>, queue: &Queue, offset: i64) -> bool {
    if light::is_light(&queue.topic) {
        return light::offset_in(record, &queue.topic) == Some(offset);
    }
    record.has_offset(offset) && record.queue_id == queue.id && record.topic == &*queue.topic
}
