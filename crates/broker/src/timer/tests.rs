use std::collections::BTreeMap;
use std::io::IoSlice;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::SimDisk;
use apogee_message::names::property;
use apogee_message::properties;
use apogee_message::record::NewMessage;
use apogee_store::StoreOptions;
use bytes::Bytes;

use super::mortal::Mortal;
use super::*;

const NOW: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

struct Broker {
    store: Store,
    timer: Timer,
    clock: Arc<ManualClock>,
}

impl Broker {
    fn try_open(disk: Arc<dyn Disk>, clock: &Arc<ManualClock>, sync_flush: bool) -> Option<Self> {
        let options = StoreOptions { log_file_size: 1 << 16, index: false, sync_flush, ..Default::default() };
        let store = Store::open(Arc::clone(&disk), clock.clone(), PathBuf::from("/s"), options).ok()?;
        let timer = Timer::open(disk, Path::new("/s"), &store, true).ok()?;
        Some(Self { store, timer, clock: Arc::clone(clock) })
    }

    fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> Self {
        Self::try_open(Arc::new(disk.clone()), clock, true).expect("opened")
    }

    fn new() -> (SimDisk, Self) {
        let disk = SimDisk::new(1);
        let broker = Self::open(&disk, &Arc::new(ManualClock::new(NOW)));
        (disk, broker)
    }

    /// Ends by force, and starts again.
    fn restart(self, disk: &SimDisk) -> Self {
        let clock = Arc::clone(&self.clock);
        drop(self);
        disk.kill_process();
        Self::open(disk, &clock)
    }

    fn put(&self, time: i64, body: &str, more: &[(&str, &str)]) -> bool {
        self.store.append_now([wheel(time, body, more)]).is_ok()
    }

    /// Puts the clock to a time and does all there is to do.
    fn at(&self, time: i64) -> Duration {
        self.clock.set(time);
        loop {
            let sleep = self.timer.step(&self.store, time);
            self.timer.save_step(&self.store, time);
            if sleep > Duration::ZERO {
                return sleep;
            }
        }
    }

    /// How many messages for the topic `T` are counted as waiting.
    fn waiting(&self) -> i64 {
        self.timer.lock().counts.metrics().timing_count.get("T").map_or(0, |metric| metric.count)
    }

    fn delivered(&self) -> Vec<String> {
        let max = self.store.queue_range("T", 3).map_or(0, |(_, max)| max);
        let body = |offset| {
            let bytes = self.store.record_at(self.store.unit("T", 3, offset).unwrap().physical_offset).unwrap();
            String::from_utf8_lossy(Record::read(&bytes).unwrap().body).into_owned()
        };
        (0..max).map(body).collect()
    }
}

fn wheel(time: i64, body: &str, more: &[(&str, &str)]) -> Draft {
    draft(names::WHEEL_TOPIC, 0, time, body, more)
}

