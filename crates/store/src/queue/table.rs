//! All queues, by topic and id.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_base::hash::QuickMap;
use apogee_message::light;

use super::mend::{Gap, Source};
use super::{
    BATCH_KEY, Batch, BatchFiles, Contents, KeptUnits, Kind, MARKS, Pushed, Queue, QueueFiles, Run, Runs, SharedQueue,
    Unit, first_kept,
};

/// Queue ids that a topic may have.
const MOST_QUEUES: usize = 1 << 16;

/// Queues whose files are looked at when the store is opened: so few that a cold disk is asked for little.
const MOST_LOOKED_AT: usize = 2_000;
/// Queues whose files are made anew one by one, each by reading a part of the log or all of it.
const MOST_MENDED: usize = 8;

/// Queues of a batch, with where their units in it end.
type KeptQueues = Vec<(SharedQueue, i64)>;

pub(crate) struct QueueTable {
    files: QueueFiles,
    batches: BatchFiles,
    topics: RwLock<QuickMap<Arc<str>, Topic>>,
    /// Queues with units in memory.
    dirty: Mutex<Vec<SharedQueue>>,
    /// Those of them with so many that they are worth writing.
    ripe: Mutex<Vec<SharedQueue>>,
    /// Units that were kept, of queues that were not used since.
    parked: Mutex<Runs>,
    /// Topics deleted since the last batch of kept units.
    deleted: Mutex<Vec<Arc<str>>>,
    /// Units in memory.
    in_memory: AtomicUsize,
    next_key: AtomicU32,
    /// Topics that were made.
    made: AtomicU64,
    /// Whether messages are put into light queues.
    has_light: bool,
    /// Light queues.
    light: AtomicUsize,
    /// Held by the one who makes files of queues anew.
    mending: Mutex<()>,
    /// How far the marks of a queue are from each other in the log.
    marks_apart: i64,
    /// The part of the log that the files' units are taken for.
    start: AtomicI64,
    end: AtomicI64,
}

struct Topic {
    kind: Kind,
    /// Tells it from a topic of its name that was deleted before it was made.
    made: u64,
    /// Each is opened when it is first used.
    queues: BTreeMap<i32, Option<SharedQueue>>,
}

impl Topic {
    /// The queue, if it is open.
    fn open(&self, id: i32) -> Option<&SharedQueue> {
        self.queues.get(&id)?.as_ref()
    }
}

impl QueueTable {
    /// Knows all queues that have files; none is opened yet. The last `hot_bytes` of the log are
    /// expected to be in memory.
    pub fn open(files: QueueFiles, batches: BatchFiles, hot_bytes: u64, has_light: bool) -> io::Result<Self> {
        let mut topics = QuickMap::default();
        let (simple, of_batches) = (files.folders.topics()?, batches.folders.topics()?);
        let simple = simple.into_iter().map(|topic| (Kind::Simple, topic));
        for (kind, (name, ids)) in simple.chain(of_batches.into_iter().map(|topic| (Kind::Batch, topic))) {
            let queues = ids.into_iter().map(|id| (id, None)).collect();
            topics.insert(Arc::from(name), Topic { kind, made: 0, queues });
        }
        let light = topics.keys().filter(|name: &&Arc<str>| light::is_light(name)).count();
        Ok(Self {
            files,
            batches,
            topics: RwLock::new(topics),
            dirty: Mutex::default(),
            ripe: Mutex::default(),
            parked: Mutex::default(),
            deleted: Mutex::default(),
            in_memory: AtomicUsize::new(0),
            next_key: AtomicU32::new(1),
            made: AtomicU64::new(1),
            has_light,
            light: AtomicUsize::new(light),
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
        let source = Arc::new(source);
        self.batches.set_source(Arc::clone(&source));
        self.files.set_source(source);
    }

    /// Queues that have a folder.
    pub fn folders(&self) -> i64 {
        self.files.folders.count() + self.batches.folders.count()
    }

    /// Queues of a topic that have a folder.
    pub fn folders_of(&self, topic: &str) -> io::Result<i64> {
        Ok(self.files.folders.of(topic)? + self.batches.folders.of(topic)?)
    }

    fn kind_of(&self, topic: &str) -> Kind {
        self.read_topics().get(topic).map_or(Kind::Simple, |topic| topic.kind)
    }

    fn contents(&self, topic: &str, id: i32, log: Range<i64>, wipe: bool) -> io::Result<Contents> {
        match self.kind_of(topic) {
            Kind::Simple => self.files.contents(topic, id, log.start, log.end, wipe),
            Kind::Batch => self.batches.contents(topic, id, log, wipe),
        }
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
            let Ok(contents) = self.contents(topic, id, start..end, false) else { continue };
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
                last = last.max(self.contents(&topic, id, 0..i64::MAX, false)?.log_end);
            }
        }
        Ok(last)
    }

