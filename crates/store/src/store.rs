//! The store as a whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::{Disk, Lock, Space};
use apogee_message::light;
use apogee_message::names::property;
use apogee_message::record::{Draft, Record};
use apogee_message::tag;
use bytes::Bytes;

use crate::checkpoint::Checkpoint;
use crate::compaction::Compaction;
use crate::deleted::Deleted;
use crate::dispatch::{ArrivalListener, Dispatcher, Tagger, key_begins, tag_begins};
use crate::error::{AppendError, Context, StoreError};
use crate::index::Index;
use crate::integrity::Told;
use crate::log::{
    Append, AppendDone, Appended, Appender, Confirmer, Copies, Follower, Health, Limits, Log, SendersTold, Times,
};
use crate::opening::{Opened, Opening};
use crate::options::StoreOptions;
use crate::queue::{KeptUnits, QueueTable};

/// Files of the log that queues' own files may lag behind its end: what Apache's broker reads again
/// when it takes over after a crash.
const LAG: i64 = 4;
/// A message store. Shared by reference; all methods can be called from any thread. The methods
/// whose names end in `_step` are the background work: one thread each, or plain calls in a
/// simulation.
pub struct Store {
    pub(crate) log: Arc<Log>,
    pub(crate) queues: Arc<QueueTable>,
    pub(crate) options: StoreOptions,
    pub(crate) tagger: Tagger,
    pub(crate) told: Told,
    pub(crate) deleted: Arc<Deleted>,
    index: Option<Arc<Index>>,
    pub(crate) compaction: Option<Compaction>,
    dispatcher: Arc<Dispatcher>,
    pub(crate) confirmer: Arc<Confirmer>,
    appender: Appender,
    /// Of a log that is a copy of another one.
    pub(crate) follower: Option<Follower>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<Health>,
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Held by the one who writes queues and the checkpoint.
    checkpoint: Mutex<Checkpoint>,
    /// Locked by who holds the checkpoint.
    kept: Mutex<KeptUnits>,
    lock: Box<dyn Lock>,
}

/// What a query by key found.
#[derive(Debug)]
pub struct Found {
    /// The records, in the order of the log.
    pub records: Vec<Bytes>,
    /// Store time of the newest message in the index, in milliseconds since 1970.
    pub index_timestamp: i64,
    /// Physical offset of that message.
    pub index_offset: i64,
}

impl Store {
    /// Opens the store in `root`, created when it isn't there, and recovers what a crash left.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        root: PathBuf,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        disk.create_folder(&root).context("cannot create", &root)?;
        let lock = lock(&*disk, &root)?;
        let opening = Opening::look(Arc::clone(&disk), root.clone(), &options)?;
        let opened = opening.finish()?;
        let Opened { log, queues, tagger, deleted, index, compaction, dispatcher, mark, checkpoint, kept } = opened;

