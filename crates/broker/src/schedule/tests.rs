use std::path::{Path, PathBuf};

use apogee_base::clock::ManualClock;
use apogee_base::disk::{Disk, SimDisk};
use apogee_store::StoreOptions;

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> (Store, Schedule) {
    open_with(disk, clock, true)
}

fn open_with(disk: &SimDisk, clock: &Arc<ManualClock>, sync_flush: bool) -> (Store, Schedule) {
    disk.create_folder(Path::new("/c")).unwrap();
    let delays = vec![1000, 5000];
    let options = StoreOptions { log_file_size: 1 << 16, index: false, sync_flush, delays, ..Default::default() };
    let store = Store::open(Arc::new(disk.clone()), clock.clone(), PathBuf::from("/s"), options).unwrap();
    let file = |name: &str| JsonFile::new(Arc::new(disk.clone()), Path::new("/c").join(name));
    let settled = Arc::new(Settled::open(file("settled.json"), &store, true).unwrap());
    let schedule = Schedule::open(file("delayOffset.json"), Arc::from([1000, 5000]), &store, settled).unwrap();
    (store, schedule)
}

fn delayed(level: i32, body: &'static str) -> Draft {
    let text = format!("KEYS\u{1}k\u{2}DELAY\u{1}{level}\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}3\u{2}");
    let message = NewMessage {
        queue_id: level - 1,
        flag: 7,
        reconsume_times: 2,
        properties: text.into(),
        ..NewMessage::own(names::SCHEDULE_TOPIC, Bytes::from_static(body.as_bytes()), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

fn delivered(store: &Store) -> i64 {
    store.queue_range("T", 3).map_or(0, |(_, max)| max)
}

#[test]
fn a_message_is_delivered_when_it_is_due_and_not_before() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
    let (store, schedule) = open(&disk, &clock);
    store.append_now([delayed(1, "soon"), delayed(2, "late")]).unwrap();
    assert_eq!(schedule.step(&store, NOW + 10), Duration::from_millis(990));
    assert_eq!(delivered(&store), 0);
    schedule.step(&store, NOW + 1000);
    assert_eq!(delivered(&store), 1);
    let unit = store.unit("T", 3, 0).unwrap();
    let bytes = store.record_at(unit.physical_offset).unwrap();
    let record = Record::read(&bytes).unwrap();
    assert_eq!((record.body, record.flag, record.reconsume_times), (&b"soon"[..], 7, 2));
    assert_eq!(record.sent_properties(), b"KEYS\x01k\x02");
    schedule.step(&store, NOW + 4_999);
    assert_eq!(delivered(&store), 1);
    schedule.step(&store, NOW + 5_000);
    assert_eq!(delivered(&store), 2);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
    let (store, schedule) = open(&disk, &clock);
    store.append_now([delayed(1, "one"), delayed(1, "two")]).unwrap();
    schedule.step(&store, NOW + 1000);
    schedule.save(&store).unwrap();
    store.append_now([delayed(1, "three")]).unwrap();
    store.close().unwrap();
    drop(store);
    let (store, schedule) = open(&disk, &clock);
    schedule.step(&store, NOW + 9000);
    assert_eq!(delivered(&store), 3);
}

#[test]
fn what_the_log_has_as_delivered_is_not_delivered_again() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
    let (store, schedule) = open(&disk, &clock);
    store.append_now([delayed(1, "first"), delayed(1, "one"), delayed(1, "two")]).unwrap();
    schedule.step(&store, NOW + 10);
    schedule.save(&store).unwrap();
    schedule.settled.save().unwrap();
    // Delivered, and then the process is killed before the progress is saved.
    schedule.step(&store, NOW + 1000);
    assert_eq!(delivered(&store), 3);
    drop((store, schedule));
    let (store, schedule) = open(&disk, &clock);
    store.append_now([delayed(1, "three")]).unwrap();
    schedule.step(&store, NOW + 9000);
    assert_eq!(delivered(&store), 4);
    schedule.step(&store, NOW + 9000);
    schedule.save(&store).unwrap();
    schedule.settled.save().unwrap();
    assert!(!schedule.settled.contains(store.unit(names::SCHEDULE_TOPIC, 0, 1).unwrap().physical_offset));
}

#[test]
fn a_power_cut_takes_no_delivery_that_is_saved_as_done() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
    let (store, schedule) = open_with(&disk, &clock, false);
    store.append_now([delayed(1, "one")]).unwrap();
    store.flush_step().unwrap();
    schedule.step(&store, NOW + 1000);
    assert_eq!(delivered(&store), 1);
    schedule.save(&store).unwrap();
    disk.crash();
    drop((store, schedule));
    let (store, schedule) = open_with(&disk, &clock, false);
    schedule.step(&store, NOW + 9000);
    assert_eq!(delivered(&store), 1);
}

