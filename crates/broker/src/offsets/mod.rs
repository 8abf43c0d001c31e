//! How far consumer groups have come in each queue (upstream `ConsumerOffsetManager`, `LmqConsumerOffsetManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_wire::bodies::{ConsumerOffsetSerializeWrapper, DataVersion};

use crate::persist::PersistError;
use crate::table_file::{Change, TableFile};

mod of_master;
mod opening;
mod queues;
#[cfg(test)]
mod tests;

pub(crate) use opening::open;
use queues::{AT, Groups, NONE, Progress, Queues, known, lock, put_all, take};

/// Offsets by group, topic and queue, and the file `consumerOffset.json`, or with light queues `lmqConsumerOffset.json`.
/// Committing and querying
/// allocate nothing once a group is known, and groups don't wait for each other.
pub struct OffsetTable {
    file: TableFile,
    /// Whether groups of light queues have a table of their own in the file.
    has_light: bool,
    groups: RwLock<Groups>,
    version: Mutex<DataVersion>,
    /// Groups and topics with offsets that changed since they were saved.
    unsaved: Mutex<Vec<(Arc<str>, Arc<str>)>>,
}

impl OffsetTable {
    /// Reads the file of a broker without light queues.
    pub fn open(file: TableFile, now_ms: i64) -> Result<Self, PersistError> {
        Self::load(file, false, now_ms).map(|(table, _)| table)
    }

    /// Reads a file; says whether it was there.
    fn load(file: TableFile, has_light: bool, now_ms: i64) -> Result<(Self, bool), PersistError> {
        let loaded = file.load::<ConsumerOffsetSerializeWrapper>()?;
        let is_there = loaded.table.is_some();
        let kept = loaded.table.unwrap_or_default();
        let mut version = kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms));
        let mut groups = Groups::new();
        put_all(&mut groups, kept);
        for Change { removed, put } in loaded.changes {
            version = put.data_version.unwrap_or(version);
            // What comes replaces what was there.
            let pulled = put.pull_offset_table.iter().flat_map(|table| table.keys());
            let light = put.lmq_offset_table.iter().flat_map(|table| table.keys());
            for key in removed.iter().chain(put.offset_table.keys()).chain(pulled).chain(light) {
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
        Ok((Self { file, has_light, groups, version, unsaved: Mutex::default() }, is_there))
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

    /// Forgets topics.
    pub(crate) fn forget_topics(&self, go: impl Fn(&str) -> bool) {
        let mut groups = self.write();
        groups.retain(|group, topics| {
            topics.retain(|topic, _| {
                let goes = go(topic);
                if goes {
                    self.unsaved().push((Arc::clone(group), Arc::clone(topic)));
                }
                !goes
            });
            !topics.is_empty()
        });
    }

    /// The table as peers and the file have it.
    pub fn snapshot(&self) -> ConsumerOffsetSerializeWrapper {
        let mut all = ConsumerOffsetSerializeWrapper { data_version: Some(self.version()), ..Default::default() };
        let mut by_group = BTreeMap::new();
        for (group, topics) in self.read().iter() {
            for (topic, queues) in topics {
                if take(&mut all, group, topic, &lock(queues), self.has_light) {
                    let topics: &mut BTreeSet<String> = by_group.entry(group.to_string()).or_default();
                    topics.insert(topic.to_string());
                }
            }
        }
        all.group_topic_map = Some(by_group);
        all.pull_offset_table.get_or_insert_default();
        if self.has_light {
            all.lmq_offset_table.get_or_insert_default();
        }
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
                    take(&mut change.put, &group, &topic, &queues, self.has_light);
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
