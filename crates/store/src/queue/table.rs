//! All queues, by topic and id.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::mend::{Gap, Source};
use super::{Batch, Contents, MARKS, Pushed, Queue, QueueFiles, Run, Runs, Unit, first_kept};

/// Queue ids that a topic may have.
const MOST_QUEUES: usize = 1 << 16;

/// Queues whose files are looked at when the store is opened: so few that a cold disk is asked for little.
const MOST_LOOKED_AT: usize = 2_000;
/// Queues whose files are made anew one by one, each by reading a part of the log or all of it.
const MOST_MENDED: usize = 8;

pub(crate) struct QueueTable {
    files: QueueFiles,
    topics: RwLock<HashMap<Arc<str>, Topic>>,
    /// Queues with units in memory.
    dirty: Mutex<Vec<Arc<Queue>>>,
    /// Those of them with so many that they are worth writing.
    ripe: Mutex<Vec<Arc<Queue>>>,
    /// Units that were kept, of queues that were not used since.
    parked: Mutex<Runs>,
    /// Topics deleted since the last batch of kept units.
    deleted: Mutex<Vec<Arc<str>>>,
    /// Units in memory.
    in_memory: AtomicUsize,
    next_key: AtomicU64,
    /// Held by the one who makes files of queues anew.
    mending: Mutex<()>,
    /// How far the marks of a queue are from each other in the log.
    marks_apart: i64,
    /// The part of the log that the files' units are taken for.
    start: AtomicI64,
    end: AtomicI64,
}

/// Queues of a topic; each is opened when it is first used.
#[derive(Default)]
struct Topic {
    queues: BTreeMap<i32, Arc<OnceLock<Arc<Queue>>>>,
}

impl QueueTable {
    /// Knows all queues that have files; none is opened yet. The last `hot_bytes` of the log are
    /// expected to be in memory.
    pub fn open(files: QueueFiles, hot_bytes: u64) -> io::Result<Self> {
        let mut topics = HashMap::new();
        for (name, ids) in files.topics()? {
            let queues = ids.into_iter().map(|id| (id, Arc::default())).collect();
            topics.insert(Arc::from(name), Topic { queues });
        }
        Ok(Self {
            files,
            topics: RwLock::new(topics),
            dirty: Mutex::default(),
            ripe: Mutex::default(),
            parked: Mutex::default(),
            deleted: Mutex::default(),
            in_memory: AtomicUsize::new(0),
            next_key: AtomicU64::new(1),
            mending: Mutex::default(),
            marks_apart: (hot_bytes / MARKS as u64) as i64,
            start: AtomicI64::new(0),
            end: AtomicI64::new(i64::MAX),
        })
    }

    /// From now on, units in files count only for records in this part of the log. Before any queue
    /// is opened.
    pub fn set_log(&self, start: i64, end: i64) {
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
    }

    /// From now on damaged units at the ends of queues are told from others, and files that are gone are
    /// made anew, by this log. Before any queue is opened.
    pub fn know_source(&self, source: Source) {
        self.files.set_source(source);
    }

    /// Queues that have a folder.
    pub fn folders(&self) -> i64 {
        self.files.folders()
    }

    /// Queues of a topic that have a folder.
    pub fn folders_of(&self, topic: &str) -> io::Result<i64> {
        self.files.folders_of(topic)
    }