fn draft(topic: &str, queue_id: i32, time: i64, body: &str, more: &[(&str, &str)]) -> Draft {
    let mut text = Vec::new();
    let time = time.to_string();
    let given = [(property::TIMER_OUT_MS, &*time), (property::REAL_TOPIC, "T"), (property::REAL_QUEUE_ID, "3")];
    let own = given.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    own.chain(more.iter().copied()).for_each(|(name, value)| properties::push(&mut text, name, value));
    let message = NewMessage {
        queue_id,
        flag: 7,
        reconsume_times: 2,
        properties: text.into(),
        ..NewMessage::own(topic, Bytes::copy_from_slice(body.as_bytes()), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

#[test]
fn messages_are_delivered_at_their_millisecond_in_order_of_their_times() {
    let (_, broker) = Broker::new();
    assert_eq!(broker.at(NOW), LONGEST_SLEEP);
    broker.put(NOW + 500, "third", &[("KEYS", "k")]);
    broker.put(NOW + 499, "first", &[]);
    broker.put(NOW + 499, "second", &[]);
    assert_eq!(broker.at(NOW + 498), Duration::from_millis(1));
    assert_eq!(broker.delivered(), [""; 0]);
    broker.at(NOW + 499);
    assert_eq!(broker.delivered(), ["first", "second"]);
    broker.at(NOW + 500);
    assert_eq!(broker.delivered(), ["first", "second", "third"]);
    let bytes = broker.store.record_at(broker.store.unit("T", 3, 2).unwrap().physical_offset).unwrap();
    let record = Record::read(&bytes).unwrap();
    assert_eq!((record.flag, record.reconsume_times), (7, 2));
    let expected = format!("TIMER_OUT_MS\u{1}{}\u{2}KEYS\u{1}k\u{2}", NOW + 500);
    assert_eq!(String::from_utf8_lossy(record.sent_properties()), expected);
}

#[test]
fn a_clock_that_steps_repeats_nothing_and_loses_nothing() {
    let (disk, broker) = Broker::new();
    (0..10).for_each(|hour| assert!(broker.put(NOW + hour * DAY / 24, &hour.to_string(), &[])));
    broker.at(NOW + 3 * DAY / 24);
    assert_eq!((broker.delivered().len(), broker.waiting()), (4, 6));
    assert_eq!(broker.at(NOW + 2 * DAY / 24), LONGEST_SLEEP);
    let broker = broker.restart(&disk);
    assert_eq!(broker.waiting(), 6);
    broker.at(NOW);
    broker.put(NOW + 1, "again", &[]);
    assert_eq!(broker.delivered().len(), 4);
    broker.at(NOW + 9 * DAY / 24);
    assert_eq!(broker.delivered(), ["0", "1", "2", "3", "again", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn a_recalled_message_is_not_delivered() {
    let (_, broker) = Broker::new();
    let key = |key| (property::UNIQ_KEY, key);
    let delete = |key| (property::TIMER_DEL_UNIQKEY, key);
    for (body, key) in [("a", key("ka")), ("b", key("kb")), ("c", key("kc")), ("d", key("kd"))] {
        broker.put(NOW + 50, body, &[key]);
    }
    broker.put(NOW + 51, "other time", &[key("ka")]);
    broker.put(NOW + 50, "0", &[delete("ka")]);
    broker.put(NOW + 50, "0", &[delete("T_kb")]);
    // Of another topic; of another time.
    broker.put(NOW + 50, "0", &[delete("kc"), (property::REAL_TOPIC, "U")]);
    broker.put(NOW + 49, "0", &[delete("kd")]);
    broker.at(NOW + 100);
    assert_eq!(broker.delivered(), ["c", "d", "other time"]);
    assert_eq!(broker.waiting(), 0, "those that were recalled wait no more");
}

#[test]
fn a_time_that_is_far_away_is_reached_though_the_log_moves_on() {
    let (disk, mut broker) = Broker::new();
    let far = NOW + 9 * DAY;
    broker.put(far, "far", &[(property::UNIQ_KEY, "k1")]);
    broker.put(far, "recalled", &[(property::UNIQ_KEY, "k2")]);
    for day in 1..9 {
        if day == 4 {
            broker.put(far, "0", &[(property::TIMER_DEL_UNIQKEY, "k2")]);
        }
        broker.at(NOW + day * DAY);
        broker = broker.restart(&disk);
        // Never further back than the log is kept.
        let (min, max) = broker.store.queue_range(names::WHEEL_TOPIC, 0).unwrap();
        let written = (min..max).filter_map(|offset| broker.store.store_time(names::WHEEL_TOPIC, 0, offset)).max();
        assert!(written.unwrap() > broker.clock.now_ms() - 3 * DAY);
    }
    let (_, max) = broker.store.queue_range(names::WHEEL_TOPIC, 0).unwrap();
    assert!((8..=15).contains(&max), "{max} records");
    broker.at(far - 1);
    assert_eq!(broker.delivered(), [""; 0]);
    assert_eq!(broker.waiting(), 2, "however often they were written again");
    broker.at(far);
    assert_eq!(broker.delivered(), ["far"]);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn without_its_files_the_timer_reads_from_the_log_what_was_delivered() {
    for damage in [
        |disk: &SimDisk| disk.remove_folder(Path::new("/s/timer")).unwrap(),
        |disk: &SimDisk| {
            let state = disk.open(Path::new("/s/timer/state"), false).unwrap();
            state.write_at(&mut [IoSlice::new(b"x")], 20).unwrap();
        },
    ] {
        let (disk, broker) = Broker::new();
        (0..20).for_each(|at| assert!(broker.put(NOW + at, &at.to_string(), &[])));
        broker.at(NOW + 9);
        broker.timer.save(&broker.store).unwrap();
        damage(&disk);
        let broker = broker.restart(&disk);
        broker.at(NOW + 100);
        let expected: Vec<_> = (0..20).map(|at: i32| at.to_string()).collect();
        assert_eq!(broker.delivered(), expected);
        assert_eq!(broker.waiting(), 0);
    }
}

#[test]
fn a_damaged_run_is_made_anew_while_running() {
    let (disk, broker) = Broker::new();
    let count = TABLE as i64 + 100;
    let mut drafts = (0..count).map(|at| wheel(NOW + at, &at.to_string(), &[])).peekable();
    while drafts.peek().is_some() {
        broker.store.append_now(drafts.by_ref().take(1000)).unwrap();
    }
    broker.at(NOW - 1);
    let run = disk.list(Path::new("/s/timer")).unwrap().into_iter().find(|name| name.starts_with("run-")).unwrap();
    let file = disk.open(&Path::new("/s/timer").join(run), false).unwrap();
    file.write_at(&mut [IoSlice::new(b"x")], 3 * 4096).unwrap();
    broker.at(NOW + count);
    broker.at(NOW + count);
    let expected: Vec<_> = (0..count).map(|at| at.to_string()).collect();
    assert!(broker.delivered() == expected);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn the_timers_of_apaches_broker_are_taken_over() {
    let (disk, broker) = Broker::new();
    let second = NOW / 1000 * 1000;
    broker.put(second - 5000, "delivered", &[]);
    broker.put(second + 1000, "waits", &[]);
    broker.put(second - 3000, "not taken in", &[]);
    // As Apache's broker notes it: times before `second - 2000` are done, of the first two units.
    let mut check = Vec::new();
    [second - 2000, 0, 2].iter().for_each(|field: &i64| check.extend(field.to_be_bytes()));
    disk.create_folder(Path::new("/s/config")).unwrap();
    let file = disk.open(Path::new("/s/config/timercheck"), true).unwrap();
    file.write_at(&mut [IoSlice::new(&check)], 0).unwrap();
    let broker = broker.restart(&disk);
    broker.at(second + 1999);
    assert_eq!(broker.delivered(), ["not taken in"]);
    broker.put(second + 2000, "ours", &[]);
    broker.at(second + 2000);
    assert_eq!(broker.delivered(), ["not taken in", "waits", "ours"]);
    let broker = broker.restart(&disk);
    broker.at(second + 9000);
    assert_eq!((broker.delivered().len(), broker.waiting()), (3, 0));
}

/// Apache's broker notes seconds later what it has delivered: by then it may be killed, and its slave knows less still. The
/// properties are those that one wrote.
#[test]
fn what_apaches_broker_delivered_behind_its_note_is_not_delivered_again() {
    let (disk, broker) = Broker::new();
    let second = NOW / 1000 * 1000;
    let keyed = |body: &str, key: &str| assert!(broker.put(second + 1000, body, &[(property::UNIQ_KEY, key)]));
    keyed("delivered", "K1");
    keyed("put behind for now", "K2");
    keyed("waits", "K3");
    let theirs = |body: &str, topic: &str, key: &str, out_ms: i64| {
        let more = [
            (property::UNIQ_KEY, key),
            ("TIMER_ENQUEUE_MS", "1795343776000"),
            (property::TIMER_DELAY_MS, "1500"),
            ("TIMER_DEQUEUE_MS", "1795343779057"),
        ];
        let queue_id = if topic == "T" { 3 } else { 0 };
        broker.store.append_now([draft(topic, queue_id, out_ms, body, &more)]).unwrap();
    };
    theirs("delivered", "T", "K1", second + 1000);
    theirs("put behind for now", names::WHEEL_TOPIC, "K2", second + 1000);
    // The same key at another time is another message.
    theirs("another", "T", "K3", second);
    let mut check = Vec::new();
    [second, 0, 1].iter().for_each(|field: &i64| check.extend(field.to_be_bytes()));
    disk.create_folder(Path::new("/s/config")).unwrap();
    let file = disk.open(Path::new("/s/config/timercheck"), true).unwrap();
    file.write_at(&mut [IoSlice::new(&check)], 0).unwrap();
    let broker = broker.restart(&disk);
    broker.at(second + 9000);
    assert_eq!(broker.delivered(), ["delivered", "another", "waits", "put behind for now"]);
    assert_eq!(broker.waiting(), 0);
}

/// Life after life, each ended by a power cut at some disk operation: in the end every message that
/// was answered has been delivered once, and no other more than once. With asynchronous flush an answer
/// is no promise; but what the log still has is delivered once.
#[test]
fn a_power_cut_at_any_moment_neither_loses_nor_repeats_a_message() {
    for seed in 1..=40u64 {
        let sim = SimDisk::new(seed);
        let clock = Arc::new(ManualClock::new(NOW));
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % bound) as i64
        };
        let (mut number, mut answered) = (0, BTreeMap::new());
        for _ in 0..6 {
            let disk = Arc::new(Mortal::new(&sim, below(150)));
            if let Some(broker) = Broker::try_open(disk, &clock, seed % 2 == 0) {
                let mut saving = None;
                // Not for ever: without power a queue cannot be opened, which does not end the store.
                for _ in 0..200 {
                    if broker.store.failure().is_some() {
                        break;
                    }
                    for _ in 0..below(4) {
                        number += 1;
                        let time = clock.now_ms() + below(3000) - 100;
                        answered.insert(number.to_string(), broker.put(time, &number.to_string(), &[]));
                    }
                    clock.advance(below(1500));
                    broker.timer.step(&broker.store, clock.now_ms());
                    // The state is written while the timer goes on, sometimes long after it was taken.
                    match saving.take() {
                        Some(begun) if below(2) == 0 => drop(broker.timer.finish_saving(&broker.store, begun)),
                        None => saving = broker.timer.begin_saving(&broker.store, clock.now_ms()),
                        begun => saving = begun,
                    }
                    match below(8) {
                        0 => drop(broker.store.queues_step()),
                        1 => drop(broker.store.checkpoint_step()),
                        _ => {}
                    }
                }
            }
            // Ends what is left of this life.
            sim.crash();
        }
        let broker = Broker::open(&sim, &clock);
        broker.at(clock.now_ms() + 10_000);
        let mut delivered = broker.delivered();
        delivered.sort();
        assert!(delivered.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: {delivered:?}");
        let records = broker.store.records(0);
        let waited = records.filter_map(|bytes| {
            let record = Record::read(&bytes).ok().filter(|record| record.topic == names::WHEEL_TOPIC)?;
            // The log's checksums don't cover properties: what was not flushed can lack its end.
            if record.properties.contains(&0) {
                return None;
            }
            Some(String::from_utf8_lossy(record.body).into_owned())
        });
        let promised = answered.into_iter().filter(|(_, answered)| *answered && seed % 2 == 0).map(|(body, _)| body);
        let lost: Vec<_> = waited.chain(promised).filter(|body| !delivered.contains(body)).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} lost");
        assert_eq!(broker.waiting(), 0, "seed {seed}");
    }
}

#[test]
fn what_a_slave_delivered_comes_no_more() {
    for restarts in [false, true] {
        let (disk, broker) = Broker::new();
        for (time, body) in [(10, "one"), (20, "two"), (30, "three")] {
            broker.put(NOW + time, body, &[]);
        }
        broker.at(NOW);
        let place = broker.store.unit(names::WHEEL_TOPIC, 0, 1).unwrap().physical_offset;
        broker.timer.settle_elsewhere(&broker.store, &[place, 12_345]).unwrap();
        assert_eq!(broker.waiting(), 2);
        broker.clock.set(NOW + 5_000);
        broker.timer.save(&broker.store).unwrap();
        let broker = if restarts { broker.restart(&disk) } else { broker };
        broker.at(NOW + 5_000);
        assert_eq!(broker.delivered(), ["one", "three"], "restarts: {restarts}");
    }
}

#[test]
fn what_is_delivered_elsewhere_waits_until_that_is_said() {
    let (disk, broker) = Broker::new();
    for (time, body) in [(10, "one"), (20, "two"), (20, "recalled"), (30, "three"), (10 * DAY, "far")] {
        broker.put(NOW + time, body, &[(property::UNIQ_KEY, body)]);
    }
    broker.put(NOW + 20, "", &[(property::TIMER_DEL_UNIQKEY, "recalled")]);
    broker.at(NOW);
    let take = |now| {
        let known = broker.store.unit(names::WHEEL_TOPIC, 0, 0).unwrap().physical_offset;
        broker.timer.take_due(&broker.store, now, 10, |offset| offset == known).unwrap()
    };
    let due = take(NOW + 20);
    assert_eq!(due.iter().map(|due| &due.message.body[..]).collect::<Vec<_>>(), [b"two"], "one is known");
    assert_eq!((&*due[0].message.topic, due[0].message.queue_id, due[0].stored_ms), ("T", 3, NOW));
    assert!(take(NOW + 20).is_empty(), "it is taken once");
    assert!(broker.timer.taken(&broker.store, due[0].offset).is_some());
    let three = take(NOW + 3 * DAY);
    assert_eq!(three.len(), 1, "one that is to be written again is left to the master");
    broker.timer.delivered_elsewhere([three[0].offset]);
    assert!(broker.timer.taken(&broker.store, three[0].offset).is_none());
    // What was taken, and not delivered, is in what is saved.
    broker.timer.save(&broker.store).unwrap();
    let broker = broker.restart(&disk);
    broker.at(NOW + 40);
    assert_eq!(broker.delivered(), ["two"]);
}

#[test]
fn what_nobody_took_waits_again() {
    let (_, broker) = Broker::new();
    broker.put(NOW + 10, "one", &[]);
    broker.at(NOW);
    assert_eq!(broker.timer.take_due(&broker.store, NOW + 10, 10, |_| false).unwrap().len(), 1);
    broker.timer.put_back();
    broker.at(NOW + 10);
    assert_eq!(broker.delivered(), ["one"]);
}
