//! The files of consume queues: `consumequeue/<topic>/<queue id>/<offset of the first byte>`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use apogee_base::disk::{Disk, DiskFile};

use super::batches::Part;
use super::folders::Folders;
use super::mend::{Gap, Kind, Source};
use super::{Queue, Run, UNIT, Unit};
use crate::log::file_name;

/// Files kept open: enough for what is busy, few enough for the limit of open files.
const MOST_OPEN: usize = 512;

pub(crate) struct QueueFiles {
    pub(super) folders: Folders,
    /// Bytes of a file.
    pub(super) size: u64,
    open: Mutex<Open>,
    source: OnceLock<Arc<Source>>,
}

#[derive(Default)]
struct Open {
    files: HashMap<(u32, i64), (Arc<dyn DiskFile>, u64)>,
    tick: u64,
}

/// Units at the beginning of a queue's files that are read together: a page of the disk.
const HEAD: i64 = 4096 / UNIT as i64;

/// What the files of a queue hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// First offset.
    pub min: i64,
    /// End offset.
    pub max: i64,
    /// The last unit's offset, if the unit is damaged.
    pub doubtful: Option<i64>,
    /// End of the last unit's record in the log.
    pub log_end: i64,
    /// What the files may lack, once the log is known.
    pub gaps: Vec<Gap>,
    /// The files of a queue that keeps batches.
    pub parts: Vec<Part>,
}

impl Contents {
    /// What of them counts beside units of the queue that were kept; `None`: all, and those don't.
    pub fn beside(&self, run: &Run) -> Option<Self> {
        let kept_end = run.units.iter().map(Unit::end_offset).max().unwrap_or_default();
        let is_further = match kept_end {
            0 => self.max >= run.offset + run.units.len() as i64,
            _ => self.log_end > kept_end,
        };
        if is_further {
            // A unit that was not kept was in the file at the checkpoint, and so were those before it.
            return None;
        }
        // What was written to the file since the checkpoint may be there in part.
        let doubtful = self.doubtful.filter(|doubtful| *doubtful < run.offset);
        let (min, max) = (self.min.min(run.offset), self.max.min(run.offset));
        Some(Self { min, max, doubtful, log_end: self.log_end, ..Self::default() })
    }
}