#[test]
fn delays_are_read() {
    assert_eq!(parse_delays("1s 5m 2h 1d").unwrap(), [1_000, 300_000, 7_200_000, 86_400_000]);
    assert!(parse_delays("1s 5x").unwrap_err().contains("`5x`"));
    assert!(parse_delays("s").is_err() && parse_delays("-1s").is_err());
}

/// The note that the message of a level at an offset was delivered elsewhere.
fn note(store: &Store, level: i32, offset: i64) -> Draft {
    let place = store.unit(names::SCHEDULE_TOPIC, level - 1, offset).unwrap().physical_offset;
    let message = NewMessage {
        prepared_transaction_offset: settled::settling(place),
        ..NewMessage::own("notes", Bytes::new(), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

fn bodies(store: &Store) -> Vec<Vec<u8>> {
    let body = |offset| {
        let bytes = store.record_at(store.unit("T", 3, offset).unwrap().physical_offset).unwrap();
        Record::read(&bytes).unwrap().body.to_vec()
    };
    (0..delivered(store)).map(body).collect()
}

#[test]
fn what_a_slave_delivered_is_left_out_though_messages_before_it_wait() {
    for restarts in [false, true] {
        let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
        let (store, schedule) = open(&disk, &clock);
        store.append_now(["a", "b", "c", "d", "e"].map(|body| delayed(1, body))).unwrap();
        schedule.step(&store, NOW + 10);
        schedule.save(&store).unwrap();
        schedule.settled.save().unwrap();
        schedule.settle_elsewhere(&[(1, 1), (1, 3), (1, 4)]);
        store.append_now([1, 3, 4].map(|offset| note(&store, 1, offset))).unwrap();
        // Nothing is due, and the cursors have not come by what was delivered: a start must find it.
        schedule.step(&store, NOW + 20);
        schedule.save(&store).unwrap();
        schedule.settled.save().unwrap();
        let (store, schedule) = match restarts {
            true => {
                drop((store, schedule));
                open(&disk, &clock)
            }
            false => (store, schedule),
        };
        schedule.step(&store, NOW + 1_000);
        assert_eq!(bodies(&store), [b"a", b"c"], "restarts: {restarts}");
        // It is over: the mark moves again.
        store.append_now([delayed(1, "f")]).unwrap();
        schedule.step(&store, NOW + 2_000);
        assert_eq!(schedule.marked_snapshot().0, store.confirmed_offset() - i64::from(last_size(&store)));
    }
}

fn last_size(store: &Store) -> u32 {
    store.unit("T", 3, delivered(store) - 1).unwrap().size
}

#[test]
fn what_is_known_to_be_delivered_is_passed_though_its_time_has_not_come_by_this_clock() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(NOW)));
    let (store, schedule) = open(&disk, &clock);
    store.append_now([delayed(1, "a"), delayed(1, "b")]).unwrap();
    schedule.settle_elsewhere(&[(1, 0), (1, 1)]);
    schedule.step(&store, NOW);
    assert_eq!(schedule.snapshot().offset_table.get(&1), Some(&2));
    assert_eq!(delivered(&store), 0);
}
