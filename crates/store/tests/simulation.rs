//! The whole store on a simulated disk, over many seeds: appends, background steps, crashes and
//! failures in random order, against a model that knows what was promised.
//!
//! A failing seed is printed; `STORE_SEED=<n>` runs it alone, `STORE_SEEDS=<n>` sets how many run.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_store::{Append, AppendDone, AppendError, Appended, ReadLimits, ReadStatus, Store, StoreOptions};
use bytes::{Bytes, BytesMut};

const ALL: ReadLimits = ReadLimits { messages: 32, bytes: 1 << 20, cold_messages: 32, cold_bytes: 1 << 20 };
const START: i64 = 1_700_000_000_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// What was answered.
#[derive(Default)]
struct Answers(Mutex<Vec<(u64, Result<Appended, AppendError>)>>);

impl AppendDone for Answers {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        self.0.lock().unwrap().push((token, result.clone()));
    }
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    options: StoreOptions,
    store: Option<Store>,
    answers: Arc<Answers>,
    /// Messages sent: number, topic, queue.
    sent: Vec<(String, i32)>,
    /// What was promised durable: by queue, offset to number of the message.
    promised: BTreeMap<(String, i32), BTreeMap<i64, u64>>,
    /// What a consumer saw.
    seen: BTreeMap<(String, i32), Vec<u64>>,
    /// Messages for which there was no room, or no time.
    refused: BTreeSet<u64>,
    /// Messages sent before their topic was deleted.
    deleted: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64, sync_flush: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let options = StoreOptions {
            log_file_size: 2048 + random.below(4096),
            queue_file_size: 20 * (1 + random.below(20)),
            index_slots: 16,
            index_entries: 64,
            sync_flush,
            ..StoreOptions::default()
        };
        let disk = SimDisk::new(seed);
        let clock = Arc::new(ManualClock::new(START));
        let mut world = Self {
            seed,
            random,
            disk,
            clock,
            options,
            store: None,
            answers: Arc::default(),
            sent: Vec::new(),
            promised: BTreeMap::new(),
            seen: BTreeMap::new(),
            refused: BTreeSet::new(),
            deleted: BTreeSet::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let root = PathBuf::from("/store");
        let opened = Store::open(Arc::new(self.disk.clone()), self.clock.clone(), root, self.options.clone());
        self.store = Some(opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed)));
        self.answers = Arc::default();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn draft(&mut self) -> (Draft, u64) {
        let number = self.sent.len() as u64;
        let topic = format!("T{}", self.random.below(3));
        let queue = self.random.below(2) as i32;
        self.sent.push((topic.clone(), queue));
        let message = NewMessage {
            topic: topic.into(),
            queue_id: queue,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            // Few sizes, so that the remains of one write often fit behind another.
            body: body(number, self.random.below(3) as usize * 100),
            properties: format!("KEYS\u{1}k{number}\u{2}").into(),
        };
        (Draft::new(&message, &mut BytesMut::new()).unwrap(), number)
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(5);
        let drafts: Vec<_> = (0..count).map(|_| self.draft()).collect();
        let done = self.answers.clone();
        let entries = drafts.into_iter().map(|(draft, token)| Append { draft, done: done.clone(), token });
        self.store().append(entries.collect::<Vec<_>>());
    }

    fn note_answers(&mut self) {
        for (number, result) in std::mem::take(&mut *self.answers.0.lock().unwrap()) {
            if matches!(result, Err(AppendError::DiskFull | AppendError::Slow { .. })) {
                self.refused.insert(number);
            }
            let Ok(appended) = result else { continue };
            if self.deleted.contains(&number) {
                continue;
            }
            let (topic, queue) = self.sent[number as usize].clone();
            assert_eq!(queue, appended.queue_id);
            let before = self.promised.entry((topic, queue)).or_default().insert(appended.queue_offset, number);
            assert_eq!(before, None, "seed {}: an offset was given twice", self.seed);
        }
    }

    /// Reads all queues to their ends: offsets without holes, every message whole and where it was
    /// promised to be, and nothing seen before has changed.
    fn consume(&mut self) {
        for topic in ["T0", "T1", "T2"] {
            for queue in 0..2 {
                let numbers = self.read(topic, queue);
                let key = (topic.to_owned(), queue);
                let refused = numbers.iter().find(|number| self.refused.contains(number));
                assert_eq!(refused, None, "seed {}: a message that was refused is in {key:?}", self.seed);
                let seen = self.seen.entry(key.clone()).or_default();
                assert!(numbers.starts_with(seen), "seed {}: what was seen in {key:?} has changed", self.seed);
                *seen = numbers;
                let seen = &self.seen[&key];
                for (offset, number) in self.promised.get(&key).into_iter().flatten() {
                    assert_eq!(seen.get(*offset as usize), Some(number), "seed {}: {key:?} lost {offset}", self.seed);
                }
            }
        }
    }

    fn read(&self, topic: &str, queue: i32) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let read = self.store().read(topic, queue, numbers.len() as i64, ALL, &mut |_: i64| true);
            if read.status != ReadStatus::Found {
                assert_eq!(numbers.len() as i64, read.max_offset, "seed {}: {read:?}", self.seed);
                return numbers;
            }
            for slice in &read.slices {
                for record in apogee_message::record::iter(slice) {
                    let record = record.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
                    assert!(record.body_is_intact());
                    assert_eq!((record.topic, record.queue_id), (topic, queue));
                    assert_eq!(record.queue_offset, numbers.len() as i64);
                    numbers.push(u64::from_be_bytes(record.body[..8].try_into().unwrap()));
                }
            }
        }
    }

    fn step(&mut self) {
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
    fn delete_topic(&mut self) {
        let topic = format!("T{}", self.random.below(3));
        self.store().delete_topic(&topic).unwrap();
        self.note_answers();
        self.promised.retain(|(name, _), _| *name != topic);
        self.seen.retain(|(name, _), _| *name != topic);
        self.deleted.extend((0..self.sent.len() as u64).filter(|number| self.sent[*number as usize].0 == topic));
        self.store().checkpoint_step().unwrap();
    }

    fn restart(&mut self) {
        self.store().close().unwrap();
        self.note_answers();
        self.store = None;
        self.open();
    }

    fn kill(&mut self) {
        self.note_answers();
        self.disk.kill_process();
        self.store = None;
        self.open();
    }

    fn power_cut(&mut self) {
        self.note_answers();
        self.disk.crash();
        self.store = None;
        self.open();
    }
}

