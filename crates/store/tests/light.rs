//! Light queues: one message in many queues.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::{Disk, SimDisk};
use apogee_message::light;
use apogee_message::record::{Draft, Record};
use apogee_store::{ReadLimits, ReadStatus, Store, StoreOptions};

mod common;
use common::draft;

const ALL: ReadLimits = ReadLimits { messages: 100, bytes: 1 << 20, cold_messages: 100, cold_bytes: 1 << 20 };

fn options(light_queues: bool, kept_units: usize) -> StoreOptions {
    StoreOptions {
        log_file_size: 1 << 16,
        queue_file_size: 2_000,
        index_slots: 100,
        index_entries: 400,
        kept_units,
        light_queues,
        ..StoreOptions::default()
    }
}

fn open_with(disk: &SimDisk, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), Arc::new(ManualClock::new(1)), PathBuf::from("/s"), options).unwrap()
}

fn open(disk: &SimDisk) -> Store {
    open_with(disk, options(true, 1 << 20))
}

/// A message with a body that goes to some light queues.
fn to(topic: &str, names: &str, body: &str) -> Draft {
    draft(topic, 3, body.to_owned(), format!("KEYS\x01k\x02WAIT\x01true\x02INNER_MULTI_DISPATCH\x01{names}\x02"))
}

/// Bodies of what is in a queue, from its beginning; each record has been checked to say where it is.
fn bodies(store: &Store, queue: &str) -> Vec<String> {
    let Some((min, max)) = store.queue_range(queue, 0) else { return Vec::new() };
    let (mut offset, mut bodies) = (min, Vec::new());
    while offset < max {
        let read = store.read(queue, 0, offset, ALL, &mut |_: i64| true);
        assert_eq!(read.status, ReadStatus::Found, "{queue} {offset}");
        for record in read.slices.iter().flat_map(|slice| apogee_message::record::iter(slice)) {
            let record = record.unwrap();
            assert_eq!(light::offset_in(&record, queue), Some(offset), "{queue}");
            bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
            offset += 1;
        }
        assert_eq!(offset, read.next_offset);
    }
    bodies
}

#[test]
fn a_message_is_in_its_topic_and_in_every_queue_it_names() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let sent = store
        .append_now([
            to("T", "%LMQ%a,%LMQ%b", "1"),
            to("T", "%LMQ%b", "2"),
            draft("T", 3, "3", ""),
            to("T", "%LMQ%b,other,%LMQ%b", "4"),
            to("%RETRY%G", "%LMQ%a", "5"),
        ])
        .unwrap();
    assert_eq!(sent.iter().map(|one| one.queue_offset).collect::<Vec<_>>(), [0, 1, 2, 3, 0]);
    assert_eq!(bodies(&store, "%LMQ%a"), ["1"]);
    assert_eq!(bodies(&store, "%LMQ%b"), ["1", "2", "4"]);
    assert_eq!((store.queue_range("T", 3), store.light_queues()), (Some((0, 4)), 2));
    let bytes = store.record_at(sent[3].physical_offset).unwrap();
    let record = Record::read(&bytes).unwrap();
    assert!(record.is_intact(&bytes));
    assert_eq!(record.property("INNER_MULTI_QUEUE_OFFSET"), Some("2,,2"));
}

#[test]
fn what_a_sender_says_of_offsets_does_not_count() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let forged = "INNER_MULTI_QUEUE_OFFSET\x0177\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02";
    let sent = store.append_now([draft("T", 0, "x", forged)]).unwrap();
    assert_eq!(store.queue_range("%LMQ%a", 0), Some((0, 1)));
    let bytes = store.record_at(sent[0].physical_offset).unwrap();
    assert_eq!(Record::read(&bytes).unwrap().property("INNER_MULTI_QUEUE_OFFSET"), Some("0"));
}

#[test]
fn without_the_option_a_message_is_in_its_topic_alone() {
    let disk = SimDisk::new(1);
    let store = open_with(&disk, options(false, 0));
    store.append_now([to("T", "%LMQ%a", "1")]).unwrap();
    assert_eq!((store.queue_range("%LMQ%a", 0), store.light_queues()), (None, 0));
}

