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

use super::slots::{SLOT, Slots};
use crate::offline::IndexEntry;
use crate::queue::partition;

/// Milliseconds that the name of an index file may be ahead of its first message: over a century.
const FARTHEST_AHEAD: i64 = 1 << 42;
const HEADER: u64 = 40;
const ENTRY: u64 = 20;
/// So many entries in a row may be damaged without hiding where those end that are to be kept.
const AROUND: u32 = 4;
/// Entries that are written together.
const WRITTEN: usize = 8192;
/// Places for entries that are kept while there is none.
const MOST_KEPT: usize = 4096;

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
    /// So many of them know which entry is before them in their slot; the others learn it when they are written.
    linked: usize,
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
        let state = State { range, count, in_file: count, in_memory: Vec::new(), linked: 0 };
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
    pub fn put(&self, hash: i32, offset: i64, timestamp: i64) {
        let mut state = self.lock();
        if state.count == 1 {
            (state.range.begin_timestamp, state.range.begin_offset) = (timestamp, offset);
        }
        let seconds = ((timestamp - state.range.begin_timestamp) / 1000).clamp(0, i64::from(i32::MAX)) as i32;
        state.in_memory.push(Entry { hash, offset, seconds, previous: 0 });
        state.count += 1;
        // The clock may have been put back: what was stored before is still found by its time.
        state.range.end_timestamp = state.range.end_timestamp.max(timestamp);
        state.range.end_offset = offset;
    }

    /// Writes what is in memory. Entries are durable before slots point to them, so that a crash
    /// breaks no chain. One caller at a time, the one of [`IndexFile::put`].
    pub fn flush(&self) -> io::Result<()> {
        // Each entry's slot and place in memory.
        let (from, mut order, header) = {
            let state = self.lock();
            if state.in_memory.is_empty() {
                return Ok(());
            }
            let slots = state.in_memory.iter().map(|entry| self.slot_of(entry.hash));
            (state.in_file, slots.zip(0..).collect::<Vec<(u32, u32)>>(), self.header(&state))
        };
        order.sort_unstable();
        if self.is_broken() {
            return Err(io::Error::other(format!("a flush of {} failed before", self.path.display())));
        }
        let slots = self.slots();
        slots.each_run(&order, |run, entries| {
            let mut state = self.lock();
            let linked = state.linked;
            for &(slot, at) in entries {
                let number = from + at;
                let previous = run.replace(slot, number);
                if at as usize >= linked {
                    // Only a slot that a crash left behind points past the entries.
                    state.in_memory[at as usize].previous = if previous < number { previous } else { 0 };
                }
            }
            Ok(())
        })?;
        // Whoever comes again after an error finds some of the slots changed already.
        self.lock().linked = order.len();
        self.write_entries(from, order.len())?;
        self.file.sync().inspect_err(|_| self.is_broken.store(true, Ordering::Relaxed))?;
        slots.each_run(&order, |run, entries| {
            for &(slot, at) in entries {
                run.replace(slot, from + at);
            }
            slots.write(run)
        })?;
        self.file.write_at(&mut [IoSlice::new(&header)], 0)?;

        let mut state = self.lock();
        state.in_memory.drain(..order.len());
        state.in_memory.shrink_to(MOST_KEPT);
        (state.in_file, state.linked) = (from + order.len() as u32, 0);
        Ok(())
    }

    /// Writes the first `count` entries that are in memory; the first one has a number.
    fn write_entries(&self, first: u32, count: usize) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(count.min(WRITTEN) * ENTRY as usize);
        for from in (0..count).step_by(WRITTEN) {
            bytes.clear();
            for entry in &self.lock().in_memory[from..count.min(from + WRITTEN)] {
                bytes.extend(entry.hash.to_be_bytes());
                bytes.extend(entry.offset.to_be_bytes());
                bytes.extend(entry.seconds.to_be_bytes());
                bytes.extend(entry.previous.to_be_bytes());
            }
            self.file.write_at(&mut [IoSlice::new(&bytes)], self.entry_at(first + from as u32))?;
        }
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
        let slots = self.slots();
        for run in slots.all() {
            let mut run = run?;
            if run.map(|newest| self.newest_before(kept, newest))? {
                slots.write(&run)?;
            }
        }
        let header = {
            let mut state = self.lock();
            (state.count, state.in_file) = (kept, kept);
            state.range.end_offset = last.offset;
            let end = state.range.begin_timestamp + i64::from(last.seconds) * 1000 + 999;
            state.range.end_timestamp = state.range.end_timestamp.min(end);
            self.header(&state)
        };
        self.file.write_at(&mut [IoSlice::new(&header)], 0)?;
        // Before others take the place of those forgotten.
        self.file.sync()?;
        Ok(true)
    }

    /// The entry before `kept` that a chain leads to from `number` on; 0 when it leads to none.
    fn newest_before(&self, kept: u32, number: u32) -> io::Result<u32> {
        let mut newest = number;
        while newest >= kept {
            // Entries are durable before slots point to them. In a damaged file a chain could be a circle.
            let previous = self.read_entry(newest)?.map_or(0, |entry| entry.previous);
            newest = if previous < newest { previous } else { 0 };
        }
        Ok(newest)
    }

    /// Walks the entries with a hash, newest first, while `next` wants more.
    pub fn query(&self, hash: i32, begin: i64, end: i64, next: &mut dyn FnMut(i64) -> bool) -> io::Result<()> {
        let (begin_timestamp, in_file, newest) = {
            let state = self.lock();
            let newest = state.in_memory.iter().rev().filter(|entry| entry.hash == hash).copied();
            (state.range.begin_timestamp, state.in_file, newest.collect::<Vec<_>>())
        };
        let mut wants_more = |entry: Entry| {
            let time = begin_timestamp + i64::from(entry.seconds) * 1000;
            entry.hash != hash || time + 999 < begin || time > end || next(entry.offset)
        };
        for entry in newest {
            if !wants_more(entry) {
                return Ok(());
            }
        }
        let mut number = self.slots().read(self.slot_of(hash))?;
        while number > 0 {
            let Some(entry) = self.entry(number)? else { break };
            // Those that were in memory are told; they, and later ones, may have been written since.
            let is_told = self.writable && number >= in_file;
            if !is_told && !wants_more(entry) {
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

    fn slots(&self) -> Slots<'_> {
        Slots { file: &*self.file, start: HEADER, count: self.slots }
    }

    fn slot_of(&self, hash: i32) -> u32 {
        hash.unsigned_abs() % self.slots
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
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;

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

    /// A file that takes just some writes more.
    struct Refusing {
        file: Arc<dyn DiskFile>,
        left: Arc<AtomicUsize>,
    }

    impl DiskFile for Refusing {
        fn length(&self) -> io::Result<u64> {
            self.file.length()
        }
        fn set_len(&self, length: u64) -> io::Result<()> {
            self.file.set_len(length)
        }
        fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
            let left = self.left.load(Ordering::Relaxed).checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.left.store(left, Ordering::Relaxed);
            self.file.write_at(pieces, offset)
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.file.read_at(buffer, offset)
        }
        fn slice(&self, offset: u64, length: usize) -> io::Result<bytes::Bytes> {
            self.file.slice(offset, length)
        }
        fn prefetch(&self, offset: u64, length: u64) {
            self.file.prefetch(offset, length);
        }
        fn sync(&self) -> io::Result<()> {
            self.file.sync()
        }
    }

    #[test]
    fn keys_are_found_newest_first_in_memory_and_in_the_file_whatever_failed_in_between() {
        const SLOTS: u32 = 9_000;
        let (disk, path) = (SimDisk::new(1), Path::new("/index/20240101000000000"));
        disk.create_folder(Path::new("/index")).unwrap();
        let mut file = IndexFile::create(&disk, path, SLOTS, 50_000).unwrap();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        file.file = Arc::new(Refusing { file: Arc::clone(&file.file), left: Arc::clone(&left) });
        let mut put = BTreeMap::<i32, Vec<i64>>::new();
        let mut offset = 0;
        let mut add = |file: &IndexFile, put: &mut BTreeMap<i32, Vec<i64>>, count: i64| {
            for _ in 0..count {
                // Several hashes of a slot, slots in a row and far ones, each several times.
                let hash = [1, 1 + SLOTS as i32, 2, -4_200, 8_500][offset as usize % 5] * (1 + offset as i32 / 5 % 3);
                file.put(hash, offset, 1_700_000_000_000);
                put.entry(hash).or_default().insert(0, offset);
                offset += 1;
            }
        };
        let found = |file: &IndexFile, hash: i32| {
            let mut found = Vec::new();
            file.query(hash, 0, i64::MAX, &mut |offset| {
                found.push(offset);
                true
            })
            .unwrap();
            found
        };
        let check = |file: &IndexFile, put: &BTreeMap<i32, Vec<i64>>| {
            assert!(put.iter().all(|(hash, offsets)| found(file, *hash) == *offsets));
        };
        add(&file, &mut put, 100);
        check(&file, &put);
        file.flush().unwrap();
        check(&file, &put);
        // However many of its writes succeed: the flush ends anywhere, and more comes.
        let mut failed = 0;
        for writes in (0..8).cycle().take(64) {
            add(&file, &mut put, 37);
            left.store(writes, Ordering::Relaxed);
            failed += u32::from(file.flush().is_err());
            check(&file, &put);
            left.store(usize::MAX, Ordering::Relaxed);
            add(&file, &mut put, 3);
            file.flush().unwrap();
            check(&file, &put);
        }
        assert!((8 * 3..8 * 7).contains(&failed), "{failed} of 64 flushes failed");
        assert_eq!(file.in_memory(), 0);
        let again = IndexFile::open(&disk, path, SLOTS, 50_000, false).unwrap();
        check(&again, &put);
        assert!(again.cut(50).unwrap());
        put.values_mut().for_each(|offsets| offsets.retain(|offset| *offset < 50));
        check(&IndexFile::open(&disk, path, SLOTS, 50_000, true).unwrap(), &put);
    }
}
