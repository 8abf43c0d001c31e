//! Confirming: a written record becomes visible and its sender is told, after the flush or ahead of it.
//!
//! With asynchronous flush senders are told ahead of it, and a power cut takes what was not flushed. How
//! much that is does not depend on the disk: nobody is told any more once the oldest record that is not
//! durable is so old; who comes then waits for the flush.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_telemetry::{Histogram, LATENCY_NS, moment};

use super::append::{AppendDone, Appended, Health};
use super::copies::{Copies, Untold};
use super::{Log, Segment};
use crate::dispatch::{Dispatch, Dispatcher};
use crate::error::AppendError;
use crate::mark::Mark;

/// Later than any time: nothing waits.
pub(crate) const NEVER: i64 = i64::MAX;

/// Hears how far the log has come, for who copies it.
pub trait ProgressListener: Send + Sync {
    /// It was written up to `end`, and can be read. Called by one thread at a time; must not block.
    fn written(&self, end: i64);

    /// It is durable up to `end`. Called by one thread at a time; must not block.
    fn flushed(&self, end: i64);
}

/// A record in the log that may not be confirmed yet.
pub(crate) struct Written {
    pub dispatch: Dispatch,
    pub appended: Appended,
    pub done: Arc<dyn AppendDone>,
    pub token: u64,
    /// False: the sender is told without waiting for the flush.
    pub waits: bool,
    /// When it was written.
    pub moment: u64,
}

/// How long the store's work took, in nanoseconds.
#[derive(Debug)]
pub struct Times {
    /// Writes to the log, each with as many messages as waited.
    pub append: Histogram,
    /// Flushes of the log.
    pub flush: Histogram,
    /// From the write of each message to its being visible, where that is after a flush; else it is at once.
    pub dispatch: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        let [append, flush, dispatch] = [(); 3].map(|()| Histogram::new(LATENCY_NS));
        Self { append, flush, dispatch }
    }
}

/// When senders are told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    /// After the flush.
    Durable,
    /// Ahead of it, as long as what a power cut would take was told within so many milliseconds.
    Ahead { window_ms: i64 },
}

pub(crate) struct Confirmer {
    log: Arc<Log>,
    dispatcher: Arc<Dispatcher>,
    health: Arc<Health>,
    mark: Mark,
    clock: Arc<dyn Clock>,
    told: Told,
    /// `None`: copies on other machines are not waited for.
    copies: Option<Copies>,
    progress: OnceLock<Arc<dyn ProgressListener>>,
    /// Records that wait for a flush, in order of the log.
    unconfirmed: Mutex<VecDeque<Written>>,
    bytes: AtomicUsize,
    /// Since when something waits for a flush: records with [`Told::Durable`], else anything in the log that
    /// is not durable. [`NEVER`] when nothing does. Written under the lock of `unconfirmed`.
    oldest: AtomicI64,
    /// Milliseconds that the last flush took.
    pace: AtomicI64,
    /// Held by the one who flushes: flushing and confirming keep to the order of the log.
    flushing: Mutex<()>,
    work: Condvar,
    times: Times,
}

impl Confirmer {
    pub fn new(
        log: Arc<Log>,
        dispatcher: Arc<Dispatcher>,
        health: Arc<Health>,
        mark: Mark,
        clock: Arc<dyn Clock>,
        told: Told,
        copies: Option<Copies>,
    ) -> Self {
        Self {
            log,
            dispatcher,
            health,
            mark,
            clock,
            told,
            copies,
            progress: OnceLock::new(),
            unconfirmed: Mutex::default(),
            bytes: AtomicUsize::new(0),
            oldest: AtomicI64::new(NEVER),
            pace: AtomicI64::new(0),
            flushing: Mutex::default(),
            work: Condvar::new(),
            times: Times::default(),
        }
    }

    /// How long the work took.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Sets who hears how far the log has come; the first one stays.
    pub fn watch(&self, progress: Arc<dyn ProgressListener>) {
        let _ = self.progress.set(progress);
    }

    /// What waits for copies on other machines, if any are waited for.
    pub fn copies(&self) -> Option<&Copies> {
        self.copies.as_ref()
    }

