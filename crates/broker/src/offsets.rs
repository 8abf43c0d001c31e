//! How far consumer groups have come in each queue (upstream `ConsumerOffsetManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_wire::bodies::{ConsumerOffsetSerializeWrapper, DataVersion};

use crate::persist::{JsonFile, PersistError};

/// Separates topic and group in the file's keys; names never contain it.
const AT: char = '@';

/// Offsets by group, topic and queue, and the file `consumerOffset.json`. Committing and querying
/// allocate nothing once a group is known, and groups don't wait for each other.
pub struct OffsetTable {
    file: JsonFile,
    groups: RwLock<Groups>,
    version: Mutex<DataVersion>,
    unsaved: AtomicBool,
    /// Held by the one who writes the file.
    saving: Mutex<()>,
}

/// By group and topic.
type Groups = HashMap<Box<str>, HashMap<Box<str>, Mutex<Queues>>>;

/// The queues of one topic in ascending order of their ids.
#[derive(Debug, Clone, Default)]
struct Queues(Vec<Progress>);

#[derive(Debug, Clone, Copy)]
struct Progress {
    queue_id: i32,
    /// Next offset to be consumed; `NONE` if never committed.
    committed: i64,
    /// Next offset to be pulled, ahead of `committed`.
    pulled: i64,
    /// Where an administrator wants the group to go on; until a pull has told the consumer, what it
    /// commits is of before.
    reset: i64,
}

const NONE: i64 = -1;

