//! One compaction of a queue: of each key the newest message stays.
//!
//! Only files that are full take part. The keys of messages that came since the last round are taken into a table of
//! bounded size, as many as it holds; then older messages of those keys go. What has no room is the next round's.
//!
//! A message without a body deletes its key: it makes the older ones go, and goes itself once it is old enough.

use std::io;
use std::sync::Arc;

use apogee_base::disk::Disk;
use apogee_message::names::property;
use apogee_message::record::Record;

use super::keys::Keys;
use super::plan::{Group, Holding, plan};
use super::positions::Positions;
use super::queue::{CompactedQueue, Files, open_files};
use super::segment::Segment;
use super::swap::Swap;

/// Bytes that are written together.
const WRITTEN: usize = 1 << 20;

/// How queues are compacted.
#[derive(Debug, Clone, Copy)]
pub struct CompactionRules {
    /// Bytes that the keys of one round may take in memory.
    pub key_bytes: usize,
    /// Messages that delete a key go when they were stored before this time, in milliseconds since 1970.
    pub deletions_before_ms: i64,
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Messages that were removed.
    pub removed: i64,
    /// Files that were written anew.
    pub files: usize,
    /// Whether there was no room for all new keys: another round has work.
    pub is_partial: bool,
}

/// The key of a message: all of its keys, as upstream has it. `None` when there is none.
fn key_of<'r>(record: &Record<'r>) -> Option<&'r str> {
    record.property(property::KEYS).filter(|keys| !keys.trim().is_empty())
}

/// Whether a message has a key.
pub(crate) fn has_key(record: &Record<'_>) -> bool {
    key_of(record).is_some()
}

pub(super) struct Round<'r> {
    pub disk: &'r dyn Disk,
    pub queue: &'r CompactedQueue,
    pub positions: &'r Positions,
    pub rules: CompactionRules,
    /// Asked again and again: no ends the round, with nothing done.
    pub goes_on: &'r dyn Fn() -> bool,
}

