//! Slaves that become masters, by seeds: what was to be delivered is delivered, and once, wherever the copying, the
//! master and the slave's saving were interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::SimDisk;
use apogee_base::rng::Rng;
use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::{Draft, NewMessage, Record};
use bytes::{Bytes, BytesMut};

use super::running::Arrivals;
use super::*;
use crate::replication::{Follows, Placement, Role};
use crate::slave;
use crate::transactions::HalfRecord;

const NOW: i64 = 1_700_000_000_000;
const MEMORY: u64 = 1 << 30;
/// Queue of the topic that everything is for.
const TARGET: (&str, i32) = ("T", 3);

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, placement: Placement) -> Arc<Broker> {
    let settings = BrokerSettings {
        broker_ip1: "127.0.0.1".into(),
        store_path_root_dir: "/store".into(),
        mapped_file_size_commit_log: 1 << 16,
        message_index_enable: false,
        message_delay_level: "1s 5s 10s".into(),
        ..BrokerSettings::default()
    };
    let broker =
        Broker::open(settings, placement, clock.clone(), Arc::new(disk.clone()), MEMORY, 10911, 10912).unwrap();
    broker.store.listen(Arc::new(Arrivals { broker: broker.weak() }));
    broker
}

fn master(disk: &SimDisk, clock: &Arc<ManualClock>) -> Arc<Broker> {
    open(disk, clock, Placement::default())
}

fn slave(disk: &SimDisk, clock: &Arc<ManualClock>, cut_at: Option<i64>) -> Arc<Broker> {
    let role = Role::Slave(Follows { broker_id: 1, master: None });
    open(disk, clock, Placement { role, cut_at, events: None })
}

