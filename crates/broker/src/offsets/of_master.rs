//! A slave's table, and that of its master.

use std::sync::{Arc, Mutex, PoisonError};

use apogee_message::light;
use apogee_wire::bodies::ConsumerOffsetSerializeWrapper;

use super::OffsetTable;
use super::queues::{AT, Groups, Progress, Queues, lock, put_all};

/// An offset that was committed at a slave.
#[derive(Debug, PartialEq)]
pub(crate) struct Ahead {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub offset: i64,
}

impl OffsetTable {
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
                let name = format!("{topic}{AT}{group}");
                let (known, of_light) = (theirs.offset_table.get(&name), theirs.lmq_offset_table.as_ref());
                let of_light = of_light.and_then(|table| table.get(&name)).filter(|_| light::is_light(group));
                for progress in queues.all.iter().filter(|progress| progress.is_own) {
                    let (queue_id, offset) = (progress.queue_id, progress.committed);
                    let known = known.and_then(|known| known.get(&queue_id)).or(of_light);
                    if known.is_none_or(|known| *known < offset) {
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
}
