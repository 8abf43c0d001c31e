//! Waiting for copies on other machines: who may see a record, and when its sender is told (upstream
//! `GroupTransferService`, and the confirm offset of its controller mode).
//!
//! Copying goes on while the record is flushed here, so a sender waits once: for what takes longer. What a
//! record needs before it is here is the confirmer's business; it is then handed to [`Copies`], in order of
//! the log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_telemetry::{Histogram, LATENCY_NS, moment};

use super::append::{AppendDone, Appended};
use crate::dispatch::{Dispatch, Dispatcher};

/// What copies on other machines are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// Milliseconds that a sender waits for them before it is told that the message is here alone (upstream
    /// `slaveTimeout`).
    pub timeout_ms: i64,
    /// Whether records are visible only up to what [`crate::Store::show_to`] says: what a new master might not
    /// have is seen by nobody.
    pub hides: bool,
}

/// Records that are here and not on enough other machines yet.
pub(crate) struct Copies {
    options: CopyOptions,
    dispatcher: Arc<Dispatcher>,
    waiting: Mutex<Waiting>,
    /// Held by the one who shows records: they become visible in order of the log.
    showing: Mutex<()>,
    bytes: AtomicUsize,
    /// From the write of a message that a sender waits for to there being enough copies, in nanoseconds.
    times: Histogram,
}

#[derive(Default)]
struct Waiting {
    /// Senders of what ends up to here need not wait.
    enough_to: i64,
    /// What ends up to here may be seen.
    shown_to: i64,
    /// Nobody waits any more.
    given_up: bool,
    /// Not visible yet, in order of the log.
    hidden: VecDeque<Dispatch>,
    /// Whose senders wait, in order of the log.
    untold: VecDeque<Untold>,
}

/// A sender that waits.
pub(crate) struct Untold {
    pub appended: Appended,
    pub done: Arc<dyn AppendDone>,
    pub token: u64,
    /// When the record was written.
    pub moment: u64,
}

impl Untold {
    fn end(&self) -> i64 {
        self.appended.physical_offset + i64::from(self.appended.size)
    }

    fn tell(self, copied: bool) {
        self.done.done(self.token, &Ok(Appended { copied, ..self.appended }));
    }
}

impl Copies {
    pub fn new(options: CopyOptions, dispatcher: Arc<Dispatcher>) -> Self {
        let (waiting, showing, bytes) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        Self { options, dispatcher, waiting, showing, bytes, times: Histogram::new(LATENCY_NS) }
    }

    /// From the write of a message that a sender waits for to there being enough copies, in nanoseconds.
    pub fn times(&self) -> &Histogram {
        &self.times
    }

    /// Bytes of records that wait for copies.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes a record visible, now or when it may be. In order of the log, one caller at a time.
    pub fn show(&self, record: &Dispatch) {
        if !self.options.hides {
            return self.dispatcher.dispatch(record);
        }
        self.bytes.fetch_add(record.size as usize, Ordering::Relaxed);
        let shown_to = {
            let mut waiting = self.lock();
            waiting.hidden.push_back(record.clone());
            waiting.shown_to
        };
        if record.end() <= shown_to {
            self.show_hidden();
        }
    }

    /// Tells a sender whose record is here, now or when there are enough copies.
    pub fn tell(&self, sender: Untold) {
        let is_enough = {
            let mut waiting = self.lock();
            if sender.end() > waiting.enough_to && !waiting.given_up {
                if !self.options.hides {
                    self.bytes.fetch_add(sender.appended.size as usize, Ordering::Relaxed);
                }
                waiting.untold.push_back(sender);
                return;
            }
            sender.end() <= waiting.enough_to
        };
        if is_enough {
            self.count(std::slice::from_ref(&sender));
        }
        sender.tell(is_enough);
    }

    /// There are enough copies of what ends up to here.
    pub fn copied_to(&self, end: i64) {
        let enough: Vec<_> = {
            let mut waiting = self.lock();
            waiting.enough_to = waiting.enough_to.max(end);
            let end = waiting.enough_to;
            // With asynchronous flush, one who waited for a flush may stand behind later ones.
            let count = waiting.untold.iter().take_while(|sender| sender.end() <= end).count();
            waiting.untold.drain(..count).collect()
        };
        self.told(&enough);
        self.count(&enough);
        enough.into_iter().for_each(|sender| sender.tell(true));
    }

    /// What ends up to here may be seen.
    pub fn show_to(&self, end: i64) {
        {
            let mut waiting = self.lock();
            if end <= waiting.shown_to {
                return;
            }
            waiting.shown_to = end;
        }
        self.show_hidden();
    }

    /// Tells those who waited too long. Returns the milliseconds until the next may have.
    pub fn expire(&self, now_ms: i64) -> i64 {
        let timeout = self.options.timeout_ms;
        let (late, next) = {
            let mut waiting = self.lock();
            // Waits that lie ahead of now are of before the clock was put back.
            let is_late =
                |sender: &Untold| !(0..timeout).contains(&now_ms.saturating_sub(sender.appended.store_timestamp));
            let count = waiting.untold.iter().take_while(|sender| is_late(sender)).count();
            let late: Vec<_> = waiting.untold.drain(..count).collect();
            let oldest = waiting.untold.front().map(|sender| sender.appended.store_timestamp);
            (late, oldest.map_or(timeout, |oldest| oldest + timeout - now_ms))
        };
        self.told(&late);
        late.into_iter().for_each(|sender| sender.tell(false));
        next
    }

    /// Tells all who wait that there are not enough copies, and so all who come from now on.
    pub fn give_up(&self) {
        let left: Vec<_> = {
            let mut waiting = self.lock();
            waiting.given_up = true;
            waiting.untold.drain(..).collect()
        };
        self.told(&left);
        left.into_iter().for_each(|sender| sender.tell(false));
    }

    fn told(&self, senders: &[Untold]) {
        if !self.options.hides {
            let bytes = senders.iter().map(|sender| sender.appended.size as usize).sum();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn count(&self, copied: &[Untold]) {
        if !copied.is_empty() {
            let now = moment::now();
            copied.iter().for_each(|sender| self.times.record(now.saturating_sub(sender.moment)));
        }
    }

    fn show_hidden(&self) {
        let _showing = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        let shown: Vec<_> = {
            let mut waiting = self.lock();
            let shown_to = waiting.shown_to;
            let count = waiting.hidden.partition_point(|record| record.end() <= shown_to);
            waiting.hidden.drain(..count).collect()
        };
        for record in shown {
            self.dispatcher.dispatch(&record);
            self.bytes.fetch_sub(record.size as usize, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