fn draft(topic: &str, queue_id: i32, body: u64, sys_flag: i32, more: &[(&str, &str)]) -> Draft {
    let mut text = Vec::new();
    let queue = TARGET.1.to_string();
    let own = [(property::REAL_TOPIC, TARGET.0), (property::REAL_QUEUE_ID, &*queue)];
    own.into_iter().chain(more.iter().copied()).for_each(|(name, value)| properties::push(&mut text, name, value));
    let message = NewMessage {
        queue_id,
        sys_flag,
        properties: text.into(),
        ..NewMessage::own(topic, Bytes::from(body.to_string()), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

/// What is in the log of a broker, by the number in its body.
#[derive(Debug, Default)]
struct Seen {
    /// Waits for its time, or did.
    waits: BTreeSet<u64>,
    /// Half messages, with where they and their copies are in their queue.
    halves: BTreeMap<u64, BTreeSet<i64>>,
    /// How often it is in the target's queue.
    delivered: BTreeMap<u64, u32>,
}

fn seen(broker: &Broker) -> Seen {
    let mut seen = Seen::default();
    for bytes in broker.store.records(broker.store.log_min_offset()) {
        let record = Record::read(&bytes).unwrap();
        let Ok(number) = String::from_utf8_lossy(record.body).parse() else { continue };
        match record.topic {
            names::SCHEDULE_TOPIC | names::WHEEL_TOPIC => drop(seen.waits.insert(number)),
            names::TRANS_HALF_TOPIC => drop(seen.halves.entry(number).or_default().insert(record.queue_offset)),
            topic if topic == TARGET.0 => *seen.delivered.entry(number).or_default() += 1,
            _ => {}
        }
    }
    seen
}

struct World {
    rng: Rng,
    clock: Arc<ManualClock>,
    masters_disk: SimDisk,
    slaves_disk: SimDisk,
    master: Arc<Broker>,
    slave: Option<Arc<Broker>>,
    /// What the slave was told and has not taken over yet.
    told: Option<slave::Told>,
    number: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (clock, masters_disk) = (Arc::new(ManualClock::new(NOW)), SimDisk::new(seed));
        let slaves_disk = SimDisk::new(seed + 1);
        let (master, slave) = (master(&masters_disk, &clock), Some(slave(&slaves_disk, &clock, None)));
        Self { rng: Rng::new(seed), clock, masters_disk, slaves_disk, master, slave, told: None, number: 0 }
    }

    fn slave(&self) -> Arc<Broker> {
        Arc::clone(self.slave.as_ref().expect("a slave"))
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..25 => self.store(),
            25..45 => self.pass_time(),
            45..55 => self.decide(),
            55..75 => self.copy(),
            75..82 => self.told = Some(slave::Told::now(&self.master)),
            82..88 => self.take_over(),
            88..91 => self.slave().timer.save_step(&self.slave().store, self.clock.now_ms()),
            91..94 => self.save_master(),
            94..97 => self.restart_slave(),
            97..98 => self.kill_master(),
            _ => drop(self.slave().offsets.save(self.clock.now_ms())),
        }
    }

    /// A message that waits for its time, or for a decision.
    fn store(&mut self) {
        self.number += 1;
        let draft = match self.rng.below(3) {
            0 => {
                let level = self.rng.within(1..4);
                draft(names::SCHEDULE_TOPIC, level as i32 - 1, self.number, 0, &[(property::DELAY, &level.to_string())])
            }
            1 => {
                let time = self.clock.now_ms() + self.rng.below(20_000) as i64;
                draft(names::WHEEL_TOPIC, 0, self.number, 0, &[(property::TIMER_OUT_MS, &time.to_string())])
            }
            _ => draft(
                names::TRANS_HALF_TOPIC,
                0,
                self.number,
                0,
                &[(property::PRODUCER_GROUP, "P"), (property::TRANSACTION_PREPARED, "true")],
            ),
        };
        self.master.store.append_now([draft]).unwrap();
    }

    /// The threads of both do their work.
    fn pass_time(&mut self) {
        self.clock.set(self.clock.now_ms() + self.rng.below(4_000) as i64);
        let now = self.clock.now_ms();
        deliver(&self.master, now);
        note(&self.master, now);
        let slave = self.slave();
        while slave.timer.follow(&slave.store, now).is_zero() {}
    }

    /// Somebody ends a transaction.
    fn decide(&mut self) {
        let (undecided, _) = self.master.transactions.undecided_offsets(100);
        if undecided.is_empty() {
            return;
        }
        let offset = *self.rng.pick(&undecided);
        let (store, transactions) = (&self.master.store, &self.master.transactions);
        let place = store.unit(names::TRANS_HALF_TOPIC, 0, offset).unwrap().physical_offset;
        let bytes = store.record_at(place).unwrap();
        let half = HalfRecord::read(&bytes).unwrap();
        if transactions.begin(half.first(), store.log_max_offset()).is_err() {
            return;
        }
        if self.rng.chance(80) {
            let prepared = crate::transactions::settled_by(store, half.first(), &half);
            let message = half.committed(TARGET.0, TARGET.1, prepared, &mut BytesMut::new());
            store.append_now([Draft::new(&message, &mut BytesMut::new()).unwrap()]).unwrap();
        }
        transactions.end(half.first(), true, self.clock.now_ms(), 4096);
    }

    fn copy(&mut self) {
        let slave = self.slave();
        let (from, to) = (&self.master.store, &slave.store);
        for _ in 0..self.rng.below(4) {
            let most = self.rng.within(1..3_000) as usize;
            let Some(bytes) = from.log_slice(to.log_max_offset(), most) else { break };
            to.append_copy(to.log_max_offset(), &bytes).unwrap();
        }
        to.flush_step().unwrap();
    }

    fn take_over(&mut self) {
        if let Some(told) = self.told.take_if(|told| told.is_covered(self.slave.as_ref().expect("a slave"))) {
            told.take_over(&self.slave()).unwrap();
        }
    }

    fn save_master(&self) {
        self.master.save_delays().unwrap();
        self.master.timer.save_step(&self.master.store, self.clock.now_ms());
        self.master.offsets.save(self.clock.now_ms()).unwrap();
    }

    /// By a kill, or a power cut.
    fn restart_slave(&mut self) {
        (self.slave, self.told) = (None, None);
        if self.rng.chance(50) {
            self.slaves_disk.crash()
        } else {
            self.slaves_disk.kill_process()
        };
        self.slave = Some(slave(&self.slaves_disk, &self.clock, None));
    }

    fn kill_master(&mut self) {
        self.masters_disk.kill_process();
        self.master = master(&self.masters_disk, &self.clock);
        self.told = None;
    }

    /// The master is gone for good.
    fn promote(mut self) -> Arc<Broker> {
        if self.rng.chance(30) {
            let slave = self.slave();
            slave.timer.save_step(&slave.store, self.clock.now_ms());
        }
        self.slave = None;
        if self.rng.chance(30) {
            self.slaves_disk.crash()
        } else {
            self.slaves_disk.kill_process()
        };
        if self.rng.chance(30) {
            // Another one was the master for a time, and had less.
            let cut_at = self.somewhere();
            let cut = slave(&self.slaves_disk, &self.clock, Some(cut_at));
            assert_eq!(cut.store.log_max_offset(), cut_at);
            drop(cut);
            self.slaves_disk.kill_process();
        }
        master(&self.slaves_disk, &self.clock)
    }

    /// A place where a record of the slave begins, or its log's end.
    fn somewhere(&mut self) -> i64 {
        let broker = slave(&self.slaves_disk, &self.clock, None);
        let store = &broker.store;
        let begin = |bytes: Bytes| Record::read(&bytes).unwrap().physical_offset;
        let mut places: Vec<_> = store.records(store.log_min_offset()).map(begin).collect();
        places.push(store.confirmed_offset());
        drop(broker);
        self.slaves_disk.kill_process();
        // Mostly not much.
        let last = places.len().saturating_sub(self.rng.within(1..20) as usize);
        places[last]
    }
}

fn deliver(broker: &Broker, now: i64) {
    while broker.schedule.step_telling(&broker.store, now, |_, _| {}).is_zero() {}
    while broker.timer.step(&broker.store, now).is_zero() {}
}

fn note(broker: &Broker, now: i64) {
    broker.transactions.step(&broker.store, &broker.offsets, &broker.producers, &broker.transaction_rules(), now);
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let steps = world.rng.within(20..400);
    for _ in 0..steps {
        world.step();
    }
    let clock = Arc::clone(&world.clock);
    let promoted = world.promote();
    let before = seen(&promoted);
    let (undecided, _) = promoted.transactions.undecided_offsets(usize::MAX);
    let noted = noted(&promoted);
    for (number, places) in &before.halves {
        let is_undecided = places.iter().any(|place| undecided.contains(place));
        // One that was rolled back may be asked about again; one that was committed is delivered.
        let is_right = match before.delivered.contains_key(number) {
            true => !is_undecided,
            false => is_undecided || places.iter().any(|place| noted.contains(place)),
        };
        assert!(is_right, "seed {seed}: half message {number} at {places:?}: undecided {is_undecided}");
    }
    for _ in 0..10 {
        clock.set(clock.now_ms() + 20_000);
        deliver(&promoted, clock.now_ms());
    }
    let after = seen(&promoted);
    for number in &before.waits {
        assert_eq!(after.delivered.get(number), Some(&1), "seed {seed}: message {number} waited for its time");
    }
    assert!(after.delivered.values().all(|times| *times == 1), "seed {seed}: {:?}", after.delivered);
    // What comes now is delivered as ever.
    promoted.store.append_now([draft(names::SCHEDULE_TOPIC, 0, 1_000_000, 0, &[(property::DELAY, "1")])]).unwrap();
    clock.set(clock.now_ms() + 20_000);
    deliver(&promoted, clock.now_ms());
    assert_eq!(seen(&promoted).delivered.get(&1_000_000), Some(&1), "seed {seed}");
}

/// Places of half messages that op messages of the log note as decided.
fn noted(broker: &Broker) -> BTreeSet<i64> {
    let mut noted = BTreeSet::new();
    for bytes in broker.store.records(broker.store.log_min_offset()) {
        let record = Record::read(&bytes).unwrap();
        if record.topic == names::TRANS_OP_HALF_TOPIC {
            noted.extend(String::from_utf8_lossy(record.body).split(',').filter_map(|one| one.parse::<i64>().ok()));
        }
    }
    noted
}

/// `PROMOTION_SEEDS=from..to` runs others.
#[test]
fn who_becomes_master_delivers_what_waited_and_nothing_twice() {
    let seeds = std::env::var("PROMOTION_SEEDS").unwrap_or_else(|_| "0..60".into());
    let (from, to) = seeds.split_once("..").unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        run(seed);
    }
}