    /// Overwrites all units of records at or after `end`: the log has lost them, and others will
    /// stand there.
    pub fn wipe_after(&self, end: i64) -> io::Result<()> {
        for (topic, ids) in self.ids() {
            for id in ids {
                self.contents(&topic, id, 0..end, true)?;
            }
        }
        Ok(())
    }

    /// Whether a read from there may have to wait for the disk for more than the last part of the log,
    /// from `since` on. Never waits itself.
    pub fn may_wait(&self, topic: &str, id: i32, offset: i64, since: i64) -> bool {
        let topics = self.read_topics();
        let queue = topics.get(topic).and_then(|topic| topic.queues.get(&id));
        let start = self.start.load(Ordering::Acquire);
        // A queue is opened by its first reader.
        queue.is_some_and(|queue| queue.as_ref().is_none_or(|queue| !queue.is_after(offset, since, start)))
    }

    /// The queue, if there is one. An error when its files cannot be read.
    pub fn get(&self, topic: &str, id: i32) -> io::Result<Option<SharedQueue>> {
        match self.read_topics().get(topic).and_then(|topic| topic.queues.get(&id)) {
            None => return Ok(None),
            Some(Some(queue)) => return Ok(Some(SharedQueue::clone(queue))),
            Some(None) => {}
        }
        self.get_after_opening(topic, id)
    }

    #[cold]
    fn get_after_opening(&self, topic: &str, id: i32) -> io::Result<Option<SharedQueue>> {
        loop {
            let (name, made) = {
                let topics = self.read_topics();
                let Some((name, topic)) = topics.get_key_value(topic) else { return Ok(None) };
                match topic.queues.get(&id) {
                    None => return Ok(None),
                    Some(Some(queue)) => return Ok(Some(SharedQueue::clone(queue))),
                    Some(None) => (Arc::clone(name), topic.made),
                }
            };
            // Again from the beginning if the topic was deleted meanwhile: what was read is not its.
            if let Some(queue) = self.opened(&name, made, id)? {
                return Ok(Some(queue));
            }
        }
    }

    /// The queue, empty when there was none; the first one of its topic decides of which kind all are. An error when
    /// its files cannot be read, or the topic's name cannot be that of a folder.
    pub fn get_or_create(&self, topic: &Arc<str>, id: i32, kind: Kind) -> io::Result<SharedQueue> {
        loop {
            if let Some(queue) = self.get(topic, id)? {
                return Ok(queue);
            }
            if !is_folder_name(topic) {
                return Err(io::Error::other("the topic's name cannot be that of a folder"));
            }
            let mut topics = self.write_topics();
            let queues = &mut self.entry(&mut topics, topic, kind).queues;
            if queues.len() >= MOST_QUEUES && !queues.contains_key(&id) {
                return Err(io::Error::other("the topic has too many queues"));
            }
            queues.entry(id).or_default();
        }
    }

