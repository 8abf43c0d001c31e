//! Compacted logs: what topics with `cleanup.policy=COMPACTION` keep for ever, the newest message of each key
//! (upstream's package `store.kv`).
//!
//! ```text
//! compaction/compactionLog/<topic>/<queue>/<name>  records as they stand in the commit log
//! compaction/compactionCq/<topic>/<queue>/<name>   a unit of 46 bytes for each (upstream `SparseConsumeQueue`)
//! compaction/position-checkpoint                   up to where each queue is compacted
//! ```
//!
//! | step | file |
//! |---|---|
//! | messages are copied from the commit log | `../compacting.rs` |
//! | a file of records with its file of units | `segment.rs`, `layout.rs` |
//! | the files of a queue | `queue.rs` |
//! | one compaction: keys, what stays, new files | `round.rs`, `keys.rs`, `plan.rs` |
//! | new files in the place of old ones, all or none | `swap.rs` |
//! | reading | `read.rs` |
//! | up to where queues are compacted | `positions.rs` |
//!
//! Invariant: what is copied is durable in the commit log, and stays there until its copy is durable.
//! Invariant: a message is removed only when a newer one of its key is durable here, or deletes the key.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use apogee_base::disk::Disk;

mod keys;
mod layout;
mod plan;
mod positions;
mod queue;
mod read;
mod round;
mod segment;
mod swap;

use layout::{Folders, Sizes};
use positions::Positions;
pub(crate) use queue::CompactedQueue;
use round::Round;
pub use round::{Compacted, CompactionRules};
use swap::Workshop;

use crate::queue::is_folder_name;

pub(crate) use round::has_key;

/// How long files of compacted logs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Bytes of a file of records.
    pub log_file_size: u64,
    /// Bytes of a file of units.
    pub units_file_size: u64,
}

type Queues = HashMap<Arc<str>, BTreeMap<i32, Arc<CompactedQueue>>>;

/// The compacted logs of all queues that have one.
pub(crate) struct Compaction {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    sizes: Sizes,
    positions: Positions,
    queues: RwLock<Queues>,
    /// Whether there is any: most stores have none.
    has_any: AtomicBool,
    /// Held by who adds messages, or removes a topic with its queues.
    changing: Mutex<()>,
}

impl Compaction {
    /// Opens those that are there. With `verify`, what may not have reached the disk is looked at and written again.
    pub fn open(disk: Arc<dyn Disk>, store: &Path, options: CompactionOptions, verify: bool) -> io::Result<Self> {
        let root = store.join("compaction");
        let sizes = Sizes::of(options.log_file_size, options.units_file_size);
        let positions = Positions::open(Arc::clone(&disk), root.join("position-checkpoint"))?;
        let (queues, has_any) = (RwLock::default(), AtomicBool::new(false));
        let changing = Mutex::default();
        let compaction = Self { disk, root, sizes, positions, queues, has_any, changing };
        for topic in compaction.disk.list(&compaction.root.join("compactionLog"))? {
            let ids = match compaction.disk.list(&compaction.root.join("compactionLog").join(&topic)) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                ids => ids?,
            };
            for id in ids.iter().filter_map(|id| id.parse().ok()) {
                compaction.open_queue(&Arc::from(&*topic), id, verify)?;
            }
        }
        Ok(compaction)
    }

    fn open_queue(&self, topic: &Arc<str>, id: i32, verify: bool) -> io::Result<Arc<CompactedQueue>> {
        let folder = |kind: &str| self.root.join(kind).join(&**topic).join(id.to_string());
        let folders = Folders { log: folder("compactionLog"), units: folder("compactionCq") };
        let workshop = Workshop::at(folder("rewritten"));
        let queue = CompactedQueue::open(&*self.disk, (Arc::clone(topic), id), folders, workshop, self.sizes, verify)?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(Arc::clone(topic)).or_default().entry(id).or_insert_with(|| Arc::new(queue));
        self.has_any.store(true, Ordering::Release);
        Ok(Arc::clone(queue))
    }

    /// That of a queue, if it has one.
    pub fn get(&self, topic: &str, id: i32) -> Option<Arc<CompactedQueue>> {
        if !self.has_any.load(Ordering::Acquire) {
            return None;
        }
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(topic)?.get(&id).cloned()
    }

    /// That of a queue, empty when there was none. One caller at a time.
    pub fn get_or_create(&self, topic: &Arc<str>, id: i32) -> io::Result<Arc<CompactedQueue>> {
        match self.get(topic, id) {
            Some(queue) => Ok(queue),
            None if is_folder_name(topic) => self.open_queue(topic, id, false),
            None => Err(io::Error::other("the topic's name cannot be that of a folder")),
        }
    }

    /// All there are.
    pub fn all(&self) -> Vec<Arc<CompactedQueue>> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// While this is held no message is added, and no topic removed.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away the copies of messages at or behind a place of the commit log, before anybody reads.
    pub fn cut(&self, to: i64) -> io::Result<()> {
        self.all().iter().try_for_each(|queue| queue.cut(&*self.disk, to))
    }

    /// Removes that of one queue. The [lock](Self::lock) is held.
    pub fn remove_queue(&self, topic: &str, id: i32) -> io::Result<()> {
        let removed = {
            let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
            queues.get_mut(topic).and_then(|queues| queues.remove(&id))
        };
        let Some(removed) = removed else { return Ok(()) };
        removed.remove(&*self.disk)?;
        self.positions.forget(topic, [id].into_iter())
    }

    /// Removes those of a topic. The [lock](Self::lock) is held.
    pub fn remove(&self, topic: &str) -> io::Result<()> {
        let removed = self.queues.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
        let Some(removed) = removed else { return Ok(()) };
        for queue in removed.values() {
            queue.remove(&*self.disk)?;
        }
        self.positions.forget(topic, removed.keys().copied())?;
        for kind in ["compactionLog", "compactionCq", "rewritten"] {
            self.disk.remove_folder(&self.root.join(kind).join(topic))?;
        }
        Ok(())
    }

    /// Compacts a queue; `None` when there is nothing to do. `goes_on` is asked again and again: no ends it, with
    /// nothing done.
    pub fn compact(
        &self,
        queue: &CompactedQueue,
        rules: CompactionRules,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<Compacted>> {
        let round = Round { disk: &*self.disk, queue, positions: &self.positions, rules, goes_on };
        match round.run() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            done => done,
        }
    }

    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}
