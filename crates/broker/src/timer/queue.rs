//! The order in which waiting messages are due: a log-structured priority queue.
//!
//! The entries of a bounded table are in memory; when it is full, those due latest go to a sorted
//! file, a run. The next due is the least of the table's first and the first of each run. Runs of
//! like size are merged, a slice at a time, so that their number grows with the logarithm of what
//! waits; of each one block is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::Disk;

use super::entry::{Entry, Kind};
use super::merge::Merge;
use super::run::{self, Cursor, Writer};

/// Runs of like size that are merged into one.
const FAN_IN: usize = 16;

/// A run as the queue's state on disk names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunState {
    pub id: u64,
    /// Entries of the file.
    pub count: u64,
    /// Entries before this one are done with.
    pub position: u64,
}

/// All that has to be kept for the queue to be the same after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct QueueState {
    pub next_id: u64,
    pub runs: Vec<RunState>,
    pub entries: Vec<Entry>,
}

pub(super) struct TimerQueue {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Most entries in memory.
    limit: usize,
    table: BTreeSet<Entry>,
    runs: BTreeMap<u64, Run>,
    /// The first entry of each run that has one.
    heads: BTreeSet<(Entry, u64)>,
    merges: BTreeMap<u32, Merge>,
    next_id: u64,
    /// Files that the state on disk may still name.
    unused: Vec<u64>,
}

struct Run {
    cursor: Cursor,
    /// Runs of like size have the same.
    tier: u32,
    /// The merge of its tier reads it.
    merging: bool,
}

impl TimerQueue {
    /// The queue as it was; files that it doesn't know are removed. The folder is there.
    pub fn open(disk: Arc<dyn Disk>, folder: PathBuf, limit: usize, state: QueueState) -> io::Result<Self> {
        let mut queue = Self {
            disk,
            folder,
            limit: limit.max(4),
            table: state.entries.into_iter().collect(),
            runs: BTreeMap::new(),
            heads: BTreeSet::new(),
            merges: BTreeMap::new(),
            next_id: state.next_id,
            unused: Vec::new(),
        };
        for run in state.runs.into_iter().filter(|run| run.position < run.count) {
            let file = queue.disk.open(&run::path(&queue.folder, run.id), false)?;
            queue.add(run.id, Cursor::new(file, run.count, run.position)?);
        }
        for name in queue.disk.list(&queue.folder)? {
            if run::id_of(&name).is_some_and(|id| !queue.runs.contains_key(&id)) {
                queue.disk.remove(&queue.folder.join(name))?;
            }
        }
        Ok(queue)
    }

    /// Forgets everything, for entries to be put in anew. Files go with the next state.
    pub fn clear(&mut self) {
        self.table.clear();
        self.heads.clear();
        self.unused.extend(std::mem::take(&mut self.runs).into_keys());
        self.unused.extend(std::mem::take(&mut self.merges).into_values().map(|merge| merge.id));
    }

    /// What to keep.
    pub fn state(&self) -> QueueState {
        let run =
            |(id, run): (&u64, &Run)| RunState { id: *id, count: run.cursor.count, position: run.cursor.position };
        QueueState {
            next_id: self.next_id,
            runs: self.runs.iter().map(run).collect(),
            entries: self.table.iter().copied().collect(),
        }
    }

