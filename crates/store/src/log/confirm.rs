//! Confirming: a written record becomes visible and its sender is told, at once or after the flush.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::append::{AppendDone, Appended, Health};
use super::{Log, Segment};
use crate::dispatch::{Dispatch, Dispatcher};
use crate::error::AppendError;
use crate::mark::Mark;

/// Later than any time: nothing waits.
pub(crate) const NEVER: i64 = i64::MAX;

/// A record in the log that may not be confirmed yet.
pub(crate) struct Written {
    pub dispatch: Dispatch,
    pub appended: Appended,
    pub done: Arc<dyn AppendDone>,
    pub token: u64,
    /// False: the sender is told without waiting for the flush.
    pub waits: bool,
}

pub(crate) struct Confirmer {
    log: Arc<Log>,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    mark: Mark,
    sync_flush: bool,
    /// Records in order of the log.
    unconfirmed: Mutex<VecDeque<Written>>,
    bytes: AtomicUsize,
    /// When the first of them was stored; [`NEVER`] when there is none.
    oldest: AtomicI64,
    /// Held by the one who flushes: flushing and confirming keep to the order of the log.
    flushing: Mutex<()>,
    work: Condvar,
}

impl Confirmer {
    pub fn new(log: Arc<Log>, dispatcher: Arc<Dispatcher>, health: Arc<Health>, mark: Mark, sync_flush: bool) -> Self {
        Self {
            log,
            dispatcher,
            health,
            mark,
            sync_flush,
            unconfirmed: Mutex::default(),
            bytes: AtomicUsize::new(0),
            oldest: AtomicI64::new(NEVER),
            flushing: Mutex::default(),
            work: Condvar::new(),
        }
    }

    /// Bytes of records that wait for a flush.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Milliseconds that a record waits for its flush.
    pub fn waiting_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.oldest.load(Ordering::Relaxed))
    }

    /// Takes records that were just written, in order of the log. One caller at a time.
    pub fn written(&self, records: impl Iterator<Item = Written>) {
        if !self.sync_flush {
            for record in records {
                self.dispatcher.dispatch(&record.dispatch);
                record.done.done(record.token, &Ok(record.appended));
            }
            return;
        }
        let mut told = Vec::new();
        let was_empty = {
            let mut unconfirmed = self.lock();
            let was_empty = unconfirmed.is_empty();
            for record in records {
                if !record.waits {
                    told.push((Arc::clone(&record.done), record.token, record.appended));
                }
                self.bytes.fetch_add(record.appended.size as usize, Ordering::Relaxed);
                unconfirmed.push_back(record);
            }
            self.note_oldest(&unconfirmed);
            was_empty
        };
        if was_empty {
            self.work.notify_one();
        }
        for (done, token, appended) in told {
            done.done(token, &Ok(appended));
        }
    }

    /// Waits until records wait for a flush, or for `timeout`. Says whether there are any.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let unconfirmed = self.lock();
        let waited = self.work.wait_timeout_while(unconfirmed, timeout, |unconfirmed| unconfirmed.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// One flush for all who wait for it. After a failure nothing is flushed again: what the failed
    /// call should have made durable may be lost, and a second call would not tell. Returns the end of
    /// what is durable.
    pub fn flush(&self) -> Result<i64, AppendError> {
        self.flush_also(None)
    }

    /// The same, and a segment is synced even if nothing new was published in it.
    pub fn flush_with(&self, segment: &Segment) -> Result<i64, AppendError> {
        self.flush_also(Some(segment))
    }

    fn flush_also(&self, segment: Option<&Segment>) -> Result<i64, AppendError> {
        let mut told = Vec::new();
        let flushed = {
            // Held while the disk works: that is what those behind wait for.
            let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.log.flushed();
            let flushed = match self.health.failure() {
                Some(reason) => Err(reason.to_owned()),
                None => self.log.flush(segment).map_err(|error| {
                    let folder = self.log.folder().display();
                    self.health.fail(format!("cannot flush the commit log in {folder}: {error}"));
                    self.health.failure().unwrap_or_default().to_owned()
                }),
            };
            match flushed {
                Ok(end) => {
                    if end > before {
                        self.mark.put(end);
                    }
                    self.take(end, &mut told);
                    // In order of the log: so before the next who flushes.
                    told.iter().for_each(|record| self.dispatcher.dispatch(&record.dispatch));
                    Ok(end)
                }
                Err(reason) => {
                    self.take(i64::MAX, &mut told);
                    Err(AppendError::Failed(reason))
                }
            }
        };
        for record in told.iter().filter(|record| record.waits) {
            let outcome = flushed.as_ref().map(|_| record.appended).map_err(Clone::clone);
            record.done.done(record.token, &outcome);
        }
        flushed
    }

    /// Takes the records that end before a place in the log.
    fn take(&self, end: i64, taken: &mut Vec<Written>) {
        let mut unconfirmed = self.lock();
        let count = unconfirmed.partition_point(|record| record.dispatch.end() <= end);
        taken.extend(unconfirmed.drain(..count));
        self.note_oldest(&unconfirmed);
        let bytes = taken.iter().map(|record| record.appended.size as usize).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn note_oldest(&self, unconfirmed: &VecDeque<Written>) {
        let oldest = unconfirmed.front().map_or(NEVER, |record| record.appended.store_timestamp);
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Written>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
