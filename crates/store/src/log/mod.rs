//! The commit log: segments of one size, named by the offset of their first byte
//! (upstream `CommitLog`, `MappedFileQueue`).

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use apogee_base::disk::{Disk, DiskFile};
use apogee_message::light;
use apogee_message::record::{HEAD_LENGTH, PHYSICAL_OFFSET_AT, QUEUE_ID_AT, QUEUE_OFFSET_AT};
use apogee_message::sysflag;
use bytes::{Buf, Bytes};

use crate::error::{Context, StoreError};
use crate::queue::Unit;

mod append;
mod confirm;
mod copies;
mod follow;

pub use append::{Append, AppendDone, Appended};
pub(crate) use append::{Appender, Health, Limits};
pub(crate) use confirm::{Confirmer, Told as SendersTold};
pub use confirm::{ProgressListener, Times};
pub(crate) use copies::Copies;
pub use copies::CopyOptions;
pub use follow::CopyError;
pub(crate) use follow::Follower;

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// Name of the file that begins at an offset.
pub(crate) fn file_name(offset: i64) -> String {
    format!("{offset:020}")
}

/// The offset that a file's name tells.
pub(crate) fn offset_of(name: &str) -> Option<i64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// One file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Offset of its first byte.
    pub base: i64,
    pub file: Arc<dyn DiskFile>,
    /// Store time of its first record, once somebody has looked.
    pub first_time: OnceLock<i64>,
}

impl Segment {
    fn new(base: i64, file: Arc<dyn DiskFile>) -> Self {
        Self { base, file, first_time: OnceLock::new() }
    }
}

/// A published part of the log, held for a read's looks at it.
#[derive(Debug, Default)]
pub(crate) struct View {
    base: i64,
    bytes: Bytes,
}

impl View {
    /// Where a part of the log lies in the view, if it does.
    fn place(&self, offset: i64, length: usize) -> Option<Range<usize>> {
        let from = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        let to = from.checked_add(length).filter(|to| *to <= self.bytes.len())?;
        Some(from..to)
    }

    /// A part of the log that the view holds.
    pub fn slice(&self, offset: i64, length: usize) -> Option<Bytes> {
        Some(self.bytes.slice(self.place(offset, length)?))
    }

    /// Reads a byte of each line of the processor's cache that the record's head and end lie in; of several
    /// records it waits for memory once.
    pub fn touch(&self, offset: i64, length: usize) -> u8 {
        let Some(place) = self.place(offset, length) else { return 0 };
        let (first, last) = (place.start, place.end.saturating_sub(1));
        let at = |at: usize| self.bytes.get(at.clamp(first, last)).copied().unwrap_or(0);
        at(first) ^ at(first + LINE) ^ at(last) ^ at(last.saturating_sub(LINE)) ^ at(last.saturating_sub(2 * LINE))
    }
}

fn tell_missing(folder: &Path, base: i64) {
    let file = folder.join(file_name(base));
    tracing::error!(file = %file.display(), from = base, "a file of the commit log is missing: its messages are passed over; if it is found, put it back while the broker is stopped, and they are there again");
}

/// The files of the log, and how much of them is written and durable.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Bytes of a segment.
    pub segment_size: u64,
    segments: RwLock<Vec<Arc<Segment>>>,
    /// End of what readers may see; published after the bytes are written.
    written: AtomicI64,
    /// End of what is durable.
    flushed: AtomicI64,
    /// Of a copy, end of the last record that came as a whole.
    whole: AtomicI64,
    /// Where the log ended when it was opened: what is behind was written by this process.
    found: AtomicI64,
    /// Whether the system may read its files ahead.
    read_ahead: AtomicBool,
}

