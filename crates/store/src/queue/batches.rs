//! The files of queues in which a record may be several messages (upstream `BatchConsumeQueue`):
//! `batchconsumequeue/<topic>/<queue id>/<offset of the first byte>`.
//!
//! ```text
//! unit: place of the record in the log(8) its bytes(4) tag code(8) store time(8)
//!       offset of the first message(8) messages(2) -1(4) 0(4)
//! ```
//!
//! There is a unit for each record, and all of them are looked at when a queue is opened. If any is damaged, or a file
//! is missing or cut short, the queue's files are made anew from the log.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use apogee_base::disk::{self, Disk, DiskFile};
use apogee_message::record::Record;
use bytes::{Buf, BufMut};

use super::files::{Contents, partition};
use super::folders::Folders;
use super::mend::{Gap, Kind, Source};
use super::{Queue, Unit};
use crate::dispatch::has_queue;
use crate::log::file_name;
use crate::scan::{Found, Scan};

/// Bytes of a unit.
const UNIT: u64 = 46;
/// Units that are read together.
const STEP: i64 = 64;

/// Where one record is that may be several messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchUnit {
    /// The record.
    pub unit: Unit,
    /// When it was stored, in milliseconds since 1970.
    pub store_timestamp: i64,
    /// Offset of its first message.
    pub first: i64,
    /// Its messages.
    pub messages: i16,
}

impl BatchUnit {
    /// Bytes of a unit.
    pub const SIZE: usize = UNIT as usize;

    /// What bytes say, which need not be right.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut rest = &bytes[20..];
        let (store_timestamp, first, messages) = (rest.get_i64(), rest.get_i64(), rest.get_i16());
        Self { unit: Unit::decode(&bytes[..20]), store_timestamp, first, messages }
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.unit.encoded());
        out.put_i64(self.store_timestamp);
        out.put_i64(self.first);
        out.put_i16(self.messages);
        // Upstream's place of a position in another file, which it never fills in, and four bytes without a meaning.
        out.put_i32(-1);
        out.put_i32(0);
    }

    pub fn is_valid(&self) -> bool {
        self.unit.size > 0 && self.unit.physical_offset >= 0 && self.messages > 0 && self.first >= 0
    }

    /// The offset behind its messages.
    pub fn end(&self) -> i64 {
        self.first.saturating_add(i64::from(self.messages))
    }
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name.
    base: i64,
    /// Offset of its first message; the highest number there is when it has no unit.
    first: i64,
    units: i64,
}

pub(crate) struct BatchFiles {
    pub(super) folders: Folders,
    /// Bytes of a file.
    size: u64,
    source: OnceLock<Arc<Source>>,
    /// The files of the queues that are open, by the queues' keys.
    parts: Mutex<HashMap<u32, Vec<Part>>>,
}