    /// Bytes of records that wait for a flush, or for copies.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.copies.as_ref().map_or(0, Copies::waiting_bytes)
    }

    /// Milliseconds that something has waited for its flush.
    pub fn waiting_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.oldest.load(Ordering::Relaxed))
    }

    /// Takes records that were just written, in order of the log. One caller at a time.
    pub fn written(&self, records: impl Iterator<Item = Written>) {
        if let Some(progress) = self.progress.get() {
            progress.written(self.log.written());
        }
        if let Told::Ahead { window_ms } = self.told {
            let ahead = self.may_tell_ahead(window_ms);
            for record in records {
                self.show(&record.dispatch);
                if ahead || !record.waits || !record.done.is_promise() {
                    self.tell(record);
                } else {
                    self.bytes.fetch_add(record.appended.size as usize, Ordering::Relaxed);
                    self.lock().push_back(record);
                }
            }
            if !ahead {
                self.work.notify_one();
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
            self.note_oldest(&unconfirmed, NEVER);
            was_empty
        };
        if was_empty {
            self.work.notify_one();
        }
        for (done, token, appended) in told {
            done.done(token, &Ok(appended));
        }
    }

    /// Whether senders of records that were just published may be told ahead of the flush. Not once
    /// something has waited for four fifths of the window: the rest is for the answer's way. And only
    /// while flushes take less than half of it: then what is told is durable within the window, too,
    /// for who flushes every half window.
    fn may_tell_ahead(&self, window_ms: i64) -> bool {
        // Held against a flush that ends: it either leaves these records behind, or does not see them.
        let _unconfirmed = self.lock();
        let now = self.clock.now_ms();
        if self.oldest.load(Ordering::Relaxed) == NEVER {
            self.oldest.store(now, Ordering::Relaxed);
            self.work.notify_one();
        }
        // Below 0 when the clock was put back: nobody knows how long it has been.
        (0..=window_ms * 4 / 5).contains(&self.waiting_ms(now))
            && self.pace.load(Ordering::Relaxed) <= window_ms / 2
            && self.health.failure().is_none()
    }

    /// Waits until anything in the log waits for a flush, somebody wakes it, or for `timeout`. Says whether
    /// there is anything.
    pub fn wait_for_unflushed(&self, timeout: Duration) -> bool {
        let unconfirmed = self.lock();
        if self.oldest.load(Ordering::Relaxed) == NEVER {
            drop(self.work.wait_timeout(unconfirmed, timeout));
        }
        self.oldest.load(Ordering::Relaxed) != NEVER
    }

    /// Waits until records wait for a flush, somebody wakes it, or for `timeout`. Says whether there are
    /// any.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let mut unconfirmed = self.lock();
        if unconfirmed.is_empty() {
            unconfirmed = self.work.wait_timeout(unconfirmed, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
        !unconfirmed.is_empty()
    }

    /// Wakes who waits for work.
    pub fn wake(&self) {
        self.work.notify_all();
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
            // What is published later than that is not older.
            let began = self.clock.now_ms();
            let began_moment = moment::now();
            let flushed = match self.health.failure() {
                Some(reason) => Err(reason.to_owned()),
                None => self.log.flush(segment).map_err(|error| {
                    let folder = self.log.folder().display();
                    self.health.fail(format!("cannot flush the commit log in {folder}: {error}"));
                    self.health.failure().unwrap_or_default().to_owned()
                }),
            };
            let now = moment::now();
            match flushed {
                Ok(end) => {
                    if end > before {
                        self.times.flush.record(now.saturating_sub(began_moment));
                        self.pace.store(self.clock.now_ms().saturating_sub(began), Ordering::Relaxed);
                        // What a copy has of a record that is not whole yet, a start takes for a torn write.
                        self.mark.put(end.min(self.log.whole()));
                    }
                    self.take(end, began, &mut told);
                    if matches!(self.told, Told::Durable) {
                        // In order of the log: so before the next who flushes.
                        told.iter().for_each(|record| self.show(&record.dispatch));
                        self.count(&told, now);
                    }
                    Ok(end)
                }
                Err(reason) => {
                    self.take(i64::MAX, NEVER, &mut told);
                    Err(AppendError::Failed(reason))
                }
            }
        };
        if let (Ok(end), Some(progress)) = (&flushed, self.progress.get()) {
            progress.flushed(*end);
        }
        for record in told.into_iter().filter(|record| record.waits) {
            match &flushed {
                Ok(_) => self.tell(record),
                Err(error) => record.done.done(record.token, &Err(error.clone())),
            }
        }
        flushed
    }

    /// Makes a record visible, or hands it to who waits for copies first.
    fn show(&self, record: &Dispatch) {
        match &self.copies {
            None => self.dispatcher.dispatch(record),
            Some(copies) => copies.show(record),
        }
    }

    /// Tells a sender that its record is here; if it takes that for a promise, once there are copies.
    fn tell(&self, record: Written) {
        match &self.copies {
            Some(copies) if record.waits && record.done.is_promise() => {
                let Written { appended, done, token, moment, .. } = record;
                copies.tell(Untold { appended, done, token, moment });
            }
            _ => record.done.done(record.token, &Ok(record.appended)),
        }
    }

    /// Counts how long records waited to be visible: those of one write together.
    fn count(&self, records: &[Written], now: u64) {
        for write in records.chunk_by(|one, other| one.moment == other.moment) {
            self.times.dispatch.record_many(now.saturating_sub(write[0].moment), write.len() as u64);
        }
    }

    /// Takes the records that end before a place in the log, up to which it was flushed since `began`;
    /// [`NEVER`]: it was not, and will not be.
    fn take(&self, end: i64, began: i64, taken: &mut Vec<Written>) {
        let mut unconfirmed = self.lock();
        let count = unconfirmed.partition_point(|record| record.dispatch.end() <= end);
        taken.extend(unconfirmed.drain(..count));
        self.note_oldest(&unconfirmed, began);
        let bytes = taken.iter().map(|record| record.appended.size as usize).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn note_oldest(&self, unconfirmed: &VecDeque<Written>, began: i64) {
        let oldest = match self.told {
            Told::Durable => unconfirmed.front().map_or(NEVER, |record| record.appended.store_timestamp),
            Told::Ahead { .. } if self.log.written() > self.log.flushed() => began,
            Told::Ahead { .. } => NEVER,
        };
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Written>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
