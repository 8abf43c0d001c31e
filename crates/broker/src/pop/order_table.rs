//! What groups hold that pop in order, and the file `consumerOrderInfo.json`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use apogee_wire::bodies::ConsumerOrderInfo;

use super::ordered::Ordered;
use crate::broker::Broker;
use crate::handlers::pop::wake;
use crate::offsets::OffsetTable;
use crate::persist::PersistError;
use crate::table_file::{Change, TableFile};

/// What changed is saved so often, in milliseconds.
const SAVE_MS: i64 = 1_000;

/// See the module.
pub(crate) struct OrderTable {
    orders: Mutex<Ordered>,
    file: TableFile,
    /// Held by the one who saves: an older state must not replace a newer one.
    saving: Mutex<()>,
    next_save: AtomicI64,
}

impl OrderTable {
    /// Reads the file.
    pub fn open(file: TableFile, now_ms: i64) -> Result<Self, PersistError> {
        let instead =
            "groups that pop in order go on from their offsets, and get at once what they had not acknowledged";
        let loaded = file.load_or_begin::<ConsumerOrderInfo>(instead)?;
        let orders = Ordered::new(loaded.table.unwrap_or_default(), loaded.changes, now_ms);
        Ok(Self { orders: Mutex::new(orders), file, saving: Mutex::new(()), next_save: AtomicI64::new(0) })
    }

    /// What they hold. Offsets of these groups are committed under this lock, so that the newest comes last.
    pub fn lock(&self) -> MutexGuard<'_, Ordered> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes pops that may go on, and saves what changed. Returns when there is more to do.
    pub fn step(&self, broker: &Broker, now_ms: i64) -> i64 {
        let (freed, next) = {
            let mut orders = self.lock();
            (orders.freed(now_ms), orders.next_look())
        };
        for freed in freed {
            wake(broker, broker.pop.waiters.next_in_order(&freed.group, &freed.topic, freed.queue));
            broker.wake_lite(&freed.topic, Some(&freed.group));
        }
        // The clock may have been put back.
        if !(1..=SAVE_MS).contains(&(self.next_save.load(Ordering::Relaxed) - now_ms)) {
            self.next_save.store(now_ms + SAVE_MS, Ordering::Relaxed);
            if let Err(error) = self.save(&broker.offsets, now_ms) {
                tracing::error!(%error, "what groups hold that pop in order cannot be saved; trying again: see whether the disk is full or failed");
            }
        }
        next.unwrap_or(i64::MAX)
    }

    /// Makes what changed durable, with the offsets that go with it.
    pub fn save(&self, offsets: &OffsetTable, now_ms: i64) -> Result<(), PersistError> {
        self.keep(offsets, now_ms, |change| self.file.save(|| change, || self.lock().snapshot()))
    }

    /// Writes the file as upstream's broker reads it.
    pub fn close(&self, offsets: &OffsetTable, now_ms: i64) -> Result<(), PersistError> {
        self.keep(offsets, now_ms, |change| self.file.close(|| change, || self.lock().snapshot()))
    }

    /// Offsets first: they may be ahead of a batch, which then has lost its first messages; were they behind it, the group
    /// would get messages again that it has acknowledged.
    fn keep(
        &self,
        offsets: &OffsetTable,
        now_ms: i64,
        write: impl FnOnce(Option<Change<ConsumerOrderInfo>>) -> Result<(), PersistError>,
    ) -> Result<(), PersistError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let change = self.lock().take_unsaved();
        let saved = if change.is_some() { offsets.save(now_ms) } else { Ok(()) };
        saved.and(write(change))
    }
}