impl BatchFiles {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, size: u64) -> Self {
        let (source, parts) = (OnceLock::new(), Mutex::default());
        Self { folders: Folders::new(disk, root), size: size.div_ceil(UNIT) * UNIT, source, parts }
    }

    /// From now on, files that are damaged or gone are made anew by this log.
    pub fn set_source(&self, source: Arc<Source>) {
        // Set once, when the store is opened.
        let _ = self.source.set(source);
    }

    /// What is valid of a queue's files: units of records in this part of the log. With `wipe`, all after those
    /// becomes zeros.
    pub fn contents(&self, topic: &str, id: i32, log: Range<i64>, wipe: bool) -> io::Result<Contents> {
        let folder = self.folders.folder(topic, id);
        let bases = self.folders.bases(topic, id)?;
        let (mut contents, mut kept, mut has_ended) = (Contents::default(), None, false);
        let mut is_whole = !(bases.is_empty() && self.folders.disk.exists(&folder));
        for (number, base) in bases.iter().enumerate() {
            let file = self.folders.disk.open(&folder.join(file_name(*base)), false)?;
            let length = file.length()?;
            if length > self.size {
                return Err(self.wrong_size(&folder, length));
            }
            is_whole &= length == self.size && *base == bases[0] + number as i64 * self.size as i64;
            let mut part = Part { base: *base, first: i64::MAX, units: 0 };
            for unit in units_of(&*file)? {
                let is_within = unit.is_valid() && unit.unit.end_offset() <= log.end;
                if has_ended {
                    // Behind a place without a unit there is none, but for what comes again.
                    is_whole &= !is_within;
                } else if is_within && unit.first >= contents.max && unit.unit.physical_offset >= contents.log_end {
                    if number == 0 && part.units == 0 {
                        // What lay in files before it was removed from the log, if anything was.
                        is_whole &= *base == 0 || unit.unit.physical_offset < log.start;
                    }
                    part.first = part.first.min(unit.first);
                    part.units += 1;
                    kept = kept.or_else(|| (unit.unit.physical_offset >= log.start).then_some(unit.first));
                    (contents.max, contents.log_end) = (unit.end(), unit.unit.end_offset());
                } else {
                    has_ended = true;
                    let is_empty = unit.unit.size == 0 && unit.unit.physical_offset == 0;
                    is_whole &= is_empty || unit.unit.physical_offset >= log.end;
                }
            }
            has_ended |= part.units < self.per_file();
            if wipe && part.units < self.per_file() {
                file.set_len(part.units as u64 * UNIT)?;
                file.set_len(self.size)?;
            }
            if contents.parts.last().is_none_or(|last| last.units > 0) {
                contents.parts.push(part);
            }
        }
        // Where a file is full another one may have followed it.
        is_whole &= contents.parts.last().is_none_or(|last| last.units < self.per_file());
        is_whole &= contents.max > 0 || bases.first().is_none_or(|first| *first == 0);
        contents.min = kept.unwrap_or(contents.max);
        if !is_whole && !wipe && self.source.get().is_some() {
            contents.gaps = vec![Gap { kind: Kind::End, offsets: 0..i64::MAX, log }];
        }
        Ok(contents)
    }

    /// Makes the files of a queue anew, durably. Nobody else may use the queue. Wherever a crash comes between, they
    /// are found lacking again.
    pub fn mend(&self, source: &Source, topic: &str, id: i32, log: Range<i64>) -> io::Result<()> {
        let folder = self.folders.folder(topic, id);
        let mut units: Vec<BatchUnit> = Vec::new();
        for base in self.folders.bases(topic, id)? {
            let path = folder.join(file_name(base));
            // What lies before the log's beginning still tells where the queue goes on.
            let before = units_of(&*self.folders.disk.open(&path, false)?)?.into_iter().filter(|unit| {
                unit.is_valid() && unit.unit.end_offset() <= log.start && unit.unit.physical_offset < log.start
            });
            let last = units.pop().into_iter().chain(before).max_by_key(BatchUnit::end);
            units.extend(last);
            self.folders.disk.remove(&path)?;
        }
        let (at, to) = (log.start, log.end);
        let scan = Scan { log: &source.log, checks: source.checks, at, to, ahead: 0, known: to, ends_from: i64::MAX };
        for found in scan {
            let Found::Record(bytes) = found else { continue };
            let Ok(record) = Record::read(&bytes) else { continue };
            let is_its = record.queue_id == id
                && record.topic == topic
                && has_queue(record.sys_flag)
                && !source.deleted.covers(topic, record.physical_offset);
            if !is_its {
                continue;
            }
            if record.queue_offset == 0 {
                // The topic was deleted and made again.
                units.clear();
            }
            if units.last().is_none_or(|last| last.end() <= record.queue_offset) {
                units.push(source.unit_of(&record));
            }
        }
        tracing::error!(folder = %folder.display(), units = units.len(), "files of a queue were missing or damaged: they are made anew from the commit log");
        let mut files: Vec<&[BatchUnit]> = units.chunks(self.per_file() as usize).collect();
        if units.len().is_multiple_of(self.per_file() as usize) {
            // One that is not full tells that none is missing behind it.
            files.push(&[]);
        }
        for (number, units) in files.iter().enumerate().rev() {
            // Not in the folder itself: upstream's broker would take it for a file of the queue.
            let new = self.folders.root.with_extension("new");
            let file = disk::create(&*self.folders.disk, &new)?;
            file.set_len(self.size)?;
            file.write_at(&mut [IoSlice::new(&encoded(units))], 0)?;
            file.sync()?;
            self.folders.disk.rename(&new, &folder.join(file_name(number as i64 * self.size as i64)))?;
            self.folders.disk.sync_folder(&folder)?;
        }
        Ok(())
    }

    /// A queue that is opened has these files.
    pub fn know(&self, key: u32, parts: Vec<Part>) {
        self.lock().insert(key, parts);
    }

    /// The units of messages from an offset on: at most `count`, fewer at the end of a file.
    pub fn read(&self, queue: &Queue, offset: i64, count: usize) -> io::Result<Vec<Unit>> {
        let (part, behind) = {
            let parts = self.lock();
            let parts = parts.get(&queue.key).map_or(&[][..], |parts| parts);
            let behind = parts.partition_point(|part| part.first <= offset);
            let part = behind.checked_sub(1).and_then(|index| parts.get(index)).copied();
            (part.ok_or(io::ErrorKind::UnexpectedEof)?, parts.get(behind).map(|part| part.first))
        };
        let path = self.folders.folder(&queue.topic, queue.id).join(file_name(part.base));
        let file = self.folders.disk.open(&path, false)?;
        let first = |at: i64| -> io::Result<i64> {
            let units = read_units(&*file, at, 1)?;
            units.first().map(|unit| unit.first).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        let mut at = (partition(0, part.units, |at| Ok(first(at)? <= offset))? - 1).max(0);
        let mut units = Vec::with_capacity(count);
        // Messages that were lost have no unit.
        let next = |units: &Vec<Unit>| offset + units.len() as i64;
        while at < part.units && units.len() < count {
            let read = read_units(&*file, at, STEP.min(part.units - at))?;
            if read.is_empty() || !read.iter().all(BatchUnit::is_valid) {
                let reason = format!("a unit in {} is damaged", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            for unit in &read {
                let lost = (unit.first - next(&units)).max(0) as usize;
                units.extend(std::iter::repeat_n(Unit::BLANK, lost.min(count - units.len())));
                let messages = (unit.end() - next(&units)).max(0) as usize;
                units.extend(std::iter::repeat_n(unit.unit, messages.min(count - units.len())));
            }
            at += read.len() as i64;
        }
        if units.is_empty() {
            let lost = behind.map_or(0, |behind| (behind - offset) as usize);
            units.extend(std::iter::repeat_n(Unit::BLANK, lost.min(count)));
        }
        Ok(units)
    }

    /// The first offset of the file after the one that holds an offset.
    pub fn next_file(&self, queue: &Queue, offset: i64) -> i64 {
        let parts = self.lock();
        let mut parts = parts.get(&queue.key).into_iter().flatten();
        parts.find(|part| part.first > offset).map_or(i64::MAX, |part| part.first)
    }

    /// Writes the units of messages from an offset on. One caller at a time.
    pub fn write(&self, queue: &Queue, offset: i64, units: &[Unit]) -> io::Result<()> {
        let (mut first, mut records) = (offset, Vec::new());
        for messages in units.chunk_by(|one, other| one == other) {
            if !messages[0].is_blank() {
                records.push(self.described(messages[0], first, messages.len()));
            }
            first += messages.len() as i64;
        }
        let mut parts = self.lock().get(&queue.key).cloned().unwrap_or_default();
        let mut rest = &records[..];
        while let Some(next) = rest.first() {
            let last = parts.last().copied();
            if last.is_none_or(|last| last.units == self.per_file()) {
                let base = last.map_or(0, |last| last.base + self.size as i64);
                parts.push(Part { base, first: i64::MAX, units: 0 });
            }
            let Some(part) = parts.last_mut() else { break };
            let count = rest.len().min((self.per_file() - part.units) as usize);
            let file = self.folders.file(queue, part.base, Some(self.size))?;
            file.write_at(&mut [IoSlice::new(&encoded(&rest[..count]))], part.units as u64 * UNIT)?;
            part.first = part.first.min(next.first);
            part.units += count as i64;
            rest = &rest[count..];
            if part.units == self.per_file() {
                // A last file that is not full tells that none is missing behind it.
                let base = part.base + self.size as i64;
                self.folders.file(queue, base, Some(self.size))?;
                parts.push(Part { base, first: i64::MAX, units: 0 });
            }
        }
        self.know(queue.key, parts);
        Ok(())
    }

    /// The unit of a record that is so many messages.
    fn described(&self, unit: Unit, first: i64, messages: usize) -> BatchUnit {
        let record = self.source.get().and_then(|source| source.log.record(unit.physical_offset));
        let record = record.as_ref().and_then(|bytes| Record::read(bytes).ok());
        let store_timestamp = record.map_or(0, |record| record.store_timestamp);
        BatchUnit { unit, store_timestamp, first, messages: messages.min(i16::MAX as usize) as i16 }
    }

    /// Removes the files of a queue whose messages all lie before `start` of the log. The last of these that has a unit
    /// stays: it tells where the queue goes on. Returns how many were removed. Not while another caller writes.
    pub fn trim(&self, topic: &str, id: i32, key: Option<u32>, start: i64) -> io::Result<usize> {
        let folder = self.folders.folder(topic, id);
        let mut removed = 0;
        for pair in self.folders.bases(topic, id)?.windows(2) {
            let (base, path) = (pair[0], folder.join(file_name(pair[0])));
            // A file that begins before the log tells that none is missing before it.
            let next = read_units(&*self.folders.disk.open(&folder.join(file_name(pair[1])), false)?, 0, 1)?;
            if !next.first().is_some_and(|next| next.is_valid() && next.unit.physical_offset < start) {
                break;
            }
            if let Some(key) = key {
                self.lock().entry(key).or_default().retain(|part| part.base > base);
            }
            self.folders.disk.remove(&path)?;
            // Before the next can go: a crash must leave no gap.
            self.folders.disk.sync_folder(&folder)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes all files of a topic, durably.
    pub fn remove(&self, topic: &str, keys: &[u32]) -> io::Result<()> {
        self.lock().retain(|key, _| !keys.contains(key));
        self.folders.remove(topic)
    }

    /// Removes the files of one queue.
    pub fn remove_queue(&self, queue: &Queue) -> io::Result<()> {
        self.know(queue.key, Vec::new());
        self.folders.remove_queue(queue)
    }

    fn per_file(&self) -> i64 {
        (self.size / UNIT) as i64
    }

    fn wrong_size(&self, folder: &Path, found: u64) -> io::Error {
        io::Error::other(format!(
            "the files in {} are {found} bytes long and not {}; set mapperFileSizeBatchConsumeQueue to the size they were written with",
            folder.display(),
            self.size
        ))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Vec<Part>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encoded(units: &[BatchUnit]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(units.len() * BatchUnit::SIZE);
    units.iter().for_each(|unit| unit.put(&mut bytes));
    bytes
}

/// All units of a file.
fn units_of(file: &dyn DiskFile) -> io::Result<Vec<BatchUnit>> {
    read_units(file, 0, (file.length()? / UNIT) as i64)
}

fn read_units(file: &dyn DiskFile, at: i64, count: i64) -> io::Result<Vec<BatchUnit>> {
    let mut bytes = vec![0; count as usize * BatchUnit::SIZE];
    let read = file.read_at(&mut bytes, at as u64 * UNIT)?;
    Ok(bytes[..read].chunks_exact(BatchUnit::SIZE).map(BatchUnit::decode).collect())
}
