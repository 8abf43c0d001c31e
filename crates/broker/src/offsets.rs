//! How far consumer groups have come in each queue (upstream `ConsumerOffsetManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_wire::bodies::{ConsumerOffsetSerializeWrapper, DataVersion};

use crate::persist::PersistError;
use crate::table_file::{Change, TableFile};

/// Separates topic and group in the file's keys; names never contain it.
const AT: char = '@';

/// Offsets by group, topic and queue, and the file `consumerOffset.json`. Committing and querying
/// allocate nothing once a group is known, and groups don't wait for each other.
pub struct OffsetTable {
    file: TableFile,
    groups: RwLock<Groups>,
    version: Mutex<DataVersion>,
    /// Groups and topics with offsets that changed since they were saved.
    unsaved: Mutex<Vec<(Arc<str>, Arc<str>)>>,
}

/// By group and topic.
type Groups = HashMap<Arc<str>, HashMap<Arc<str>, Mutex<Queues>>>;

/// The queues of one topic.
#[derive(Debug, Clone, Default)]
struct Queues {
    /// In ascending order of their ids.
    all: Vec<Progress>,
    /// On the list of what is to be saved.
    is_unsaved: bool,
}

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
    /// Committed here by a consumer, and not known by a master: on a slave.
    is_own: bool,
}

/// An offset that was committed at a slave.
#[derive(Debug, PartialEq)]
pub(crate) struct Ahead {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offset: i64,
}

const NONE: i64 = -1;

