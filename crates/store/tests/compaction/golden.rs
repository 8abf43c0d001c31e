//! A folder that Apache's broker left: keys `k0` to `k4` sent forty times, `once0` to `once29` once, `last` three times;
//! then the log's files with them expired.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use apogee_base::clock::SystemClock;
use apogee_base::disk::RealDisk;
use apogee_message::record::{self, Draft, NewMessage};
use apogee_store::{Boundary, CompactionOptions, CompactionRules, ReadLimits, ReadStatus, Store, StoreOptions};
use bytes::BytesMut;

const ALL: ReadLimits = ReadLimits { messages: 32, bytes: 1 << 20, cold_messages: 32, cold_bytes: 1 << 20 };

fn open(root: &Path) -> Store {
    let options = StoreOptions {
        log_file_size: 65_536,
        queue_file_size: 2_000,
        index: false,
        compaction: Some(CompactionOptions { log_file_size: 2_300, units_file_size: 460 }),
        ..StoreOptions::default()
    };
    Store::open(Arc::new(RealDisk), Arc::new(SystemClock), root.to_owned(), options).unwrap()
}

fn read(store: &Store) -> Vec<(i64, String, String)> {
    let (mut offset, mut messages) = (0, Vec::new());
    loop {
        let read = store.read("T", 0, offset, ALL, &mut |_: i64| true);
        if read.status == ReadStatus::OffsetOverflowOne {
            return messages;
        }
        assert_eq!(read.status, ReadStatus::Found, "{offset}");
        for record in read.slices.iter().flat_map(|slice| record::iter(slice)) {
            let record = record.unwrap();
            let key = record.property("KEYS").unwrap().to_owned();
            messages.push((record.queue_offset, key, String::from_utf8(record.body.to_vec()).unwrap()));
        }
        offset = read.next_offset;
    }
}

fn send(store: &Store, key: &str, body: &str) -> i64 {
    let message = NewMessage {
        properties: format!("KEYS\u{1}{key}\u{2}").into_bytes().into(),
        ..NewMessage::own("T", body.to_owned(), ([127, 0, 0, 1], 1), 1)
    };
    store.append_now([Draft::new(&message, &mut BytesMut::new()).unwrap()]).unwrap()[0].queue_offset
}

#[test]
fn what_apache_left_is_read_and_gone_on_with() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/store/compaction.tar.gz");
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("tar").arg("xzf").arg(golden).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());
    let root = folder.path().join("store");
    let store = open(&root);
    let mut expected: Vec<_> = (0..5).map(|key| (195 + key, format!("k{key}"), "v39".to_owned())).collect();
    expected.extend((0..30).map(|key| (200 + key, format!("once{key}"), format!("w{key}"))));
    expected.extend((230..233).map(|at| (at, "last".to_owned(), "z".to_owned())));
    assert_eq!(read(&store), expected);
    assert_eq!(store.queue_range("T", 0), Some((0, 233)), "it can be read from any offset on");
    assert_eq!(store.offset_by_time("T", 0, 0, Boundary::Lower), Some(195));
    assert_eq!(store.offset_by_time("T", 0, i64::MAX, Boundary::Upper), Some(232));

    // Gone on with: the older ones of `once7` and `last` go.
    assert_eq!(send(&store, "once7", "new"), 233);
    for _ in 0..30 {
        send(&store, "last", "z");
    }
    store.copy_to_compact(&["T".into()], &|| true).unwrap();
    let rules = CompactionRules { key_bytes: 1 << 20, deletions_before_ms: i64::MAX };
    assert!(store.compact_queue("T", 0, rules, &|| true).unwrap().is_some());
    let messages = read(&store);
    assert_eq!(&messages[..5], &expected[..5]);
    let once: Vec<_> = messages.iter().filter(|message| message.1.starts_with("once")).collect();
    assert_eq!(once.len(), 30);
    assert_eq!((once[29].0, &*once[29].2), (233, "new"));
    assert!(messages.len() < 5 + 30 + 20, "{}", messages.len());
    store.close().unwrap();
    drop(store);
    assert_eq!(read(&open(&root)), messages);
}
