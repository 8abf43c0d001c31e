//! Transactions: half messages, and what becomes of them (upstream `TransactionalMessageServiceImpl`).
//!
//! | step | file |
//! |---|---|
//! | which half messages are undecided, and when to look at them | `table.rs` |
//! | the message as half, as committed, as asked about | `half.rs` |
//! | producers are asked; who gets no answer for too long is discarded | `check.rs` |
//! | what is decided is noted in op messages; progress | `ops.rs` |
//! | the table after a start | `rebuild.rs` |
//!
//! A decision is made once: whoever ends a transaction takes the right to it from the table first. A
//! commit's record names the half message, so that after a crash between it and its op message the
//! log itself says that the transaction is settled.

mod check;
mod half;
mod ops;
mod rebuild;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names;
use apogee_store::Store;

use crate::bell::Bell;
use crate::clients::{Channel, Producers};
use crate::offsets::OffsetTable;
use crate::settings::BrokerSettings;

pub(crate) use check::settled_by;
pub(crate) use half::{HalfRecord, resumed};
pub(crate) use table::Refused;
use table::Table;

/// Group whose offsets are the progress of the half queue and of the op queue.
pub(crate) const GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Name of the mark of transactions in what is settled.
pub(crate) const FOLLOWER: &str = "transactions";
/// Undecided half messages that may be held: each costs some memory.
pub(crate) const MOST_UNDECIDED: usize = 1 << 22;

/// Longest sleep, and the age at which a half message is looked at first: its own wish for when to be
/// checked stands in its record.
const FIRST_LOOK_MS: i64 = 1_000;
/// A clock that differs by so much was put back.
const CLOCK_STEP_MS: i64 = 1_000;

/// What is set about transactions.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Age at which a half message is checked that says nothing of it, in milliseconds.
    pub timeout_ms: i64,
    /// Milliseconds between two checks of one message.
    pub interval_ms: i64,
    /// Checks of one message.
    pub most_checks: i64,
    /// Bytes of an op message.
    pub op_bytes: usize,
    /// Longest that a decision waits to be noted, in milliseconds.
    pub op_interval_ms: i64,
    /// The broker's name.
    pub broker: String,
    /// The broker's address.
    pub host: std::net::SocketAddr,
}

impl Rules {
    pub fn of(settings: &BrokerSettings, host: std::net::SocketAddr) -> Self {
        Self {
            timeout_ms: settings.transaction_time_out,
            interval_ms: settings.transaction_check_interval,
            most_checks: settings.transaction_check_max,
            op_bytes: settings.transaction_op_msg_max_size,
            op_interval_ms: settings.transaction_op_batch_interval,
            broker: settings.broker_name.clone(),
            host,
        }
    }

    fn first_look_ms(&self) -> i64 {
        FIRST_LOOK_MS.min(self.timeout_ms)
    }
}

/// The undecided half messages of a broker.
pub(crate) struct Transactions {
    table: Mutex<Table>,
    undecided: AtomicUsize,
    /// Before this place in the log there is no decision that is not noted.
    settled_from: AtomicI64,
    /// When the last step was.
    stepped_ms: AtomicI64,
    /// Rung when there is much to note.
    pub bell: Bell,
}

impl Transactions {
    fn new(table: Table, settled_from: i64) -> Self {
        Self {
            undecided: AtomicUsize::new(table.len()),
            table: Mutex::new(table),
            settled_from: AtomicI64::new(settled_from),
            stepped_ms: AtomicI64::new(0),
            bell: Bell::default(),
        }
    }

    /// A half message can be read.
    pub fn arrived(&self, offset: i64, now_ms: i64, rules_timeout_ms: i64) {
        self.change(|table| table.arrived(offset, now_ms + FIRST_LOOK_MS.min(rules_timeout_ms)));
    }

    /// Those of a slave, which decides nothing: none.
    pub fn idle() -> Self {
        Self::new(Table::new(0, 0), 0)
    }

