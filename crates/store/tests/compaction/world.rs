//! A store with a compacted topic on a disk that breaks, and what must be true of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_base::rng::Rng;
use apogee_message::record::{self, Draft, NewMessage};
use apogee_store::{CompactionOptions, CompactionRules, ReadLimits, ReadStatus, Store, StoreError, StoreOptions};
use bytes::BytesMut;

use crate::fragile::Fragile;

pub const START: i64 = 1_700_000_000_000;
pub const TOPIC: &str = "T";
const QUEUES: i32 = 2;
const ALL: ReadLimits = ReadLimits { messages: 8, bytes: 1 << 20, cold_messages: 8, cold_bytes: 1 << 20 };

/// Queue and key.
type Key = (i32, String);

pub struct World {
    pub seed: u64,
    pub random: Rng,
    pub sim: SimDisk,
    pub disk: Fragile,
    pub clock: Arc<ManualClock>,
    options: StoreOptions,
    store: Option<Store>,
    /// Different keys.
    keys: u64,
    /// What was sent, by number: queue, key, whether it has a body.
    sent: Vec<(Key, bool)>,
    /// The newest message of each key that was confirmed: offset and number.
    newest: BTreeMap<Key, (i64, u64)>,
    /// What was read of each queue, by offset: the number.
    seen: BTreeMap<(i32, i64), u64>,
    /// Deletions stay so long.
    pub deletions_ms: i64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::new(seed);
        let sim = SimDisk::new(seed);
        let options = StoreOptions {
            log_file_size: 2_048 + random.below(4_096),
            queue_file_size: 20 * (1 + random.below(20)),
            index: false,
            compaction: Some(CompactionOptions {
                log_file_size: random.below(4_000),
                units_file_size: 46 * (2 + random.below(12)),
            }),
            ..StoreOptions::default()
        };
        let mut world = Self {
            seed,
            keys: if seed.is_multiple_of(2) { 6 } else { 130 },
            random,
            disk: Fragile::new(sim.clone()),
            sim,
            clock: Arc::new(ManualClock::new(START)),
            options,
            store: None,
            sent: Vec::new(),
            newest: BTreeMap::new(),
            seen: BTreeMap::new(),
            deletions_ms: 10_000,
        };
        world.open();
        world
    }

    fn try_open(&self) -> Result<Store, StoreError> {
        let (disk, clock) = (Arc::new(self.disk.clone()), self.clock.clone());
        Store::open(disk, clock, "/store".into(), self.options.clone())
    }

    /// Opens it, in the end on a disk that lasts.
    pub fn open(&mut self) {
        let opened = self.try_open().or_else(|error| {
            assert!(self.disk.is_gone(), "seed {}: {error}", self.seed);
            self.disk = Fragile::new(self.sim.clone());
            self.try_open()
        });
        self.store = Some(opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed)));
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    /// The store is gone; the disk is as good as new.
    pub fn leave(&mut self) {
        self.store = None;
        self.disk = Fragile::new(self.sim.clone());
    }

    /// The power goes, if it has not yet.
    pub fn power_cut(&mut self) {
        if !self.disk.is_gone() {
            self.sim.crash();
        }
        self.leave();
        // It may go again while it is opened.
        if self.random.chance(20) {
            self.disk.set(self.random.below(30) as i64);
        }
        self.open();
        self.disk = Fragile::new(self.sim.clone());
        self.leave_in_order_or_not();
    }

    /// What was opened on the disk of before is not used: it may be gone.
    fn leave_in_order_or_not(&mut self) {
        self.sim.kill_process();
        self.leave();
        self.open();
    }

    pub fn restart(&mut self) {
        let closed = self.store().close();
        assert!(closed.is_ok() || self.disk.is_gone() || self.store().failure().is_some(), "seed {}", self.seed);
        self.sim.kill_process();
        self.leave();
        self.open();
    }

    pub fn send(&mut self) {
        let queue = self.random.below(QUEUES as u64) as i32;
        let key = (queue, format!("k{}", self.random.below(self.keys)));
        let number = self.sent.len() as u64;
        let has_body = !self.random.chance(10);
        self.sent.push((key.clone(), has_body));
        // Without a body it is told by its tag.
        let body = if has_body { [&number.to_be_bytes()[..], &[7; 40]].concat() } else { Vec::new() };
        let message = NewMessage {
            queue_id: queue,
            flag: number as i32,
            properties: format!("KEYS\u{1}{}\u{2}", key.1).into_bytes().into(),
            ..NewMessage::own(TOPIC, body, ([127, 0, 0, 1], 1), 1)
        };
        let draft = Draft::new(&message, &mut BytesMut::new()).unwrap();
        if let Ok(appended) = self.store().append_now([draft]) {
            let offset = appended[0].queue_offset;
            let given = self.seen.contains_key(&(queue, offset));
            assert!(!given, "seed {}: offset {offset} of queue {queue} is given twice", self.seed);
            self.newest.insert(key, (offset, number));
        }
    }

    pub fn copy(&mut self) {
        let most = if self.random.chance(20) { self.random.below(4) } else { u64::MAX };
        let asked = std::cell::Cell::new(0);
        let goes_on = || asked.replace(asked.get() + 1) < most;
        let done = self.store().copy_to_compact(&[TOPIC.into()], &goes_on);
        assert!(done.is_ok() || self.is_hurt(), "seed {}: {done:?}", self.seed);
    }

    /// Whether the disk, or what is on it, is not as it should be.
    fn is_hurt(&self) -> bool {
        self.disk.is_gone() || self.store().failure().is_some()
    }

    pub fn compact(&mut self) {
        let most = if self.random.chance(20) { self.random.below(20) } else { u64::MAX };
        let asked = std::cell::Cell::new(0);
        let goes_on = || asked.replace(asked.get() + 1) < most;
        for (topic, queue) in self.store().compacted_queues() {
            let done = self.store().compact_queue(&topic, queue, self.rules(), &goes_on);
            assert!(done.is_ok() || self.is_hurt(), "seed {}: {done:?}", self.seed);
        }
    }

    fn rules(&self) -> CompactionRules {
        let now = apogee_base::clock::Clock::now_ms(&*self.clock);
        // The least there is: a hundred keys.
        CompactionRules { key_bytes: 0, deletions_before_ms: now - self.deletions_ms }
    }

    /// Copies and compacts until there is nothing to do.
    pub fn compact_all(&mut self) {
        self.store().flush_step().unwrap();
        self.store().copy_to_compact(&[TOPIC.into()], &|| true).unwrap();
        for (topic, queue) in self.store().compacted_queues() {
            while self.store().compact_queue(&topic, queue, self.rules(), &|| true).unwrap().is_some() {}
        }
    }

    /// What retention does.
    pub fn remove_old_files(&mut self) {
        let Some(wanted) = self.store().log_segments().last().map(|last| last.begin) else { return };
        let Ok(to) = self.store().removable_to(wanted) else { return };
        let to = self.store().uncompacted_from(&[TOPIC.into()]).map_or(to, |held| held.min(to));
        while let Ok(Some(_)) = self.store().remove_oldest(to) {}
        let _ = self.store().trim();
    }

    pub fn delete_topic(&mut self) {
        let deleted = self.store().delete_topic(TOPIC);
        // What is left of it, if that failed amid, is anything.
        self.newest.clear();
        self.seen.clear();
        if deleted.and_then(|()| self.store().checkpoint_step()).is_err() {
            assert!(self.is_hurt(), "seed {}", self.seed);
            self.power_cut();
            self.newest.clear();
            self.seen.clear();
            let again = self.store().delete_topic(TOPIC).and_then(|()| self.store().checkpoint_step());
            assert!(again.is_ok(), "seed {}: {again:?}", self.seed);
        }
        assert!(self.store().compacted_queues().is_empty(), "seed {}", self.seed);
    }

    /// Reads all: of each key the newest message is there, or a newer one; none has changed; and all are in order.
    pub fn check(&mut self) {
        let seed = self.seed;
        for queue in 0..QUEUES {
            let messages = self.read(queue);
            let mut last: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
            for (offset, number) in &messages {
                let before = self.seen.insert((queue, *offset), *number);
                assert!(before.is_none_or(|before| before == *number), "seed {seed}: {queue} {offset} has changed");
                last.insert(&self.sent[*number as usize].0.1, (*offset, *number));
            }
            for ((_, key), (offset, number)) in self.newest.iter().filter(|(key, _)| key.0 == queue) {
                let found = last.get(&**key);
                let may_be_gone = !self.sent[*number as usize].1;
                let is_right = found.map_or(may_be_gone, |(at, found)| at > offset || found == number && at == offset);
                let what = format!("newest of {key} in {queue} is {number} at {offset}, not {found:?}");
                assert!(is_right, "seed {seed}: {what} of {messages:?}");
            }
        }
    }

    /// The messages of a queue: offset and number.
    pub fn read(&self, queue: i32) -> Vec<(i64, u64)> {
        let (seed, mut offset, mut messages) = (self.seed, 0, Vec::new());
        loop {
            let read = self.store().read(TOPIC, queue, offset, ALL, &mut |_: i64| true);
            match read.status {
                ReadStatus::Found => {}
                ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue if messages.is_empty() => {
                    return messages;
                }
                ReadStatus::OffsetTooSmall if offset == 0 => {}
                ReadStatus::NoMatchedMessage => assert!(read.next_offset > offset, "seed {seed}: {read:?}"),
                ReadStatus::OffsetOverflowOne => return messages,
                _ => panic!("seed {seed}: queue {queue} at {offset}: {read:?}"),
            }
            for record in read.slices.iter().flat_map(|slice| record::iter(slice)) {
                let record = record.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                let number = record.flag as u64;
                let is_meant = record.queue_id == queue && record.queue_offset >= offset && record.body_is_intact();
                assert!(is_meant, "seed {seed}: {record:?}");
                let ordered = messages.last().is_none_or(|(last, _)| *last < record.queue_offset);
                assert!(ordered, "seed {seed}: {queue} is out of order at {}", record.queue_offset);
                messages.push((record.queue_offset, number));
            }
            offset = read.next_offset;
        }
    }
}