fn body(number: u64, padding: usize) -> Bytes {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(8 + padding, b'x');
    body.into()
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("STORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SEEDS").unwrap_or(100),
    }
}

#[test]
fn what_was_promised_survives_power_cuts() {
    for seed in seeds() {
        let mut world = World::new(seed, true);
        for _ in 0..150 {
            world.step();
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
    }
}

#[test]
fn what_was_written_survives_the_process() {
    for seed in seeds() {
        let mut world = World::new(seed, false);
        for _ in 0..150 {
            if world.random.below(40) == 0 {
                world.kill();
            } else if world.random.below(40) == 0 {
                world.restart();
            } else {
                match world.random.below(100) {
                    0..60 => world.append(),
                    60..75 => drop(world.store().flush_step()),
                    75..85 => drop(world.store().queues_step()),
                    85..90 => drop(world.store().index_step()),
                    _ => drop(world.store().checkpoint_step()),
                }
            }
            world.note_answers();
            world.consume();
        }
    }
}

#[test]
fn every_promised_message_is_found_by_its_key() {
    for seed in seeds().take(50) {
        let mut world = World::new(seed, true);
        for _ in 0..100 {
            world.step();
            world.note_answers();
        }
        world.power_cut();
        for ((topic, _), offsets) in &world.promised {
            for number in offsets.values() {
                let found = world.store().query(topic, &format!("k{number}"), None, 8, 0, i64::MAX).unwrap();
                assert_eq!(found.records.len(), 1, "seed {seed}: message {number} in {topic}");
                let record = Record::read(&found.records[0]).unwrap();
                assert_eq!(record.body[..8], number.to_be_bytes());
            }
        }
    }
}

#[test]
fn after_a_failed_flush_nothing_is_promised() {
    for seed in seeds().take(50) {
        let mut world = World::new(seed, true);
        for _ in 0..20 {
            world.append();
        }
        world.store().flush_step().unwrap();
        world.note_answers();
        world.append();
        world.disk.fail_syncs(true);
        assert!(matches!(world.store().flush_step(), Err(AppendError::Failed(_))));
        world.disk.fail_syncs(false);
        // The disk is well again, but nobody knows what it lost: nothing more is promised.
        world.append();
        assert!(world.store().flush_step().is_err());
        let answers = std::mem::take(&mut *world.answers.0.lock().unwrap());
        assert!(!answers.is_empty() && answers.iter().all(|(_, answer)| answer.is_err()), "seed {seed}");
        assert!(world.store().failure().unwrap().contains("cannot flush the commit log"));
        world.consume();
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_failed_checkpoint_is_not_followed_by_one_that_hides_it() {
    for seed in seeds() {
        let mut world = World::new(seed, true);
        // The index would fail before the queues do.
        world.options.index = false;
        world.restart();
        for _ in 0..20 {
            world.append();
        }
        world.store().flush_step().unwrap();
        world.note_answers();
        if world.random.below(2) == 0 {
            world.store().queues_step().unwrap();
        }
        world.disk.fail_syncs(true);
        assert!(world.store().checkpoint_step().is_err(), "seed {seed}");
        world.disk.fail_syncs(false);
        assert!(world.store().failure().is_some(), "seed {seed}");
        let _ = world.store().checkpoint_step();
        let _ = world.store().close();
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_topic_that_is_deleted_and_made_again_begins_anew_whatever_happens() {
    for seed in seeds() {
        let mut world = World::new(seed, true);
        for _ in 0..150 {
            if world.random.below(15) == 0 {
                world.delete_topic();
            } else {
                world.step();
            }
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    for seed in seeds() {
        let mut world = World::new(seed, true);
        world.append();
        world.store().flush_step().unwrap();
        world.note_answers();
        let room = world.random.below(3000);
        world.disk.set_room(Some(room));
        for _ in 0..20 {
            world.append();
        }
        let _ = world.store().flush_step();
        world.note_answers();
        assert!(!world.refused.is_empty(), "seed {seed}");
        assert_eq!(world.store().failure(), None, "seed {seed}");
        world.consume();
        world.disk.set_room(None);
        for _ in 0..world.random.below(3) {
            world.append();
        }
        if world.random.below(3) > 0 {
            world.store().flush_step().unwrap();
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
        world.append();
        world.store().flush_step().unwrap();
        world.note_answers();
        world.consume();
    }
}