    /// Opens the queues that may lack files, which makes these anew; of very many queues only some are
    /// looked at, the others when they are first used. `false`, and nothing was done, when so many lack
    /// files that it is better to make all anew.
    pub fn mend(&self, start: i64, end: i64) -> io::Result<bool> {
        let ids = self.ids();
        let queues = || ids.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, *id)));
        let (mut lacking, mut certain) = (Vec::new(), 0);
        for (topic, id) in queues().step_by(queues().count() / MOST_LOOKED_AT + 1) {
            // One that cannot be read is its users' concern.
            let Ok(contents) = self.files.contents(topic, id, start, end, false) else { continue };
            certain += usize::from(contents.gaps.iter().any(Gap::is_certain));
            if !contents.gaps.is_empty() {
                lacking.push((topic, id));
            }
        }
        if certain > MOST_MENDED {
            return Ok(false);
        }
        self.set_log(start, end);
        for (topic, id) in lacking {
            self.get(topic, id)?;
        }
        Ok(true)
    }

    /// End of the last record that any queue's files know.
    pub fn last_end(&self) -> io::Result<i64> {
        let mut last = 0;
        for (topic, ids) in self.ids() {
            for id in ids {
                last = last.max(self.files.contents(&topic, id, 0, i64::MAX, false)?.log_end);
            }
        }
        Ok(last)
    }

    /// Overwrites all units of records at or after `end`: the log has lost them, and others will
    /// stand there.
    pub fn wipe_after(&self, end: i64) -> io::Result<()> {
        for (topic, ids) in self.ids() {
            for id in ids {
                self.files.contents(&topic, id, 0, end, true)?;
            }
        }
        Ok(())
    }

    /// Whether a read from there may have to wait for the disk for more than the last part of the log,
    /// from `since` on. Never waits itself.
    pub fn may_wait(&self, topic: &str, id: i32, offset: i64, since: i64) -> bool {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let slot = topics.get(topic).and_then(|topic| topic.queues.get(&id));
        // A queue is opened by its first reader.
        slot.is_some_and(|slot| slot.get().is_none_or(|queue| !queue.is_after(offset, since)))
    }

    /// The queue, if there is one. An error when its files cannot be read.
    pub fn get(&self, topic: &str, id: i32) -> io::Result<Option<Arc<Queue>>> {
        let (name, slot) = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            let Some((name, topic)) = topics.get_key_value(topic) else { return Ok(None) };
            let Some(slot) = topic.queues.get(&id) else { return Ok(None) };
            if let Some(queue) = slot.get() {
                return Ok(Some(Arc::clone(queue)));
            }
            (Arc::clone(name), Arc::clone(slot))
        };
        self.opened(&slot, &name, id).map(Some)
    }

    /// The queue, empty when there was none. An error when its files cannot be read, or the topic's
    /// name cannot be that of a folder.
    pub fn get_or_create(&self, topic: &Arc<str>, id: i32) -> io::Result<Arc<Queue>> {
        loop {
            if let Some(queue) = self.get(topic, id)? {
                return Ok(queue);
            }
            if !is_folder_name(topic) {
                return Err(io::Error::other("the topic's name cannot be that of a folder"));
            }
            let slot = {
                let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
                let queues = &mut topics.entry(Arc::clone(topic)).or_default().queues;
                if queues.len() >= MOST_QUEUES && !queues.contains_key(&id) {
                    return Err(io::Error::other("the topic has too many queues"));
                }
                Arc::clone(queues.entry(id).or_default())
            };
            self.opened(&slot, topic, id)?;
            // Again from the beginning: if the topic was deleted meanwhile, this queue is not its.
        }
    }

    /// Topics and the ids of their queues.
    pub fn ids(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.iter().map(|(name, topic)| (Arc::clone(name), topic.queues.keys().copied().collect())).collect()
    }

    /// Adds a unit of a confirmed record.
    pub fn push(&self, queue: &Arc<Queue>, offset: i64, unit: Unit) {
        let mut pushed = queue.push(offset, unit);
        if pushed == Pushed::BeginsAnew {
            self.restart(queue, offset);
            pushed = queue.push(offset, unit);
        }
        if let Pushed::Added { units, ripe } = pushed {
            self.in_memory.fetch_add(units, Ordering::Relaxed);
            queue.next.fetch_max(offset + 1, Ordering::Relaxed);
            if !queue.dirty.swap(true, Ordering::AcqRel) {
                self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(queue));
            }
            if ripe {
                self.ripe.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(queue));
            }
        }
    }

    /// Units in memory, waiting to be written.
    pub fn units_in_memory(&self) -> usize {
        self.in_memory.load(Ordering::Relaxed)
    }

    /// Units from an offset on: at most `count`, at least one if there is one.
    pub fn read(&self, queue: &Queue, offset: i64, count: usize) -> io::Result<Vec<Unit>> {
        let in_files = match queue.in_memory(offset, count) {
            Ok(units) => return Ok(units),
            Err(in_files) => in_files,
        };
        let units = self.files.read(queue, offset, count.min((in_files - offset) as usize))?;
        // Empty only if the files lack what they were said to hold.
        if units.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(units) }
    }

    /// Replaces a damaged unit. One that is not in files yet is not touched: it is right.
    pub fn put_right(&self, queue: &Queue, offset: i64, unit: Unit) -> io::Result<()> {
        match queue.in_memory(offset, 1) {
            Ok(_) => Ok(()),
            Err(_) => self.files.replace(queue, offset, unit),
        }
    }

    /// The first offset of the file after the one that holds an offset.
    pub fn next_file(&self, offset: i64) -> i64 {
        self.files.next_file(offset)
    }

    /// The log begins at `start` from now on: so do queues that are opened later.
    pub fn set_start(&self, start: i64) {
        self.start.store(start, Ordering::Release);
    }

    /// Moves the beginning of a queue behind what lies before `start` of the log, and removes files
    /// before it. Returns how many. Not while another caller writes.
    pub fn trim(&self, topic: &str, id: i32, start: i64) -> io::Result<usize> {
        let queue = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            let slot = topics.get(topic).and_then(|topic| topic.queues.get(&id));
            slot.and_then(|slot| slot.get()).cloned()
        };
        if let Some(queue) = &queue {
            self.advance(queue, start)?;
        }
        self.files.trim(topic, id, queue.map(|queue| queue.key), start)
    }

    fn advance(&self, queue: &Queue, start: i64) -> io::Result<()> {
        let (min, max) = queue.range();
        queue.advance(min, first_kept(min, max, start, |offset, count| self.read(queue, offset, count))?);
        Ok(())
    }

    /// Writes to files what is in memory of records before `end` of the log, of queues that have much:
    /// opening a file for each message would cost more than all else. One caller at a time.
    pub fn write_ripe(&self, end: i64) -> io::Result<()> {
        let ripe = std::mem::take(&mut *self.ripe.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Vec::new();
        let mut outcome = Ok(());
        for queue in ripe {
            if outcome.is_ok() {
                outcome = self.write_queue(&queue, end);
            }
            if queue.is_ripe() {
                left.push(queue);
            }
        }
        self.ripe.lock().unwrap_or_else(PoisonError::into_inner).append(&mut left);
        outcome
    }

    /// Takes units that were kept; each queue takes over its own when it is first used. Before any
    /// queue is opened.
    pub fn park(&self, runs: Runs) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        for (topic, queues) in &runs {
            let slots = &mut topics.entry(Arc::clone(topic)).or_default().queues;
            for id in queues.keys() {
                slots.entry(*id).or_default();
            }
        }
        self.in_memory.fetch_add(count(runs.values()), Ordering::Relaxed);
        *self.parked() = runs;
    }

    /// Forgets units that were kept and that no queue took over.
    pub fn forget_parked(&self) {
        let runs = std::mem::take(&mut *self.parked());
        self.in_memory.fetch_sub(count(runs.values()), Ordering::Relaxed);
    }

    /// Writes to their files the units of records before `end` of the log of queues that have one from
    /// before `cutoff`; of the others adds to a batch what was not kept yet. Returns the queues of the
    /// batch with where their units end. One caller at a time.
    pub fn write_or_keep(&self, end: i64, cutoff: i64, batch: &mut Batch) -> io::Result<Vec<(Arc<Queue>, i64)>> {
        let is_before = |run: &Run| run.units.first().is_some_and(|unit| unit.physical_offset < cutoff);
        let mut old = Vec::new();
        for (topic, queues) in &*self.parked() {
            old.extend(queues.iter().filter(|(_, run)| is_before(run)).map(|(id, _)| (Arc::clone(topic), *id)));
        }
        for (topic, id) in old {
            self.get(&topic, id)?;
        }
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|topic| batch.delete(topic));
        let mut kept = Vec::new();
        self.each_dirty(|queue| {
            if queue.has_before(cutoff) {
                return self.write_queue(queue, end);
            }
            kept.extend(queue.keep(end, batch).map(|to| (Arc::clone(queue), to)));
            Ok(())
        })?;
        Ok(kept)
    }

    /// A batch was added to the kept units.
    pub fn kept(&self, queues: &[(Arc<Queue>, i64)]) {
        queues.iter().for_each(|(queue, to)| queue.kept(*to));
    }

    /// The deleted topics are noted durably, or nothing that was kept counts any more.
    pub fn forget_deleted(&self) {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Writes to files what is in memory of records before `end` of the log, of all queues that were
    /// used. One caller at a time.
    pub fn write(&self, end: i64) -> io::Result<()> {
        self.each_dirty(|queue| self.write_queue(queue, end))
    }

    /// Calls `each` with all queues that have units in memory, up to the first error.
    fn each_dirty(&self, mut each: impl FnMut(&Arc<Queue>) -> io::Result<()>) -> io::Result<()> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Vec::new();
        let mut outcome = Ok(());
        for queue in dirty {
            if outcome.is_ok() {
                outcome = each(&queue);
            }
            queue.dirty.store(false, Ordering::Release);
            // A unit that came meanwhile saw the mark still set.
            if !queue.is_clean() && !queue.dirty.swap(true, Ordering::AcqRel) {
                left.push(queue);
            }
        }
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).append(&mut left);
        outcome
    }

    fn write_queue(&self, queue: &Queue, end: i64) -> io::Result<()> {
        let Some((offset, units)) = queue.to_write(end) else { return Ok(()) };
        self.files.write(queue, offset, &units)?;
        queue.written(offset + units.len() as i64, self.marks_apart);
        self.in_memory.fetch_sub(units.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes a queue of what its files hold and what was kept of it, if anything was.
    fn made(&self, topic: &Arc<str>, id: i32, contents: Contents, start: i64) -> (Arc<Queue>, bool) {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let run = self.take_parked(topic, id);
        self.in_memory.fetch_sub(run.as_ref().map_or(0, |run| run.units.len()), Ordering::Relaxed);
        let taken = run.and_then(|run| Some((contents.beside(&run)?, run)));
        let queue = |contents| Arc::new(Queue::new(Arc::clone(topic), id, key, contents, start));
        let Some((contents, run)) = taken else { return (queue(contents), false) };
        let queue = queue(contents);
        self.in_memory.fetch_add(queue.take_over(&run), Ordering::Relaxed);
        queue.next.store(queue.range().1, Ordering::Relaxed);
        queue.dirty.store(true, Ordering::Release);
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&queue));
        if queue.is_ripe() {
            self.ripe.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&queue));
        }
        (queue, true)
    }

    /// Where in the log the units of a queue begin that were kept and count beside its files' contents.
    fn parked_from(&self, topic: &str, id: i32, contents: &Contents) -> Option<i64> {
        let parked = self.parked();
        let run = parked.get(topic)?.get(&id)?;
        contents.beside(run)?;
        run.units.iter().find(|unit| !unit.is_blank()).map(|unit| unit.physical_offset)
    }

    fn take_parked(&self, topic: &str, id: i32) -> Option<Run> {
        let mut parked = self.parked();
        let queues = parked.get_mut(topic)?;
        let run = queues.remove(&id);
        if queues.is_empty() {
            parked.remove(topic);
        }
        run
    }

    fn parked(&self) -> MutexGuard<'_, Runs> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all of a queue: it was of a topic that was deleted, and made again.
    fn restart(&self, queue: &Queue, offset: i64) {
        tracing::warn!(topic = %queue.topic, queue = queue.id, offset, "a deleted topic that was made again begins anew");
        self.in_memory.fetch_sub(queue.restart(offset), Ordering::Relaxed);
        queue.next.store(offset, Ordering::Relaxed);
        if let Err(error) = self.files.remove_queue(queue) {
            tracing::error!(topic = %queue.topic, queue = queue.id, %error, "the files of a deleted queue cannot be removed");
        }
    }

    /// Forgets a topic and removes its files. Its messages stay in the log. Not while another caller
    /// writes.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let removed = self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
        let queues: Vec<_> =
            removed.iter().flat_map(|topic| topic.queues.values()).filter_map(|slot| slot.get()).collect();
        for queue in &queues {
            self.in_memory.fetch_sub(queue.delete(), Ordering::Relaxed);
        }
        if let Some(runs) = self.parked().remove(topic) {
            self.in_memory.fetch_sub(count([&runs]), Ordering::Relaxed);
        }
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).push(topic.into());
        let keys: Vec<u64> = queues.iter().map(|queue| queue.key).collect();
        self.files.remove(topic, &keys)
    }

    /// The queue of a slot, opened by whoever needs it first.
    fn opened(&self, slot: &OnceLock<Arc<Queue>>, topic: &Arc<str>, id: i32) -> io::Result<Arc<Queue>> {
        if let Some(queue) = slot.get() {
            return Ok(Arc::clone(queue));
        }
        let (start, end) = (self.start.load(Ordering::Acquire), self.end.load(Ordering::Relaxed));
        let mut contents = self.files.contents(topic, id, start, end, false)?;
        let mut _mending = None;
        if let Some(source) = self.files.source().filter(|_| !contents.gaps.is_empty()) {
            _mending = Some(self.mending.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(queue) = slot.get() {
                return Ok(Arc::clone(queue));
            }
            let mut before = Vec::new();
            // What is missing before the first file that is left is known once the next ones are made.
            while !contents.gaps.is_empty() && contents.gaps != before {
                before = std::mem::take(&mut contents.gaps);
                self.files.mend(source, topic, id, &before)?;
                contents = self.files.contents(topic, id, start, end, false)?;
            }
        }
        if let Some(end) = self.parked_from(topic, id, &contents) {
            contents = self.files.contents(topic, id, start, end, false)?;
        }
        // Of two who open it at a time, the second takes what the first one made.
        let mut had_kept = false;
        let queue = slot.get_or_init(|| {
            let (queue, had) = self.made(topic, id, contents, start);
            had_kept = had;
            queue
        });
        if had_kept {
            self.advance(queue, start)?;
        }
        let start_now = self.start.load(Ordering::Acquire);
        if start_now != start {
            // The log was cut meanwhile; whoever did it may have found the queue unopened.
            self.advance(queue, start_now)?;
        }
        Ok(Arc::clone(queue))
    }
}

