//! The index: from a topic and a key to the messages that have it (upstream `IndexService`).
//!
//! Dispatch hands records over; a background step puts their keys into the newest file, which holds
//! them in memory until it is flushed. Queries see both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::dispatch::{Dispatch, Keys};
use apogee_base::disk::Disk;

mod file;
mod slots;

pub(crate) use file::IndexFile;

/// Entries in memory that make a flush due before the next checkpoint.
const MOST_IN_MEMORY: usize = 200_000;
/// Records that may wait to be indexed before dispatch has to do it itself.
const MOST_WAITING: usize = 100_000;

/// Places for records that wait that are kept while none does.
const MOST_KEPT: usize = 4096;

pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    slots: u32,
    entries: u32,
    /// From oldest to newest; only the last one grows.
    files: RwLock<Vec<Arc<IndexFile>>>,
    waiting: Mutex<Vec<Request>>,
    work: Condvar,
    /// Held by the one who puts keys: what it takes those that wait into.
    putting: Mutex<Vec<Request>>,
}

/// How the index was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// In order.
    Complete,
    /// It has all entries of records before a place of the log. Those behind come again.
    CompleteTo(i64),
    /// In no known state: the newest file is only read from.
    Unknown,
}

/// A record to be indexed.
struct Request {
    physical_offset: i64,
    store_timestamp: i64,
    keys: Keys,
}

impl Index {
    /// Opens the files that are there.
    pub fn open(disk: Arc<dyn Disk>, folder: PathBuf, slots: u32, entries: u32, left: Left) -> io::Result<Self> {
        disk.create_folder(&folder)?;
        let mut files = Vec::new();
        let mut is_newest = true;
        for name in Self::names(&*disk, &folder)?.iter().rev() {
            let path = folder.join(name);
            // Those before the newest may have been left by a crash before the last clean stop.
            let writable = is_newest && left != Left::Unknown;
            match IndexFile::open(&*disk, &path, slots, entries, writable) {
                Ok(file) => {
                    if let Left::CompleteTo(to) = left
                        && is_newest
                        && !file.cut(to)?
                    {
                        disk.remove(&path)?;
                        disk.sync_folder(&folder)?;
                        continue;
                    }
                    files.push(Arc::new(file));
                }
                Err(error) => {
                    tracing::warn!(file = name, %error, "an index file cannot be used, and its keys are not found: delete it while the broker is stopped")
                }
            }
            is_newest = false;
        }
        files.reverse();
        let (waiting, work, putting) = (Mutex::default(), Condvar::new(), Mutex::default());
        Ok(Self { disk, folder, slots, entries, files: RwLock::new(files), waiting, work, putting })
    }

    /// Names of the files that are there.
    pub fn names(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = disk.list(folder)?;
        names.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(names)
    }

    /// Files that have an entry of a record before `end`.
    pub fn file_count(&self, end: i64) -> i64 {
        self.files().iter().filter(|file| file.range().begin_offset < end).count() as i64
    }

    /// Takes a record over.
    pub fn submit(&self, record: &Dispatch) {
        let request = Request {
            physical_offset: record.physical_offset,
            store_timestamp: record.store_timestamp,
            keys: record.keys.clone(),
        };
        let count = {
            let mut waiting = self.lock_waiting();
            waiting.push(request);
            waiting.len()
        };
        if count == 1 {
            self.work.notify_one();
        }
        if count >= MOST_WAITING
            && let Err(error) = self.step()
        {
            tracing::error!(%error, "messages cannot be indexed, and will not be found by key: see to the disk, then restart");
        }
    }