impl Round<'_> {
    /// Does it. `None` when there is nothing to do.
    pub fn run(&self) -> io::Result<Option<Compacted>> {
        let (disk, queue) = (self.disk, self.queue);
        self.finish_last()?;
        let files = queue.files();
        let Some((_growing, full)) = files.split_last() else { return Ok(None) };
        let position = self.positions.get(&queue.topic, queue.id).min(queue.end() - 1);
        let Some(newest) = full.iter().map(|file| file.last()).max().filter(|newest| *newest > position) else {
            return Ok(None);
        };
        let keys = self.new_keys(full, position)?;
        let mut holdings = Vec::with_capacity(full.len());
        for file in full {
            holdings.push(self.holding(file, &keys)?);
        }
        let groups = plan(&holdings, queue.sizes);
        if !groups.is_empty() {
            queue.workshop.begin(disk)?;
            let swap = self.write(full, &groups, &keys);
            let swap = swap.inspect_err(|_| drop(queue.workshop.clear(disk)))?;
            queue.workshop.decide(disk, &swap)?;
            self.take_over(&swap)?;
        }
        if !queue.is_gone() {
            self.positions.set(&queue.topic, queue.id, keys.to())?;
        }
        let removed = holdings.iter().map(|file| file.messages - file.kept).sum();
        let written = groups.iter().filter(|group| !group.is_empty).count();
        Ok(Some(Compacted { removed, files: written, is_partial: keys.to() < newest }))
    }

    /// Finishes a round that failed in its midst.
    fn finish_last(&self) -> io::Result<()> {
        let (disk, queue) = (self.disk, self.queue);
        if !queue.workshop.is_decided(disk) {
            return Ok(());
        }
        let Some(_changing) = queue.change() else { return Ok(()) };
        queue.workshop.finish(disk, &queue.folders)?;
        let (files, _) = open_files(disk, &queue.folders, queue.sizes, false)?;
        queue.set_files(|_| files);
        Ok(())
    }

    /// An error of its own kind when the round shall end.
    fn check(&self) -> io::Result<()> {
        let goes_on = !self.queue.is_gone() && (self.goes_on)();
        if goes_on { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    }

    /// The keys of messages behind a position, as far as there is room.
    fn new_keys(&self, full: &[Arc<Segment>], position: i64) -> io::Result<Keys> {
        let mut keys = Keys::new(self.rules.key_bytes);
        for file in full.iter().filter(|file| file.last() > position) {
            let mut at = file.find(|unit| unit.first <= position)?;
            while at < file.count() {
                self.check()?;
                for unit in file.units(at)? {
                    at += 1;
                    // What is damaged must not make an older one go.
                    let bytes = file.record(&unit)?;
                    let record = bytes.as_deref().and_then(|bytes| Record::read(bytes).ok());
                    match record.as_ref().and_then(key_of) {
                        Some(key) if !keys.put(key, unit.first) => return Ok(keys),
                        Some(_) => {}
                        None => keys.pass(unit.first),
                    }
                }
            }
        }
        Ok(keys)
    }

    fn keeps(&self, record: &Record<'_>, keys: &Keys) -> bool {
        if record.queue_offset > keys.to() {
            return true;
        }
        let is_newest = key_of(record).is_some_and(|key| !keys.has_newer(key, record.queue_offset));
        is_newest && (!record.body.is_empty() || record.store_timestamp >= self.rules.deletions_before_ms)
    }

    fn holding(&self, file: &Segment, keys: &Keys) -> io::Result<Holding> {
        let mut holding = Holding { messages: file.count(), ..Holding::default() };
        let mut at = 0;
        while at < holding.messages {
            self.check()?;
            for unit in file.units(at)? {
                at += 1;
                let bytes = file.look(&unit)?;
                let record = bytes.as_deref().and_then(|bytes| Record::read(bytes).ok());
                if record.is_some_and(|record| self.keeps(&record, keys)) {
                    holding.kept += 1;
                    holding.kept_bytes += u64::from(unit.unit.size);
                }
            }
        }
        Ok(holding)
    }

    /// Makes the new files, durable.
    fn write(&self, full: &[Arc<Segment>], groups: &[Group], keys: &Keys) -> io::Result<Swap> {
        let queue = self.queue;
        let mut swap = Swap::default();
        for group in groups {
            let mut goes = full[group.files.clone()].iter().map(|file| file.base);
            if !group.is_empty {
                swap.put.extend(goes.next());
                self.write_group(&full[group.files.clone()], keys)?;
            }
            swap.remove.extend(goes);
        }
        queue.workshop.new.sync(self.disk)?;
        Ok(swap)
    }

    fn write_group(&self, files: &[Arc<Segment>], keys: &Keys) -> io::Result<()> {
        let Some(first) = files.first() else { return Ok(()) };
        let longest = files.iter().map(|file| file.bytes()).max().unwrap_or(0);
        let new = Segment::create(self.disk, &self.queue.workshop.new, first.base, self.queue.sizes, longest)?;
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for file in files {
            let mut at = 0;
            while at < file.count() {
                self.check()?;
                for unit in file.units(at)? {
                    at += 1;
                    let Some(record) = file.record(&unit)? else {
                        tracing::error!(topic = %self.queue.topic, queue = self.queue.id, offset = unit.first, "a message of the compacted log is damaged: it is left out");
                        continue;
                    };
                    if Record::read(&record).is_ok_and(|record| self.keeps(&record, keys)) {
                        bytes += record.len();
                        waiting.push((unit, record));
                    }
                }
                if bytes >= WRITTEN {
                    new.append(&std::mem::take(&mut waiting))?;
                    bytes = 0;
                }
            }
        }
        new.append(&waiting)?;
        new.end()?;
        new.sync()
    }

    /// Puts the new files in the place of the old ones. Who reads from these goes on.
    fn take_over(&self, swap: &Swap) -> io::Result<()> {
        let (disk, queue) = (self.disk, self.queue);
        let Some(_changing) = queue.change() else { return Ok(()) };
        queue.workshop.finish(disk, &queue.folders)?;
        let open = |base: &i64| Segment::open(disk, &queue.folders, *base, queue.sizes, false).map(Arc::new);
        let new: Vec<_> = swap.put.iter().map(open).collect::<io::Result<_>>()?;
        queue.set_files(|files| {
            let stays = |file: &&Arc<Segment>| !swap.put.contains(&file.base) && !swap.remove.contains(&file.base);
            let mut files: Vec<_> = files.iter().filter(stays).cloned().chain(new).collect();
            files.sort_unstable_by_key(|file| file.base);
            files
        });
        Ok(())
    }
}

/// The files that a reader begins with.
pub(super) fn files_from(files: &Files, offset: i64) -> &[Arc<Segment>] {
    // The last one may be empty.
    &files[files.partition_point(|file| file.count() > 0 && file.last() < offset)..]
}
