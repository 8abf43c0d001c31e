//! The compacted log of one queue: its files, and what is added to them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use apogee_base::disk::Disk;
use bytes::Bytes;

use super::layout::{Folders, Sizes};
use super::segment::Segment;
use super::swap::Workshop;
use crate::log::{file_name, offset_of};
use crate::queue::BatchUnit;

/// The files of a queue at one moment, the oldest first. Who has it reads on when files are replaced.
pub(super) type Files = Arc<Vec<Arc<Segment>>>;

/// See the module. Read by all; messages are added by one caller at a time, and files replaced by another.
pub(crate) struct CompactedQueue {
    pub topic: Arc<str>,
    pub id: i32,
    pub(super) sizes: Sizes,
    pub(super) folders: Folders,
    pub(super) workshop: Workshop,
    files: RwLock<Files>,
    /// All messages before this offset are here, or need not be.
    end: AtomicI64,
    /// The same, durably.
    durable: AtomicI64,
    /// The topic was deleted: nothing may be written any more.
    gone: AtomicBool,
    /// A sync failed: what it should have made durable may be lost.
    broken: AtomicBool,
    /// Held by who creates, replaces or removes files.
    changing: Mutex<()>,
}

impl CompactedQueue {
    /// Knows the files that are there, and finishes what a crash interrupted. With `verify`, messages count up to the
    /// first in the last file that is not whole.
    pub(super) fn open(
        disk: &dyn Disk,
        (topic, id): (Arc<str>, i32),
        folders: Folders,
        workshop: Workshop,
        sizes: Sizes,
        verify: bool,
    ) -> io::Result<Self> {
        if workshop.exists(disk) {
            workshop.finish(disk, &folders)?;
        }
        let (files, sizes) = open_files(disk, &folders, sizes, verify)?;
        if verify && let Some(last) = files.last() {
            last.write_again()?;
            folders.sync(disk)?;
        }
        let end = files.iter().map(|file| file.last() + 1).max().unwrap_or(0);
        Ok(Self {
            topic,
            id,
            sizes,
            folders,
            workshop,
            files: RwLock::new(Arc::new(files)),
            end: AtomicI64::new(end),
            durable: AtomicI64::new(end),
            gone: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            changing: Mutex::default(),
        })
    }

    /// Its files at this moment.
    pub(super) fn files(&self) -> Files {
        Arc::clone(&self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_files(&self, change: impl FnOnce(&[Arc<Segment>]) -> Vec<Arc<Segment>>) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        *files = Arc::new(change(&files));
    }

    /// What is before this offset is read here.
    pub fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    /// What is before this offset is needed nowhere else any more.
    pub fn durable(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The first offset of a message that is here; [`Self::end`] when there is none.
    pub fn first(&self) -> i64 {
        let first = self.files().iter().map(|file| file.first()).min();
        first.unwrap_or(i64::MAX).min(self.end())
    }

    /// Whether its topic was deleted.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Files may be changed meanwhile; `None` when the topic was deleted.
    pub(super) fn change(&self) -> Option<MutexGuard<'_, ()>> {
        let guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_gone()).then_some(guard)
    }

    /// Adds messages in their order, and takes in that all before `end` were looked at. What cannot be written is to
    /// be added again.
    pub fn append(&self, disk: &dyn Disk, records: &[(BatchUnit, Bytes)], end: i64) -> io::Result<()> {
        let Some(_changing) = self.change() else { return Ok(()) };
        let mut rest = records;
        while let Some((_, first)) = rest.first() {
            let last = match self.files().last() {
                Some(last) if last.fits(first.len()) => Arc::clone(last),
                last => self.begin(disk, last, first.len())?,
            };
            let mut bytes = 0;
            let fits = |(count, (_, record)): &(usize, &(BatchUnit, Bytes))| {
                bytes += record.len();
                last.fits_after(*count as i64, bytes)
            };
            let count = rest.iter().enumerate().take_while(fits).count();
            last.append(&rest[..count])?;
            rest = &rest[count..];
        }
        self.end.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// A new file behind the others, which are full.
    fn begin(&self, disk: &dyn Disk, last: Option<&Arc<Segment>>, bytes: usize) -> io::Result<Arc<Segment>> {
        if last.is_none() {
            self.folders.create(disk)?;
            self.note(self.folders.sync_names(disk))?;
        }
        if let Some(last) = last {
            last.end()?;
            self.note(last.sync())?;
        }
        let base = last.map_or(0, |last| last.base + last.length() as i64);
        let next = Arc::new(Segment::create(disk, &self.folders, base, self.sizes, bytes as u64)?);
        self.note(self.folders.sync(disk))?;
        self.set_files(|files| files.iter().cloned().chain([Arc::clone(&next)]).collect());
        Ok(next)
    }

    /// Makes durable what was added.
    pub fn sync(&self) -> io::Result<()> {
        let end = self.end();
        if end > self.durable() {
            self.note(self.files().last().map_or(Ok(()), |last| last.sync()))?;
            self.durable.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    fn note(&self, synced: io::Result<()>) -> io::Result<()> {
        if synced.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        synced
    }

    /// Whether a sync failed: then nothing that is added can be relied on.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Takes away the copies of messages at or behind a place of the commit log, durably. Before anybody reads.
    pub fn cut(&self, disk: &dyn Disk, to: i64) -> io::Result<()> {
        let mut files = self.files().to_vec();
        while let Some(last) = files.last() {
            let count = last.count_before(to)?;
            if count == last.count() {
                break;
            }
            if count > 0 {
                last.cut(count)?;
                break;
            }
            disk.remove(&self.folders.log.join(file_name(last.base)))?;
            disk.remove(&self.folders.units.join(file_name(last.base)))?;
            files.pop();
        }
        self.folders.sync(disk)?;
        let end = files.last().map_or(0, |last| last.last() + 1);
        self.end.store(end, Ordering::Release);
        self.durable.store(end, Ordering::Release);
        self.set_files(|_| files);
        Ok(())
    }

    /// Forgets it and removes its files.
    pub fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.gone.store(true, Ordering::Release);
        self.workshop.clear(disk)?;
        disk.remove_folder(&self.folders.log)?;
        disk.remove_folder(&self.folders.units)
    }
}

/// The files in the folders, the oldest first, and how long further ones are: upstream's broker opens files of one size
/// only, so that of those that are there stays, whatever is set.
pub(super) fn open_files(
    disk: &dyn Disk,
    folders: &Folders,
    sizes: Sizes,
    verify: bool,
) -> io::Result<(Vec<Arc<Segment>>, Sizes)> {
    let bases: Vec<_> = disk.list(&folders.log)?.iter().filter_map(|name| offset_of(name)).collect();
    let (mut files, mut usual) = (Vec::<Arc<Segment>>::new(), sizes);
    for (number, base) in bases.iter().enumerate() {
        let verify = verify && number + 1 == bases.len();
        let file = Segment::open(disk, folders, *base, usual, verify)?;
        // One with a record that is too large for the others is longer.
        usual = if number == 0 { file.sizes() } else { usual.min(file.sizes()) };
        files.push(Arc::new(file));
    }
    Ok((files, usual))
}
