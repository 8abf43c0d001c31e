//! No duplicates from retries: a topic can have a window of time in which a message with the same
//! unique key is stored once, and whoever sends it again gets the first one's answer.
//!
//! Official clients give every message a unique key and keep it when they send the message again
//! because an answer was late or lost. The keys of a window are held in memory; after a restart they
//! are read from the log, so that nothing else has to be written for them.

use std::collections::hash_map::{Entry as Place, HashMap};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_message::names::{self, property};
use apogee_message::record::Record;
use apogee_store::{AppendDone, AppendError, Appended, Boundary, Store};

use crate::topics::Topic;

/// The attribute of a topic that says how long its window is, in milliseconds.
pub const ATTRIBUTE: &str = "deduplication.window.ms";
/// Longest window: a day.
pub const LONGEST_MS: i64 = 86_400_000;
/// Keys longer than this are nobody's retries; official clients' have 32 characters.
const LONGEST_KEY: usize = 128;
/// How many may wait for the outcome of one message.
const MOST_WAITING: usize = 64;
/// Units read from a queue in one go.
const STEP: usize = 256;

/// The window of one topic.
pub struct Window {
    state: Mutex<State>,
}

struct State {
    width_ms: i64,
    most_keys: usize,
    messages: HashMap<Arc<[u8]>, Message>,
    /// Keys of stored messages by the time they were stored.
    stored: VecDeque<(i64, Arc<[u8]>)>,
}

enum Message {
    /// On its way into the store; told of its outcome as well:
    Pending { first: Told, again: Vec<Told> },
    /// As its sender was told.
    Stored(Appended),
}

/// Who wants to know what became of a message.
#[derive(Clone)]
struct Told {
    done: Arc<dyn AppendDone>,
    token: u64,
}

/// What to do with a message.
pub enum Claim {
    /// Store it, and tell this of the outcome.
    First(Arc<First>),
    /// It is in the store already.
    Stored(Appended),
    /// It is on its way; its sender will be told of the outcome.
    Pending,
    /// Too many wait for the outcome already.
    TooMany,
    /// It cannot be told from others: store it.
    Unknown,
}

impl Window {
    /// A window of so many milliseconds; `most_keys` bounds its memory.
    pub fn new(width_ms: i64, most_keys: usize) -> Self {
        let (messages, stored) = (HashMap::new(), VecDeque::new());
        Self { state: Mutex::new(State { width_ms, most_keys, messages, stored }) }
    }

    /// The window that a topic's attributes ask for; the one it has, if it has one.
    pub fn of(
        attributes: &BTreeMap<String, String>,
        current: Option<&Arc<Self>>,
        most_keys: usize,
    ) -> Option<Arc<Self>> {
        let width_ms = attributes.get(ATTRIBUTE)?.parse().ok().filter(|width| (1..=LONGEST_MS).contains(width))?;
        let Some(window) = current else { return Some(Arc::new(Self::new(width_ms, most_keys))) };
        window.lock().width_ms = width_ms;
        Some(Arc::clone(window))
    }

    /// Asks for the right to store the message with a key at `now_ms`, for the sake of `done` and
    /// `token`. `queue_id` is the queue that it is for, wherever it waits before.
    pub fn claim(
        self: &Arc<Self>,
        now_ms: i64,
        key: &[u8],
        queue_id: i32,
        done: &Arc<dyn AppendDone>,
        token: u64,
    ) -> Claim {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Claim::Unknown;
        }
        let told = || Told { done: Arc::clone(done), token };
        let mut state = self.lock();
        state.forget(now_ms);
        match state.messages.get_mut(key) {
            None => {
                let key: Arc<[u8]> = key.into();
                state.messages.insert(Arc::clone(&key), Message::Pending { first: told(), again: Vec::new() });
                let (window, settled) = (Arc::clone(self), AtomicBool::new(false));
                Claim::First(Arc::new(First { window, key, queue_id, settled }))
            }
            Some(Message::Stored(appended)) => Claim::Stored(*appended),
            // Twice in one batch: that is no retry.
            Some(Message::Pending { first, .. }) if first.token == token && Arc::ptr_eq(&first.done, done) => {
                Claim::Unknown
            }
            Some(Message::Pending { again, .. }) if again.len() >= MOST_WAITING => Claim::TooMany,
            Some(Message::Pending { again, .. }) => {
                again.push(told());
                Claim::Pending
            }
        }
    }

    /// Notes a message that was stored in an earlier life.
    fn note(&self, key: &[u8], appended: Appended) {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return;
        }
        let mut state = self.lock();
        let key: Arc<[u8]> = key.into();
        if let Place::Vacant(place) = state.messages.entry(Arc::clone(&key)) {
            place.insert(Message::Stored(appended));
            state.stored.push_back((appended.store_timestamp, key));
            state.keep_within_bounds();
        }
    }

    fn settle(&self, key: &Arc<[u8]>, result: &Result<Appended, AppendError>) {
        let pending = {
            let mut state = self.lock();
            let pending = state.messages.remove(key);
            if let Ok(appended) = result {
                state.messages.insert(Arc::clone(key), Message::Stored(*appended));
                state.stored.push_back((appended.store_timestamp, Arc::clone(key)));
                state.keep_within_bounds();
            }
            pending
        };
        if let Some(Message::Pending { first, again }) = pending {
            [first].iter().chain(&again).for_each(|told| told.done.done(told.token, result));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("width_ms", &self.lock().width_ms).finish_non_exhaustive()
    }
}

