//! The store, its disk and clock, and what was sent and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_message::record::{Draft, NewMessage};
use apogee_message::sysflag;
use apogee_store::{Append, AppendDone, AppendError, Appended, Store, StoreOptions};
use bytes::{Bytes, BytesMut};

pub const START: i64 = 1_700_000_000_000;
pub const TOPICS: u64 = 3;
pub const QUEUES: i32 = 2;
/// The topic whose records may be several messages.
pub const OF_BATCHES: &str = "T0";
pub const ROOT: &str = "/store";

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What was answered.
#[derive(Default)]
pub struct Answers(pub Mutex<Vec<(u64, Result<Appended, AppendError>)>>);

impl AppendDone for Answers {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        self.0.lock().unwrap().push((token, result.clone()));
    }
}

/// A message as it was promised or seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    pub number: u64,
    pub physical: i64,
    pub time: i64,
}

/// Topic and queue.
pub type Place = (String, i32);

pub struct World {
    pub seed: u64,
    pub random: Random,
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub options: StoreOptions,
    store: Option<Store>,
    pub answers: Arc<Answers>,
    /// Records sent: where to.
    pub sent: Vec<Place>,
    /// Messages that each of them is.
    pub counts: Vec<u16>,
    /// What was promised durable, by offset.
    pub promised: BTreeMap<Place, BTreeMap<i64, Message>>,
    /// What a consumer saw, by offset.
    pub seen: BTreeMap<Place, BTreeMap<i64, Message>>,
    /// Messages for which there was no room, or no time.
    pub refused: BTreeSet<u64>,
    /// Messages sent before their topic was deleted.
    pub deleted: BTreeSet<u64>,
    /// Nothing of the log before this place was to be kept.
    pub cut: i64,
    /// Queues were trimmed since the log was cut.
    pub is_trimmed: bool,
    pub clock_went_back: bool,
    /// The disk has a limit.
    pub is_limited: bool,
}

impl World {
    pub fn new(seed: u64, sync_flush: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let options = StoreOptions {
            log_file_size: 2048 + random.below(4096),
            queue_file_size: 20 * (1 + random.below(20)),
            batch_queue_file_size: 46 * (1 + random.below(8)),
            index_slots: 16,
            index_entries: 64,
            kept_units: random.below(80) as usize,
            sync_flush,
            ..StoreOptions::default()
        };
        let mut world = Self {
            seed,
            random,
            disk: SimDisk::new(seed),
            clock: Arc::new(ManualClock::new(START)),
            options,
            store: None,
            answers: Arc::default(),
            sent: Vec::new(),
            counts: Vec::new(),
            promised: BTreeMap::new(),
            seen: BTreeMap::new(),
            refused: BTreeSet::new(),
            deleted: BTreeSet::new(),
            cut: 0,
            is_trimmed: true,
            clock_went_back: false,
            is_limited: false,
        };
        world.open();
        world
    }

