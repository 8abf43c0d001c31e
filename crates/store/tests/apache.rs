//! Folders that Apache's broker left are opened and read as its manifest says.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use apogee_base::clock::SystemClock;
use apogee_base::disk::RealDisk;
use apogee_message::record::{Draft, Record};
use apogee_store::{ReadLimits, ReadStatus, Store, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;

mod common;

const ALL: ReadLimits = ReadLimits { messages: 32, bytes: 1 << 20, cold_messages: 32, cold_bytes: 1 << 20 };

struct Sample {
    root: PathBuf,
    manifest: Value,
    options: StoreOptions,
    _folder: TempDir,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/store")
}

fn unpacked(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden().join(format!("{name}.tar.gz"));
    let status = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    folder
}

fn sample(name: &str, options: StoreOptions) -> Sample {
    let folder = unpacked(name);
    let manifest = std::fs::File::open(golden().join(format!("{name}.manifest.json.gz"))).unwrap();
    let manifest = serde_json::from_reader(flate2::read::GzDecoder::new(manifest)).unwrap();
    Sample { root: folder.path().join("store"), manifest, options, _folder: folder }
}

fn mixed() -> StoreOptions {
    StoreOptions {
        log_file_size: 1 << 20,
        queue_file_size: 20_000,
        index_slots: 500,
        index_entries: 2_000,
        ..StoreOptions::default()
    }
}

fn tiny() -> StoreOptions {
    StoreOptions {
        log_file_size: 65_536,
        queue_file_size: 400,
        index_slots: 50,
        index_entries: 100,
        ..StoreOptions::default()
    }
}

impl Sample {
    fn open(&self) -> Store {
        Store::open(Arc::new(RealDisk), Arc::new(SystemClock), self.root.clone(), self.options.clone()).unwrap()
    }

    /// Units of all queues, from the manifest: topic, queue id, (offset, physical offset, size, tag).
    fn queues(&self) -> BTreeMap<(String, i32), Vec<[i64; 4]>> {
        let topics = self.manifest["consumequeue"].as_object().unwrap();
        let queues = topics.iter().flat_map(|(topic, queues)| {
            queues.as_object().unwrap().iter().map(|(id, queue)| {
                let unit = |unit: &Value| [0, 1, 2, 3].map(|field| unit[field].as_i64().unwrap());
                let units = queue["units"].as_array().unwrap().iter().map(unit).collect();
                ((topic.clone(), id.parse().unwrap()), units)
            })
        });
        queues.collect()
    }

    fn assert_holds(&self, store: &Store) {
        let records: BTreeMap<i64, &Value> =
            self.manifest["commitlog"].as_array().unwrap().iter().map(|r| (r["phys"].as_i64().unwrap(), r)).collect();
        for ((topic, queue), units) in self.queues() {
            let (min, max) = store.queue_range(&topic, queue).unwrap_or_else(|| panic!("{topic} {queue}"));
            assert_eq!((min, max), (units[0][0], units[units.len() - 1][0] + 1), "{topic} {queue}");
            let mut offset = min;
            while offset < max {
                let read = store.read(&topic, queue, offset, ALL, &mut |_: i64| true);
                assert_eq!(read.status, ReadStatus::Found, "{topic} {queue} {offset}");
                for slice in &read.slices {
                    for record in apogee_message::record::iter(slice) {
                        let record = record.unwrap();
                        let unit = units[(offset - min) as usize];
                        assert_eq!(record.physical_offset, unit[1], "{topic} {queue} {offset}");
                        let told = records[&unit[1]];
                        assert_eq!(record.topic, told["topic"].as_str().unwrap());
                        assert_eq!(record.queue_offset, told["queueOffset"].as_i64().unwrap());
                        assert_eq!(i64::from(record.body_crc), told["bodyCRC"].as_i64().unwrap());
                        assert_eq!(record.store_timestamp, told["store"].as_i64().unwrap());
                        assert!(record.body_is_intact());
                        offset += 1;
                    }
                }
                assert_eq!(offset, read.next_offset);
            }
        }
    }

    fn assert_finds_by_key(&self, store: &Store) {
        let mut found = 0;
        for record in self.manifest["commitlog"].as_array().unwrap() {
            let Some(key) = record["properties"]["UNIQ_KEY"].as_str() else { continue };
            let (topic, phys) = (record["topic"].as_str().unwrap(), record["phys"].as_i64().unwrap());
            let messages = store.query(topic, key, None, 32, 0, i64::MAX).unwrap().records;
            let offsets: Vec<_> = messages.iter().map(|bytes| Record::read(bytes).unwrap().physical_offset).collect();
            assert!(offsets.contains(&phys), "{topic} {key}: {offsets:?}");
            found += 1;
        }
        assert!(found > 100);
    }
}

fn draft(topic: &str) -> Draft {
    common::draft(topic, 0, "new", "KEYS\x01mine\x02")
}

#[test]
fn a_store_that_was_stopped_is_taken_over() {
    for (name, options) in [("tiny-roll", tiny()), ("tiny-ext-crc", tiny()), ("mixed-clean", mixed())] {
        let sample = sample(name, options);
        let store = sample.open();
        sample.assert_holds(&store);
        sample.assert_finds_by_key(&store);
    }
}

#[test]
fn a_store_whose_broker_was_killed_is_taken_over() {
    let sample = sample("mixed-crash", mixed());
    sample.assert_holds(&sample.open());
}

#[test]
fn writing_goes_on_where_apache_stopped() {
    let sample = sample("tiny-roll", tiny());
    let store = sample.open();
    let (_, max) = store.queue_range("T_a", 0).unwrap();
    assert_eq!(store.append_now([draft("T_a")]).unwrap()[0].queue_offset, max);
    store.close().unwrap();
    drop(store);
    let store = sample.open();
    assert_eq!(store.queue_range("T_a", 0).unwrap().1, max + 1);
    let mine = store.query("T_a", "mine", None, 32, 0, i64::MAX).unwrap();
    assert_eq!(Record::read(&mine.records[0]).unwrap().body, b"new");
    assert_eq!(store.append_now([draft("T_a")]).unwrap()[0].queue_offset, max + 1);
}

#[test]
fn light_queues_go_on_where_apache_stopped() {
    let sample = sample("mixed-clean", StoreOptions { light_queues: true, ..mixed() });
    let store = sample.open();
    let names = "INNER_MULTI_DISPATCH\x01%LMQ%q2,%LMQ%new\x02";
    let sent = store.append_now([common::draft("T_normal5", 0, "new", names)]).unwrap();
    let bytes = store.record_at(sent[0].physical_offset).unwrap();
    assert_eq!(Record::read(&bytes).unwrap().property("INNER_MULTI_QUEUE_OFFSET"), Some("1,0"));
    store.close().unwrap();
    drop(store);
    // From the log alone, too, in which upstream has noted the places of its own messages.
    std::fs::remove_dir_all(sample.root.join("consumequeue")).unwrap();
    let store = sample.open();
    for (queue, end) in [("%LMQ%q1", 1), ("%LMQ%q2", 2), ("%LMQ%new", 1)] {
        assert_eq!(store.queue_range(queue, 0), Some((0, end)), "{queue}");
        assert_eq!(store.read(queue, 0, 0, ALL, &mut |_: i64| true).messages as i64, end, "{queue}");
    }
}

/// All files of a folder of a queue, in order.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn batches_that_are_one_record_are_read_and_their_queue_made_anew_as_apache_wrote_it() {
    let folder = unpacked("batches-clean");
    let root = folder.path().join("store");
    let options = StoreOptions { log_file_size: 65_536, batch_queue_file_size: 460, ..tiny() };
    let open = || Store::open(Arc::new(RealDisk), Arc::new(SystemClock), root.clone(), options.clone()).unwrap();
    let queue = root.join("batchconsumequeue/T/0");
    let written = files(&queue);
    assert_eq!(written.len(), 3);
    // As it stands, after a stop of ours, and from the log alone.
    for is_lost in [false, false, true, false] {
        if is_lost {
            std::fs::remove_dir_all(root.join("batchconsumequeue")).unwrap();
        }
        let store = open();
        assert_eq!(store.queue_range("T", 0), Some((0, 49)));
        assert_eq!(store.queue_range("N", 0), Some((0, 25)));
        let mut first = 0;
        for number in 0..25 {
            let count = 1 + number % 3;
            // Whatever message of it is asked for.
            for offset in first..first + count {
                let read = store.read("T", 0, offset, ReadLimits { messages: 1, ..ALL }, &mut |_: i64| true);
                let end = first + count;
                assert_eq!((read.messages as i64, read.next_offset), (end - offset, end), "{offset}");
                let record = Record::read(&read.slices[0]).unwrap();
                assert_eq!((record.queue_offset, record.property("INNER_NUM")), (first, Some(&*count.to_string())));
                assert_eq!(record.property("UNIQ_KEY"), Some(&*format!("ID{number}")));
                assert!(record.body_is_intact());
            }
            first += count;
        }
        let found = store.query("T", "key7", None, 32, 0, i64::MAX).unwrap();
        assert_eq!(Record::read(&found.records[0]).unwrap().property("UNIQ_KEY"), Some("ID7"));
        store.close().unwrap();
        drop(store);
        assert_eq!(files(&queue), written);
    }
}
