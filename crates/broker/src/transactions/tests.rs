//! Transactions on a simulated disk, with a clock that is set.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::{Disk, SimDisk};
use apogee_message::names::{self, property};
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_message::sysflag;
use apogee_store::{Appended, ArrivalListener, Store, StoreOptions};
use apogee_wire::headers::CheckTransactionStateRequestHeader;
use bytes::{Bytes, BytesMut};

use super::*;
use crate::clients::tests::{Wire, client};
use crate::persist::JsonFile;
use crate::settled::Settled;
use crate::table_file::TableFile;

const NOW: i64 = 1_700_000_000_000;
const HALF: &str = names::TRANS_HALF_TOPIC;

fn rules() -> Rules {
    Rules {
        timeout_ms: 6_000,
        interval_ms: 30_000,
        most_checks: 3,
        op_bytes: 4096,
        op_interval_ms: 3_000,
        broker: "broker-a".into(),
        host: ([127, 0, 0, 1], 10911).into(),
    }
}

struct Desk {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    offsets: OffsetTable,
    settled: Settled,
    transactions: Arc<Transactions>,
    producers: Producers<Wire>,
    wire: Arc<Wire>,
}

/// Tells of half messages as the broker does.
struct Arrivals(Arc<OnceLock<Arc<Transactions>>>, Arc<ManualClock>);

impl ArrivalListener for Arrivals {
    fn arrived(&self, topic: &str, _: i32, offset: i64, _: i64) {
        if let Some(transactions) = self.0.get().filter(|_| topic == HALF) {
            transactions.arrived(offset, self.1.now_ms(), rules().timeout_ms);
        }
    }
}

/// A question to the producer.
#[derive(Debug, PartialEq)]
struct Question {
    place: (i64, i64),
    checks: i64,
}

impl Desk {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        Self::open(disk, Arc::new(ManualClock::new(NOW)))
    }

    fn open(disk: SimDisk, clock: Arc<ManualClock>) -> Self {
        let options = StoreOptions { log_file_size: 1 << 20, index: false, sync_flush: true, ..Default::default() };
        let store = Store::open(Arc::new(disk.clone()), clock.clone(), PathBuf::from("/s"), options).unwrap();
        let file = |name: &str| JsonFile::new(Arc::new(disk.clone()), Path::new("/c").join(name));
        let offsets =
            OffsetTable::open(TableFile::new(Arc::new(disk.clone()), "/c/consumerOffset.json".into()), 1).unwrap();
        let settled = Settled::open(file("settled.json"), &store, true).unwrap();
        let transactions =
            Transactions::open(&store, &offsets, false, |place| settled.contains(place), clock.now_ms()).unwrap();
        settled.mark(FOLLOWER, transactions.settled_from());
        settled.save().unwrap();
        let transactions = Arc::new(transactions);
        let heard = Arc::new(OnceLock::new());
        store.listen(Arc::new(Arrivals(Arc::clone(&heard), clock.clone())));
        assert!(heard.set(Arc::clone(&transactions)).is_ok());
        let (producers, wire) = (Producers::default(), Wire::new(1));
        producers.heartbeat(0, &wire, &client("c"), "P");
        Self { disk, clock, store: Arc::new(store), offsets, settled, transactions, producers, wire }
    }

    /// The process is gone, and with it what was not saved; with `power`, what was not synced too.
    fn crash(self, power: bool) -> Self {
        let Self { disk, clock, store, .. } = self;
        drop(store);
        if power {
            disk.crash();
        }
        Self::open(disk, clock)
    }

    fn save(&self) {
        self.offsets.save(1).unwrap();
        self.settled.mark(FOLLOWER, self.transactions.settled_from());
        self.settled.save().unwrap();
    }

    fn prepare(&self, body: &str, properties: &str) -> Appended {
        let text =
            format!("PGROUP\u{1}P\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}2\u{2}TRAN_MSG\u{1}true\u{2}{properties}");
        self.store.append_now([draft(HALF, body, &text)]).unwrap()[0]
    }

    /// Ends a transaction as the handler does.
    fn end(&self, place: (i64, i64), commits: bool) -> Result<(), Refused> {
        let bytes = self.store.record_at(place.1).unwrap();
        let half = HalfRecord::read(&bytes).unwrap();
        assert_eq!(half.record.queue_offset, place.0);
        self.transactions.begin(half.first(), self.store.log_max_offset())?;
        if commits {
            self.deliver(&half);
        }
        self.transactions.end(half.first(), true, self.clock.now_ms(), 4096);
        Ok(())
    }

    fn deliver(&self, half: &HalfRecord<'_>) {
        let prepared = settled_by(&self.store, half.first(), half);
        let (topic, queue_id) = half.target().unwrap();
        let message = half.committed(topic, queue_id, prepared, &mut BytesMut::new());
        self.store.append_now([Draft::new(&message, &mut BytesMut::new()).unwrap()]).unwrap();
    }

    fn step(&self) -> Duration {
        self.transactions.step(&self.store, &self.offsets, &self.producers, &rules(), self.clock.now_ms())
    }

    /// Steps at a time after the beginning; returns whom it asked about.
    fn at(&self, after_ms: i64) -> Vec<Question> {
        self.clock.set(NOW + after_ms);
        self.step();
        let asked = self.wire.take_sent().into_iter().map(|request| {
            let header: CheckTransactionStateRequestHeader<'_> = request.header().unwrap();
            let record = Record::read(&request.body).unwrap();
            assert_eq!((record.topic, record.queue_id), ("T", 2));
            assert_eq!(record.physical_offset, header.commit_log_offset);
            let checks = record.property(property::TRANSACTION_CHECK_TIMES).unwrap().parse().unwrap();
            Question { place: (header.tran_state_table_offset, header.commit_log_offset), checks }
        });
        asked.collect()
    }

    fn bodies(&self, topic: &str, queue_id: i32) -> Vec<String> {
        let end = self.store.queue_range(topic, queue_id).map_or(0, |(_, max)| max);
        let body = |offset| {
            let bytes =
                self.store.record_at(self.store.unit(topic, queue_id, offset).unwrap().physical_offset).unwrap();
            String::from_utf8(Record::read(&bytes).unwrap().body.to_vec()).unwrap()
        };
        (0..end).map(body).collect()
    }

    fn delivered(&self) -> Vec<String> {
        self.bodies("T", 2)
    }

    fn progress(&self) -> (Option<i64>, Option<i64>) {
        let of = |topic| self.offsets.query(GROUP, topic, 0);
        (of(HALF), of(names::TRANS_OP_HALF_TOPIC))
    }
}

