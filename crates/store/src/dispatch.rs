//! What a confirmed record causes: a unit in its queue, entries in the index, news for whoever
//! waits. The same when it is live and when the log is recovered (upstream `ReputMessageService`).

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use apogee_message::names::{SCHEDULE_TOPIC, property};
use apogee_message::record::Record;
use apogee_message::{properties, sysflag, tag};
use smallvec::SmallVec;

use crate::deleted::Deleted;
use crate::index::Index;
use crate::light::{self, Places};
use crate::queue::{Kind, QueueTable, SharedQueue, Unit, is_folder_name};

/// Hears of messages that can be read from now on.
pub trait ArrivalListener: Send + Sync {
    /// Called in order of the log, by one thread at a time; must not block.
    fn arrived(&self, topic: &str, queue_id: i32, queue_offset: i64, tag_code: i64);
}

/// A confirmed record, as far as dispatching needs it.
#[derive(Clone)]
pub(crate) struct Dispatch {
    /// `None` for a record without a place in a queue.
    pub queue: Option<SharedQueue>,
    /// Its light queues; few records have any.
    pub light: Option<Places>,
    pub physical_offset: i64,
    pub size: u32,
    pub tag_code: i64,
    pub queue_offset: i64,
    /// Messages that the record is, the first of them at this offset.
    pub messages: u16,
    pub store_timestamp: i64,
    /// By which it can be found.
    pub keys: Keys,
}

/// Hashes of a record's keys in the index: few have more than a unique one, one of their own and a tag.
pub(crate) type Keys = SmallVec<[i32; 4]>;

impl Dispatch {
    /// Reads what a record causes. An error when its queue's files cannot be read.
    pub fn of_record(record: &Record<'_>, queues: &QueueTable, tagger: &Tagger, deleted: &Deleted) -> io::Result<Self> {
        let topic: Arc<str> = record.topic.into();
        let mut in_queue = has_queue(record.sys_flag) && !deleted.covers(&topic, record.physical_offset);
        if in_queue && !is_folder_name(&topic) {
            tracing::error!(offset = record.physical_offset, %topic, "a record's topic is damaged: it is in no queue");
            in_queue = false;
        }
        let kind = Kind::of(record.topic, record.is_in_batch_queue());
        let queue = in_queue.then(|| queues.get_or_create(&topic, record.queue_id, kind)).transpose()?;
        Ok(Self {
            queue,
            light: light::places(record, queues, deleted)?,
            tag_code: tagger.tag_code(&topic, record.properties, record.store_timestamp),
            keys: keys(&topic, record.sys_flag, properties::pick(record.properties, KEYS)),
            physical_offset: record.physical_offset,
            size: record.size,
            queue_offset: record.queue_offset,
            messages: record.messages(),
            store_timestamp: record.store_timestamp,
        })
    }

    /// End of the record in the log.
    pub fn end(&self) -> i64 {
        self.physical_offset + i64::from(self.size)
    }
}

/// Whether a record has a place in a queue: undecided and rolled back messages have none.
pub(crate) fn has_queue(sys_flag: i32) -> bool {
    matches!(sys_flag & sysflag::TRANSACTION, 0 | sysflag::TRANSACTION_COMMIT)
}

/// Properties by whose values a record can be found.
pub(crate) const KEYS: [&str; 3] = [property::UNIQ_KEY, property::KEYS, property::TAGS];

/// The keys of a record, whose properties [`KEYS`] have these values. One that only tells that a transaction
/// was rolled back cannot be found.
pub(crate) fn keys(topic: &str, sys_flag: i32, [unique, own, tag]: [Option<&str>; 3]) -> Keys {
    if sys_flag & sysflag::TRANSACTION == sysflag::TRANSACTION_ROLLBACK {
        return Keys::new();
    }
    let mut keys = Keys::new();
    let begun = key_begins(topic);
    keys.extend(unique.map(|unique| tag::index_hash(begun, unique)));
    for key in own.into_iter().flat_map(|keys| keys.split(' ')).filter(|key| !key.is_empty()) {
        keys.push(tag::index_hash(begun, key));
    }
    keys.extend(tag.map(|tag| tag::index_hash(tag_begins(topic), tag)));
    keys
}