impl QueueFiles {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, size: u64) -> io::Result<Self> {
        disk.create_folder(&root)?;
        Ok(Self {
            folders: Folders::new(disk, root),
            size: size.div_ceil(UNIT) * UNIT,
            open: Mutex::default(),
            source: OnceLock::new(),
        })
    }

    /// What is valid of a queue's files: whole units of records before `end` of the log and not
    /// before its beginning, `start`. With `wipe`, all after those becomes zeros.
    pub fn contents(&self, topic: &str, id: i32, start: i64, end: i64, wipe: bool) -> io::Result<Contents> {
        let folder = self.folders.folder(topic, id);
        let bases = self.folders.bases(topic, id)?;
        if let Some(pair) = bases.windows(2).find(|pair| (pair[1] - pair[0]) % self.size as i64 != 0) {
            return Err(self.wrong_size(&folder, (pair[1] - pair[0]) as u64));
        }
        let may_mend = !wipe && self.source.get().is_some();
        let all_of_it = || Gap { kind: Kind::End, offsets: 0..i64::MAX, log: start..end };
        let (Some(&first), per_file) = (bases.first(), self.per_file()) else {
            // Its folder is there, so its files were.
            let gaps = if may_mend && self.folders.disk.exists(&folder) { vec![all_of_it()] } else { Vec::new() };
            return Ok(Contents { gaps, ..Contents::default() });
        };
        let mut files = BTreeMap::new();
        let mut short = BTreeSet::new();
        for base in &bases {
            let file = self.folders.disk.open(&folder.join(file_name(*base)), false)?;
            // A crash can leave a file short.
            let length = file.length()?;
            if length > self.size {
                return Err(self.wrong_size(&folder, length));
            }
            let index = (base - first) / self.size as i64;
            if length < self.size {
                short.insert(index);
            }
            files.insert(index, file);
        }
        // Most of many queues are short: one read tells all of them.
        let head = match files.get(&0) {
            Some(file) => read_units(&**file, 0, per_file.min(HEAD) as usize)?,
            None => Vec::new(),
        };
        let unit = |at: i64| -> io::Result<Option<Unit>> {
            if let Some(unit) = head.get(at as usize) {
                return Ok(Some(*unit));
            }
            let Some(file) = files.get(&(at / per_file)) else { return Ok(None) };
            Ok(read_units(&**file, at % per_file, 1)?.first().copied())
        };
        let total = files.last_key_value().map_or(0, |(last, _)| (last + 1) * per_file);
        // Of what follows the units sought, a crash may have kept some and lost others: a place there
        // is empty, or its record lies at or after `end`. A unit that is damaged has others behind it.
        let is_valid = |unit: Unit| unit.size > 0 && unit.physical_offset >= 0 && unit.end_offset() <= end;
        let is_before_valid = |at: i64| -> io::Result<bool> {
            for at in at..total.min(at + AROUND) {
                if unit(at)?.is_some_and(is_valid) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        // The last file in use; those before it that are not there are missing: a crash, too, can lose
        // the name of a file and keep that of the one after it.
        let mut last = None;
        for index in files.keys().rev() {
            if is_before_valid(index * per_file)? {
                last = Some(*index);
                break;
            }
        }
        let split = (head.len() as i64 - AROUND).max(0);
        let valid = match last {
            None => 0,
            Some(0) if !is_before_valid(split)? => partition(0, split, is_before_valid)?,
            Some(last) => partition((last * per_file).max(split), (last + 1) * per_file, is_before_valid)?,
        };
        let follows = if valid < total { unit(valid)? } else { None };
        let is_damaged = follows.is_some_and(|unit| self.is_damaged(unit, topic, id, first / UNIT as i64 + valid, end));
        let units = |at: i64, count: usize| -> io::Result<Vec<Unit>> {
            if let Some(known) = head.get(at as usize..).filter(|known| !known.is_empty()) {
                return Ok(known[..known.len().min(count)].to_vec());
            }
            let count = count.min((per_file - at % per_file) as usize);
            match files.get(&(at / per_file)) {
                Some(file) => {
                    let mut units = read_units(&**file, at % per_file, count)?;
                    units.resize(count, Unit::BLANK);
                    Ok(units)
                }
                None => Ok(vec![Unit::BLANK; count]),
            }
        };
        let kept = first_kept(0, valid, start, units)?;
        if wipe {
            for (index, file) in &files {
                let from = (valid - index * per_file).clamp(0, per_file);
                if from < per_file {
                    file.set_len(from as u64 * UNIT)?;
                    file.set_len(self.size)?;
                }
            }
        }
        if valid == 0 {
            // Where the queue begins is told by the first record that is dispatched to it.
            let is_cut = first > 0 || !short.is_empty();
            let gaps = if may_mend && is_cut { vec![all_of_it()] } else { Vec::new() };
            return Ok(Contents { gaps, ..Contents::default() });
        }
        let mut log_end = 0;
        for at in (0..valid).rev() {
            let last = unit(at)?.filter(|unit| !unit.is_blank() && is_valid(*unit));
            if let Some(last) = last {
                log_end = last.end_offset();
                break;
            }
        }
        let first = first / UNIT as i64;
        let gaps = if may_mend {
            let is_whole = |index: i64| files.contains_key(&index) && !short.contains(&index);
            let find = |places: &mut dyn Iterator<Item = i64>| -> io::Result<Option<Unit>> {
                for at in places.take(AROUND as usize) {
                    if let Some(unit) = unit(at)?.filter(|unit| !unit.is_blank() && is_valid(*unit)) {
                        return Ok(Some(unit));
                    }
                }
                Ok(None)
            };
            let bounds = Bounds { first, valid, per_file, start, end, log_end };
            gaps_of(&bounds, is_whole, find)?
        } else {
            Vec::new()
        };
        // The place of a damaged unit must not be given again. If the log brings its record, it is put back.
        let max = first + valid + i64::from(is_damaged);
        // One that leads before the log's beginning, like all those before it, is none to begin with.
        let is_gone = kept == valid && follows.is_some_and(|unit| unit.physical_offset < start);
        let min = first + kept + i64::from(is_damaged && is_gone);
        Ok(Contents { min, max, doubtful: is_damaged.then_some(max - 1), log_end, gaps, parts: Vec::new() })
    }

    /// Whether a unit is neither that of a record before `end` of the log nor one that a crash left of
    /// what came behind.
    fn is_damaged(&self, unit: Unit, topic: &str, id: i32, offset: i64, end: i64) -> bool {
        let Some(Source { log, .. }) = self.source() else { return false };
        let is_empty = unit.physical_offset == 0 && unit.size == 0;
        let is_behind = unit.physical_offset >= end && log.leads_to(&unit, topic, id, offset) == Some(true);
        !is_empty && !is_behind
    }

    /// From now on damaged units at the ends of queues are told from others, and gaps are found, by this
    /// log.
    pub fn set_source(&self, source: Arc<Source>) {
        // Set once, when the store is opened.
        let _ = self.source.set(source);
    }

    /// What was set.
    pub fn source(&self) -> Option<&Source> {
        self.source.get().map(|source| &**source)
    }

    /// Units of a file.
    pub fn per_file(&self) -> i64 {
        (self.size / UNIT) as i64
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
        let per_file = self.per_file();
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
            self.fill_front(queue, at)?;
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

    /// Puts blanks where no unit is, from the beginning of a file to the place `at` in it.
    fn fill_front(&self, queue: &Queue, at: u64) -> io::Result<()> {
        let base = at - at % self.size;
        let file = self.file(queue, base as i64, true)?;
        let mut front = vec![0; (at - base) as usize];
        file.read_at(&mut front, 0)?;
        for unit in front.chunks_exact_mut(UNIT as usize).filter(|unit| Unit::decode(unit).size == 0) {
            unit.copy_from_slice(&Unit::BLANK.encoded());
        }
        file.write_at(&mut [IoSlice::new(&front)], 0)
    }

    /// Removes all files of a topic, durably.
    pub fn remove(&self, topic: &str, keys: &[u32]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.retain(|(key, _), _| !keys.contains(key));
        drop(open);
        self.folders.remove(topic)
    }

    /// Removes the files of a queue whose messages all lie before `start` of the log. The last file
    /// stays: it tells where the queue goes on. Returns how many were removed. Not while another caller
    /// writes.
    pub fn trim(&self, topic: &str, id: i32, key: Option<u32>, start: i64) -> io::Result<usize> {
        let folder = self.folders.folder(topic, id);
        let mut bases = self.folders.bases(topic, id)?;
        bases.pop();
        let per_file = self.per_file();
        let mut removed = 0;
        for base in bases {
            let path = folder.join(file_name(base));
            let file = self.folders.disk.open(&path, false)?;
            if first_kept(0, per_file, start, |at, count| read_units(&*file, at, count))? < per_file {
                break;
            }
            if let Some(key) = key {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&(key, base));
            }
            self.folders.disk.remove(&path)?;
            // Before the next can go: a crash must leave no gap.
            self.folders.disk.sync_folder(&folder)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the files of one queue.
    pub fn remove_queue(&self, queue: &Queue) -> io::Result<()> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.retain(|(key, _), _| *key != queue.key);
        self.folders.remove_queue(queue)
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
        let file = self.folders.file(queue, base, create.then_some(self.size))?;
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
}

fn read_units(file: &dyn DiskFile, at: i64, count: usize) -> io::Result<Vec<Unit>> {
    let mut bytes = vec![0; count * UNIT as usize];
    let read = file.read_at(&mut bytes, at as u64 * UNIT)?;
    Ok(bytes[..read].chunks_exact(UNIT as usize).map(Unit::decode).collect())
}

/// What is known of a queue's files: `first` and `log_end` as in [`Contents`], units counted from `first`
/// that are valid or come before valid ones, units of a file, and the part of the log they are of.
struct Bounds {
    first: i64,
    valid: i64,
    per_file: i64,
    start: i64,
    end: i64,
    log_end: i64,
}

/// What may be missing. `is_whole` tells whether a file is there with its full length, `find` the first
/// unit of a message among some places.
fn gaps_of(
    bounds: &Bounds,
    is_whole: impl Fn(i64) -> bool,
    find: impl Fn(&mut dyn Iterator<Item = i64>) -> io::Result<Option<Unit>>,
) -> io::Result<Vec<Gap>> {
    let Bounds { first, valid, per_file, start, end, log_end } = *bounds;
    let mut gaps = Vec::new();
    // If the message before the first one was removed from the log, the first file's messages were, too,
    // or they follow it.
    if first > 0
        && let Some(unit) = find(&mut (0..valid))?
        && unit.physical_offset >= start
    {
        gaps.push(Gap { kind: Kind::Front, offsets: 0..first, log: start..unit.physical_offset });
    }
    let last = (valid - 1) / per_file;
    let mut index = 0;
    while index < last {
        let from = index;
        while index < last && !is_whole(index) {
            index += 1;
        }
        if index > from {
            let (begin, behind) = (from * per_file, index * per_file);
            let before = find(&mut (0..begin).rev())?.map_or(start, |unit| unit.end_offset());
            let after = find(&mut (behind..valid))?.map_or(end, |unit| unit.physical_offset);
            let offsets = first + begin..first + behind;
            gaps.push(Gap { kind: Kind::Between, offsets, log: before.max(start)..after });
        }
        index += 1;
    }
    let is_full = valid == (last + 1) * per_file;
    if !is_whole(last) || is_full && !is_whole(last + 1) {
        gaps.push(Gap { kind: Kind::End, offsets: first + valid..i64::MAX, log: log_end.max(start)..end });
    }
    Ok(gaps)
}

/// So many units in a row may be damaged without hiding those behind them.
const AROUND: i64 = 4;
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
    let mut kept = first_behind(from, to, start, &mut units)?;
    // One unit that is damaged may have led past those before it.
    while kept - from >= 2
        && units(kept - 2, 1)?.first().is_some_and(|unit| !unit.is_blank() && unit.physical_offset >= start)
    {
        kept = first_behind(from, kept - 2, start, &mut units)?;
    }
    Ok(kept)
}

fn first_behind(
    from: i64,
    to: i64,
    start: i64,
    units: &mut impl FnMut(i64, usize) -> io::Result<Vec<Unit>>,
) -> io::Result<i64> {
    partition(from, to, |at| {
        // A blank tells nothing, nor does a place that a crash left empty: it is where the message before it is.
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
                last = read.into_iter().rfind(|unit| unit.size > 0 && !unit.is_blank()).or(last);
            }
            match last {
                Some(unit) => return Ok((0..start).contains(&unit.physical_offset)),
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