    /// Where some of the undecided are in the half queue, and how many there are in all.
    pub fn undecided_offsets(&self, most: usize) -> (Vec<i64>, u64) {
        let table = self.lock();
        (table.undecided().map(|(_, offset)| offset).take(most).collect(), table.len() as u64)
    }

    /// How many are undecided.
    pub fn len(&self) -> usize {
        self.undecided.load(Ordering::Relaxed)
    }

    /// Whether so many are undecided that no more can be taken.
    pub fn is_full(&self) -> bool {
        self.undecided.load(Ordering::Relaxed) >= MOST_UNDECIDED
    }

    /// Before this place in the log there is no decision that is not noted.
    pub fn settled_from(&self) -> i64 {
        self.settled_from.load(Ordering::Acquire)
    }

    /// The place in the log of the first message that is not decided; `None` when all are. From there on
    /// the log is needed.
    pub fn held_from(&self, store: &Store) -> Option<i64> {
        let first = self.lock().undecided().map(|(first, _)| first).min()?;
        let (min, _) = store.queue_range(names::TRANS_HALF_TOPIC, 0)?;
        store.unit(names::TRANS_HALF_TOPIC, 0, first.max(min)).map(|unit| unit.physical_offset)
    }

    /// How many are undecided, and when the oldest was stored.
    pub fn undecided(&self, store: &Store) -> (usize, Option<i64>) {
        let (count, first) = {
            let table = self.lock();
            (table.len(), table.undecided().map(|(first, _)| first).min())
        };
        (count, first.and_then(|first| store.store_time(names::TRANS_HALF_TOPIC, 0, first)))
    }

    /// Takes the right to decide on a message that first was at a half offset. `log_end`: end of the
    /// log, behind which the decision's record will be.
    pub fn begin(&self, first: i64, log_end: i64) -> Result<(), Refused> {
        self.change(|table| table.begin(first, log_end))
    }

    /// Ends what [`Transactions::begin`] began: with success the message is decided, else it is
    /// undecided as before.
    pub fn end(&self, first: i64, success: bool, now_ms: i64, op_bytes: usize) {
        let waiting = self.change(|table| {
            table.end(first, success, now_ms);
            table.waiting().0
        });
        // Once, when an op message is full; the rest is left to time.
        if waiting == ops::fitting(op_bytes) {
            self.bell.ring();
        }
    }

    /// Checks what is due and notes what is decided. Returns how long to sleep until there is more to do.
    pub fn step<C: Channel>(
        &self,
        store: &Store,
        offsets: &OffsetTable,
        producers: &Producers<C>,
        rules: &Rules,
        now_ms: i64,
    ) -> Duration {
        if now_ms + CLOCK_STEP_MS < self.stepped_ms.swap(now_ms, Ordering::Relaxed) {
            self.change(|table| table.look_at_all(now_ms));
        }
        let is_more = self.check(store, producers, rules, now_ms);
        self.renew_holders(store, now_ms);
        let (waiting, since) = self.lock().waiting();
        let full = waiting >= ops::fitting(rules.op_bytes);
        if waiting > 0 && (full || now_ms - since >= rules.op_interval_ms || now_ms < since) {
            self.write_ops(store, offsets, rules, now_ms);
        } else if let Some(place) = self.lock().all_noted_to(|| store.log_max_offset()) {
            // Or else a start after a kill would read the log of days in which nothing was decided.
            self.settled_from.fetch_max(place, Ordering::AcqRel);
        }
        let next = self.lock().next_due().map_or(FIRST_LOOK_MS, |due| due - now_ms);
        let least = if is_more { check::PACE_MS } else { 1 };
        Duration::from_millis(next.min(rules.first_look_ms()).max(least) as u64)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.lock();
        let result = change(&mut table);
        self.undecided.store(table.len(), Ordering::Relaxed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
