//! Runs: files of sorted entries, written once, read from front to back.
//!
//! A file is blocks of 4096 bytes: 170 entries of 24 bytes, zeros, and the CRC of all that.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Disk, DiskFile};
use apogee_message::crc31;

use super::entry::{self, Entry};

const BLOCK: usize = 4096;
const CRC_AT: usize = BLOCK - 4;
/// Entries of a block.
const ENTRIES: u64 = (CRC_AT / entry::SIZE) as u64;
/// Blocks of one write.
const WRITE: usize = 16;

/// The file of a run.
pub(super) fn path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("run-{id:020}"))
}

/// The id in a file's name; `None` for another file.
pub(super) fn id_of(name: &str) -> Option<u64> {
    name.strip_prefix("run-")?.parse().ok()
}

/// Writes a run.
pub(super) struct Writer {
    file: Arc<dyn DiskFile>,
    /// Whole blocks, then the one being filled.
    buffer: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    count: u64,
}

impl Writer {
    pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk::create(disk, path)?;
        Ok(Self { file, buffer: Vec::new(), written: 0, count: 0 })
    }

    /// Adds an entry, which is not before those added earlier.
    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        entry.put(&mut self.buffer);
        self.count += 1;
        if self.count.is_multiple_of(ENTRIES) {
            self.end_block();
            if self.buffer.len() >= WRITE * BLOCK {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Makes what was added so far durable, so that the end has little left to do.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Makes the run durable, all but its name. Returns its file and the number of its entries.
    pub fn finish(mut self) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        if !self.buffer.len().is_multiple_of(BLOCK) {
            self.end_block();
        }
        self.write()?;
        self.file.sync()?;
        Ok((self.file, self.count))
    }

    fn end_block(&mut self) {
        let start = self.buffer.len() / BLOCK * BLOCK;
        self.buffer.resize(start + CRC_AT, 0);
        let crc = crc31(&self.buffer[start..]);
        self.buffer.extend(crc.to_be_bytes());
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(&mut [IoSlice::new(&self.buffer)], self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// A place in a run, with the block around it in memory.
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    /// Entries of the run.
    pub count: u64,
    /// Entries before this one are done with.
    pub position: u64,
    /// Number of the block in memory.
    loaded: u64,
    block: Vec<Entry>,
}

impl Cursor {
    /// A place in a run, at its end at most. Reads the entry there.
    pub fn new(file: Arc<dyn DiskFile>, count: u64, position: u64) -> io::Result<Self> {
        let mut cursor = Self { file, count, position: position.min(count), loaded: u64::MAX, block: Vec::new() };
        if cursor.position < count {
            cursor.load(cursor.position / ENTRIES)?;
        }
        Ok(cursor)
    }

    /// Another reader of the same run at the same place.
    pub fn fork(&self) -> Self {
        let (file, block) = (Arc::clone(&self.file), self.block.clone());
        Self { file, block, ..*self }
    }

    /// The entry here; `None` at the end.
    pub fn entry(&self) -> Option<Entry> {
        let entry = || self.block.get((self.position % ENTRIES) as usize).copied();
        if self.position < self.count { entry() } else { None }
    }

    /// Moves to the next entry. After an error the place is the same.
    pub fn advance(&mut self) -> io::Result<()> {
        let next = self.position + 1;
        if next < self.count && next / ENTRIES != self.loaded {
            self.load(next / ENTRIES)?;
        }
        self.position = next.min(self.count);
        Ok(())
    }

    /// Entries from here on that are due before a time. Stays here, with another block in memory.
    pub fn due_before(&mut self, time: i64) -> io::Result<u64> {
        let (mut low, mut high) = (self.position, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if middle / ENTRIES != self.loaded {
                self.load(middle / ENTRIES)?;
            }
            let is_before = self.block.get((middle % ENTRIES) as usize).is_some_and(|entry| entry.time < time);
            if is_before { low = middle + 1 } else { high = middle }
        }
        Ok(low - self.position)
    }

    /// Entries from here to the end.
    pub fn left(&self) -> u64 {
        self.count - self.position
    }

    fn load(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = [0; BLOCK];
        if self.file.read_at(&mut bytes, number * BLOCK as u64)? < BLOCK {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if crc31(&bytes[..CRC_AT]).to_be_bytes() != bytes[CRC_AT..] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block of a run of timers is damaged"));
        }
        let entries = ENTRIES.min(self.count - number * ENTRIES) as usize;
        let mut rest = &bytes[..CRC_AT];
        let block: Option<Vec<_>> = (0..entries).map(|_| Entry::get(&mut rest)).collect();
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "an entry of a run of timers is none");
        self.block = block.ok_or_else(damaged)?;
        self.loaded = number;
        Ok(())
    }
}