    /// Takes the files that [`TimerQueue::state`] doesn't name as it is now. When it has been kept they can be
    /// removed, and not before.
    pub fn take_unused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unused)
    }

    /// Gives them back: the state could not be kept.
    pub fn still_unused(&mut self, unused: Vec<u64>) {
        self.unused.extend(unused);
    }

    /// Removes them.
    pub fn remove_files(&self, unused: &[u64]) {
        for id in unused {
            if let Err(error) = self.disk.remove(&run::path(&self.folder, *id)) {
                tracing::warn!(id, %error, "a run of timers cannot be removed; the next start does it");
            }
        }
    }

    /// How many entries in memory are due before each of some times, in ascending order, and readers of the others.
    pub fn look(&self, times: &[i64]) -> (Vec<u64>, Vec<Cursor>) {
        let mut before = vec![0; times.len()];
        for entry in &self.table {
            let first = times.partition_point(|time| *time <= entry.time);
            before[first..].iter_mut().for_each(|count| *count += 1);
        }
        (before, self.runs.values().map(|run| run.cursor.fork()).collect())
    }

    /// Entries that wait.
    #[cfg(test)]
    pub fn len(&self) -> u64 {
        self.table.len() as u64 + self.runs.values().map(|run| run.cursor.left()).sum::<u64>()
    }

    /// Whether entries should be put in only after [`TimerQueue::make_room`].
    pub fn is_full(&self) -> bool {
        self.table.len() >= self.limit
    }

    pub fn push(&mut self, entry: Entry) {
        self.table.insert(entry);
    }

    /// When the next entry is due.
    pub fn next_time(&self) -> Option<i64> {
        let (table, runs) = (self.table.first(), self.heads.first().map(|(entry, _)| entry));
        table.into_iter().chain(runs).map(|entry| entry.time).min()
    }

    /// Takes the next entry that is due: one that deletes, or a message that is not settled. After an
    /// error the queue is as before.
    pub fn pop_due(&mut self, now_ms: i64) -> io::Result<Option<Entry>> {
        let mut settled: Option<Entry> = None;
        loop {
            let taken = match self.pop(now_ms) {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.table.extend(settled);
                    return Err(error);
                }
            };
            match taken.kind {
                Kind::Settled => settled = Some(taken),
                Kind::Message if settled.is_some_and(|s| (s.time, s.offset) == (taken.time, taken.offset)) => {}
                Kind::Message | Kind::Delete => return Ok(Some(taken)),
            }
        }
    }

    fn pop(&mut self, now_ms: i64) -> io::Result<Option<Entry>> {
        let from_run = match (self.table.first(), self.heads.first()) {
            (Some(entry), Some((head, _))) => head < entry,
            (table, _) => table.is_none(),
        };
        if !from_run {
            let is_due = self.table.first().is_some_and(|entry| entry.time <= now_ms);
            return Ok(if is_due { self.table.pop_first() } else { None });
        }
        let Some((entry, id)) = self.heads.first().copied().filter(|(entry, _)| entry.time <= now_ms) else {
            return Ok(None);
        };
        let Some(run) = self.runs.get_mut(&id) else { return Ok(None) };
        run.cursor.advance()?;
        self.heads.pop_first();
        if let Some(merge) = self.merges.get_mut(&run.tier).filter(|_| run.merging) {
            merge.popped += 1;
        }
        match run.cursor.entry() {
            Some(next) => drop(self.heads.insert((next, id))),
            // A merge still reads it.
            None if run.merging => {}
            None => self.remove(id),
        }
        Ok(Some(entry))
    }

    /// Writes the entries that are due latest to a run.
    pub fn make_room(&mut self) -> io::Result<()> {
        // What is due soon would only come back.
        let Some(first) = self.table.iter().nth(self.table.len() / 4).copied() else { return Ok(()) };
        let (id, mut writer) = self.create()?;
        let written = self.table.range(first..).try_for_each(|entry| writer.push(entry));
        let cursor = written.and_then(|()| self.finish(writer, 0)).inspect_err(|_| self.unused.push(id))?;
        self.table.split_off(&first);
        self.add(id, cursor);
        Ok(())
    }

    /// Merges so many entries of each tier that has enough runs. Says whether there is more to do.
    pub fn merge(&mut self, entries: usize) -> io::Result<bool> {
        self.begin_merges()?;
        for tier in self.merges.keys().copied().collect::<Vec<_>>() {
            let merged = self.merges.get_mut(&tier).map_or(Ok(false), |merge| merge.step(entries));
            match merged {
                Ok(false) => {}
                Ok(true) => self.end_merge(tier)?,
                Err(error) => {
                    self.drop_merge(tier);
                    return Err(error);
                }
            }
        }
        Ok(!self.merges.is_empty())
    }

    fn begin_merges(&mut self) -> io::Result<()> {
        let mut tiers: BTreeMap<u32, usize> = BTreeMap::new();
        self.runs.values().filter(|run| !run.merging).for_each(|run| *tiers.entry(run.tier).or_default() += 1);
        for (tier, runs) in tiers {
            if runs < FAN_IN || self.merges.contains_key(&tier) {
                continue;
            }
            let (id, writer) = self.create()?;
            let sources = self.runs.values_mut().filter(|run| run.tier == tier).take(FAN_IN);
            let cursors = sources.map(|run| {
                run.merging = true;
                run.cursor.fork()
            });
            self.merges.insert(tier, Merge::new(id, writer, cursors.collect()));
        }
        Ok(())
    }

    fn end_merge(&mut self, tier: u32) -> io::Result<()> {
        let Some(merge) = self.merges.remove(&tier) else { return Ok(()) };
        let (id, popped) = (merge.id, merge.popped);
        // What was taken meanwhile was taken in the same order.
        let cursor = self.finish(merge.writer, popped).inspect_err(|_| self.abandon(tier, id))?;
        let sources: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.tier == tier && run.merging).map(|(id, _)| *id).collect();
        sources.into_iter().for_each(|id| self.remove(id));
        self.add(id, cursor);
        Ok(())
    }

    fn drop_merge(&mut self, tier: u32) {
        if let Some(merge) = self.merges.remove(&tier) {
            self.abandon(tier, merge.id);
        }
    }

    /// The runs of a merge that failed can be merged again.
    fn abandon(&mut self, tier: u32, id: u64) {
        self.unused.push(id);
        let sources: Vec<_> = self.runs.iter().filter(|(_, run)| run.tier == tier && run.merging).collect();
        let ended: Vec<_> = sources.into_iter().filter(|(_, run)| run.cursor.left() == 0).map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.remove(id));
        self.runs.values_mut().filter(|run| run.tier == tier).for_each(|run| run.merging = false);
    }

    fn create(&mut self) -> io::Result<(u64, Writer)> {
        let id = self.next_id;
        self.next_id += 1;
        Writer::create(&*self.disk, &run::path(&self.folder, id)).map(|writer| (id, writer))
    }

    fn finish(&self, writer: Writer, position: u64) -> io::Result<Cursor> {
        let (file, count) = writer.finish()?;
        self.disk.sync_folder(&self.folder)?;
        Cursor::new(file, count, position)
    }

    /// Adds a run, unless it has ended.
    fn add(&mut self, id: u64, cursor: Cursor) {
        let Some(head) = cursor.entry() else { return self.unused.push(id) };
        let tables = (cursor.left() / self.limit as u64).max(1);
        let tier = tables.ilog(FAN_IN as u64);
        self.heads.insert((head, id));
        self.runs.insert(id, Run { cursor, tier, merging: false });
    }

    fn remove(&mut self, id: u64) {
        if let Some(run) = self.runs.remove(&id) {
            if let Some(head) = run.cursor.entry() {
                self.heads.remove(&(head, id));
            }
            self.unused.push(id);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
