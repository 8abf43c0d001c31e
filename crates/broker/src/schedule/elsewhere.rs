//! Messages of delay levels that a slave delivered while it stood in for this master. It leaves out those that no other
//! broker takes, so what it delivered is not always the first part of what waits.

use std::sync::atomic::Ordering;

use apogee_message::names;
use apogee_store::Store;
use apogee_wire::bodies::DelayOffsetSerializeWrapper;

use super::{BATCH, Progress, Schedule};
use crate::settled::Settled;

impl Schedule {
    /// Messages were delivered elsewhere: each by its level, and its offset there.
    pub fn settle_elsewhere(&self, delivered: &[(i32, i64)]) {
        let mut progress = self.lock();
        for (level, offset) in delivered {
            if progress.cursors.get(level).is_none_or(|cursor| cursor <= offset) {
                progress.elsewhere.insert((*level, *offset));
            }
        }
        drop(progress);
        self.unsaved.store(true, Ordering::Release);
    }

    /// A slave of Apache's delivered for this master: the levels go on where it is, if that is further.
    pub fn advance(&self, store: &Store, theirs: &DelayOffsetSerializeWrapper) {
        let mut progress = self.lock();
        for (level, cursor) in &theirs.offset_table {
            let Some((min, max)) = store.queue_range(names::SCHEDULE_TOPIC, level - 1) else { continue };
            if *cursor > progress.cursors.get(level).copied().unwrap_or(min) && *cursor <= max {
                tracing::info!(level, cursor, "a slave delivered delayed messages while this master was away");
                progress.pass(*level, *cursor);
            }
        }
        drop(progress);
        self.unsaved.store(true, Ordering::Release);
    }
}

impl Progress {
    /// The cursors know what was delivered up to here, unless they have yet to come to what was delivered elsewhere.
    pub(super) fn mark_at(&mut self, log_end: i64) {
        if self.elsewhere.is_empty() {
            self.mark = log_end;
        }
    }

    /// Which of the messages of a level from an offset on, and before another, were delivered elsewhere.
    pub(super) fn elsewhere_in(&self, level: i32, from: i64, to: i64) -> Vec<i64> {
        self.elsewhere.range((level, from)..(level, to)).map(|(_, offset)| *offset).collect()
    }

    /// The cursor of a level moves.
    pub(super) fn pass(&mut self, level: i32, cursor: i64) {
        self.cursors.insert(level, cursor);
        if !self.elsewhere.is_empty() {
            self.elsewhere.retain(|(of, offset)| *of != level || *offset >= cursor);
        }
    }
}

/// Offsets of the messages of a level from `offset` on that the log says were delivered.
pub(super) fn behind(store: &Store, level: i32, mut offset: i64, settled: &Settled) -> Vec<(i32, i64)> {
    let mut found = Vec::new();
    if settled.is_nothing() {
        return found;
    }
    loop {
        let units = store.units(names::SCHEDULE_TOPIC, level - 1, offset, BATCH);
        if units.is_empty() {
            return found;
        }
        let each = (offset..).zip(&units).filter(|(_, unit)| settled.contains(unit.physical_offset));
        found.extend(each.map(|(offset, _)| (level, offset)));
        offset += units.len() as i64;
    }
}