/// Sends to queues in turn, with a checkpoint amid, and ends as told. Returns the store, opened again.
fn again(kept_units: usize, end: impl Fn(&SimDisk, Store)) -> (SimDisk, Store) {
    let disk = SimDisk::new(7);
    let store = open_with(&disk, options(true, kept_units));
    for round in 0..6 {
        let drafts = (0..9).map(|at| to("T", &format!("%LMQ%{at},%LMQ%all"), &format!("{round}-{at}")));
        store.append_now(drafts).unwrap();
        if round == 2 {
            store.checkpoint_step().unwrap();
        }
    }
    end(&disk, store);
    let store = open_with(&disk, options(true, kept_units));
    (disk, store)
}

fn assert_whole(store: &Store) {
    for at in 0..9 {
        let bodies = bodies(store, &format!("%LMQ%{at}"));
        assert_eq!(bodies, (0..6).map(|round| format!("{round}-{at}")).collect::<Vec<_>>());
    }
    assert_eq!((bodies(store, "%LMQ%all").len(), store.light_queues()), (54, 10));
    let sent = store.append_now([to("T", "%LMQ%0,%LMQ%all", "next")]).unwrap();
    let bytes = store.record_at(sent[0].physical_offset).unwrap();
    assert_eq!(Record::read(&bytes).unwrap().property("INNER_MULTI_QUEUE_OFFSET"), Some("6,54"));
}

#[test]
fn queues_are_whole_after_a_kill_and_after_a_stop() {
    for kept_units in [0, 1 << 20] {
        let killed = |disk: &SimDisk, store: Store| {
            disk.kill_process();
            drop(store);
        };
        assert_whole(&again(kept_units, killed).1);
        assert_whole(&again(kept_units, |_, store: Store| store.close().unwrap()).1);
    }
}

#[test]
fn queues_are_made_anew_from_the_log() {
    let lost = |disk: &SimDisk, store: Store| {
        store.close().unwrap();
        drop(store);
        disk.remove_folder(Path::new("/s/consumequeue")).unwrap();
    };
    assert_whole(&again(0, lost).1);
    let one_file = |disk: &SimDisk, store: Store| {
        store.close().unwrap();
        drop(store);
        disk.remove(Path::new("/s/consumequeue/%LMQ%5/0/00000000000000000000")).unwrap();
    };
    assert_whole(&again(0, one_file).1);
}

#[test]
fn queues_whose_messages_are_gone_go_and_begin_anew() {
    let (_, store) = again(0, |_, store: Store| store.close().unwrap());
    // Fills the files of the log that have what was sent before.
    let fill = |store: &Store| {
        for _ in 0..3 {
            store.append_now((0..40).map(|_| to("T", "%LMQ%live", &"x".repeat(1_000)))).unwrap();
        }
        store.checkpoint_step().unwrap();
        let to = store.log_max_offset() & !0xffff;
        let to = to.min(store.removable_to(to).unwrap());
        while store.remove_oldest(to).unwrap().is_some() {}
        store.trim().unwrap();
    };
    fill(&store);
    let mut gone = Vec::new();
    store.remove_expired_light(&mut |queues| gone.extend(queues.iter().map(|queue| queue.to_string()))).unwrap();
    gone.sort_unstable();
    assert_eq!(
        gone,
        ["%LMQ%0", "%LMQ%1", "%LMQ%2", "%LMQ%3", "%LMQ%4", "%LMQ%5", "%LMQ%6", "%LMQ%7", "%LMQ%8", "%LMQ%all"]
    );
    assert_eq!((store.light_queues(), store.queue_range("%LMQ%0", 0)), (1, None));
    assert_eq!(store.queue_range("%LMQ%live", 0).unwrap().1, 120);
    store.append_now([to("T", "%LMQ%0", "new")]).unwrap();
    assert_eq!((bodies(&store, "%LMQ%0"), store.light_queues()), (vec!["new".to_owned()], 2));
    // Its offsets go on: who had read what was there before, and not all of it, passes over nothing.
    assert_eq!(store.queue_range("%LMQ%0", 0), Some((6, 7)));
    for (offset, status, next) in [(6, ReadStatus::Found, 7), (3, ReadStatus::OffsetTooSmall, 6)] {
        let read = store.read("%LMQ%0", 0, offset, ALL, &mut |_: i64| true);
        assert_eq!((read.status, read.next_offset), (status, next));
    }
    let behind = store.read("%LMQ%0", 0, 99, ALL, &mut |_: i64| true);
    assert_eq!((behind.status, behind.next_offset), (ReadStatus::OffsetOverflowBadly, 6));
    store.remove_expired_light(&mut |queues| panic!("{queues:?} have messages")).unwrap();
}