impl State {
    /// Forgets what was stored before the window. A clock that was put back forgets later.
    fn forget(&mut self, now_ms: i64) {
        while self.stored.front().is_some_and(|(time, _)| *time < now_ms - self.width_ms) {
            self.forget_oldest();
        }
    }

    fn keep_within_bounds(&mut self) {
        while self.stored.len() > self.most_keys {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.stored.pop_front() {
            self.messages.remove(&key);
        }
    }
}

/// The first of several messages with one key. Dropped without an outcome, it was not stored.
pub struct First {
    window: Arc<Window>,
    key: Arc<[u8]>,
    queue_id: i32,
    settled: AtomicBool,
}

impl AppendDone for First {
    fn done(&self, _: u64, result: &Result<Appended, AppendError>) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            let result = result.as_ref().map(|appended| Appended { queue_id: self.queue_id, ..*appended });
            self.window.settle(&self.key, &result.map_err(Clone::clone));
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.done(0, &Err(AppendError::Closed));
    }
}

/// Reads the keys of the topics' windows from the log, at `now_ms`.
pub(crate) fn recall(store: &Store, topics: &[Arc<Topic>], now_ms: i64) {
    let windows: HashMap<&str, &Arc<Window>> =
        topics.iter().filter_map(|topic| Some((&*topic.name, topic.window.as_ref()?))).collect();
    let Some(width_ms) = windows.values().map(|window| window.lock().width_ms).max() else { return };
    // Delayed and undecided messages were sent, too.
    let waiting = [names::SCHEDULE_TOPIC, names::WHEEL_TOPIC, names::TRANS_HALF_TOPIC];
    let mut found: Vec<(Arc<Window>, Box<[u8]>, Appended)> = Vec::new();
    for (topic, queues) in store.topics() {
        if !windows.contains_key(&*topic) && !waiting.contains(&&*topic) {
            continue;
        }
        for queue_id in queues {
            let from = store.offset_by_time(&topic, queue_id, now_ms - width_ms, Boundary::Lower);
            each(store, &topic, queue_id, from.unwrap_or(0), &mut |record, appended| {
                let sent_to = record.property(property::REAL_TOPIC).unwrap_or(record.topic);
                let real_queue = record.property(property::REAL_QUEUE_ID).and_then(|id| id.parse().ok());
                let appended = Appended { queue_id: real_queue.unwrap_or(queue_id), ..appended };
                let key = record.property(property::UNIQ_KEY);
                if let (Some(window), Some(key)) = (windows.get(sent_to), key) {
                    found.push((Arc::clone(window), key.as_bytes().into(), appended));
                }
            });
        }
    }
    // A delayed message is in the log twice; what its sender was told is the first.
    found.sort_unstable_by_key(|(_, _, appended)| appended.physical_offset);
    for (window, key, appended) in found {
        window.note(&key, appended);
    }
}

