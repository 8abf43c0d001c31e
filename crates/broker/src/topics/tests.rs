use std::path::Path;

use apogee_base::disk::{Disk, SimDisk};
use apogee_wire::bodies::Body;

use super::*;

fn open(disk: &SimDisk, settings: &BrokerSettings) -> TopicTable {
    disk.create_folder(Path::new("/c")).unwrap();
    let file = TableFile::new(Arc::new(disk.clone()), "/c/topics.json".into());
    TopicTable::open(file, settings, 1).unwrap()
}

#[test]
fn the_table_of_a_later_master_is_above_that_of_each_before() {
    let (disk, settings) = (SimDisk::new(1), BrokerSettings::default());
    let table = open(&disk, &settings);
    (2..9).for_each(|now| drop(table.ensure(&format!("T{now}"), 1, 6, now)));
    let former = table.version();
    table.begin_epoch(3, 10);
    table.ensure("T", 1, 6, 11);
    assert_eq!(table.version().state_version, 3);
    assert!(table.version() > former);
    assert!(open(&disk, &settings).version() <= table.version(), "one that is without a controller is not above it");
}

#[test]
fn a_topic_is_created_after_its_template() {
    let (disk, settings) = (SimDisk::new(1), BrokerSettings::default());
    let table = open(&disk, &settings);
    let version = table.version();
    let topic = table.get_or_create("T", "TBW102", 4, &settings, 2).unwrap();
    assert_eq!((topic.config.read_queue_nums, topic.config.write_queue_nums, topic.config.perm), (4, 4, 6));
    assert!(table.version() > version);
    assert_eq!(table.get_or_create("T", "TBW102", 8, &settings, 3).unwrap().config.read_queue_nums, 4);
    assert_eq!(table.get_or_create("Wide", "TBW102", 99, &settings, 3).unwrap().config.read_queue_nums, 8);
    assert!(table.get_or_create("bad name", "TBW102", 4, &settings, 3).is_err());
    assert_eq!(table.get_or_create("X", "T", 4, &settings, 3).unwrap_err().code, response::TOPIC_NOT_EXIST);
}

#[test]
fn nothing_is_created_where_that_is_off() {
    let mut settings = BrokerSettings { auto_create_topic_enable: false, ..BrokerSettings::default() };
    let disk = SimDisk::new(1);
    let error = open(&disk, &settings).get_or_create("T", "TBW102", 4, &settings, 2).unwrap_err();
    assert!(error.remark.contains("topic[T] not exist"), "{error}");
    // Switched off while it runs.
    settings.auto_create_topic_enable = true;
    let table = open(&disk, &settings);
    settings.auto_create_topic_enable = false;
    assert!(table.get_or_create("T", "TBW102", 4, &settings, 2).is_err());
}

#[test]
fn what_is_saved_is_there_after_a_crash() {
    let (disk, settings) = (SimDisk::new(1), BrokerSettings::default());
    let table = open(&disk, &settings);
    table.update([TopicConfig::new("Kept", 3)], 5);
    table.save().unwrap();
    table.update([TopicConfig::new("Lost", 3)], 6);
    disk.crash();
    disk.create_folder(Path::new("/c")).unwrap();
    let table = open(&disk, &settings);
    assert_eq!(table.get("Kept").unwrap().config.read_queue_nums, 3);
    assert!(table.get("Lost").is_none());
    assert!(table.remove("Kept", 7) && !table.remove("Kept", 7));
}

#[test]
fn the_file_is_what_peers_get() {
    let (disk, settings) = (SimDisk::new(1), BrokerSettings::default());
    let table = open(&disk, &settings);
    let attributes = [("+a".to_owned(), "b".to_owned())].into();
    table.update((0..500).map(|n| TopicConfig { order: n % 2 > 0, ..TopicConfig::new(format!("T{n}"), n) }), 5);
    table.update([TopicConfig { attributes, ..TopicConfig::new("\u{e9}\"", 3) }], 6);
    table.close().unwrap();
    let written = apogee_base::disk::read(&disk, Path::new("/c/topics.json")).unwrap();
    let topics = table.all().into_iter().map(|topic| (topic.name.to_string(), topic.config.clone()));
    let whole =
        TopicConfigSerializeWrapper { data_version: Some(table.version()), topic_config_table: topics.collect() };
    assert_eq!(String::from_utf8(written), String::from_utf8(whole.encode_pretty()));
}

#[test]
fn the_file_of_upstream_is_read() {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/c")).unwrap();
    let text = include_bytes!("../../../../tests/golden/config/topics.json");
    apogee_base::disk::replace(&disk, Path::new("/c/topics.json"), text).unwrap();
    let table = open(&disk, &BrokerSettings::default());
    assert_eq!(table.get("TBW102").unwrap().config.read_queue_nums, 4);
    assert_eq!(table.get("SCHEDULE_TOPIC_XXXX").unwrap().config.write_queue_nums, 18);
}