impl OffsetTable {
    /// Reads the file.
    pub fn open(file: TableFile, now_ms: i64) -> Result<Self, PersistError> {
        let loaded = file.load::<ConsumerOffsetSerializeWrapper>()?;
        let kept = loaded.table.unwrap_or_default();
        let mut version = kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms));
        let mut groups = Groups::new();
        put_all(&mut groups, kept);
        for Change { removed, mut put } in loaded.changes {
            version = put.data_version.unwrap_or(version);
            // What comes replaces what was there.
            let pulled = put.pull_offset_table.get_or_insert_default().keys();
            for key in removed.iter().chain(put.offset_table.keys()).chain(pulled) {
                if let Some((topic, group)) = key.split_once(AT)
                    && let Some(topics) = groups.get_mut(group)
                {
                    topics.remove(topic);
                }
            }
            put_all(&mut groups, put);
        }
        groups.retain(|_, topics| !topics.is_empty());
        let (groups, version) = (RwLock::new(groups), Mutex::new(version));
        Ok(Self { file, groups, version, unsaved: Mutex::default() })
    }

    /// Notes the next offset a group will consume; the caller has checked that the queue exists.
    /// False if it is passed over because the group was moved and doesn't know it yet.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        self.change(group, topic, |queues| {
            let progress = queues.of(queue_id);
            let keeps = progress.reset == NONE;
            if keeps {
                (progress.committed, progress.is_own) = (offset, true);
            }
            keeps
        })
    }

    /// Notes offsets of queues of several topics that belong together: the file has all or none of them.
    pub fn commit_together(&self, group: &str, offsets: &[(&str, i32, i64)]) {
        let mut groups = self.write();
        for (topic, queue_id, offset) in offsets {
            self.change_in(&mut groups, group, topic, |queues| queues.of(*queue_id).committed = *offset);
        }
    }

    /// Notes the next offset a group will pull.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.change(group, topic, |queues| queues.of(queue_id).pulled = offset);
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

    /// All groups and topics that have to do with each other, in no order.
    pub fn all_pairs(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let groups = self.read();
        let pairs =
            groups.iter().flat_map(|(group, topics)| topics.keys().map(|topic| (Arc::clone(group), Arc::clone(topic))));
        pairs.collect()
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
    }

    /// Groups that are behind the end of a queue are put to it: what is stored next is new to them. Offsets may have come
    /// from a master whose last messages have not.
    pub(crate) fn end_with(&self, end_of: impl Fn(&str, i32) -> i64) {
        for (group, topics) in self.read().iter() {
            for (topic, queues) in topics {
                let mut queues = lock(queues);
                let mut is_behind = false;
                for progress in &mut queues.all {
                    let end = end_of(topic, progress.queue_id);
                    if progress.committed > end {
                        tracing::warn!(%group, %topic, queue = progress.queue_id, offset = progress.committed, end, "a group had consumed more than is here: it goes on with what comes next");
                        is_behind = true;
                    }
                    is_behind |= progress.pulled > end;
                    (progress.committed, progress.pulled) = (progress.committed.min(end), progress.pulled.min(end));
                }
                if is_behind {
                    self.note(group, topic, &mut queues);
                }
            }
        }
    }

    /// What was committed here and is ahead of a master's table.
    pub(crate) fn ahead_of(&self, theirs: &ConsumerOffsetSerializeWrapper) -> Vec<Ahead> {
        let mut ahead = Vec::new();
        for (group, topics) in self.read().iter() {
            for (topic, queues) in topics {
                let queues = lock(queues);
                if queues.all.iter().all(|progress| !progress.is_own) {
                    continue;
                }
                let known = theirs.offset_table.get(&format!("{topic}{AT}{group}"));
                for progress in queues.all.iter().filter(|progress| progress.is_own) {
                    let (queue_id, offset) = (progress.queue_id, progress.committed);
                    if known.and_then(|known| known.get(&queue_id)).is_none_or(|known| *known < offset) {
                        ahead.push(Ahead { group: Arc::clone(group), topic: Arc::clone(topic), queue_id, offset });
                    }
                }
            }
        }
        ahead
    }

    /// What was committed here counts no more than what a master says.
    pub(crate) fn forget_own(&self, group: &str, topic: &str, queue_id: i32) {
        let groups = self.read();
        let queues = groups.get(group).and_then(|topics| topics.get(topic));
        if let Some(mut queues) = queues.map(lock)
            && let Some(progress) = queues.get_mut(queue_id)
        {
            progress.is_own = false;
        }
    }

    /// Becomes a master's table, but for one group, and for what was committed here since it was asked for.
    pub(crate) fn take_over(&self, theirs: ConsumerOffsetSerializeWrapper, but_for: &str) {
        let mut new = Groups::new();
        put_all(&mut new, theirs);
        new.remove(but_for);
        let mut groups = self.write();
        if let Some(kept) = groups.remove_entry(but_for) {
            new.insert(kept.0, kept.1);
        }
        let mut unsaved = self.unsaved();
        for (group, topics) in groups.iter_mut() {
            for (topic, old) in topics {
                let old = old.get_mut().unwrap_or_else(PoisonError::into_inner);
                let theirs = new.get_mut(group).and_then(|topics| topics.get_mut(topic));
                let theirs = theirs.map(|queues| queues.get_mut().unwrap_or_else(PoisonError::into_inner));
                let own: Vec<_> = old.all.iter().filter(|progress| progress.is_own).copied().collect();
                let is_later = |own: &Progress| {
                    let known =
                        theirs.as_ref().and_then(|theirs| theirs.place(own.queue_id).ok().map(|at| theirs.all[at]));
                    known.is_none_or(|known| known.committed < own.committed)
                };
                let own: Vec<_> = own.into_iter().filter(is_later).collect();
                match theirs {
                    None if own.is_empty() => unsaved.push((Arc::clone(group), Arc::clone(topic))),
                    None => {
                        let topics = new.entry(Arc::clone(group)).or_default();
                        let queues = Queues { all: own, is_unsaved: old.is_unsaved };
                        topics.insert(Arc::clone(topic), Mutex::new(queues));
                    }
                    Some(theirs) => {
                        own.into_iter().for_each(|own| *theirs.of(own.queue_id) = own);
                        theirs.is_unsaved = old.is_unsaved;
                        if !old.is_unsaved && !theirs.has_offsets_of(old) {
                            theirs.is_unsaved = true;
                            unsaved.push((Arc::clone(group), Arc::clone(topic)));
                        }
                    }
                }
            }
        }
        for (group, topics) in &mut new {
            for (topic, queues) in topics {
                if groups.get(group).is_none_or(|topics| !topics.contains_key(topic)) && **group != *but_for {
                    queues.get_mut().unwrap_or_else(PoisonError::into_inner).is_unsaved = true;
                    unsaved.push((Arc::clone(group), Arc::clone(topic)));
                }
            }
        }
        *groups = new;
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        let removed = self.write().remove_entry(group);
        if let Some((group, topics)) = removed {
            self.unsaved().extend(topics.into_keys().map(|topic| (Arc::clone(&group), topic)));
        }
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        let mut groups = self.write();
        groups.retain(|group, topics| {
            if let Some((topic, _)) = topics.remove_entry(topic) {
                self.unsaved().push((Arc::clone(group), topic));
            }
            !topics.is_empty()
        });
    }

    /// The table as peers and the file have it.
    pub fn snapshot(&self) -> ConsumerOffsetSerializeWrapper {
        let mut all = ConsumerOffsetSerializeWrapper { data_version: Some(self.version()), ..Default::default() };
        let mut by_group = BTreeMap::new();
        for (group, topics) in self.read().iter() {
            for (topic, queues) in topics {
                if take(&mut all, group, topic, &lock(queues)) {
                    let topics: &mut BTreeSet<String> = by_group.entry(group.to_string()).or_default();
                    topics.insert(topic.to_string());
                }
            }
        }
        all.group_topic_map = Some(by_group);
        all.pull_offset_table.get_or_insert_default();
        all
    }

    /// In how many topics groups have offsets, all groups together.
    pub fn len(&self) -> usize {
        self.read().values().map(|topics| topics.len()).sum()
    }

    /// Whether there is no offset of any group.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes all that changed before the call durable; costs what changed.
    pub fn save(&self, now_ms: i64) -> Result<(), PersistError> {
        self.file.save(|| self.take_unsaved(now_ms), || self.snapshot())
    }

    /// Writes the file as upstream's broker reads it.
    pub fn close(&self, now_ms: i64) -> Result<(), PersistError> {
        self.file.close(|| self.take_unsaved(now_ms), || self.snapshot())
    }

    fn take_unsaved(&self, now_ms: i64) -> Option<Change<ConsumerOffsetSerializeWrapper>> {
        // Who changes several topics together does so alone.
        let groups = self.read();
        let unsaved = std::mem::take(&mut *self.unsaved());
        if unsaved.is_empty() {
            return None;
        }
        let mut change = Change::<ConsumerOffsetSerializeWrapper>::default();
        let version = {
            let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
            *version = version.next(0, now_ms);
            *version
        };
        change.put.data_version = Some(version);
        for (group, topic) in unsaved {
            match groups.get(&group).and_then(|topics| topics.get(&topic)) {
                Some(queues) => {
                    let mut queues = lock(queues);
                    queues.is_unsaved = false;
                    take(&mut change.put, &group, &topic, &queues);
                }
                None => change.removed.push(format!("{topic}{AT}{group}")),
            }
        }
        Some(change)
    }

    fn version(&self) -> DataVersion {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<(Arc<str>, Arc<str>)>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, group: &str, topic: &str, queue_id: i32) -> Option<Progress> {
        let groups = self.read();
        let mut queues = lock(groups.get(group)?.get(topic)?);
        queues.get_mut(queue_id).copied()
    }

    fn change<R>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Queues) -> R) -> R {
        let groups = self.read();
        if let Some((group, topics)) = groups.get_key_value(group)
            && let Some((topic, queues)) = topics.get_key_value(topic)
        {
            let mut queues = lock(queues);
            self.note(group, topic, &mut queues);
            return change(&mut queues);
        }
        drop(groups);
        self.change_in(&mut self.write(), group, topic, change)
    }

    /// The same where there may be none yet.
    fn change_in<R>(&self, groups: &mut Groups, group: &str, topic: &str, change: impl FnOnce(&mut Queues) -> R) -> R {
        let group = groups.get_key_value(group).map_or_else(|| group.into(), |(group, _)| Arc::clone(group));
        let topics = groups.entry(Arc::clone(&group)).or_default();
        let topic = topics.get_key_value(topic).map_or_else(|| topic.into(), |(topic, _)| Arc::clone(topic));
        let queues = topics.entry(Arc::clone(&topic)).or_default();
        let queues = queues.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.note(&group, &topic, queues);
        change(queues)
    }

    /// Puts the queues on the list of what is to be saved.
    fn note(&self, group: &Arc<str>, topic: &Arc<str>, queues: &mut Queues) {
        if !std::mem::replace(&mut queues.is_unsaved, true) {
            self.unsaved().push((Arc::clone(group), Arc::clone(topic)));
        }
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
        self.all.get_mut(place)
    }

    fn of(&mut self, queue_id: i32) -> &mut Progress {
        let place = self.place(queue_id).unwrap_or_else(|place| {
            self.all.insert(place, Progress { queue_id, committed: NONE, pulled: NONE, reset: NONE, is_own: false });
            place
        });
        &mut self.all[place]
    }

    fn has_offsets_of(&self, other: &Self) -> bool {
        let both = |queues: &Self| [queues.table(|one| one.committed), queues.table(|one| one.pulled)];
        both(self) == both(other)
    }

    fn place(&self, queue_id: i32) -> Result<usize, usize> {
        self.all.binary_search_by_key(&queue_id, |progress| progress.queue_id)
    }

    fn table(&self, offset: impl Fn(&Progress) -> i64) -> BTreeMap<i32, i64> {
        let known = self.all.iter().filter_map(|progress| Some((progress.queue_id, known(offset(progress))?)));
        known.collect()
    }
}