    /// The topic, new when there was none.
    fn entry<'t>(&self, topics: &'t mut QuickMap<Arc<str>, Topic>, name: &Arc<str>, kind: Kind) -> &'t mut Topic {
        topics.entry(Arc::clone(name)).or_insert_with(|| {
            self.light.fetch_add(usize::from(light::is_light(name)), Ordering::Relaxed);
            Topic { kind, made: self.made.fetch_add(1, Ordering::Relaxed), queues: BTreeMap::new() }
        })
    }

    /// Topics and the ids of their queues.
    pub fn ids(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        let topics = self.read_topics();
        topics.iter().map(|(name, topic)| (Arc::clone(name), topic.queues.keys().copied().collect())).collect()
    }

    /// The ids of a topic's queues.
    pub fn ids_of(&self, topic: &str) -> Vec<i32> {
        self.read_topics().get(topic).map_or_else(Vec::new, |topic| topic.queues.keys().copied().collect())
    }

    /// Whether messages are put into light queues.
    pub fn has_light(&self) -> bool {
        self.has_light
    }

    /// Number of light queues.
    pub fn light(&self) -> usize {
        self.light.load(Ordering::Relaxed)
    }

    /// Whether a topic has queues.
    pub fn has(&self, topic: &str) -> bool {
        self.read_topics().contains_key(topic)
    }

    /// Adds the unit of a confirmed record that is so many messages.
    pub fn push(&self, queue: &SharedQueue, offset: i64, unit: Unit, messages: u16) {
        let mut pushed = queue.push(offset, unit, messages);
        if pushed == Pushed::BeginsAnew {
            self.restart(queue, offset);
            pushed = queue.push(offset, unit, messages);
        }
        if let Pushed::Added { units, dirty, ripe } = pushed {
            self.in_memory.fetch_add(units, Ordering::Relaxed);
            queue.next.fetch_max(offset + i64::from(messages), Ordering::Relaxed);
            if dirty {
                self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(SharedQueue::clone(queue));
            }
            if ripe {
                self.ripe.lock().unwrap_or_else(PoisonError::into_inner).push(SharedQueue::clone(queue));
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
        let count = count.min((in_files - offset) as usize);
        let units = match queue.kind() {
            Kind::Simple => self.files.read(queue, offset, count),
            Kind::Batch => self.batches.read(queue, offset, count),
        }?;
        // Empty only if the files lack what they were said to hold.
        if units.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(units) }
    }

    /// Replaces a damaged unit. One that is not in files yet is not touched: it is right.
    pub fn put_right(&self, queue: &Queue, offset: i64, unit: Unit) -> io::Result<()> {
        match queue.in_memory(offset, 1) {
            Err(_) if queue.kind() == Kind::Simple => self.files.replace(queue, offset, unit),
            // The next start makes files of batches anew that are damaged.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The first offset of the file after the one that holds an offset.
    pub fn next_file(&self, queue: &Queue, offset: i64) -> i64 {
        match queue.kind() {
            Kind::Simple => self.files.next_file(offset),
            Kind::Batch => self.batches.next_file(queue, offset),
        }
    }

    /// The log begins at `start` from now on: so do queues that are opened later.
    pub fn set_start(&self, start: i64) {
        self.start.store(start, Ordering::Release);
    }

    /// Moves the beginning of a queue behind what lies before `start` of the log, and removes files
    /// before it. Returns how many. Not while another caller writes.
    pub fn trim(&self, topic: &str, id: i32, start: i64) -> io::Result<usize> {
        let queue = self.read_topics().get(topic).and_then(|topic| topic.open(id)).cloned();
        if let Some(queue) = &queue {
            self.advance(queue, start)?;
        }
        let key = queue.map(|queue| queue.key);
        match self.kind_of(topic) {
            Kind::Simple => self.files.trim(topic, id, key, start),
            Kind::Batch => self.batches.trim(topic, id, key, start),
        }
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
        let mut topics = self.write_topics();
        for (topic, queues) in &runs {
            let known = &mut self.entry(&mut topics, topic, Kind::Simple).queues;
            for id in queues.keys() {
                known.entry(*id).or_default();
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
    /// before `cutoff`; of the others adds to `kept` what is not there yet. Returns the rest, which is
    /// not added yet, with its queues and where their units end. One caller at a time.
    pub fn write_or_keep(&self, end: i64, cutoff: i64, kept: &mut KeptUnits) -> io::Result<(Batch, KeptQueues)> {
        let is_before = |run: &Run| run.units.first().is_some_and(|unit| unit.physical_offset < cutoff);
        let mut old = Vec::new();
        for (topic, queues) in &*self.parked() {
            old.extend(queues.iter().filter(|(_, run)| is_before(run)).map(|(id, _)| (Arc::clone(topic), *id)));
        }
        for (topic, id) in old {
            self.get(&topic, id)?;
        }
        let mut batch = Batch::default();
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|topic| batch.delete(topic));
        let mut queues = Vec::new();
        self.each_dirty(|queue| {
            // What is kept has a unit for each message.
            if queue.kind() == Kind::Batch || queue.has_before(cutoff) {
                return self.write_queue(queue, end);
            }
            queues.extend(queue.keep(end, &mut batch).map(|to| (SharedQueue::clone(queue), to)));
            if batch.is_large() {
                kept.append_some(&batch)?;
                self.kept(&std::mem::take(&mut queues));
                batch = Batch::default();
            }
            Ok(())
        })?;
        Ok((batch, queues))
    }

    /// A batch was added to the kept units, with all topics deleted before it.
    pub fn kept(&self, queues: &KeptQueues) {
        queues.iter().for_each(|(queue, to)| queue.kept(*to));
        self.forget_deleted();
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
    fn each_dirty(&self, mut each: impl FnMut(&SharedQueue) -> io::Result<()>) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = Ok(());
        dirty.retain(|queue| {
            if outcome.is_ok() {
                outcome = each(queue);
            }
            queue.stays_dirty()
        });
        let mut list = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.append(&mut list);
        dirty.shrink_to(dirty.len() * 2);
        *list = dirty;
        outcome
    }

    fn write_queue(&self, queue: &Queue, end: i64) -> io::Result<()> {
        let Some((offset, units)) = queue.to_write(end) else { return Ok(()) };
        match queue.kind() {
            Kind::Simple => self.files.write(queue, offset, &units),
            Kind::Batch => self.batches.write(queue, offset, &units),
        }?;
        queue.written(offset + units.len() as i64, self.marks_apart);
        self.in_memory.fetch_sub(units.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes a queue of what its files hold and what was kept of it, if anything was.
    fn made(&self, topic: &Arc<str>, id: i32, key: u32, contents: Contents) -> (SharedQueue, bool) {
        let run = self.take_parked(topic, id);
        self.in_memory.fetch_sub(run.as_ref().map_or(0, |run| run.units.len()), Ordering::Relaxed);
        let taken = run.and_then(|run| Some((contents.beside(&run)?, run)));
        let queue = |contents| SharedQueue::new(Queue::new(Arc::clone(topic), id, key, contents));
        let Some((contents, run)) = taken else { return (queue(contents), false) };
        let queue = queue(contents);
        let count = queue.take_over(&run);
        self.in_memory.fetch_add(count, Ordering::Relaxed);
        queue.next.store(queue.range().1, Ordering::Relaxed);
        if count > 0 {
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(SharedQueue::clone(&queue));
        }
        if queue.is_ripe() {
            self.ripe.lock().unwrap_or_else(PoisonError::into_inner).push(SharedQueue::clone(&queue));
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

    fn has_parked(&self, topic: &str, id: i32) -> bool {
        self.parked().get(topic).is_some_and(|queues| queues.contains_key(&id))
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
        let removed = match queue.kind() {
            Kind::Simple => self.files.remove_queue(queue),
            Kind::Batch => self.batches.remove_queue(queue),
        };
        if let Err(error) = removed {
            tracing::error!(topic = %queue.topic, queue = queue.id, %error, "the files of a deleted queue cannot be removed");
        }
    }

    /// Forgets a topic and removes its files. Its messages stay in the log. Not while another caller
    /// writes.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let removed = self.write_topics().remove(topic);
        self.forget(topic, removed)
    }

    /// Removes a light queue that [may have expired](Self::may_be_expired), unless it has not or somebody is about to use
    /// it. Its next message is the first of a new one. Not while another caller writes.
    pub fn remove_expired(&self, topic: &str) -> io::Result<bool> {
        self.remove_if_free(topic, |(min, max)| min == max)
    }

    /// Removes a light queue that ends at `end` still, unless somebody is about to use it. Not while another caller writes.
    pub fn remove_unused(&self, topic: &str, end: i64) -> io::Result<bool> {
        self.remove_if_free(topic, |(_, max)| max == end)
    }

    fn remove_if_free(&self, topic: &str, goes: impl Fn((i64, i64)) -> bool) -> io::Result<bool> {
        let removed = {
            let mut topics = self.write_topics();
            // What has hands on it may be about to add to it; nobody else can get hold of it meanwhile. The list of queues
            // with units to write adds nothing.
            let is_free = |queue: &SharedQueue| {
                let listed = usize::from(queue.lock().dirty);
                SharedQueue::count(queue) <= 1 + listed && goes(queue.range())
            };
            match topics.get(topic) {
                Some(known) if known.queues.values().flatten().all(is_free) => topics.remove(topic),
                _ => return Ok(false),
            }
        };
        self.forget(topic, removed)?;
        Ok(true)
    }

    /// Where a light queue ends whose messages are all before `start` of the log, as far as is known at this time. Asks
    /// files where the queue is not open, and opens none.
    pub fn expired_end(&self, topic: &str, start: i64) -> io::Result<Option<i64>> {
        if self.parked().contains_key(topic) {
            return Ok(None);
        }
        let open = self.read_topics().get(topic).and_then(|topic| topic.open(light::QUEUE)).map(|queue| queue.range());
        let range = match open {
            Some(range) => range,
            None => {
                let contents = self.files.contents(topic, light::QUEUE, start, i64::MAX, false)?;
                (contents.min, contents.max)
            }
        };
        Ok((range.0 == range.1).then_some(range.1))
    }

    fn forget(&self, topic: &str, removed: Option<Topic>) -> io::Result<()> {
        if removed.is_some() && light::is_light(topic) {
            self.light.fetch_sub(1, Ordering::Relaxed);
        }
        let queues: Vec<_> = removed.iter().flat_map(|topic| topic.queues.values()).flatten().collect();
        for queue in &queues {
            self.in_memory.fetch_sub(queue.delete(), Ordering::Relaxed);
        }
        if let Some(runs) = self.parked().remove(topic) {
            self.in_memory.fetch_sub(count([&runs]), Ordering::Relaxed);
        }
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner).push(topic.into());
        let keys: Vec<u32> = queues.iter().map(|queue| queue.key).collect();
        self.batches.remove(topic, &keys)?;
        self.files.remove(topic, &keys)
    }

    /// The queue that the topic, as it was made, has; opened by whoever needs it first. `None` when there
    /// is no such topic any more.
    fn opened(&self, topic: &Arc<str>, made: u64, id: i32) -> io::Result<Option<SharedQueue>> {
        let (start, end) = (self.start.load(Ordering::Acquire), self.end.load(Ordering::Relaxed));
        let kind = self.kind_of(topic);
        let mut contents = self.contents(topic, id, start..end, false)?;
        let mut _mending = None;
        if let Some(source) = self.files.source().filter(|_| !contents.gaps.is_empty()) {
            _mending = Some(self.mending.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(queue) = self.read_topics().get(topic).and_then(|topic| topic.open(id)) {
                return Ok(Some(SharedQueue::clone(queue)));
            }
            let mut before = Vec::new();
            // What is missing before the first file that is left is known once the next ones are made.
            while !contents.gaps.is_empty() && contents.gaps != before {
                before = std::mem::take(&mut contents.gaps);
                match kind {
                    Kind::Simple => self.files.mend(source, topic, id, &before)?,
                    Kind::Batch => self.batches.mend(source, topic, id, start..end)?,
                }
                contents = self.contents(topic, id, start..end, false)?;
            }
        }
        if contents.max == 0 && light::is_light(topic) && !self.has_parked(topic, id) {
            // Offsets of one of its name that is gone are not given again: who reads behind would pass over messages.
            let end = self.files.source().map_or(0, |source| source.deleted.end_of(topic));
            (contents.min, contents.max) = (end, end);
        }
        if let Some(end) = self.parked_from(topic, id, &contents) {
            contents = self.contents(topic, id, start..end, false)?;
        }
        // Never given twice: files of one queue must not be taken for those of another.
        let key = self
            .next_key
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |key| Some(key + 1).filter(|next| *next < BATCH_KEY));
        let key = key.map_err(|_| io::Error::other("2 billion queues were opened: restart the broker"))?;
        let key = if kind == Kind::Batch { key | BATCH_KEY } else { key };
        if kind == Kind::Batch {
            self.batches.know(key, std::mem::take(&mut contents.parts));
        }
        let (queue, had_kept) = {
            let mut topics = self.write_topics();
            let known = topics.get_mut(topic).filter(|topic| topic.made == made);
            let Some(place) = known.and_then(|topic| topic.queues.get_mut(&id)) else { return Ok(None) };
            match place {
                // Of two who open it at a time, the second takes what the first one made.
                Some(queue) => (SharedQueue::clone(queue), false),
                None => {
                    let (queue, had_kept) = self.made(topic, id, key, contents);
                    (SharedQueue::clone(place.insert(queue)), had_kept)
                }
            }
        };
        if had_kept {
            self.advance(&queue, start)?;
        }
        let start_now = self.start.load(Ordering::Acquire);
        if start_now != start {
            // The log was cut meanwhile; whoever did it may have found the queue unopened.
            self.advance(&queue, start_now)?;
        }
        Ok(Some(queue))
    }

    fn read_topics(&self) -> RwLockReadGuard<'_, QuickMap<Arc<str>, Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_topics(&self) -> RwLockWriteGuard<'_, QuickMap<Arc<str>, Topic>> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
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
        let open = || {
            let (disk, batches) = (Arc::new(disk.clone()), "/b".into());
            let files = QueueFiles::new(disk.clone(), "/q".into(), 6_000_000).unwrap();
            QueueTable::open(files, BatchFiles::new(disk, batches, 460), 1 << 20, false)
        };
        let table = open().unwrap();
        let unit = |at: i64| Unit { physical_offset: at * 100, size: 100, tag_code: at };
        let queues = ["Rare", "Busy"].map(|topic| table.get_or_create(&topic.into(), 3, Kind::Simple).unwrap());
        for at in 0..1_000 {
            table.push(&queues[1], at, unit(at), 1);
        }
        table.push(&queues[0], 0, unit(1_000), 1);
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