        let health = Arc::new(Health::default());
        let confirmer = Arc::new(Confirmer::new(
            Arc::clone(&log),
            Arc::clone(&dispatcher),
            Arc::clone(&health),
            mark,
            Arc::clone(&clock),
            if options.sync_flush {
                SendersTold::Durable
            } else {
                SendersTold::Ahead { window_ms: options.flush_window_ms }
            },
            options.copies.map(|copies| Copies::new(copies, Arc::clone(&dispatcher))),
        ));
        let follower = options.follows.then(|| Follower::new(&log, &queues, &confirmer, &health, &tagger, &deleted));
        let appender = Appender::new(
            Arc::clone(&log),
            Arc::clone(&queues),
            Arc::clone(&confirmer),
            Arc::clone(&clock),
            Arc::clone(&health),
            tagger.clone(),
            Limits {
                bytes: options.waiting_bytes,
                stall_ms: options.stall_ms,
                sums: options.record_sums,
                follows: options.follows,
            },
        );
        Ok(Self {
            log,
            queues,
            options,
            tagger,
            told: Told::default(),
            deleted,
            index,
            compaction,
            dispatcher,
            confirmer,
            appender,
            follower,
            clock,
            health,
            disk,
            root,
            checkpoint: Mutex::new(checkpoint),
            kept: Mutex::new(kept),
            lock,
        })
    }

    /// Takes messages. Each is answered through its `done`, on whatever thread confirms it.
    pub fn append(&self, entries: impl IntoIterator<Item = Append>) {
        self.appender.append(entries);
    }

    /// Takes messages and waits until all are confirmed, or one is refused: for background work and
    /// tests.
    pub fn append_now(&self, drafts: impl IntoIterator<Item = Draft>) -> Result<Vec<Appended>, AppendError> {
        self.append_and_wait(drafts, true).into_iter().collect()
    }

    /// Takes messages and waits until all are confirmed or refused. Returns what became of each. For who tells
    /// nobody of it: with asynchronous flush, messages are confirmed once they are written, however slow the disk
    /// is.
    pub fn append_each(&self, drafts: impl IntoIterator<Item = Draft>) -> Vec<Result<Appended, AppendError>> {
        self.append_and_wait(drafts, false)
    }

    fn append_and_wait(
        &self,
        drafts: impl IntoIterator<Item = Draft>,
        is_promise: bool,
    ) -> Vec<Result<Appended, AppendError>> {
        let drafts: Vec<_> = drafts.into_iter().collect();
        let (count, outcomes, told) = (drafts.len(), Mutex::default(), Condvar::new());
        let waiter = Arc::new(Waiter { count, is_promise, outcomes, told });
        let entry = |(token, draft)| Append { draft, done: waiter.clone(), token: token as u64 };
        self.append(drafts.into_iter().enumerate().map(entry).collect::<Vec<_>>());
        // Where nothing waits for a flush, another thread is about to write what is not yet told.
        let waits_for_flush = is_promise || self.options.sync_flush;
        let mut patience = if waits_for_flush { Duration::ZERO } else { LOOK_AGAIN };
        loop {
            if let Some(outcomes) = waiter.wait(patience) {
                return outcomes;
            }
            patience = Duration::ZERO;
            // Without a thread that flushes, this call does; with one, it finds the work done. If it
            // fails, those who wait are told.
            let _ = self.flush_step();
            // Another thread may be about to write them: then there is something to flush a moment later.
            if let Some(outcomes) = waiter.wait(LOOK_AGAIN) {
                return outcomes;
            }
        }
    }

    /// Hears of messages that can be read; the first listener stays.
    pub fn listen(&self, listener: Arc<dyn ArrivalListener>) {
        self.dispatcher.listen(listener);
    }

    /// Messages of a topic that have a key (or, with `index_type` `T`, a tag text), stored between
    /// two times: the newest, as they follow one another in the log.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        index_type: Option<&str>,
        most: usize,
        begin: i64,
        end: i64,
    ) -> Result<Found, StoreError> {
        let mut records: Vec<(i64, Bytes)> = Vec::new();
        let (mut index_timestamp, mut index_offset) = (0, 0);
        if let Some(index) = &self.index {
            let context = |result: std::io::Result<()>| result.context("cannot read the index in", &self.root);
            context(index.step().map(drop))?;
            let by_tag = index_type == Some("T");
            let hash = tag::index_hash(if by_tag { tag_begins(topic) } else { key_begins(topic) }, key);
            let mut keep = |offset: i64| {
                // After a crash an entry can stand in two files.
                if records.iter().any(|(known, _)| *known == offset) {
                    return false;
                }
                let Some(bytes) = self.record_at(offset) else { return false };
                let keeps =
                    Record::read(&bytes).is_ok_and(|record| record.topic == topic && has_key(&record, key, by_tag));
                if keeps {
                    records.push((offset, bytes));
                }
                keeps
            };
            context(index.query(hash, most, begin, end, &mut keep))?;
            (index_timestamp, index_offset) = index.newest();
        }
        records.sort_unstable_by_key(|(offset, _)| *offset);
        let records = records.into_iter().map(|(_, bytes)| bytes).collect();
        Ok(Found { records, index_timestamp, index_offset })
    }

    /// Topics and the ids of their queues.
    pub fn topics(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        self.queues.ids()
    }

    /// Forgets the queues of a topic, durably.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        let _not_copied = self.compaction.as_ref().map(Compaction::lock);
        if let Some(compaction) = &self.compaction {
            // First of all: where a crash comes in between, what is left of the topic has no older messages than its queues.
            compaction.remove(topic).context("cannot remove the compacted logs in", compaction.root())?;
        }
        let mut checkpoint = self.lock_checkpoint();
        let folders = self.queues.folders_of(topic).context("cannot list the queues in", &self.root)?;
        let queues = checkpoint.queues - folders;
        self.expect(Checkpoint { queues, ..*checkpoint }, &mut checkpoint)?;
        let end = light::is_light(topic).then(|| self.queue_range(topic, light::QUEUE)).flatten().map(|(_, end)| end);
        self.deleted.note(topic, self.log.written(), end).context("cannot write the file `deleted` in", &self.root)?;
        self.queues.delete_topic(topic).context("cannot remove the queues in", &self.root)
    }

    /// Removes light queues that end where these say, with their messages, but for those that somebody uses at this time.
    /// Their next messages are the first of new ones, which go on behind them. Returns which went.
    ///
    /// # Errors
    ///
    /// The deletion cannot be noted, or the files not be removed: some of them may have gone.
    pub fn delete_light(&self, queues: &[(Arc<str>, i64)]) -> Result<HashSet<Arc<str>>, StoreError> {
        let mut checkpoint = self.lock_checkpoint();
        let mut folders = 0;
        for (topic, _) in queues {
            folders += self.queues.folders_of(topic).context("cannot list the queues in", &self.root)?;
        }
        let left = checkpoint.queues - folders;
        self.expect(Checkpoint { queues: left, ..*checkpoint }, &mut checkpoint)?;
        // What comes from here on is of the next queues of their names.
        let log_end = self.log.written();
        let note = |queues: &[_], is_done| {
            let noted = self.deleted.note_light(queues, log_end, is_done);
            noted.context("cannot write the file `deleted` in", &self.root)
        };
        // First: after a kill amid, the next queues shall go on behind these.
        note(queues, false)?;
        let mut gone = Vec::new();
        let mut failed = Ok(());
        for (topic, end) in queues {
            match self.queues.remove_unused(topic, *end).context("cannot remove the queues in", &self.root) {
                Ok(true) => gone.push((Arc::clone(topic), *end)),
                Ok(false) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        note(&gone, true)?;
        failed.map(|()| gone.into_iter().map(|(topic, _)| topic).collect())
    }

    /// Number of light queues.
    pub fn light_queues(&self) -> usize {
        self.queues.light()
    }

    /// Whether a topic has queues.
    pub fn has_queues(&self, topic: &str) -> bool {
        self.queues.has(topic)
    }

    /// Whether the system may read the log ahead of what is asked for.
    pub fn set_read_ahead(&self, on: bool) {
        self.log.set_read_ahead(on);
    }

    /// Offset of the first byte of the log.
    pub fn log_min_offset(&self) -> i64 {
        self.log.min_offset()
    }

    /// End of the log.
    pub fn log_max_offset(&self) -> i64 {
        self.log.written()
    }

    /// End of what is durable.
    pub fn flushed_offset(&self) -> i64 {
        self.log.flushed()
    }

    /// End of what is confirmed, so may be read.
    pub fn confirmed_offset(&self) -> i64 {
        self.dispatcher.progress().0
    }

    /// Bytes of the log that no queue knows yet.
    pub fn dispatch_behind_bytes(&self) -> i64 {
        (self.log.written() - self.confirmed_offset()).max(0)
    }

    /// Folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Refuses messages because so many per cent of the disk are used, more than may be; takes them again
    /// with `None`.
    pub fn refuse_for_room(&self, used_and_limit: Option<(u16, u16)>) {
        self.health.set_short(used_and_limit);
    }

    /// The room of the disk on which log and queues are; of two, of the one that is used more.
    pub fn disk_space(&self) -> std::io::Result<Space> {
        let (queues, log) = (self.disk.space(&self.root)?, self.disk.space(self.log.folder())?);
        Ok(if queues.usage() > log.usage() { queues } else { log })
    }

    /// Why messages are refused at present although the store is well; `None` while they are taken.
    pub fn refusal(&self) -> Option<String> {
        self.health.refusal().map(|error| error.to_string())
    }

    /// How long its work took, since it was opened.
    pub fn times(&self) -> &Times {
        self.confirmer.times()
    }

    /// Why the store takes no messages any more; `None` while it does.
    pub fn failure(&self) -> Option<&str> {
        self.health.failure()
    }

    /// Waits until messages wait for a flush, or for `timeout`. Says whether there are any.
    pub fn wait_for_flush_work(&self, timeout: Duration) -> bool {
        self.confirmer.wait_for_work(timeout)
    }

    /// Waits until anything in the log is not durable, or for `timeout`. Says whether there is anything.
    pub fn wait_for_unflushed(&self, timeout: Duration) -> bool {
        self.confirmer.wait_for_unflushed(timeout)
    }

    /// Flushes the log and confirms what waited for it. Call when work waits; with asynchronous flush
    /// every half window at least.
    pub fn flush_step(&self) -> Result<(), AppendError> {
        self.confirmer.flush().map(drop)
    }

    /// Whether so many queue units are in memory that a checkpoint should not wait.
    pub fn queues_are_urgent(&self) -> bool {
        self.queues.units_in_memory() > self.options.kept_units + self.options.kept_units / 8
    }

    /// Writes the units of busy queues to their files, and those of all when far too many are in memory.
    /// Call every second.
    pub fn queues_step(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.lock_checkpoint();
        let (end, _) = self.durable();
        let all = self.queues.units_in_memory() > self.options.kept_units * 2;
        let written = if all { self.queues.write(end) } else { self.queues.write_ripe(end) };
        written.context("cannot write the queues in", &self.root)
    }

    /// Waits for messages to be indexed, or for `timeout`. Says whether there are any.
    pub fn wait_for_index_work(&self, timeout: Duration) -> bool {
        match &self.index {
            Some(index) => index.wait_for_work(timeout),
            None => {
                std::thread::park_timeout(timeout);
                false
            }
        }
    }

    /// Ends the waits for work that are under way.
    pub fn wake(&self) {
        self.confirmer.wake();
        if let Some(index) = &self.index {
            index.wake();
        }
    }

    /// Indexes what waits for it.
    pub fn index_step(&self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        self.of_index(index, index.step().map(drop))
    }

    /// A failed sync of the index ends the taking of messages as one of the log does.
    fn of_index<T>(&self, index: &Index, outcome: std::io::Result<T>) -> Result<T, StoreError> {
        if let Err(error) = &outcome
            && index.is_broken()
            && self.health.failure().is_none()
        {
            self.health.fail(format!("cannot flush the index in {}: {error}", self.root.display()));
        }
        outcome.context("cannot write the index in", &self.root)
    }

    /// Whether so much was written since the last checkpoint that the next is due before its time.
    pub fn checkpoint_is_urgent(&self) -> bool {
        let behind = self.dispatcher.progress().0 - self.lock_checkpoint().complete_to();
        behind > self.options.checkpoint_bytes as i64 || self.queues_are_urgent()
    }

    /// Makes queues and index durable and notes how far: recovery begins there. Call every half
    /// minute. After a failure the store is read-only, and there is no further checkpoint: what the
    /// failed one should have made durable may be lost, and only a recovery from the last good one
    /// brings it back.
    pub fn checkpoint_step(&self) -> Result<(), StoreError> {
        self.checkpoint(0)
    }

    /// The same; queues' own files are complete up to a place of the log, `wanted`, after that.
    pub(crate) fn checkpoint(&self, wanted: i64) -> Result<(), StoreError> {
        let mut checkpoint = self.lock_checkpoint();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, timestamp) = self.durable();
        let cutoff = wanted.max(checkpoint.logics_offset).max(self.least_cutoff(&kept, end));
        let (cutoff, cutoff_timestamp) = kept.boundary(cutoff).unwrap_or((end, timestamp));
        let rest = self.queues.write_or_keep(end, cutoff, &mut kept);
        let (batch, queues) = rest.context("cannot write the queues in", &self.root)?;
        if let Some(reason) = self.health.failure() {
            return Err(StoreError::ReadOnly(reason.to_owned()));
        }
        let adds = cutoff < end && (end > kept.to() || !batch.is_empty());
        if adds {
            kept.append(&batch, end, timestamp).context("cannot write the units of rare queues in", &self.root)?;
            self.queues.kept(&queues);
        }
        let index_files = self.index.as_ref().map_or(0, |index| index.file_count(end));
        let mut next = Checkpoint {
            queues: self.queues.folders(),
            index_files,
            logics_offset: cutoff,
            units_offset: end,
            units_length: if cutoff < end { kept.length() } else { 0 },
            ..*checkpoint
        };
        if !adds && next == *checkpoint {
            return Ok(());
        }
        if let Some(index) = &self.index {
            next.index_timestamp = self.of_index(index, index.flush())?;
        }
        if let Err(error) = self.lock.sync_all() {
            self.health.fail(format!("cannot flush the queues and the index in {}: {error}", self.root.display()));
            return Err(error).context("cannot flush", &self.root);
        }
        next.logics_timestamp = cutoff_timestamp;
        next.physic_timestamp = timestamp;
        let path = self.root.join("checkpoint");
        next.write(&*self.disk, &path).context("cannot write", &path)?;
        *checkpoint = next;
        if cutoff == end {
            kept.all_written(end, timestamp);
            self.queues.forget_deleted();
        }
        kept.remove_before(cutoff).context("cannot remove old units of rare queues in", &self.root)
    }

    /// Up to where queues' own files must be complete, so that there is room in memory and another
    /// broker that takes over has not too much to read.
    fn least_cutoff(&self, kept: &KeptUnits, end: i64) -> i64 {
        let lag = end - LAG * self.options.log_file_size as i64;
        let (units, most) = (self.queues.units_in_memory(), self.options.kept_units);
        if units <= most { lag } else { lag.max(kept.boundary_of((units - most + most / 8) as u64)) }
    }

    /// Notes durably that fewer files are to be expected, before they are removed: what is missing
    /// without that was lost, and is made anew.
    pub(crate) fn expect(&self, fewer: Checkpoint, checkpoint: &mut Checkpoint) -> Result<(), StoreError> {
        if fewer != *checkpoint && checkpoint.queues > 0 {
            let path = self.root.join("checkpoint");
            fewer.write(&*self.disk, &path).context("cannot write", &path)?;
            *checkpoint = fewer;
        }
        Ok(())
    }

    /// Takes no more messages, makes all durable and marks the store as left in order.
    pub fn close(&self) -> Result<(), StoreError> {
        self.appender.close();
        self.give_up_copies();
        if let Some(index) = &self.index {
            index.wake();
        }
        if self.flush_step().is_err() {
            // The reason was told when it happened. The abort marker stays: the next start recovers.
            return Ok(());
        }
        self.checkpoint(i64::MAX)?;
        if self.log.whole() < self.log.written() {
            // A copy ends amid a record. The abort marker stays: the next start cuts that off.
            return Ok(());
        }
        let abort = self.root.join("abort");
        self.disk.remove(&abort).context("cannot remove", &abort)?;
        self.disk.sync_folder(&self.root).context("cannot flush", &self.root)
    }

    /// Up to where queues may be written: what is durable in the log and dispatched. And the store time
    /// there.
    fn durable(&self) -> (i64, i64) {
        // What is dispatched later than this flush may not be durable yet.
        let flushed = self.confirmer.flush().unwrap_or_else(|_| self.log.flushed());
        let (dispatched, timestamp) = self.dispatcher.progress();
        (dispatched.min(flushed), timestamp)
    }

    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_deref()
    }

    pub(crate) fn lock_checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn lock(disk: &dyn Disk, root: &Path) -> Result<Box<dyn Lock>, StoreError> {
    let path = root.join("lock");
    match disk.lock(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(StoreError::Locked(root.to_owned())),
        lock => lock.context("cannot lock", &path),
    }
}

