//! Consumer offsets (upstream `ConsumerOffsetManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_wire::bodies::{ConsumerOffsetSerializeWrapper, DataVersion};

use crate::persist::{JsonFile, PersistError};

/// Offsets by group, topic and queue, and the file `consumerOffset.json`.
pub struct OffsetTable {
    file: JsonFile,
    groups: RwLock<HashMap<String, HashMap<String, Queues>>>,
    version: Mutex<DataVersion>,
    unsaved: AtomicBool,
    /// Held by the one who writes the file.
    saving: Mutex<()>,
}

/// Offsets of one group in one topic.
#[derive(Default, Clone)]
struct Queues {
    committed: BTreeMap<i32, i64>,
    /// An administrator moved the group here: told to whoever asks next, and until then what
    /// consumers commit, who don't know of it yet, is passed over.
    reset: BTreeMap<i32, i64>,
}

impl OffsetTable {
    /// Reads the file.
    pub fn open(file: JsonFile, now_ms: i64) -> Result<Self, PersistError> {
        let kept: Option<ConsumerOffsetSerializeWrapper> = file.load()?;
        let kept = kept.unwrap_or_default();
        let mut groups: HashMap<String, HashMap<String, Queues>> = HashMap::new();
        for (key, committed) in kept.offset_table {
            // A group's name cannot contain the separator, a topic's neither.
            if let Some((topic, group)) = key.split_once('@') {
                let queues = Queues { committed, reset: BTreeMap::new() };
                groups.entry(group.to_owned()).or_default().insert(topic.to_owned(), queues);
            }
        }
        let version = Mutex::new(kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms)));
        Ok(Self {
            file,
            groups: RwLock::new(groups),
            version,
            unsaved: AtomicBool::new(false),
            saving: Mutex::default(),
        })
    }

    /// Where a group is in a queue.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let groups = self.read();
        let queues = groups.get(group)?.get(topic)?;
        queues.reset.get(&queue_id).or_else(|| queues.committed.get(&queue_id)).copied()
    }

    /// Takes an offset that an administrator set and no consumer knows yet.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        // Nearly always there is none, and a look suffices.
        self.read().get(group)?.get(topic)?.reset.get(&queue_id)?;
        self.write().get_mut(group)?.get_mut(topic)?.reset.remove(&queue_id)
    }

    /// Notes where a group is.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        {
            let mut groups = self.write();
            if let Some(queues) = groups.get_mut(group).and_then(|topics| topics.get_mut(topic)) {
                if queues.reset.contains_key(&queue_id) {
                    return;
                }
                queues.committed.insert(queue_id, offset);
            } else {
                let topics = groups.entry(group.to_owned()).or_default();
                topics.entry(topic.to_owned()).or_default().committed.insert(queue_id, offset);
            }
        }
        self.unsaved.store(true, Ordering::Release);
    }

    /// Moves a group, whatever its consumers commit meanwhile.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let mut groups = self.write();
        let queues = groups.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default();
        queues.reset.insert(queue_id, offset);
        queues.committed.insert(queue_id, offset);
        self.unsaved.store(true, Ordering::Release);
    }

    /// Offsets of a group in a topic.
    pub fn queues(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let groups = self.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues.map(|queues| queues.committed.clone()).unwrap_or_default()
    }

    /// Topics that a group has offsets in.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        self.read().get(group).map(|topics| topics.keys().cloned().collect()).unwrap_or_default()
    }

    /// Groups that have offsets in a topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let groups = self.read();
        groups.iter().filter(|(_, topics)| topics.contains_key(topic)).map(|(group, _)| group.clone()).collect()
    }

    /// Gives a group the offsets of another, in one topic.
    pub fn copy(&self, from: &str, to: &str, topic: &str) {
        let committed = self.queues(from, topic);
        if !committed.is_empty() {
            let queues = Queues { committed, reset: BTreeMap::new() };
            self.write().entry(to.to_owned()).or_default().insert(topic.to_owned(), queues);
            self.unsaved.store(true, Ordering::Release);
        }
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        if self.write().remove(group).is_some() {
            self.unsaved.store(true, Ordering::Release);
        }
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        let mut groups = self.write();
        for topics in groups.values_mut() {
            if topics.remove(topic).is_some() {
                self.unsaved.store(true, Ordering::Release);
            }
        }
        groups.retain(|_, topics| !topics.is_empty());
    }

    /// The table as peers and the file have it.
    pub fn snapshot(&self) -> ConsumerOffsetSerializeWrapper {
        let groups = self.read();
        let mut offset_table = BTreeMap::new();
        for (group, topics) in &*groups {
            for (topic, queues) in topics {
                offset_table.insert(format!("{topic}@{group}"), queues.committed.clone());
            }
        }
        let version = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        ConsumerOffsetSerializeWrapper { data_version: Some(version), offset_table, ..Default::default() }
    }

    /// Writes the file if something changed since it was written.
    pub fn save(&self, now_ms: i64) -> Result<(), PersistError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if self.unsaved.swap(false, Ordering::AcqRel) {
            {
                let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
                *version = version.next(0, now_ms);
            }
            self.file.save(&self.snapshot()).inspect_err(|_| self.unsaved.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, HashMap<String, Queues>>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, HashMap<String, Queues>>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    fn open(disk: &SimDisk) -> OffsetTable {
        disk.create_folder(Path::new("/c")).unwrap();
        OffsetTable::open(JsonFile::new(Arc::new(disk.clone()), "/c/o.json".into()), 1).unwrap()
    }

    #[test]
    fn offsets_survive() {
        let disk = SimDisk::new(1);
        let table = open(&disk);
        assert_eq!(table.query("G", "T", 0), None);
        table.commit("G", "T", 0, 5);
        table.commit("G", "%RETRY%G", 0, 1);
        table.save(2).unwrap();
        table.commit("G", "T", 0, 9);
        disk.crash();
        disk.create_folder(Path::new("/c")).unwrap();
        let table = open(&disk);
        assert_eq!((table.query("G", "T", 0), table.query("G", "%RETRY%G", 0)), (Some(5), Some(1)));
        assert_eq!(table.topics_of("G").len(), 2);
        assert_eq!(table.groups_of("T").len(), 1);
        table.copy("G", "H", "T");
        table.remove_topic("T");
        assert_eq!((table.query("G", "T", 0), table.query("H", "T", 0)), (None, None));
    }

    #[test]
    fn a_reset_wins_over_consumers_that_do_not_know_of_it() {
        let table = open(&SimDisk::new(1));
        table.commit("G", "T", 0, 50);
        table.reset("G", "T", 0, 10);
        table.commit("G", "T", 0, 51);
        assert_eq!(table.query("G", "T", 0), Some(10));
        assert_eq!(table.take_reset("G", "T", 0), Some(10));
        assert_eq!(table.take_reset("G", "T", 0), None);
        table.commit("G", "T", 0, 11);
        assert_eq!(table.query("G", "T", 0), Some(11));
    }

    #[test]
    fn the_file_of_upstream_is_read() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        let text = include_bytes!("../../../tests/golden/config/consumerOffset.json");
        apogee_base::disk::replace(&disk, Path::new("/c/o.json"), text).unwrap();
        assert_eq!(open(&disk).query("G91ksmpc810", "T91ksmpc810", 2), Some(1));
    }
}
