//! The files of consume queues: `consumequeue/<topic>/<queue id>/<offset of the first byte>`.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_base::disk::{Disk, DiskFile};

use super::{Queue, UNIT, Unit};
use crate::log::{file_name, offset_of};

/// Files kept open: enough for what is busy, few enough for the limit of open files.
const MOST_OPEN: usize = 512;

pub(crate) struct QueueFiles {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Bytes of a file.
    size: u64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<(u64, i64), (Arc<dyn DiskFile>, u64)>,
    tick: u64,
}

/// What the files of a queue hold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    /// First offset.
    pub min: i64,
    /// End offset.
    pub max: i64,
    /// End of the last unit's record in the log.
    pub log_end: i64,
}

impl QueueFiles {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, size: u64) -> io::Result<Self> {
        disk.create_folder(&root)?;
        Ok(Self { disk, root, size: size.div_ceil(UNIT) * UNIT, open: Mutex::default() })
    }

    /// Topics with the ids of their queues.
    pub fn topics(&self) -> io::Result<Vec<(String, Vec<i32>)>> {
        let mut topics = Vec::new();
        for topic in self.disk.list(&self.root)? {
            match self.disk.list(&self.root.join(&topic)) {
                Ok(ids) => topics.push((topic, ids.iter().filter_map(|id| id.parse().ok()).collect())),
                // Not ours.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// What is valid of a queue's files: whole units of records before `end` of the log and not
    /// before its beginning, `start`. With `wipe`, all after those becomes zeros.
    pub fn contents(&self, topic: &str, id: i32, start: i64, end: i64, wipe: bool) -> io::Result<Contents> {
        let folder = self.folder(topic, id);
        let mut bases: Vec<i64> = self.disk.list(&folder)?.iter().filter_map(|name| offset_of(name)).collect();
        bases.sort_unstable();
        if let Some(pair) = bases.windows(2).find(|pair| (pair[1] - pair[0]) % self.size as i64 != 0) {
            return Err(self.wrong_size(&folder, (pair[1] - pair[0]) as u64));
        }
        // A crash can lose the name of a file and keep that of the one after it.
        let gap = bases.windows(2).position(|pair| pair[1] - pair[0] != self.size as i64);
        bases.truncate(gap.map_or(bases.len(), |at| at + 1));
        let (Some(&first), per_file) = (bases.first(), (self.size / UNIT) as i64) else {
            return Ok(Contents::default());
        };
        let mut files = Vec::with_capacity(bases.len());
        for base in &bases {
            let file = self.disk.open(&folder.join(file_name(*base)), false)?;
            // A crash can leave a file short.
            let length = file.length()?;
            if length > self.size {
                return Err(self.wrong_size(&folder, length));
            }
            files.push(file);
        }
        let unit = |at: i64| -> io::Result<Option<Unit>> {
            let mut bytes = [0; UNIT as usize];
            let read = files[(at / per_file) as usize].read_at(&mut bytes, (at % per_file) as u64 * UNIT)?;
            Ok((read == bytes.len()).then(|| Unit::decode(&bytes)))
        };
        let total = files.len() as i64 * per_file;
        // Of what follows the units sought, a crash may have kept some and lost others: a place there
        // is empty, or its record lies at or after `end`.
        let is_valid = |unit: Unit| unit.size > 0 && unit.physical_offset >= 0 && unit.end_offset() <= end;
        let valid = partition(0, total, |at| Ok(unit(at)?.is_some_and(is_valid)))?;
        let units = |at: i64, count: usize| -> io::Result<Vec<Unit>> {
            let count = count.min((per_file - at % per_file) as usize);
            read_units(&*files[(at / per_file) as usize], at % per_file, count)
        };
        let kept = first_kept(0, valid, start, units)?;
        if wipe {
            for (index, file) in files.iter().enumerate() {
                let from = (valid - index as i64 * per_file).clamp(0, per_file);
                if from < per_file {
                    file.set_len(from as u64 * UNIT)?;
                    file.set_len(self.size)?;
                }
            }
        }
        if valid == 0 {
            // Where the queue begins is told by the first record that is dispatched to it.
            return Ok(Contents::default());
        }
        let log_end = unit(valid - 1)?.map_or(0, |unit| unit.end_offset());
        let first = first / UNIT as i64;
        Ok(Contents { min: first + kept, max: first + valid, log_end })
    }

    fn wrong_size(&self, folder: &Path, found: u64) -> io::Error {
        io::Error::other(format!(
            "the files in {} are {found} bytes long and not {}; set mappedFileSizeConsumeQueue to the size they were written with",
            folder.display(),
            self.size
        ))
    }

    /// The first offset of the file after the one that holds an offset.
    pub fn next_file(&self, offset: i64) -> i64 {
        let per_file = (self.size / UNIT) as i64;
        (offset / per_file + 1) * per_file
    }

    /// Reads units, fewer at the end of a file.
    pub fn read(&self, queue: &Queue, offset: i64, count: usize) -> io::Result<Vec<Unit>> {
        let at = offset as u64 * UNIT;
        let base = at - at % self.size;
        let count = count.min(((base + self.size - at) / UNIT) as usize);
        let mut bytes = vec![0; count * UNIT as usize];
        let read = self.file(queue, base as i64, false)?.read_at(&mut bytes, at - base)?;
        Ok(bytes[..read].chunks_exact(UNIT as usize).map(Unit::decode).collect())
    }

    /// Overwrites one unit that is there.
    pub fn replace(&self, queue: &Queue, offset: i64, unit: Unit) -> io::Result<()> {
        let at = offset as u64 * UNIT;
        let base = at - at % self.size;
        self.file(queue, base as i64, false)?.write_at(&mut [IoSlice::new(&unit.encoded())], at - base)
    }

    /// Writes units from an offset on.
    pub fn write(&self, queue: &Queue, offset: i64, units: &[Unit]) -> io::Result<()> {
        let mut at = offset as u64 * UNIT;
        if offset == queue.range().0 && !at.is_multiple_of(self.size) {
            // A queue whose first file begins before its first message.
            let base = at - at % self.size;
            let blanks = Unit::BLANK.encoded().repeat(((at - base) / UNIT) as usize);
            self.file(queue, base as i64, true)?.write_at(&mut [IoSlice::new(&blanks)], 0)?;
        }
        let mut rest = units;
        while !rest.is_empty() {
            let base = at - at % self.size;
            let count = rest.len().min(((base + self.size - at) / UNIT) as usize);
            let mut bytes = Vec::with_capacity(count * UNIT as usize);
            rest[..count].iter().for_each(|unit| bytes.extend(unit.encoded()));
            self.file(queue, base as i64, true)?.write_at(&mut [IoSlice::new(&bytes)], at - base)?;
            rest = &rest[count..];
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Removes all files of a topic, durably.
    pub fn remove(&self, topic: &str, keys: &[u64]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.retain(|(key, _), _| !keys.contains(key));
        drop(open);
        self.disk.remove_folder(&self.root.join(topic))?;
        self.disk.sync_folder(&self.root)
    }

    /// Removes the files of a queue whose messages all lie before `start` of the log. The last file
    /// stays: it tells where the queue goes on. Returns how many were removed. Not while another caller
    /// writes.
    pub fn trim(&self, topic: &str, id: i32, key: Option<u64>, start: i64) -> io::Result<usize> {
        let folder = self.folder(topic, id);
        let mut bases: Vec<i64> = self.disk.list(&folder)?.iter().filter_map(|name| offset_of(name)).collect();
        bases.sort_unstable();
        bases.pop();
        let per_file = (self.size / UNIT) as i64;
        let mut removed = 0;
        for base in bases {
            let path = folder.join(file_name(base));
            let file = self.disk.open(&path, false)?;
            if first_kept(0, per_file, start, |at, count| read_units(&*file, at, count))? < per_file {
                break;
            }
            if let Some(key) = key {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&(key, base));
            }
            self.disk.remove(&path)?;
            // Before the next can go: a crash must leave no gap.
            self.disk.sync_folder(&folder)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the files of one queue.
    pub fn remove_queue(&self, queue: &Queue) -> io::Result<()> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.retain(|(key, _), _| *key != queue.key);
        self.disk.remove_folder(&self.folder(&queue.topic, queue.id))
    }

    fn folder(&self, topic: &str, id: i32) -> PathBuf {
        self.root.join(topic).join(id.to_string())
    }

    fn file(&self, queue: &Queue, base: i64, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let key = (queue.key, base);
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.tick += 1;
            let tick = open.tick;
            if let Some((file, used)) = open.files.get_mut(&key) {
                *used = tick;
                return Ok(Arc::clone(file));
            }
        }
        let file = self.open_file(&self.folder(&queue.topic, queue.id), base, create)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.files.len() >= MOST_OPEN {
            // Half at once: the older ones, so that this is rare.
            let limit = open.tick.saturating_sub(MOST_OPEN as u64 / 2);
            open.files.retain(|_, (_, used)| *used > limit);
        }
        let tick = open.tick;
        open.files.insert(key, (Arc::clone(&file), tick));
        Ok(file)
    }

    fn open_file(&self, folder: &Path, base: i64, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let path = folder.join(file_name(base));
        if !create || self.disk.exists(&path) {
            return self.disk.open(&path, false);
        }
        self.disk.create_folder(folder)?;
        let file = self.disk.open(&path, true)?;
        file.set_len(self.size)?;
        Ok(file)
    }
}

fn read_units(file: &dyn DiskFile, at: i64, count: usize) -> io::Result<Vec<Unit>> {
    let mut bytes = vec![0; count * UNIT as usize];
    let read = file.read_at(&mut bytes, at as u64 * UNIT)?;
    Ok(bytes[..read].chunks_exact(UNIT as usize).map(Unit::decode).collect())
}

/// Units looked at together where there are blanks.
const BLOCK: i64 = 1024;

/// The first place in `from..to` whose message is not before `start` of the log. `units` reads units
/// from a place on, at most so many, at least one.
pub(crate) fn first_kept(
    from: i64,
    to: i64,
    start: i64,
    mut units: impl FnMut(i64, usize) -> io::Result<Vec<Unit>>,
) -> io::Result<i64> {
    partition(from, to, |at| {
        // A blank tells nothing: it is where the message before it is.
        let (mut first, mut end) = (at, at + 1);
        loop {
            let mut last = None;
            let mut place = first;
            while place < end {
                let read = units(place, (end - place) as usize)?;
                if read.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                place += read.len() as i64;
                last = read.into_iter().rfind(|unit| !unit.is_blank()).or(last);
            }
            match last {
                Some(unit) => return Ok(unit.physical_offset < start && unit.size > 0),
                None if first == from => return Ok(true),
                None => (first, end) = ((first - BLOCK).max(from), first),
            }
        }
    })
}

/// The first place in `from..to` where a condition that holds first, and then no longer, doesn't.
pub(crate) fn partition(from: i64, to: i64, mut holds: impl FnMut(i64) -> io::Result<bool>) -> io::Result<i64> {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