impl Log {
    /// Opens the files that are there; recovery tells where the log ends.
    pub fn open(disk: Arc<dyn Disk>, folder: PathBuf, segment_size: u64) -> Result<Self, StoreError> {
        disk.create_folder(&folder).context("cannot create", &folder)?;
        let mut segments = Vec::new();
        let mut bases: Vec<i64> =
            disk.list(&folder).context("cannot list", &folder)?.iter().filter_map(|n| offset_of(n)).collect();
        bases.sort_unstable();
        for (index, &base) in bases.iter().enumerate() {
            let path = folder.join(file_name(base));
            let file = disk.open(&path, false).context("cannot open", &path)?;
            let length = file.length().context("cannot read the length of", &path)?;
            if length != segment_size {
                // A crash can leave the newest file without its full length.
                if index + 1 < bases.len() || length > segment_size {
                    let reason = format!(
                        "the file is {length} bytes long and not {segment_size}; set mappedFileSizeCommitLog to the size the log was written with"
                    );
                    return Err(StoreError::Damaged { path, reason });
                }
                file.set_len(segment_size).context("cannot extend", &path)?;
            }
            if index > 0 {
                let end = bases[index - 1] + segment_size as i64;
                if (base - end) % segment_size as i64 != 0 {
                    let reason = format!("it cannot follow the file at {}, which ends elsewhere", bases[index - 1]);
                    return Err(StoreError::Damaged { path, reason });
                }
                for missing in (end..base).step_by(segment_size as usize) {
                    tell_missing(&folder, missing);
                }
            }
            segments.push(Arc::new(Segment::new(base, file)));
        }
        let end = bases.first().copied().unwrap_or(0);
        let (written, flushed, found) = (AtomicI64::new(end), AtomicI64::new(end), AtomicI64::new(i64::MAX));
        let (segments, read_ahead) = (RwLock::new(segments), AtomicBool::new(false));
        let whole = AtomicI64::new(i64::MAX);
        Ok(Self { disk, folder, segment_size, segments, written, flushed, whole, found, read_ahead })
    }

    /// Offset of the first byte kept.
    pub fn min_offset(&self) -> i64 {
        self.segments().first().map_or_else(|| self.written(), |segment| segment.base)
    }

    /// End of what is written.
    pub fn written(&self) -> i64 {
        self.written.load(Ordering::Acquire)
    }