/// Calls with the records of a queue from an offset on.
fn each(store: &Store, topic: &str, queue_id: i32, from: i64, call: &mut dyn FnMut(&Record<'_>, Appended)) {
    let mut offset = from;
    loop {
        let units = store.units(topic, queue_id, offset, STEP);
        if units.is_empty() {
            return;
        }
        offset += units.len() as i64;
        for unit in units {
            let Some(bytes) = store.record_at(unit.physical_offset) else { continue };
            let Ok(record) = Record::read(&bytes) else { continue };
            let appended = Appended {
                physical_offset: unit.physical_offset,
                size: unit.size,
                queue_id,
                queue_offset: record.queue_offset,
                store_timestamp: record.store_timestamp,
                copied: true,
            };
            call(&record, appended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Outcomes(Mutex<Vec<(u64, Result<i64, AppendError>)>>);

    impl AppendDone for Outcomes {
        fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
            let result = result.as_ref().map(|appended| appended.physical_offset).map_err(Clone::clone);
            self.0.lock().unwrap().push((token, result));
        }
    }

    fn appended(physical_offset: i64, store_timestamp: i64) -> Appended {
        Appended { physical_offset, size: 1, queue_id: 0, queue_offset: 0, store_timestamp, copied: true }
    }

    fn window(most_keys: usize) -> (Arc<Window>, Arc<Outcomes>, Arc<dyn AppendDone>) {
        let outcomes = Arc::new(Outcomes::default());
        (Arc::new(Window::new(1_000, most_keys)), Arc::clone(&outcomes), outcomes)
    }

    /// Stores the message with a key, which is not known yet.
    fn store(window: &Arc<Window>, done: &Arc<dyn AppendDone>, key: &[u8], place: Appended) {
        let Claim::First(first) = window.claim(place.store_timestamp, key, 0, done, 0) else {
            panic!("{key:?} is known")
        };
        first.done(0, &Ok(place));
    }

    #[test]
    fn a_message_on_its_way_is_answered_to_all_who_sent_it() {
        let (window, outcomes, done) = window(10);
        let Claim::First(first) = window.claim(5, b"k", 0, &done, 1) else { panic!("it is the first") };
        let (second, third) = (Arc::new(Outcomes::default()), Arc::new(Outcomes::default()));
        assert!(matches!(window.claim(5, b"k", 0, &(second.clone() as _), 2), Claim::Pending));
        assert!(matches!(window.claim(5, b"k", 0, &(third.clone() as _), 3), Claim::Pending));
        assert!(matches!(window.claim(5, b"k", 0, &done, 1), Claim::Unknown), "twice in one batch");
        first.done(0, &Ok(appended(7, 5)));
        for (outcomes, token) in [(outcomes, 1), (second, 2), (third, 3)] {
            assert_eq!(*outcomes.0.lock().unwrap(), [(token, Ok(7))]);
        }
        assert!(matches!(window.claim(5, b"k", 0, &done, 4), Claim::Stored(known) if known.physical_offset == 7));
    }

    #[test]
    fn a_message_that_was_not_stored_can_be_sent_again() {
        let (window, outcomes, done) = window(10);
        let Claim::First(first) = window.claim(5, b"k", 0, &done, 1) else { panic!("it is the first") };
        first.done(0, &Err(AppendError::DiskFull));
        let Claim::First(dropped) = window.claim(5, b"k", 0, &done, 2) else { panic!("it is not known") };
        drop(dropped);
        assert!(matches!(window.claim(5, b"k", 0, &done, 3), Claim::First(_)));
        assert_eq!(outcomes.0.lock().unwrap()[..2], [(1, Err(AppendError::DiskFull)), (2, Err(AppendError::Closed))]);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (window, _, done) = window(10);
        store(&window, &done, b"k", appended(7, 5_000));
        assert!(matches!(window.claim(6_000, b"k", 0, &done, 1), Claim::Stored(_)));
        assert!(matches!(window.claim(1_000, b"k", 0, &done, 1), Claim::Stored(_)), "the clock was put back");
        assert!(matches!(window.claim(6_001, b"k", 0, &done, 1), Claim::First(_)));
    }

    #[test]
    fn memory_is_bounded() {
        let (window, _, done) = window(3);
        for number in 0..100_u8 {
            store(&window, &done, &[number], appended(i64::from(number), 5));
        }
        assert_eq!(window.lock().messages.len(), 3);
        assert!(matches!(window.claim(5, &[99], 0, &done, 1), Claim::Stored(_)));
        assert!(matches!(window.claim(5, &[0; 129], 0, &done, 1), Claim::Unknown));
        let Claim::First(_first) = window.claim(5, b"k", 0, &done, 0) else { panic!("it is the first") };
        let waiting =
            (1..=100).filter(|token| matches!(window.claim(5, b"k", 0, &done, *token), Claim::Pending)).count();
        assert_eq!(waiting, MOST_WAITING);
    }
}