fn has_key(record: &Record<'_>, key: &str, by_tag: bool) -> bool {
    if by_tag {
        return record.property(property::TAGS) == Some(key);
    }
    record.property(property::UNIQ_KEY) == Some(key)
        || record.property(property::KEYS).is_some_and(|keys| keys.split(' ').any(|one| one == key))
}

/// How long one who waits for its messages leaves the flush to others.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits for the outcomes of some appends.
struct Waiter {
    count: usize,
    is_promise: bool,
    outcomes: Mutex<Vec<(u64, Result<Appended, AppendError>)>>,
    told: Condvar,
}

impl Waiter {
    /// The outcomes, once all are there; `None` when they are not within `patience`.
    fn wait(&self, patience: Duration) -> Option<Vec<Result<Appended, AppendError>>> {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(outcomes, patience, |outcomes| outcomes.len() < self.count);
        let (mut outcomes, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if outcomes.len() < self.count {
            return None;
        }
        outcomes.sort_unstable_by_key(|(token, _)| *token);
        Some(std::mem::take(&mut *outcomes).into_iter().map(|(_, outcome)| outcome).collect())
    }
}

impl AppendDone for Waiter {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push((token, result.clone()));
        if outcomes.len() == self.count {
            self.told.notify_all();
        }
    }

    fn is_promise(&self) -> bool {
        self.is_promise
    }
}
