use std::path::Path;

use apogee_base::disk::{self, Disk, SimDisk};
use apogee_wire::bodies::Body;

use super::*;

const PATH: &str = "/c/o.json";

fn open(disk: &SimDisk) -> OffsetTable {
    disk.create_folder(Path::new("/c")).unwrap();
    OffsetTable::open(TableFile::new(Arc::new(disk.clone()), PATH.into()), 1).unwrap()
}

fn table() -> OffsetTable {
    open(&SimDisk::new(1))
}

#[test]
fn an_offset_is_what_was_committed_last() {
    let table = table();
    assert_eq!(table.query("G", "T", 0), None);
    table.commit("G", "T", 1, 5);
    table.pulled("G", "T", 1, 9);
    table.commit("G", "T", 0, 7);
    table.commit("G", "T", 1, 3);
    assert_eq!((table.query("G", "T", 1), table.pull_offset("G", "T", 1)), (Some(3), Some(9)));
    assert_eq!((table.query("G", "T", 0), table.pull_offset("G", "T", 0)), (Some(7), None));
    assert_eq!((table.query("H", "T", 0), table.query("G", "U", 0)), (None, None));
    assert_eq!(table.queues("G", "T"), [(0, 7), (1, 3)].into());
}

#[test]
fn a_moved_group_stays_where_it_was_moved() {
    let table = table();
    table.commit("G", "T", 0, 50);
    table.reset("G", "T", 0, 10);
    assert!(!table.commit("G", "T", 0, 51), "it was consumed before the group was moved");
    assert_eq!(table.query("G", "T", 0), Some(10));
    assert_eq!(table.take_reset("G", "T", 0), Some(10));
    assert_eq!(table.take_reset("G", "T", 0), None);
    assert_eq!(table.query("G", "T", 0), Some(10));
    assert!(table.commit("G", "T", 0, 11));
    assert_eq!(table.query("G", "T", 0), Some(11));
}

#[test]
fn groups_and_topics_are_found_copied_and_forgotten() {
    let table = table();
    table.commit("G", "T", 0, 5);
    table.commit("H", "T", 0, 3);
    table.commit("H", "T", 1, 4);
    table.commit("H", "U", 0, 1);
    assert_eq!(table.groups_of("T"), ["G".to_owned(), "H".into()].into());
    assert_eq!(table.topics_of("H"), ["T".to_owned(), "U".into()].into());
    assert_eq!(table.slowest("T", &[]), [(0, 3), (1, 4)].into());
    assert_eq!(table.slowest("T", &["H"]), [(0, 5)].into());
    table.copy("H", "G", "T");
    assert_eq!(table.queues("G", "T"), [(0, 3), (1, 4)].into());
    table.copy("none", "new", "T");
    assert_eq!(table.topics_of("new"), [].into());
    table.remove_topic("T");
    assert_eq!((table.topics_of("H"), table.groups_of("T")), (["U".to_owned()].into(), [].into()));
    table.remove_group("H");
    assert_eq!(table.groups_of("U"), [].into());
}

#[test]
fn offsets_survive() {
    let disk = SimDisk::new(1);
    let table = open(&disk);
    table.commit("G", "%RETRY%G", 2, 5);
    table.pulled("G", "T", 0, 9);
    table.save(77).unwrap();
    disk.crash();
    let again = open(&disk);
    assert_eq!((again.query("G", "%RETRY%G", 2), again.pull_offset("G", "T", 0)), (Some(5), Some(9)));
    assert_eq!(again.snapshot(), table.snapshot());
    assert_eq!(again.snapshot().data_version.unwrap().timestamp, 77);
}

#[test]
fn an_unchanged_table_is_not_written() {
    let disk = SimDisk::new(1);
    let table = open(&disk);
    table.query("G", "T", 0);
    table.save(2).unwrap();
    assert!(!disk.exists(Path::new(PATH)));
}

#[test]
fn the_file_of_upstream_is_read_and_written_alike() {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/c")).unwrap();
    let text = include_bytes!("../../../../tests/golden/config/consumerOffset.json");
    disk::replace(&disk, Path::new(PATH), text).unwrap();
    let table = open(&disk);
    assert_eq!(table.query("G91ksmpc810", "T91ksmpc810", 2), Some(1));
    assert_eq!(table.pull_offset("G91ksmpc810", "T91ksmpc810", 1), Some(0));
    let theirs = ConsumerOffsetSerializeWrapper::decode(text).unwrap();
    let ours = table.snapshot();
    assert_eq!((ours.offset_table, ours.pull_offset_table), (theirs.offset_table, theirs.pull_offset_table));
}
