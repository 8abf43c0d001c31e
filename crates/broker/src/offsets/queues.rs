//! The offsets of one group in one topic, and their place in the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_message::light;
use apogee_wire::bodies::ConsumerOffsetSerializeWrapper;

/// Separates topic and group in the file's keys; names never contain it.
pub(super) const AT: char = '@';

/// No offset.
pub(super) const NONE: i64 = -1;

/// By group and topic.
pub(super) type Groups = HashMap<Arc<str>, HashMap<Arc<str>, Mutex<Queues>>>;

/// The queues of one topic.
#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    /// In ascending order of their ids.
    pub all: Vec<Progress>,
    /// On the list of what is to be saved.
    pub is_unsaved: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub queue_id: i32,
    /// Next offset to be consumed; `NONE` if never committed.
    pub committed: i64,
    /// Next offset to be pulled, ahead of `committed`.
    pub pulled: i64,
    /// Where an administrator wants the group to go on; until a pull has told the consumer, what it
    /// commits is of before.
    pub reset: i64,
    /// Committed here by a consumer, and not known by a master: on a slave.
    pub is_own: bool,
}

impl Queues {
    pub fn get_mut(&mut self, queue_id: i32) -> Option<&mut Progress> {
        let place = self.place(queue_id).ok()?;
        self.all.get_mut(place)
    }

    /// What is known of a queue; nothing at first.
    pub fn of(&mut self, queue_id: i32) -> &mut Progress {
        let place = self.place(queue_id).unwrap_or_else(|place| {
            self.all.insert(place, Progress { queue_id, committed: NONE, pulled: NONE, reset: NONE, is_own: false });
            place
        });
        &mut self.all[place]
    }

    pub fn has_offsets_of(&self, other: &Self) -> bool {
        let both = |queues: &Self| [queues.table(|one| one.committed), queues.table(|one| one.pulled)];
        both(self) == both(other)
    }

    /// Where a queue is in the list, or would be.
    pub fn place(&self, queue_id: i32) -> Result<usize, usize> {
        self.all.binary_search_by_key(&queue_id, |progress| progress.queue_id)
    }

    /// Offsets of one kind, by queue, where there are any.
    pub fn table(&self, offset: impl Fn(&Progress) -> i64) -> BTreeMap<i32, i64> {
        let known = self.all.iter().filter_map(|progress| Some((progress.queue_id, known(offset(progress))?)));
        known.collect()
    }
}

/// Puts all offsets of a table of the file's shape.
pub(super) fn put_all(groups: &mut Groups, table: ConsumerOffsetSerializeWrapper) {
    let of_light = table.lmq_offset_table.into_iter().flatten();
    let of_light = of_light.map(|(key, offset)| (key, BTreeMap::from([(light::QUEUE, offset)])));
    let committed = table.offset_table.into_iter().chain(of_light).map(|entry| (entry, true));
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

/// Puts the offsets of some queues into a table of the file's shape; says whether any is committed in a topic. `has_light`:
/// the table has a part for groups of light queues, which knows one queue of each topic.
pub(super) fn take(
    table: &mut ConsumerOffsetSerializeWrapper,
    group: &str,
    topic: &str,
    queues: &Queues,
    has_light: bool,
) -> bool {
    let committed = queues.table(|progress| progress.committed);
    let pulled = queues.table(|progress| progress.pulled);
    if has_light
        && light::is_light(group)
        && committed.len() == 1
        && let Some(offset) = committed.get(&light::QUEUE)
    {
        table.lmq_offset_table.get_or_insert_default().insert(format!("{topic}{AT}{group}"), *offset);
        return false;
    }
    let is_committed = !committed.is_empty();
    if is_committed {
        table.offset_table.insert(format!("{topic}{AT}{group}"), committed);
    }
    if !pulled.is_empty() {
        table.pull_offset_table.get_or_insert_default().insert(format!("{topic}{AT}{group}"), pulled);
    }
    is_committed
}

/// An offset, if it is one.
pub(super) fn known(offset: i64) -> Option<i64> {
    (offset != NONE).then_some(offset)
}

/// The queues of a group in a topic.
pub(super) fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}