/// The hash of what the index has before a key of a topic.
pub(crate) fn key_begins(topic: &str) -> i32 {
    tag::java_hash_on(tag::java_hash(topic), "#")
}

/// The hash of what the index has before a tag of a topic.
pub(crate) fn tag_begins(topic: &str) -> i32 {
    tag::java_hash_on(key_begins(topic), "T#")
}

/// Knows what stands in a unit's tag field.
#[derive(Clone)]
pub(crate) struct Tagger {
    delays: Arc<[i64]>,
}

impl Tagger {
    pub fn new(delays: &[i64]) -> Self {
        Self { delays: delays.into() }
    }

    /// The tag's hash code; in the schedule topic, when the message is due.
    pub fn tag_code(&self, topic: &str, properties: &[u8], store_timestamp: i64) -> i64 {
        self.code_of(topic, properties, properties::get(properties, property::TAGS), store_timestamp)
    }

    /// The same of a record whose tag is known.
    pub fn code_of(&self, topic: &str, properties: &[u8], tag: Option<&str>, store_timestamp: i64) -> i64 {
        if topic == SCHEDULE_TOPIC {
            let level = properties::get(properties, property::DELAY).and_then(|level| level.parse::<usize>().ok());
            if let Some(level) = level.filter(|level| *level > 0 && !self.delays.is_empty()) {
                return store_timestamp.saturating_add(self.delays[level.min(self.delays.len()) - 1]);
            }
        }
        tag::tag_code(tag)
    }
}

pub(crate) struct Dispatcher {
    queues: Arc<QueueTable>,
    index: Option<Arc<Index>>,
    listener: OnceLock<Arc<dyn ArrivalListener>>,
    /// End of the last record dispatched.
    end: AtomicI64,
    /// Its store time.
    timestamp: AtomicI64,
}

impl Dispatcher {
    pub fn new(queues: Arc<QueueTable>, index: Option<Arc<Index>>) -> Self {
        let (end, timestamp) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { queues, index, listener: OnceLock::new(), end, timestamp }
    }

    /// Sets who hears of arrivals; the first one stays.
    pub fn listen(&self, listener: Arc<dyn ArrivalListener>) {
        let _ = self.listener.set(listener);
    }

    /// Dispatches one record. In order of the log, one caller at a time.
    pub fn dispatch(&self, record: &Dispatch) {
        let unit = Unit { physical_offset: record.physical_offset, size: record.size, tag_code: record.tag_code };
        let own = record.queue.iter().map(|queue| (queue, record.queue_offset, record.messages));
        let light = record.light.iter().flatten().map(|(queue, offset)| (queue, *offset, 1));
        let places = own.chain(light);
        places.clone().for_each(|(queue, offset, messages)| self.queues.push(queue, offset, unit, messages));
        if let Some(index) = self.index.as_ref().filter(|_| !record.keys.is_empty()) {
            index.submit(record);
        }
        self.timestamp.store(record.store_timestamp, Ordering::Relaxed);
        self.end.store(record.end(), Ordering::Release);
        if let Some(listener) = self.listener.get() {
            places.for_each(|(queue, offset, _)| listener.arrived(&queue.topic, queue.id, offset, record.tag_code));
        }
    }

    /// End and store time of the last record dispatched.
    pub fn progress(&self) -> (i64, i64) {
        let end = self.end.load(Ordering::Acquire);
        (end, self.timestamp.load(Ordering::Relaxed))
    }

    /// Sets the end: everything before it was dispatched in an earlier life.
    pub fn set_end(&self, end: i64) {
        self.end.store(end, Ordering::Release);
    }
}