/// Puts all offsets of a table of the file's shape.
fn put_all(groups: &mut Groups, table: ConsumerOffsetSerializeWrapper) {
    let committed = table.offset_table.into_iter().map(|entry| (entry, true));
    let pulled = table.pull_offset_table.into_iter().flatten().map(|entry| (entry, false));
    // Names are shared: there may be many groups in a topic, and many topics of a group.
    let mut names = HashMap::<String, Arc<str>>::new();
    for ((key, offsets), is_committed) in committed.chain(pulled) {
        let Some((topic, group)) = key.split_once(AT) else {
            tracing::warn!(
                key,
                "dropped a consumer offset whose key is not of the form topic@group; nothing needs to be done unless a group begins anew"
            );
            continue;
        };
        let mut name = |name: &str| Arc::clone(names.entry(name.to_owned()).or_insert_with(|| name.into()));
        let queues = groups.entry(name(group)).or_default().entry(name(topic)).or_default();
        let queues = queues.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (queue_id, offset) in offsets {
            let progress = queues.of(queue_id);
            *(if is_committed { &mut progress.committed } else { &mut progress.pulled }) = offset;
        }
    }
}

/// Puts the offsets of some queues into a table of the file's shape; says whether any is committed.
fn take(table: &mut ConsumerOffsetSerializeWrapper, group: &str, topic: &str, queues: &Queues) -> bool {
    let committed = queues.table(|progress| progress.committed);
    let pulled = queues.table(|progress| progress.pulled);
    let is_committed = !committed.is_empty();
    if is_committed {
        table.offset_table.insert(format!("{topic}{AT}{group}"), committed);
    }
    if !pulled.is_empty() {
        table.pull_offset_table.get_or_insert_default().insert(format!("{topic}{AT}{group}"), pulled);
    }
    is_committed
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