fn draft(topic: &str, body: &str, properties: &str) -> Draft {
    let message = NewMessage {
        flag: 7,
        properties: Bytes::copy_from_slice(properties.as_bytes()),
        ..NewMessage::own(topic, Bytes::copy_from_slice(body.as_bytes()), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

fn place(appended: Appended) -> (i64, i64) {
    (appended.queue_offset, appended.physical_offset)
}

#[test]
fn a_commit_delivers_once_and_a_rollback_nothing() {
    let desk = Desk::new();
    let (one, two) = (place(desk.prepare("one", "KEYS\u{1}k\u{2}")), place(desk.prepare("two", "")));
    assert_eq!(desk.delivered(), [""; 0]);
    desk.end(one, true).unwrap();
    desk.end(two, false).unwrap();
    for (end, commits) in [(one, true), (one, false), (two, true), (two, false)] {
        assert_eq!(desk.end(end, commits), Err(Refused::Decided));
    }
    assert_eq!(desk.delivered(), ["one"]);
    let bytes = desk.store.record_at(desk.store.unit("T", 2, 0).unwrap().physical_offset).unwrap();
    let record = Record::read(&bytes).unwrap();
    assert_eq!((record.sys_flag & sysflag::TRANSACTION, record.flag), (sysflag::TRANSACTION_COMMIT, 7));
    assert_eq!(record.sent_properties(), b"PGROUP\x01P\x02KEYS\x01k\x02");
    assert_eq!(desk.at(100), []);
    assert_eq!(desk.bodies(names::TRANS_OP_HALF_TOPIC, 0), [""; 0], "decisions are noted together");
    assert_eq!(desk.at(3_000), []);
    assert_eq!(desk.bodies(names::TRANS_OP_HALF_TOPIC, 0), ["0,1,"]);
    assert_eq!(desk.progress(), (Some(2), Some(1)));
    assert_eq!(desk.at(1_000_000), []);
}

#[test]
fn the_producer_is_asked_when_it_is_time_and_so_often() {
    let desk = Desk::new();
    let half = place(desk.prepare("b", ""));
    assert_eq!(desk.at(5_999), []);
    let asked = desk.at(6_000);
    assert_eq!(asked.iter().map(|question| question.checks).collect::<Vec<_>>(), [1]);
    assert_ne!(asked[0].place, half, "it was written again");
    assert_eq!(desk.at(35_999), []);
    assert_eq!(desk.at(36_000)[0].checks, 2);
    assert_eq!(desk.at(66_000)[0].checks, 3);
    assert_eq!(desk.bodies(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), [""; 0]);
    assert_eq!(desk.at(96_000), []);
    assert_eq!(desk.bodies(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["b"]);
    for late in [half, asked[0].place] {
        assert_eq!(desk.end(late, true), Err(Refused::Decided), "it was discarded");
    }
    desk.at(100_000);
    assert_eq!(desk.progress().0, Some(4), "the first, and its three copies");
    assert_eq!(desk.delivered(), [""; 0]);
}

#[test]
fn a_discarded_message_is_put_back_by_hand() {
    let desk = Desk::new();
    desk.prepare("b", "");
    for time in [6_000, 36_000, 66_000, 96_000] {
        desk.at(time);
    }
    let topic = names::TRANS_CHECK_MAX_TIME_TOPIC;
    let bytes = desk.store.record_at(desk.store.unit(topic, 0, 0).unwrap().physical_offset).unwrap();
    let again = resumed(&bytes).unwrap();
    desk.store.append_now([Draft::new(&again, &mut BytesMut::new()).unwrap()]).unwrap();
    let asked = desk.at(96_000 + 6_000);
    assert_eq!(asked.iter().map(|question| question.checks).collect::<Vec<_>>(), [1]);
    desk.end(asked[0].place, true).unwrap();
    assert_eq!(desk.delivered(), ["b"]);
    let half = desk.store.unit(HALF, 0, 0).unwrap().physical_offset;
    assert!(resumed(&desk.store.record_at(half).unwrap()).is_none(), "it was not discarded");
}

#[test]
fn an_end_may_name_any_copy_and_counts_once() {
    for named in 0..3 {
        let desk = Desk::new();
        let mut places = vec![place(desk.prepare("b", ""))];
        places.extend(desk.at(6_000).iter().map(|question| question.place));
        places.extend(desk.at(36_000).iter().map(|question| question.place));
        desk.end(places[named], true).unwrap();
        for again in places {
            assert_eq!(desk.end(again, true), Err(Refused::Decided));
        }
        assert_eq!(desk.at(90_000), []);
        assert_eq!(desk.delivered(), ["b"]);
        assert_eq!(desk.progress().0, Some(3));
        assert_eq!(desk.crash(true).at(200_000), []);
    }
}

#[test]
fn a_message_says_when_it_is_asked_about() {
    let desk = Desk::new();
    desk.prepare("long", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}");
    desk.prepare("short", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}2\u{2}");
    desk.prepare("nonsense", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}soon\u{2}");
    assert_eq!(desk.at(1_999), []);
    assert_eq!(desk.at(2_000).len(), 1);
    assert_eq!(desk.at(6_000).len(), 1);
    let desk = desk.crash(true);
    assert_eq!(desk.at(31_999), []);
    assert_eq!(desk.at(36_000).len(), 2);
    assert_eq!(desk.at(59_999), []);
    assert_eq!(desk.at(60_000).len(), 1);
}

#[test]
fn who_cannot_be_asked_is_not_counted_but_not_kept_for_ever() {
    let desk = Desk::new();
    desk.prepare("b", "");
    desk.producers.closed(1);
    for time in 0..100 {
        assert_eq!(desk.at(6_000 + time * 30_000), []);
    }
    assert_eq!(desk.bodies(HALF, 0).len(), 1, "it is not written again either");
    desk.producers.heartbeat(0, &desk.wire, &client("c"), "P");
    assert_eq!(desk.at(4_000_000)[0].checks, 1);
    desk.producers.closed(1);
    desk.at(72 * 3_600_000 + 1);
    assert_eq!(desk.bodies(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["b"]);
}

/// Every step of a transaction's life, with a crash after it.
#[test]
fn a_crash_between_any_two_steps_loses_nothing_and_delivers_nothing_twice() {
    for power in [false, true] {
        for saved in [false, true] {
            for steps in 0..6 {
                let desk = Desk::new();
                // Whatever else happens.
                let other = place(desk.prepare("other", ""));
                let half = place(desk.prepare("b", ""));
                let mut now = half;
                if steps >= 1 {
                    now = desk.at(6_000)[1].place;
                }
                if saved {
                    desk.save();
                }
                if steps >= 2 {
                    let bytes = desk.store.record_at(now.1).unwrap();
                    let read = HalfRecord::read(&bytes).unwrap();
                    desk.transactions.begin(read.first(), desk.store.log_max_offset()).unwrap();
                    desk.deliver(&read);
                    if steps >= 3 {
                        desk.transactions.end(read.first(), true, desk.clock.now_ms(), 4096);
                    }
                }
                if steps >= 4 {
                    desk.at(10_000);
                }
                if steps >= 5 {
                    desk.save();
                }
                let desk = desk.crash(power);
                let asked = desk.at(60_000);
                let what = format!("power {power}, saved {saved}, {steps} steps");
                assert_eq!(asked.len(), if steps < 2 { 2 } else { 1 }, "{what}");
                let _ = desk.end(now, true);
                let _ = desk.end(half, true);
                desk.end(other, false).unwrap();
                assert_eq!(desk.delivered(), ["b"], "{what}");
                desk.at(70_000);
                desk.save();
                let desk = desk.crash(power);
                assert_eq!(desk.at(1_000_000), [], "{what}");
                assert_eq!(desk.progress().0, desk.store.queue_range(HALF, 0).map(|(_, max)| max), "{what}");
                assert_eq!(desk.delivered(), ["b"], "{what}");
            }
        }
    }
}

#[test]
fn a_commit_during_a_check_counts_across_a_crash() {
    let desk = Desk::new();
    let half = place(desk.prepare("b", ""));
    let bytes = desk.store.record_at(half.1).unwrap();
    let read = HalfRecord::read(&bytes).unwrap();
    // The check has taken it; the commit comes before the copy is written.
    assert_eq!(desk.transactions.lock().take_due(i64::MAX, 9), [(0, 0)]);
    desk.transactions.begin(0, desk.store.log_max_offset()).unwrap();
    desk.deliver(&read);
    let copy = desk.store.append_now([read.again(1, &mut BytesMut::new()).unwrap()]).unwrap()[0];
    desk.transactions.change(|table| table.renewed(0, copy.queue_offset, NOW, NOW));
    desk.transactions.write_ops(&desk.store, &desk.offsets, &rules(), NOW);
    desk.save();
    let desk = desk.crash(true);
    assert_eq!(desk.at(1_000_000), []);
    assert_eq!(desk.end(half, true), Err(Refused::Decided));
    assert_eq!(desk.delivered(), ["b"]);
}

#[test]
fn a_message_is_discarded_once_even_over_a_crash() {
    let desk = Desk::new();
    desk.prepare("b", "");
    desk.save();
    for time in [6_000, 36_000, 66_000] {
        assert_eq!(desk.at(time).len(), 1);
    }
    desk.at(96_000);
    let desk = desk.crash(false);
    desk.at(500_000);
    assert_eq!(desk.bodies(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["b"]);
}

#[test]
fn a_full_disk_delays_a_check_and_loses_nothing() {
    let desk = Desk::new();
    let half = place(desk.prepare("b", ""));
    desk.disk.set_room(Some(0));
    assert_eq!(desk.at(6_000), []);
    desk.disk.set_room(None);
    assert_eq!(desk.at(7_000)[0].checks, 1);
    desk.end(half, true).unwrap();
    assert_eq!(desk.delivered(), ["b"]);
}

#[test]
fn a_clock_that_steps_stops_no_check() {
    const HOUR: i64 = 3_600_000;
    let desk = Desk::new();
    desk.prepare("b", "");
    assert_eq!(desk.at(HOUR).len(), 1);
    desk.prepare("c", "");
    assert_eq!(desk.at(HOUR + 10), []);
    // Back by an hour: both seem to come from the future.
    let checks = |after_ms| desk.at(after_ms).iter().map(|question| question.checks).collect::<Vec<_>>();
    assert_eq!(checks(20), [2, 1]);
    assert_eq!(checks(2_000), [0; 0]);
    assert_eq!(checks(30_020), [3, 2]);
    // Forward by two.
    assert_eq!(checks(2 * HOUR), [3]);
    assert_eq!(desk.bodies(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["b"]);
}

#[test]
fn settled_transactions_cost_nothing_later() {
    const MANY: i64 = 140_000;
    let desk = Desk::new();
    let text = "PGROUP\u{1}P\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}2\u{2}";
    for _ in 0..MANY / 1_000 {
        desk.store.append_now((0..1_000).map(|_| draft(HALF, "b", text))).unwrap();
    }
    for first in 0..MANY {
        if first % 1_000 != 7 {
            desk.transactions.begin(first, desk.store.log_max_offset()).unwrap();
            desk.transactions.end(first, true, NOW, 4096);
        }
    }
    // The oldest hold up what a start must read: they are written again, without a question.
    assert_eq!(desk.at(3_000), []);
    let end = desk.store.queue_range(HALF, 0).unwrap().1;
    assert!((MANY + 1..MANY + 20).contains(&end), "{end}");
    assert_eq!(desk.transactions.lock().len(), 140);
    let ops = desk.bodies(names::TRANS_OP_HALF_TOPIC, 0);
    assert!(ops.len() < 300 && ops.iter().all(|body| body.len() <= 4096), "{} op messages", ops.len());
    let held = desk.progress().0.unwrap();
    assert!(held % 1_000 == 7 && MANY - held < 135_000, "progress {held}");
    let asked = desk.at(6_000);
    assert!(asked.len() == 140 && asked.iter().all(|question| question.checks == 1), "{asked:?}");
    desk.at(9_000);
    assert_eq!(desk.progress().0, Some(end), "the copies are behind all others");
    desk.save();
    let desk = desk.crash(true);
    assert_eq!(desk.transactions.lock().len(), 140);
    assert_eq!(desk.at(36_000).len(), 140);
}

#[test]
fn questions_come_no_faster_than_a_client_takes_them() {
    let desk = Desk::new();
    for _ in 0..600 {
        desk.prepare("b", "");
    }
    assert_eq!(desk.at(6_000).len(), 256);
    assert_eq!(desk.step(), Duration::from_millis(250));
    assert_eq!(desk.at(6_250).len() + 256, 600);
    assert!(desk.step() > Duration::from_millis(250));
}

#[test]
fn a_start_does_not_read_the_log_of_times_in_which_nothing_was_decided() {
    let desk = Desk::new();
    let half = desk.prepare("b", "");
    desk.end((half.queue_offset, half.physical_offset), true).unwrap();
    desk.at(3_000);
    let body = "x".repeat(10_000);
    desk.store.append_now((0..100).map(|_| draft("T", &body, ""))).unwrap();
    desk.store.checkpoint_step().unwrap();
    desk.at(6_000);
    desk.save();
    let disk = desk.disk.clone();
    let before = disk.bytes_read();
    let desk = desk.crash(false);
    let read = disk.bytes_read() - before;
    assert!(read < 100_000, "{read} bytes read of {}", desk.store.log_max_offset());
    assert_eq!(desk.bodies("T", 2), ["b"], "and nothing is delivered twice");
}

#[test]
fn copies_that_apaches_broker_wrote_when_it_asked_are_one_transaction() {
    const KEY: &str = "UNIQ_KEY\u{1}k\u{2}";
    let copy = format!("{KEY}TRANSACTION_CHECK_TIMES\u{1}1\u{2}");
    let desk = Desk::new();
    desk.prepare("b", KEY);
    desk.prepare("other", "UNIQ_KEY\u{1}other\u{2}");
    let copies = [desk.prepare("b", &copy), desk.prepare("b", &copy)];
    let desk = desk.crash(false);
    let asked: Vec<_> = desk.at(36_000).iter().map(|question| question.place.0).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(!asked.contains(&0) && !asked.contains(&copies[0].queue_offset), "{asked:?}");
    desk.end(place(copies[1]), true).unwrap();
    assert_eq!(desk.end(place(copies[0]), true), Err(Refused::Decided));
    assert_eq!(desk.delivered(), ["b"]);

    // The same, and Apache's broker has noted that one of them is decided.
    let desk = Desk::new();
    desk.prepare("b", KEY);
    let noted = desk.prepare("b", &copy).queue_offset;
    desk.prepare("b", &copy);
    let op = draft(names::TRANS_OP_HALF_TOPIC, &format!("{noted},"), "TAGS\u{1}d\u{2}");
    desk.store.append_now([op]).unwrap();
    let desk = desk.crash(false);
    assert_eq!(desk.transactions.lock().len(), 0);
    assert_eq!(desk.at(36_000), []);
}