#[test]
fn a_queue_that_begins_anew_is_whole_after_a_kill() {
    let (disk, store) = again(1 << 20, |_, store: Store| store.close().unwrap());
    for _ in 0..3 {
        store.append_now((0..40).map(|_| draft("T", 0, "x".repeat(1_000), ""))).unwrap();
    }
    let to_end = store.log_max_offset() & !0xffff;
    let to_end = to_end.min(store.removable_to(to_end).unwrap());
    while store.remove_oldest(to_end).unwrap().is_some() {}
    store.trim().unwrap();
    store.remove_expired_light(&mut |_| {}).unwrap();
    store.append_now([to("T", "%LMQ%all", "new")]).unwrap();
    disk.kill_process();
    drop(store);
    let store = open(&disk);
    assert_eq!(store.queue_range("%LMQ%all", 0), Some((54, 55)));
    assert_eq!((bodies(&store, "%LMQ%all"), store.light_queues()), (vec!["new".to_owned()], 1));
}

#[test]
fn a_queue_that_was_deleted_goes_on_behind_where_it_ended_after_any_kill() {
    // Its units in memory, in the file for rare queues, in its own file.
    for (kept_units, is_written) in [(1 << 20, false), (1 << 20, true), (0, true)] {
        let (disk, store) = again(kept_units, |disk: &SimDisk, store: Store| {
            disk.kill_process();
            drop(store);
        });
        let delete = |store: &Store, end| store.delete_light(&[("%LMQ%all".into(), end)]).unwrap().len();
        assert!(delete(&store, 53) == 0 && store.queue_range("%LMQ%all", 0) == Some((0, 54)));
        assert_eq!(delete(&store, 54), 1);
        assert_eq!(store.queue_range("%LMQ%all", 0), None);
        disk.kill_process();
        drop(store);
        let store = open(&disk);
        assert_eq!(store.queue_range("%LMQ%all", 0), None);
        store.append_now([to("T", "%LMQ%all", "new")]).unwrap();
        if is_written {
            store.checkpoint_step().unwrap();
        }
        disk.kill_process();
        drop(store);
        let store = open(&disk);
        assert_eq!(
            (store.queue_range("%LMQ%all", 0), bodies(&store, "%LMQ%all")),
            (Some((54, 55)), vec!["new".into()])
        );
        // Once more, and with the other ones.
        assert_eq!(delete(&store, 55), 1);
        store.append_now([to("T", "%LMQ%all", "newer")]).unwrap();
        assert_eq!(store.queue_range("%LMQ%all", 0), Some((55, 56)));
        assert_eq!(store.light_queues(), 10);
    }
}

#[test]
fn what_the_disk_has_no_room_for_takes_no_place_in_any_queue() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    store.append_now([to("T", "%LMQ%a,%LMQ%b", "1")]).unwrap();
    disk.set_room(Some(0));
    let refused = store.append_each([to("T", "%LMQ%a", &"x".repeat(9_000)), to("T", "%LMQ%b,%LMQ%a", "2")]);
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    disk.set_room(None);
    store.append_now([to("T", "%LMQ%a", "3")]).unwrap();
    assert_eq!((bodies(&store, "%LMQ%a"), bodies(&store, "%LMQ%b")), (vec!["1".into(), "3".into()], vec!["1".into()]));
}

#[test]
fn a_damaged_unit_is_put_right_by_the_log() {
    let damaged = |disk: &SimDisk, store: Store| {
        store.close().unwrap();
        drop(store);
        // The third unit leads to the record of the second.
        let file = disk.open(Path::new("/s/consumequeue/%LMQ%all/0/00000000000000000000"), false).unwrap();
        let mut unit = [0; 20];
        file.read_at(&mut unit, 20).unwrap();
        file.write_at(&mut [std::io::IoSlice::new(&unit)], 40).unwrap();
    };
    assert_whole(&again(0, damaged).1);
}