    /// Waits for work, until somebody wakes it, or for `timeout`. Says whether there is any.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let mut waiting = self.lock_waiting();
        if waiting.is_empty() {
            waiting = self.work.wait_timeout(waiting, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
        !waiting.is_empty()
    }

    /// Wakes who waits for work.
    pub fn wake(&self) {
        self.work.notify_all();
    }

    /// Puts the keys of all records that wait. Says how many there were.
    pub fn step(&self) -> io::Result<usize> {
        self.put_waiting(&mut self.putting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts what waits and writes all to the files. Durable after a sync of the whole store.
    /// Returns the newest time in a file that is full, in milliseconds.
    pub fn flush(&self) -> io::Result<i64> {
        let mut putting = self.putting.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_waiting(&mut putting)?;
        let files = self.files();
        if let Some(newest) = files.last() {
            newest.flush()?;
        }
        let full = files.iter().rev().find(|file| file.is_full(self.entries));
        Ok(full.map_or(0, |file| file.range().end_timestamp))
    }

    /// Physical offsets of messages that may have a key with this hash, newest first: hashes can be equal, the
    /// caller has to look. `keep` says whether one counts towards `most`.
    pub fn query(
        &self,
        hash: i32,
        most: usize,
        begin: i64,
        end: i64,
        keep: &mut dyn FnMut(i64) -> bool,
    ) -> io::Result<()> {
        let mut kept = 0;
        for file in self.files().iter().rev() {
            if !file.range().touches(begin, end) {
                continue;
            }
            file.query(hash, begin, end, &mut |offset| {
                kept += usize::from(keep(offset));
                kept < most
            })?;
            if kept >= most {
                break;
            }
        }
        Ok(())
    }

    /// Removes files whose messages all lie before an offset of the log; never the newest. Returns how
    /// many. Who reads from one goes on.
    pub fn remove_before(&self, offset: i64) -> io::Result<usize> {
        let files = self.files();
        let Some((_newest, older)) = files.split_last() else { return Ok(0) };
        let mut removed = 0;
        for file in older.iter().filter(|file| file.range().end_offset < offset) {
            match self.disk.remove(file.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
            let mut kept = self.files.write().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|kept| !Arc::ptr_eq(kept, file));
            removed += 1;
        }
        Ok(removed)
    }

    /// Whether a file that is not the newest ends before a place of the log.
    pub fn begins_before(&self, offset: i64) -> bool {
        self.files().split_last().is_some_and(|(_, older)| older.iter().any(|file| file.range().end_offset < offset))
    }

    /// Whether a sync of the newest file failed: only a recovery makes the index whole again.
    pub fn is_broken(&self) -> bool {
        self.files().last().is_some_and(|file| file.is_broken())
    }

    /// Newest store time and physical offset in the index.
    pub fn newest(&self) -> (i64, i64) {
        self.files().last().map_or((0, 0), |file| (file.range().end_timestamp, file.range().end_offset))
    }

    fn put_waiting(&self, requests: &mut Vec<Request>) -> io::Result<usize> {
        std::mem::swap(requests, &mut self.lock_waiting());
        let count = requests.len();
        for (at, request) in requests.iter().enumerate() {
            if let Err(error) = self.put(request) {
                // They wait on: a disk that is full gets room again.
                self.lock_waiting().splice(..0, requests.drain(..).skip(at));
                return Err(error);
            }
        }
        requests.clear();
        // Not the room of the busiest moment for ever.
        requests.shrink_to(MOST_KEPT);
        Ok(count)
    }

    fn put(&self, request: &Request) -> io::Result<()> {
        for &hash in &request.keys {
            let file = self.writable(request.store_timestamp)?;
            file.put(hash, request.physical_offset, request.store_timestamp);
            if file.in_memory() >= MOST_IN_MEMORY {
                file.flush()?;
            }
        }
        Ok(())
    }

    /// The newest file, a new one when it is full.
    fn writable(&self, now: i64) -> io::Result<Arc<IndexFile>> {
        let newest = self.files.read().unwrap_or_else(PoisonError::into_inner).last().cloned();
        if let Some(newest) = &newest
            && newest.is_writable()
        {
            if !newest.is_full(self.entries) {
                return Ok(Arc::clone(newest));
            }
            newest.flush()?;
        }
        let last = newest.as_ref().map(|file| file.path().to_owned());
        let after = newest.map_or(0, |file| file.range().end_timestamp + 1);
        let path = file::free_name(&*self.disk, &self.folder, now.max(after), last.as_deref())?;
        let file = Arc::new(IndexFile::create(&*self.disk, &path, self.slots, self.entries)?);
        self.files.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&file));
        Ok(file)
    }

    fn files(&self) -> Vec<Arc<IndexFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Vec<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
