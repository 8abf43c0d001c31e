//! One index file (upstream `IndexFile`).
//!
//! ```text
//! header(40): beginTime(8) endTime(8) beginOffset(8) endOffset(8) slots(4) count(4, from 1)
//! slots(4 each): number of the newest entry
//! entries(20 each, number 0 unused): hash(4) offset(8) secondsSinceBegin(4) previous(4)
//! ```

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::date::Date;
use apogee_base::disk::{Disk, DiskFile};
use bytes::Buf;

use super::slots::{self, PAGE, SLOT, Slots};
use crate::offline::IndexEntry;
use crate::queue::partition;

/// Milliseconds that the name of an index file may be ahead of its first message: over a century.
const FARTHEST_AHEAD: i64 = 1 << 42;
const HEADER: u64 = 40;
const ENTRY: u64 = 20;
/// So many entries in a row may be damaged without hiding where those end that are to be kept.
const AROUND: u32 = 4;

/// What times and offsets a file covers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range {
    pub begin_timestamp: i64,
    pub end_timestamp: i64,
    pub begin_offset: i64,
    pub end_offset: i64,
}

impl Range {
    /// Whether any entry can be of that time.
    pub fn touches(&self, begin: i64, end: i64) -> bool {
        // Entries know whole seconds only.
        self.begin_timestamp <= end && self.end_timestamp + 1_000 >= begin
    }
}

pub(crate) struct IndexFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    slots: u32,
    writable: bool,
    /// A sync failed: what the file holds is unknown, and no other sync would tell.
    is_broken: AtomicBool,
    state: Mutex<State>,
}

struct State {
    range: Range,
    /// Number of the next entry.
    count: u32,
    /// Entries before this number are in the file.
    in_file: u32,
    in_memory: Vec<Entry>,
    slots: Slots,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: i32,
    offset: i64,
    seconds: i32,
    previous: u32,
}

impl IndexFile {
    /// Creates an empty file of full length.
    pub fn create(disk: &dyn Disk, path: &Path, slots: u32, entries: u32) -> io::Result<Self> {
        let file = disk.open(path, true)?;
        file.set_len(length(slots, entries))?;
        Ok(Self::new(file, path, slots, Range::default(), 1, true))
    }

    /// Opens a file that is there. Its layout follows from the sizes it was made with, which it does
    /// not tell.
    pub fn open(disk: &dyn Disk, path: &Path, slots: u32, entries: u32, writable: bool) -> io::Result<Self> {
        let file = disk.open(path, false)?;
        if file.length()? != length(slots, entries) {
            return Err(io::Error::other("it was made with other values of maxHashSlotNum and maxIndexNum"));
        }
        let mut header = [0; HEADER as usize];
        if file.read_at(&mut header, 0)? < header.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut header = &header[..];
        let range = Range {
            begin_timestamp: header.get_i64(),
            end_timestamp: header.get_i64(),
            begin_offset: header.get_i64(),
            end_offset: header.get_i64(),
        };
        let _slots_in_use = header.get_u32();
        let count = header.get_u32().clamp(1, entries.max(1));
        Ok(Self::new(file, path, slots, range, count, writable))
    }