/// Units of runs.
fn count<'r>(queues: impl IntoIterator<Item = &'r HashMap<i32, Run>>) -> usize {
    queues.into_iter().flat_map(HashMap::values).map(|run| run.units.len()).sum()
}

/// Whether a topic can have a folder. A name that leads elsewhere must come from a damaged record.
pub(crate) fn is_folder_name(topic: &str) -> bool {
    !matches!(topic, "" | "." | "..") && topic.len() <= 255 && !topic.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    #[test]
    fn a_queue_with_little_opens_no_file_before_the_checkpoint() {
        let disk = SimDisk::new(1);
        let open =
            || QueueTable::open(QueueFiles::new(Arc::new(disk.clone()), "/q".into(), 6_000_000).unwrap(), 1 << 20);
        let table = open().unwrap();
        let unit = |at: i64| Unit { physical_offset: at * 100, size: 100, tag_code: at };
        let queues = ["Rare", "Busy"].map(|topic| table.get_or_create(&topic.into(), 3).unwrap());
        for at in 0..1_000 {
            table.push(&queues[1], at, unit(at));
        }
        table.push(&queues[0], 0, unit(1_000));
        table.write_ripe(i64::MAX).unwrap();
        let has_file = |topic: &str| disk.exists(&Path::new("/q").join(topic).join("3/00000000000000000000"));
        assert!(has_file("Busy") && !has_file("Rare"));
        assert_eq!(table.units_in_memory(), 1);
        assert_eq!(table.read(&queues[0], 0, 9).unwrap(), [unit(1_000)]);
        assert_eq!(table.read(&queues[1], 999, 9).unwrap(), [unit(999)]);
        table.write(i64::MAX).unwrap();
        assert!(has_file("Rare"));
        let table = open().unwrap();
        for (topic, max) in [("Rare", 1), ("Busy", 1_000)] {
            assert_eq!(table.get(topic, 3).unwrap().unwrap().range(), (0, max), "{topic}");
        }
    }
}