    pub fn open(&mut self) {
        let open = || Store::open(Arc::new(self.disk.clone()), self.clock.clone(), ROOT.into(), self.options.clone());
        let mut opened = open();
        if opened.is_err() && self.is_limited {
            // It cannot begin on a full disk, and begins once there is room.
            self.disk.set_room(None);
            self.is_limited = false;
            opened = open();
        }
        self.store = Some(opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed)));
        self.answers = Arc::default();
        self.is_trimmed = true;
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    pub fn close_the_door(&mut self) {
        self.store = None;
    }

    fn draft(&mut self) -> (Draft, u64) {
        let number = self.sent.len() as u64;
        let topic = format!("T{}", self.random.below(TOPICS));
        let queue = self.random.below(QUEUES as u64) as i32;
        let is_batch = topic == OF_BATCHES;
        let count = if is_batch { 1 + self.random.below(4) as u16 } else { 1 };
        self.sent.push((topic.clone(), queue));
        self.counts.push(count);
        let inner = if is_batch { format!("INNER_NUM\u{1}{count}\u{2}") } else { String::new() };
        // Few sizes, so that the remains of one write often fit behind another.
        let body = body(number, self.random.below(3) as usize * 100);
        let message = NewMessage {
            queue_id: queue,
            sys_flag: if count > 1 { sysflag::INNER_BATCH | sysflag::NEED_UNWRAP } else { 0 },
            properties: format!("KEYS\u{1}k{number}\u{2}{inner}").into(),
            ..NewMessage::own(topic, body, ([127, 0, 0, 1], 1), START)
        };
        let draft = if is_batch { Draft::in_batch_queue } else { Draft::new };
        (draft(&message, &mut BytesMut::new()).unwrap(), number)
    }

    pub fn append(&mut self) {
        let count = 1 + self.random.below(5);
        let drafts: Vec<_> = (0..count).map(|_| self.draft()).collect();
        let done = self.answers.clone();
        let entries = drafts.into_iter().map(|(draft, token)| Append { draft, done: done.clone(), token });
        self.store().append(entries.collect::<Vec<_>>());
    }

    pub fn note_answers(&mut self) {
        for (number, result) in std::mem::take(&mut *self.answers.0.lock().unwrap()) {
            let is_refused = |error: &AppendError| {
                matches!(error, AppendError::DiskFull | AppendError::ShortOfRoom { .. } | AppendError::Slow { .. })
            };
            if result.as_ref().is_err_and(is_refused) {
                self.refused.insert(number);
            }
            let Ok(appended) = result else { continue };
            if self.deleted.contains(&number) {
                continue;
            }
            let place = self.sent[number as usize].clone();
            assert_eq!(place.1, appended.queue_id);
            let message = Message { number, physical: appended.physical_offset, time: appended.store_timestamp };
            let promised = self.promised.entry(place).or_default();
            for offset in (appended.queue_offset..).take(self.counts[number as usize].into()) {
                let before = promised.insert(offset, message);
                assert_eq!(before, None, "seed {}: an offset was given twice", self.seed);
            }
        }
    }

    /// One of the usual steps.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.append(),
            50..70 => drop(self.store().flush_step()),
            70..78 => drop(self.store().queues_step()),
            78..84 => drop(self.store().index_step()),
            84..89 => drop(self.store().checkpoint_step()),
            89..95 => self.clock.advance(self.random.0 as i64 & 0xffff),
            95..97 => self.restart(),
            97..98 => self.kill(),
            _ => self.power_cut(),
        }
    }

    /// Deletes a topic: what was promised of it is void, also for what is still on its way.
    pub fn delete_topic(&mut self) {
        let topic = format!("T{}", self.random.below(TOPICS));
        self.store().delete_topic(&topic).unwrap();
        self.note_answers();
        self.promised.retain(|(name, _), _| *name != topic);
        self.seen.retain(|(name, _), _| *name != topic);
        self.deleted.extend((0..self.sent.len() as u64).filter(|number| self.sent[*number as usize].0 == topic));
        self.store().checkpoint_step().unwrap();
    }

    pub fn restart(&mut self) {
        let closed = self.store().close();
        self.note_answers();
        if closed.is_err() {
            assert!(self.is_limited || self.store().failure().is_some(), "seed {}: {closed:?}", self.seed);
            self.disk.kill_process();
        }
        self.store = None;
        self.open();
    }

    pub fn kill(&mut self) {
        self.note_answers();
        self.disk.kill_process();
        self.store = None;
        self.open();
    }

    pub fn power_cut(&mut self) {
        self.note_answers();
        if !self.options.sync_flush {
            // What was not flushed was promised for the process only.
            let flushed = self.store().flushed_offset();
            for messages in self.promised.values_mut().chain(self.seen.values_mut()) {
                messages.retain(|_, message| message.physical < flushed);
            }
        }
        self.disk.crash();
        self.store = None;
        self.open();
    }

    /// A file or folder of the store.
    pub fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(ROOT).join(below)
    }
}

fn body(number: u64, padding: usize) -> Bytes {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(8 + padding, b'x');
    body.into()
}