    fn new(file: Arc<dyn DiskFile>, path: &Path, slots: u32, range: Range, count: u32, writable: bool) -> Self {
        let state = State { range, count, in_file: count, in_memory: Vec::new(), slots: Slots::new(slots) };
        Self {
            file,
            path: path.to_owned(),
            slots,
            writable,
            is_broken: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn range(&self) -> Range {
        self.lock().range
    }

    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether a sync of it failed.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    pub fn is_full(&self, entries: u32) -> bool {
        self.lock().count >= entries
    }

    /// Entries that are not in the file yet.
    pub fn in_memory(&self) -> usize {
        self.lock().in_memory.len()
    }

    /// Adds an entry, in memory. One caller at a time.
    pub fn put(&self, hash: i32, offset: i64, timestamp: i64) -> io::Result<()> {
        let slot = hash.unsigned_abs() % self.slots;
        let mut state = self.with_slot(slot)?;
        if state.count == 1 {
            (state.range.begin_timestamp, state.range.begin_offset) = (timestamp, offset);
        }
        let seconds = ((timestamp - state.range.begin_timestamp) / 1000).clamp(0, i64::from(i32::MAX)) as i32;
        let number = state.count;
        // Only a slot that a crash left behind points past the entries.
        let previous = state.slots.get(slot).filter(|previous| *previous < number).unwrap_or(0);
        state.slots.set(slot, number);
        state.in_memory.push(Entry { hash, offset, seconds, previous });
        state.count += 1;
        // The clock may have been put back: what was stored before is still found by its time.
        state.range.end_timestamp = state.range.end_timestamp.max(timestamp);
        state.range.end_offset = offset;
        Ok(())
    }

    /// Writes what is in memory. Entries are durable before slots point to them, so that a crash
    /// breaks no chain. One caller at a time.
    pub fn flush(&self) -> io::Result<()> {
        let (from, entries, header) = {
            let state = self.lock();
            if state.in_memory.is_empty() {
                return Ok(());
            }
            (state.in_file, state.in_memory.clone(), self.header(&state))
        };
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY as usize);
        for entry in &entries {
            bytes.extend(entry.hash.to_be_bytes());
            bytes.extend(entry.offset.to_be_bytes());
            bytes.extend(entry.seconds.to_be_bytes());
            bytes.extend(entry.previous.to_be_bytes());
        }
        if self.is_broken() {
            return Err(io::Error::other(format!("a flush of {} failed before", self.path.display())));
        }
        self.file.write_at(&mut [IoSlice::new(&bytes)], self.entry_at(from))?;
        self.file.sync().inspect_err(|_| self.is_broken.store(true, Ordering::Relaxed))?;
        let mut next = 0;
        loop {
            let Some((first, bytes)) = self.lock().slots.dirty_run(next) else { break };
            slots::write_pages(&*self.file, HEADER, first, &bytes)?;
            next = first + bytes.len().div_ceil(PAGE as usize * SLOT as usize);
        }
        self.file.write_at(&mut [IoSlice::new(&header)], 0)?;

        let mut state = self.lock();
        state.in_memory.drain(..entries.len());
        state.in_file = from + entries.len() as u32;
        state.slots.are_written();
        Ok(())
    }

    /// Writes what is in memory and keeps none of it: the file is full.
    pub fn finish(&self) -> io::Result<()> {
        self.flush()?;
        self.lock().slots.forget();
        Ok(())
    }

    /// Forgets the entries of records at or after `to`, durably: they will come again. `false`, and nothing
    /// was done, when there are no others. Before it is used.
    pub fn cut(&self, to: i64) -> io::Result<bool> {
        let count = self.lock().count;
        // An entry that is damaged has others behind it.
        let is_before = |number: u32| -> io::Result<bool> {
            for number in number..count.min(number + AROUND) {
                if self.read_entry(number)?.is_some_and(|entry| entry.offset < to) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let kept = partition(1, i64::from(count), |number| is_before(number as u32))? as u32;
        let Some(last) = self.read_entry(kept - 1)?.filter(|_| kept > 1) else { return Ok(false) };
        for number in 0..self.slots.div_ceil(PAGE) {
            self.cut_page(number, kept)?;
        }
        let header = {
            let mut state = self.lock();
            (state.count, state.in_file) = (kept, kept);
            state.range.end_offset = last.offset;
            let end = state.range.begin_timestamp + i64::from(last.seconds) * 1000 + 999;
            state.range.end_timestamp = state.range.end_timestamp.min(end);
            state.slots.forget();
            self.header(&state)
        };
        self.file.write_at(&mut [IoSlice::new(&header)], 0)?;
        // Before others take the place of those forgotten.
        self.file.sync()?;
        Ok(true)
    }

    /// Lets the slots of a page point to entries before `kept` only.
    fn cut_page(&self, number: u32, kept: u32) -> io::Result<()> {
        let mut bytes = slots::read_page(&*self.file, HEADER, self.slots, number * PAGE)?;
        let mut is_changed = false;
        for slot in bytes.chunks_exact_mut(SLOT as usize) {
            let mut newest = (&*slot).get_u32();
            while newest >= kept {
                // Entries are durable before slots point to them. In a damaged file a chain could be a circle.
                let previous = self.read_entry(newest)?.map_or(0, |entry| entry.previous);
                newest = if previous < newest { previous } else { 0 };
                is_changed = true;
            }
            slot.copy_from_slice(&newest.to_be_bytes());
        }
        if is_changed { slots::write_pages(&*self.file, HEADER, number as usize, &bytes) } else { Ok(()) }
    }

    /// Walks the entries with a hash, newest first, while `next` wants more.
    pub fn query(&self, hash: i32, begin: i64, end: i64, next: &mut dyn FnMut(i64) -> bool) -> io::Result<()> {
        let slot = hash.unsigned_abs() % self.slots;
        let (number, begin_timestamp) = {
            let state = self.lock();
            (state.slots.get(slot), state.range.begin_timestamp)
        };
        // Just the one: keys are asked for at random, and nothing must be kept for each.
        let mut number = number.map_or_else(|| slots::read_slot(&*self.file, HEADER, slot), Ok)?;
        while number > 0 {
            let Some(entry) = self.entry(number)? else { break };
            let time = begin_timestamp + i64::from(entry.seconds) * 1000;
            if entry.hash == hash && time + 999 >= begin && time <= end && !next(entry.offset) {
                break;
            }
            // In a damaged file a chain could be a circle.
            if entry.previous >= number {
                break;
            }
            number = entry.previous;
        }
        Ok(())
    }

    fn entry(&self, number: u32) -> io::Result<Option<Entry>> {
        {
            let state = self.lock();
            // After a crash slots may point past the count that the header tells: what they point to was
            // durable before, and leads to what the header knows.
            if number >= state.count && self.writable {
                return Ok(None);
            }
            if number >= state.in_file && self.writable {
                return Ok(state.in_memory.get((number - state.in_file) as usize).copied());
            }
        }
        self.read_entry(number)
    }

    /// An entry as it stands in the file.
    fn read_entry(&self, number: u32) -> io::Result<Option<Entry>> {
        let mut bytes = [0; ENTRY as usize];
        if self.file.read_at(&mut bytes, self.entry_at(number))? < bytes.len() {
            return Ok(None);
        }
        let mut bytes = &bytes[..];
        let (hash, offset) = (bytes.get_i32(), bytes.get_i64());
        Ok(Some(Entry { hash, offset, seconds: bytes.get_i32(), previous: bytes.get_u32() }))
    }

    /// Where an entry stands in a file with so many slots.
    pub fn place(slots: u32, number: u32) -> u64 {
        HEADER + u64::from(slots) * SLOT + u64::from(number) * ENTRY
    }

    /// An entry as it stands in the file; `None` behind the last one.
    pub fn entry_at_number(&self, number: u32) -> io::Result<Option<IndexEntry>> {
        let (count, begin) = {
            let state = self.lock();
            (state.count, state.range.begin_timestamp)
        };
        if number >= count {
            return Ok(None);
        }
        let Some(entry) = self.entry(number)? else { return Ok(None) };
        let timestamp = begin.saturating_add(i64::from(entry.seconds) * 1000);
        let Entry { hash, offset: physical_offset, previous, .. } = entry;
        Ok(Some(IndexEntry { number, hash, physical_offset, timestamp, previous }))
    }

    /// The state, with a slot in memory.
    fn with_slot(&self, slot: u32) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.slots.has(slot) {
            return Ok(state);
        }
        drop(state);
        let page = slots::read_page(&*self.file, HEADER, self.slots, slot)?;
        let mut state = self.lock();
        // Another reader may have been faster; what it loaded may have changed since.
        state.slots.load(slot, page);
        Ok(state)
    }

    fn header(&self, state: &State) -> Vec<u8> {
        let range = &state.range;
        let times = [range.begin_timestamp, range.end_timestamp, range.begin_offset, range.end_offset];
        let mut header: Vec<u8> = times.iter().flat_map(|field| field.to_be_bytes()).collect();
        // Upstream keeps the number of slots in use here and never reads it.
        header.extend((state.count - 1).min(self.slots).to_be_bytes());
        header.extend(state.count.to_be_bytes());
        header
    }

    fn entry_at(&self, number: u32) -> u64 {
        Self::place(self.slots, number)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(slots: u32, entries: u32) -> u64 {
    HEADER + u64::from(slots) * SLOT + u64::from(entries) * ENTRY
}

/// The first name after all that files have: a time as upstream writes it, `from`, or later where the clock was
/// put back since the last file was made, or the records are those of before a crash. An error when the last
/// file's name is of more than a century later.
pub(super) fn free_name(disk: &dyn Disk, folder: &Path, from: i64, last: Option<&Path>) -> io::Result<PathBuf> {
    let is_after = |ahead: i64| last.is_none_or(|last| *folder.join(time_name(from + ahead)) > *last);
    // By halves, and no further than needed: names that ran ahead of each other would run ahead of all times.
    let (mut before, mut ahead) = (-1, FARTHEST_AHEAD);
    while ahead - before > 1 {
        let between = before + (ahead - before) / 2;
        *(if is_after(between) { &mut ahead } else { &mut before }) = between;
    }
    let mut paths = (ahead..=FARTHEST_AHEAD).map(|ahead| folder.join(time_name(from + ahead)));
    let path = paths.find(|path| !disk.exists(path)).filter(|_| is_after(FARTHEST_AHEAD));
    path.ok_or_else(|| {
        let last = last.unwrap_or(folder).display();
        io::Error::other(format!("no index file can follow {last}: remove that file, its name is of another time"))
    })
}

/// `yyyyMMddHHmmssSSS` of a time in milliseconds since 1970, UTC.
fn time_name(ms: i64) -> String {
    let Date { year, month, day, hour, minute, second, millisecond } = Date::of(ms);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{millisecond:03}")
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    #[test]
    fn names_grow_and_do_not_run_ahead_however_often_a_crash_has_the_same_messages_indexed_anew() {
        let (disk, folder, from) = (SimDisk::new(1), Path::new("/index"), 1_700_000_000_000);
        disk.create_folder(folder).unwrap();
        let mut last: Option<PathBuf> = None;
        for nth in 0..200 {
            let next = free_name(&disk, folder, from, last.as_deref()).unwrap();
            assert_eq!(next, folder.join(time_name(from + nth)));
            assert!(last.is_none_or(|last| last < next));
            disk.open(&next, true).unwrap();
            last = Some(next);
        }
        let damaged = folder.join("99991231235959999");
        assert!(free_name(&disk, folder, from, Some(&damaged)).is_err());
    }
}