    /// End of what is durable.
    pub fn flushed(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// End of the last whole record; of a log that is no copy, its end.
    pub fn whole(&self) -> i64 {
        self.whole.load(Ordering::Acquire).min(self.written())
    }

    /// Notes where the last whole record of a copy ends.
    pub fn set_whole(&self, end: i64) {
        self.whole.store(end, Ordering::Release);
    }

    /// Publishes what was written up to `end`.
    pub fn publish(&self, end: i64) {
        self.written.store(end, Ordering::Release);
    }

    /// The segment that holds an offset.
    pub fn segment(&self, offset: i64) -> Option<Arc<Segment>> {
        self.segment_from(offset).filter(|segment| segment.base <= offset)
    }

    /// The segment that holds an offset, or the next one where that is missing.
    pub fn segment_from(&self, offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments();
        let ends_before = |segment: &Arc<Segment>| segment.base + self.segment_size as i64 <= offset;
        segments.get(segments.partition_point(ends_before)).cloned()
    }

    /// Whether the file is missing in which an offset was.
    pub fn is_missing(&self, offset: i64) -> bool {
        offset >= self.min_offset() && self.segment_from(offset).is_some_and(|segment| segment.base > offset)
    }

    /// Begins a new segment behind `known`, up to which the log was once, if its files end before: what is
    /// in the missing ones keeps its place.
    pub fn continue_behind(&self, known: i64) -> io::Result<()> {
        let size = self.segment_size as i64;
        let (first, end) = match &self.segments()[..] {
            [first, .., last] => (first.base, last.base + size),
            [only] => (only.base, only.base + size),
            [] => (0, 0),
        };
        // Written up to its end, a file has the next one beside it only once that is written to.
        if known <= end {
            return Ok(());
        }
        (end..known).step_by(self.segment_size as usize).for_each(|base| tell_missing(&self.folder, base));
        let base = first + (known - first + size - 1) / size * size;
        self.add_segment(base)?;
        self.written.fetch_max(self.min_offset(), Ordering::AcqRel);
        self.flushed.fetch_max(self.min_offset(), Ordering::AcqRel);
        Ok(())
    }

    /// Makes the names of the files durable, as they are found: whoever made them may have ended before.
    pub fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.folder)
    }

    /// The segments in order.
    pub fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments().clone()
    }

    /// Adds the segment that begins at `base`.
    pub fn add_segment(&self, base: i64) -> io::Result<Arc<Segment>> {
        let file = self.disk.open(&self.folder.join(file_name(base)), true)?;
        file.set_len(self.segment_size)?;
        // A record must not be promised to be in a file whose name a crash can take.
        self.disk.sync_folder(&self.folder)?;
        let segment = Arc::new(Segment::new(base, file));
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segment.file.set_read_ahead(self.read_ahead.load(Ordering::Relaxed));
        segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Removes segments that begin at or after an offset: recovery found nothing in them.
    pub fn remove_from(&self, offset: i64) -> Result<(), StoreError> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        while let Some(last) = segments.last().filter(|last| last.base >= offset) {
            let path = self.folder.join(file_name(last.base));
            self.disk.remove(&path).context("cannot remove", &path)?;
            segments.pop();
        }
        Ok(())
    }

    /// Takes away, durably, everything from a place on.
    pub fn cut(&self, to: i64) -> Result<(), StoreError> {
        self.remove_from(to)?;
        if let Some(segment) = self.segment(to) {
            segment.file.set_len((to - segment.base) as u64).context("cannot cut the last file of", &self.folder)?;
            segment.file.set_len(self.segment_size).context("cannot extend the last file of", &self.folder)?;
            segment.file.sync().context("cannot flush the last file of", &self.folder)?;
        }
        self.sync_names().context("cannot flush the folder", &self.folder)
    }

    /// Removes the first segment durably if it ends at or before `to` and is not the last; returns
    /// where the log begins then. `health` learns of a failed sync. One caller at a time.
    pub fn remove_oldest(&self, to: i64, health: &Health) -> io::Result<Option<i64>> {
        let (first, next) = match &self.segments()[..] {
            [first, next, ..] if first.base + self.segment_size as i64 <= to => (first.base, next.base),
            _ => return Ok(None),
        };
        match self.disk.remove(&self.folder.join(file_name(first))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        // Before the next can go: a crash that brings back this one and not that would leave a gap.
        self.disk.sync_folder(&self.folder).inspect_err(|error| {
            health.fail(format!("cannot flush the folder {}: {error}", self.folder.display()));
        })?;
        self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(0);
        Ok(Some(next))
    }

    /// Bytes of the log, as long as they lie in one segment and below the published end.
    pub fn slice(&self, offset: i64, length: usize) -> Option<Bytes> {
        if offset < 0 || offset.checked_add(length as i64)? > self.written() {
            return None;
        }
        self.slice_unpublished(offset, length)
    }

    /// The same bytes as [`Self::slice`], by a view that is kept from one look to the next: where it holds
    /// them already, that takes neither a lock nor a count that all readers share.
    pub fn look<'v>(&self, view: &'v mut View, offset: i64, length: usize) -> Option<&'v [u8]> {
        if view.place(offset, length).is_none() {
            let end = offset.checked_add(length as i64).filter(|_| offset >= 0)?;
            let written = self.written();
            let segment = self.segment(offset).filter(|_| end <= written)?;
            let published = written.min(segment.base + self.segment_size as i64) - segment.base;
            let (from, bytes) = segment.file.view((offset - segment.base) as u64, length, published as u64).ok()?;
            // Counted for this read alone: a count that all readers of the file share goes from one
            // processor to the other for each message.
            *view = View { base: segment.base + from as i64, bytes: Bytes::from_owner(bytes) };
        }
        view.bytes.get(view.place(offset, length)?)
    }

    /// Has a part of the log read into memory soon; only a hint.
    pub fn prefetch(&self, mut from: i64, to: i64) {
        while from < to {
            let Some(segment) = self.segment(from) else { return };
            let end = (segment.base + self.segment_size as i64).min(to);
            segment.file.prefetch((from - segment.base) as u64, (end - from) as u64);
            from = end;
        }
    }

    /// Whether the system may read the files ahead of what is asked for, those to come, too.
    pub fn set_read_ahead(&self, on: bool) {
        let segments = self.segments();
        self.read_ahead.store(on, Ordering::Relaxed);
        segments.iter().for_each(|segment| segment.file.set_read_ahead(on));
    }

    /// Published bytes from an offset on, `most` at most and none of the next file. `None` when none are there.
    pub fn piece(&self, offset: i64, most: usize) -> Option<Bytes> {
        let segment = self.segment(offset)?;
        let end = self.written().min(segment.base + self.segment_size as i64);
        let length = most.min(usize::try_from(end - offset).ok()?);
        if length == 0 {
            return None;
        }
        segment.file.slice((offset - segment.base) as u64, length).ok()
    }

    /// Bytes of the log, published or not: for recovery.
    pub fn slice_unpublished(&self, offset: i64, length: usize) -> Option<Bytes> {
        let segment = self.segment(offset)?;
        segment.file.slice((offset - segment.base) as u64, length).ok()
    }

    /// Whether the head of the record that a unit leads to, published or not, says that it is the one of
    /// its place in its queue. `None` when nothing stands there.
    pub fn leads_to(&self, unit: &Unit, topic: &str, id: i32, offset: i64) -> Option<bool> {
        let head = self.slice_unpublished(unit.physical_offset, HEAD_LENGTH + 4)?;
        let is_its = |first: i64| match (&head[HEAD_LENGTH..]).get_i32() & sysflag::INNER_BATCH {
            0 => first == offset,
            _ => (first..first + i64::from(i16::MAX)).contains(&offset),
        };
        // A light queue is named among the properties of its records: their heads tell of another one.
        let place = light::is_light(topic)
            || ((&head[QUEUE_ID_AT..]).get_i32() == id && is_its((&head[QUEUE_OFFSET_AT..]).get_i64()));
        let own = (&head[..]).get_u32() == unit.size && (&head[PHYSICAL_OFFSET_AT..]).get_i64() == unit.physical_offset;
        Some(own && place)
    }

    /// The record at an offset.
    pub fn record(&self, offset: i64) -> Option<Bytes> {
        let size = self.slice(offset, 4)?.get_u32();
        self.slice(offset, size as usize)
    }

    /// Makes everything written so far durable, and what `also` names; returns the new flushed end. One
    /// caller at a time.
    pub fn flush(&self, also: Option<&Segment>) -> io::Result<i64> {
        let (from, to) = (self.flushed(), self.written());
        if let Some(segment) = also {
            segment.file.sync()?;
        }
        if from < to {
            let segments: Vec<_> = {
                let touched =
                    |segment: &&Arc<Segment>| segment.base < to && segment.base + self.segment_size as i64 > from;
                self.segments().iter().filter(touched).cloned().collect()
            };
            for segment in segments {
                segment.file.sync()?;
            }
            self.flushed.store(to, Ordering::Release);
        }
        Ok(to)
    }

    /// Sets both ends: recovery found the log to end here.
    pub fn set_end(&self, end: i64) {
        self.written.store(end, Ordering::Release);
        self.flushed.store(end, Ordering::Release);
        self.found.store(end, Ordering::Release);
    }

    /// Where the log ended when it was opened.
    pub fn found_at_start(&self) -> i64 {
        self.found.load(Ordering::Acquire)
    }

    /// Folder of the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn segments(&self) -> RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}