impl OffsetTable {
    /// Reads the file.
    pub fn open(file: JsonFile, now_ms: i64) -> Result<Self, PersistError> {
        let kept: Option<ConsumerOffsetSerializeWrapper> = file.load()?;
        let kept = kept.unwrap_or_default();
        let mut groups = Groups::new();
        let committed = kept.offset_table.into_iter().map(|entry| (entry, true));
        let pulled = kept.pull_offset_table.into_iter().flatten().map(|entry| (entry, false));
        for ((key, offsets), is_committed) in committed.chain(pulled) {
            let Some((topic, group)) = key.split_once(AT) else {
                tracing::warn!(key, "dropped a consumer offset whose key is not of the form topic@group");
                continue;
            };
            let queues = groups.entry(group.into()).or_default().entry(topic.into()).or_default();
            let queues = queues.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (queue_id, offset) in offsets {
                let progress = queues.of(queue_id);
                *(if is_committed { &mut progress.committed } else { &mut progress.pulled }) = offset;
            }
        }
        Ok(Self {
            file,
            groups: RwLock::new(groups),
            version: Mutex::new(kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms))),
            unsaved: AtomicBool::new(false),
            saving: Mutex::default(),
        })
    }

    /// Notes the next offset a group will consume; the caller has checked that the queue exists.
    /// False if it is passed over because the group was moved and doesn't know it yet.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        let kept = self.change(group, topic, |queues| {
            let progress = queues.of(queue_id);
            let keeps = progress.reset == NONE;
            if keeps {
                progress.committed = offset;
            }
            keeps
        });
        self.changed();
        kept
    }

    /// Notes offsets of queues of several topics that belong together: the file has all or none of them.
    pub fn commit_together(&self, group: &str, offsets: &[(&str, i32, i64)]) {
        let mut groups = self.write();
        let topics = groups.entry(group.into()).or_default();
        for (topic, queue_id, offset) in offsets {
            let queues = topics.entry((*topic).into()).or_default();
            queues.get_mut().unwrap_or_else(PoisonError::into_inner).of(*queue_id).committed = *offset;
        }
        drop(groups);
        self.changed();
    }

    /// Notes the next offset a group will pull.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.change(group, topic, |queues| queues.of(queue_id).pulled = offset);
        self.changed();
    }

    /// The next offset a group will consume: a reset one, or the one committed last.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let progress = self.progress(group, topic, queue_id)?;
        known(progress.reset).or(known(progress.committed))
    }

    /// The next offset a group will pull.
    pub fn pull_offset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        known(self.progress(group, topic, queue_id)?.pulled)
    }

    /// Makes a group go on elsewhere: its next pull of the queue is told so, and until then what its
    /// consumers commit is dropped.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.change(group, topic, |queues| {
            let progress = queues.of(queue_id);
            (progress.committed, progress.reset) = (offset, offset);
        });
        self.changed();
    }

    /// The offset that a pull shall be told because of a reset; asked once.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let groups = self.read();
        let mut queues = lock(groups.get(group)?.get(topic)?);
        let progress = queues.get_mut(queue_id)?;
        known(std::mem::replace(&mut progress.reset, NONE))
    }

    /// The committed offsets of a group in a topic.
    pub fn queues(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let groups = self.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        queues.map(|queues| lock(queues).table(|progress| progress.committed)).unwrap_or_default()
    }

    /// Topics in which a group has committed or pulled offsets.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        let groups = self.read();
        groups.get(group).into_iter().flatten().map(|(topic, _)| topic.to_string()).collect()
    }

    /// Groups that have offsets in a topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        let groups = self.read();
        groups.iter().filter(|(_, topics)| topics.contains_key(topic)).map(|(group, _)| group.to_string()).collect()
    }

    /// Per queue of a topic the offset of the slowest group but for those left out.
    pub fn slowest(&self, topic: &str, left_out: &[&str]) -> BTreeMap<i32, i64> {
        let mut slowest = BTreeMap::new();
        for (_, topics) in self.read().iter().filter(|(group, _)| !left_out.contains(&&***group)) {
            let Some(queues) = topics.get(topic) else { continue };
            for (queue_id, offset) in lock(queues).table(|progress| progress.committed) {
                slowest.entry(queue_id).and_modify(|least: &mut i64| *least = offset.min(*least)).or_insert(offset);
            }
        }
        slowest
    }

    /// Gives a group the committed offsets of another one in a topic.
    pub fn copy(&self, from: &str, to: &str, topic: &str) {
        let copied = self.queues(from, topic);
        if copied.is_empty() {
            return;
        }
        self.change(to, topic, |queues| {
            copied.into_iter().for_each(|(queue_id, offset)| queues.of(queue_id).committed = offset);
        });
        self.changed();
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        if self.write().remove(group).is_some() {
            self.changed();
        }
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        let mut groups = self.write();
        groups.retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
        drop(groups);
        self.changed();
    }

    /// The table as peers and the file have it.
    pub fn snapshot(&self) -> ConsumerOffsetSerializeWrapper {
        let mut all = ConsumerOffsetSerializeWrapper {
            data_version: Some(*self.version.lock().unwrap_or_else(PoisonError::into_inner)),
            ..Default::default()
        };
        let (mut by_group, mut pulled) = (BTreeMap::new(), BTreeMap::new());
        for (group, topics) in self.read().iter() {
            for (topic, queues) in topics {
                let queues = lock(queues);
                let key = || format!("{topic}{AT}{group}");
                let commits = queues.table(|progress| progress.committed);
                if !commits.is_empty() {
                    let topics: &mut BTreeSet<String> = by_group.entry(group.to_string()).or_default();
                    topics.insert(topic.to_string());
                    all.offset_table.insert(key(), commits);
                }
                let pulls = queues.table(|progress| progress.pulled);
                if !pulls.is_empty() {
                    pulled.insert(key(), pulls);
                }
            }
        }
        (all.group_topic_map, all.pull_offset_table) = (Some(by_group), Some(pulled));
        all
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

    fn progress(&self, group: &str, topic: &str, queue_id: i32) -> Option<Progress> {
        let groups = self.read();
        let mut queues = lock(groups.get(group)?.get(topic)?);
        queues.get_mut(queue_id).copied()
    }

    fn change<R>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Queues) -> R) -> R {
        let groups = self.read();
        if let Some(queues) = groups.get(group).and_then(|topics| topics.get(topic)) {
            return change(&mut lock(queues));
        }
        drop(groups);
        let mut groups = self.write();
        let queues = groups.entry(group.into()).or_default().entry(topic.into()).or_default();
        change(queues.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    fn changed(&self) {
        self.unsaved.store(true, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Groups> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Groups> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn get_mut(&mut self, queue_id: i32) -> Option<&mut Progress> {
        let place = self.place(queue_id).ok()?;
        self.0.get_mut(place)
    }

    fn of(&mut self, queue_id: i32) -> &mut Progress {
        let place = self.place(queue_id).unwrap_or_else(|place| {
            self.0.insert(place, Progress { queue_id, committed: NONE, pulled: NONE, reset: NONE });
            place
        });
        &mut self.0[place]
    }

    fn place(&self, queue_id: i32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&queue_id, |progress| progress.queue_id)
    }

    fn table(&self, offset: impl Fn(&Progress) -> i64) -> BTreeMap<i32, i64> {
        let known = self.0.iter().filter_map(|progress| Some((progress.queue_id, known(offset(progress))?)));
        known.collect()
    }
}

fn known(offset: i64) -> Option<i64> {
    (offset != NONE).then_some(offset)
}

fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use apogee_base::disk::{self, Disk, SimDisk};
    use apogee_wire::bodies::Body;

    use super::*;

    const PATH: &str = "/c/o.json";

    fn open(disk: &SimDisk) -> OffsetTable {
        disk.create_folder(Path::new("/c")).unwrap();
        OffsetTable::open(JsonFile::new(Arc::new(disk.clone()), PATH.into()), 1).unwrap()
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
        let text = include_bytes!("../../../tests/golden/config/consumerOffset.json");
        disk::replace(&disk, Path::new(PATH), text).unwrap();
        let table = open(&disk);
        assert_eq!(table.query("G91ksmpc810", "T91ksmpc810", 2), Some(1));
        assert_eq!(table.pull_offset("G91ksmpc810", "T91ksmpc810", 1), Some(0));
        let theirs = ConsumerOffsetSerializeWrapper::decode(text).unwrap();
        let ours = table.snapshot();
        assert_eq!((ours.offset_table, ours.pull_offset_table), (theirs.offset_table, theirs.pull_offset_table));
    }
}
