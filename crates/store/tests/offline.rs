//! Checking and showing stores that no broker has open, those of Apache's broker among them.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use apogee_base::clock::SystemClock;
use apogee_base::disk::RealDisk;
use apogee_message::record::{Draft, NewMessage};
use apogee_store::{Offline, Report, Stands, Store, StoreError, StoreOptions};
use bytes::BytesMut;
use serde_json::Value;
use tempfile::TempDir;

const TINY: (u32, u32) = (50, 100);
const MIXED: (u32, u32) = (500, 2_000);

fn sample(name: &str) -> (TempDir, Value) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/store");
    let folder = tempfile::tempdir().unwrap();
    let archive = golden.join(format!("{name}.tar.gz"));
    assert!(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap().success());
    let manifest = std::fs::File::open(golden.join(format!("{name}.manifest.json.gz"))).unwrap();
    (folder, serde_json::from_reader(flate2::read::GzDecoder::new(manifest)).unwrap())
}

fn open(folder: &TempDir, sizes: (u32, u32)) -> Offline {
    Offline::open(Arc::new(RealDisk), folder.path().join("store"), None, sizes).unwrap()
}

fn check(folder: &TempDir, sizes: (u32, u32)) -> Report {
    let (mut last, mut all) = (0, 0);
    let report = open(folder, sizes).check(&mut |done, total| (last, all) = (done, total)).unwrap();
    assert!(last == all && all > 0, "progress ends at its end");
    report
}

fn flip(folder: &TempDir, path: &str, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(folder.path().join("store").join(path)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 16], at).unwrap();
}

#[test]
fn stores_of_apaches_broker_are_whole_and_shown_as_they_are() {
    for (name, sizes) in [("tiny-roll", TINY), ("tiny-ext-crc", TINY), ("mixed-clean", MIXED), ("mixed-crash", MIXED)] {
        let (folder, manifest) = sample(name);
        let report = check(&folder, sizes);
        assert_eq!(report.problems, [], "{name}");
        let records = manifest["commitlog"].as_array().unwrap();
        assert_eq!(report.records, records.len() as u64, "{name}");
        let sums = records.iter().filter(|record| record["properties"].get("__CRC32#").is_some()).count();
        assert_eq!(report.with_sum, sums as u64, "{name}");
        assert!(report.units > 100 && report.entries > 100 && report.index_files_skipped == 0, "{name}: {report:?}");

        let store = open(&folder, sizes);
        let whole = store.log().filter(|stands| matches!(stands, Stands::Record(_)));
        assert_eq!(whole.count(), records.len(), "{name}");
        for (topic, id) in store.queues().unwrap() {
            let units = &manifest["consumequeue"][&topic][id.to_string()]["units"];
            let mut shown = Vec::new();
            store
                .units(&topic, id, &mut |offset, unit, _, _| {
                    if !unit.is_blank() {
                        shown.push([offset, unit.physical_offset, i64::from(unit.size), unit.tag_code]);
                    }
                })
                .unwrap();
            let told: Vec<[i64; 4]> = serde_json::from_value(units.clone()).unwrap();
            assert_eq!(shown, told, "{name}: {topic} {id}");
        }
    }
}

#[test]
fn each_kind_of_damage_is_found_with_its_file() {
    let log = "commitlog/00000000000000000000";
    let queue = "consumequeue/T_a/0/00000000000000000000";
    for (path, at) in [(log, 300), (log, 30), (log, 2), (queue, 45), (queue, 50), (queue, 59)] {
        // The tags of the other one are in an extension of its queues.
        let (folder, _) = sample(if at == 59 { "tiny-roll" } else { "tiny-ext-crc" });
        flip(&folder, path, at);
        let report = check(&folder, TINY);
        let found =
            report.problems.iter().any(|problem| problem.file.ends_with(path) && problem.at.abs_diff(at) < 1_300);
        assert!(found, "{path} byte {at}: {report:?}");
    }
    let (folder, _) = sample("tiny-ext-crc");
    let index = open(&folder, TINY).index_files().unwrap()[0].clone();
    flip(&folder, index.to_str().unwrap(), 40 + 50 * 4 + 20 + 8);
    assert!(check(&folder, TINY).problems.iter().any(|problem| problem.file == index));
    std::fs::remove_file(folder.path().join("store").join(queue)).unwrap();
    assert!(check(&folder, TINY).problem_count > 1, "a file is missing");
}

/// A store of a broker that was killed: a message in each of five queues, before a checkpoint.
fn killed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { log_file_size: 1 << 16, index: false, ..StoreOptions::default() };
    let root = folder.path().join("store");
    let store = Store::open(Arc::new(RealDisk), Arc::new(SystemClock), root, options).unwrap();
    let draft = |queue_id| {
        let message = NewMessage { queue_id, ..NewMessage::own("Rare", "hello", ([127, 0, 0, 1], 1), 0) };
        Draft::new(&message, &mut BytesMut::new()).unwrap()
    };
    store.append_now((0..5).map(draft)).unwrap();
    store.checkpoint_step().unwrap();
    assert!(!folder.path().join("store/consumequeue/Rare").exists(), "rare queues have no files yet");
    folder
}

#[test]
fn kept_units_are_checked_and_shown_as_those_in_queues_files() {
    let folder = killed();
    let report = check(&folder, TINY);
    assert_eq!((report.problems.as_slice(), report.units, report.without_queue), (&[][..], 5, 0));
    assert_eq!(open(&folder, TINY).queues().unwrap().len(), 5);
    flip(&folder, "units/00000000000000000000", 50);
    let report = check(&folder, TINY);
    assert_eq!((report.problem_count, report.units), (1, 0), "{report:?}");
    assert!(report.problems[0].file.ends_with("units"), "{report:?}");
}

#[test]
fn a_store_that_a_broker_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = Store::open(Arc::new(RealDisk), Arc::new(SystemClock), root.clone(), StoreOptions::default()).unwrap();
    let refused = Offline::open(Arc::new(RealDisk), root, None, TINY).err();
    assert!(matches!(refused, Some(StoreError::Locked(_))), "{refused:?}");
    drop(store);
    let nothing = Offline::open(Arc::new(RealDisk), folder.path().join("no"), None, TINY).err().unwrap();
    assert!(nothing.to_string().contains("there is no such folder"), "{nothing}");
}
