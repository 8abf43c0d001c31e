//! A file of changes: what a table went through since its own file was written. It is only added to.
//!
//! ```text
//! head:    "APOGEEJ1" | length(8) and CRC-32(4) of the table's file | CRC-32(4) of the head so far, twice
//! change:  mark(4) | length(4) | CRC-32(4) of the length and the change | the change
//! ```
//!
//! Numbers are big-endian. The head names the very bytes that the changes are made to; to any other
//! they do not belong.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{self, Disk, DiskFile};

const MAGIC: &[u8; 8] = b"APOGEEJ1";
/// Begins a change; JSON never contains it.
const MARK: [u8; 4] = [0xA9, 0x06, 0xEE, 0x01];
const HEAD: usize = 24;
/// Where the changes begin: after two heads, one of which may be damaged.
const START: usize = 2 * HEAD;
const FRAME: usize = 12;

/// Tells one content of a file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    length: u64,
    crc: u32,
}

impl Identity {
    /// Bytes.
    pub fn length(self) -> u64 {
        self.length
    }

    /// Of some bytes.
    pub fn of(content: &[u8]) -> Self {
        Self { length: content.len() as u64, crc: crc(&[content]) }
    }

    /// Of so many bytes with this CRC-32.
    pub fn new(length: u64, crc: u32) -> Self {
        Self { length, crc }
    }

    /// CRC-32.
    pub fn crc(self) -> u32 {
        self.crc
    }
}

/// What was found in a journal's file.
#[derive(Debug)]
pub(crate) struct Found {
    /// What its changes are made to.
    pub base: Identity,
    /// Where the changes are in the text, the oldest first.
    pub changes: Vec<Range<usize>>,
    /// The whole file.
    pub text: Vec<u8>,
    /// End of the last whole change.
    end: u64,
}

impl Found {
    /// Reads a file. `None` when it isn't there or its head is not to be read. Changes that are damaged
    /// are told and left out, an incomplete one at the end is cut.
    pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Self>> {
        if !disk.exists(path) {
            return Ok(None);
        }
        let bytes = disk::read(disk, path)?;
        let Some(base) = bytes.chunks(HEAD).take(2).find_map(head_of) else {
            tracing::error!(file = %path.display(), "the head of the journal is damaged: its changes are left out");
            return Ok(None);
        };
        let (mut changes, mut at, mut end) = (Vec::new(), START, START);
        while at < bytes.len() {
            if let Some(change) = change_at(&bytes, at) {
                if at > end {
                    tracing::error!(file = %path.display(), offset = end, bytes = at - end, "a part of the journal is damaged and left out");
                }
                at = change.end;
                end = at;
                changes.push(change);
            } else {
                at += 1;
            }
        }
        if end < bytes.len() {
            tracing::warn!(file = %path.display(), offset = end, bytes = bytes.len() - end, "cut an incomplete change off the journal");
        }
        Ok(Some(Self { base, changes, text: bytes, end: end as u64 }))
    }
}

/// A journal that is written.
pub(crate) struct Journal {
    file: Arc<dyn DiskFile>,
    /// End of what is durable.
    end: u64,
    /// Changes that could not be written: the next ones go after them.
    unwritten: Vec<u8>,
    /// A sync failed: what is in the file is unknown.
    is_lost: bool,
}

impl Journal {
    /// Makes an empty one for changes to `base`; durable but for its name.
    pub fn create(disk: &dyn Disk, path: &Path, base: Identity) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend(base.length.to_be_bytes());
        head.extend(base.crc.to_be_bytes());
        head.extend(crc(&[&head]).to_be_bytes());
        head.extend_from_within(..);
        let file = disk::create(disk, path)?;
        file.write_at(&mut [IoSlice::new(&head)], 0)?;
        file.sync()?;
        Ok(Self { file, end: START as u64, unwritten: Vec::new(), is_lost: false })
    }

    /// Goes on with one after what was found in it.
    pub fn resume(disk: &dyn Disk, path: &Path, found: &Found) -> io::Result<Self> {
        let file = disk.open(path, false)?;
        file.set_len(found.end)?;
        Ok(Self { file, end: found.end, unwritten: Vec::new(), is_lost: false })
    }

    /// Bytes of changes in it.
    pub fn size(&self) -> u64 {
        self.end - START as u64
    }

    /// Whether there are changes that it could not take yet.
    pub fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether it takes no more: another one is needed, with all that it holds.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Notes a change, to be written by [`Journal::write`].
    pub fn add(&mut self, change: &[u8]) {
        let length = (change.len() as u32).to_be_bytes();
        let crc = crc(&[&length, change]).to_be_bytes();
        for part in [&MARK[..], &length, &crc, change] {
            self.unwritten.extend_from_slice(part);
        }
    }

    /// Writes what was added and makes it durable. What cannot be written is kept for the next time.
    pub fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_at(&mut [IoSlice::new(&self.unwritten)], self.end) {
            // Its beginning may stand there: it must not look like a torn change to come.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        // After a failure the system may say that all is well although it is not.
        self.file.sync().inspect_err(|_| self.is_lost = true)?;
        self.end += self.unwritten.len() as u64;
        self.unwritten = Vec::new();
        Ok(())
    }
}

/// What a head names.
fn head_of(bytes: &[u8]) -> Option<Identity> {
    let (content, check) = bytes.split_at_checked(HEAD - 4).filter(|(content, _)| content.starts_with(MAGIC))?;
    let length = u64::from_be_bytes(content[8..16].try_into().ok()?);
    let identity = Identity { length, crc: u32::from_be_bytes(content[16..].try_into().ok()?) };
    (crc(&[content]).to_be_bytes() == check).then_some(identity)
}

/// Where the change is whose frame begins at a place; `None` when none does or it isn't whole.
fn change_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let frame = bytes.get(at..at + FRAME).filter(|frame| frame.starts_with(&MARK))?;
    let length = u32::from_be_bytes(frame[4..8].try_into().ok()?) as usize;
    let change = at + FRAME..(at + FRAME).checked_add(length)?;
    let content = bytes.get(change.clone())?;
    (crc(&[&frame[4..8], content]).to_be_bytes() == frame[8..]).then_some(change)
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    const PATH: &str = "/c/t.journal";

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        disk
    }

    fn changes(disk: &SimDisk) -> Vec<Vec<u8>> {
        let found = Found::read(disk, Path::new(PATH)).unwrap().unwrap();
        found.changes.into_iter().map(|change| found.text[change].to_vec()).collect()
    }

    fn with(disk: &SimDisk, changes: &[&[u8]]) -> Journal {
        let mut journal = Journal::create(disk, Path::new(PATH), Identity::of(b"base")).unwrap();
        for change in changes {
            journal.add(change);
            journal.write().unwrap();
        }
        journal
    }

    #[test]
    fn changes_are_found_in_order_and_more_can_be_added() {
        let disk = disk();
        with(&disk, &[b"one", b"", b"three"]);
        let found = Found::read(&disk, Path::new(PATH)).unwrap().unwrap();
        assert_eq!((found.base, found.changes.len()), (Identity::of(b"base"), 3));
        let mut journal = Journal::resume(&disk, Path::new(PATH), &found).unwrap();
        journal.add(b"four");
        journal.write().unwrap();
        assert_eq!(changes(&disk), [&b"one"[..], b"", b"three", b"four"]);
    }

    #[test]
    fn every_torn_end_is_cut_and_no_more() {
        let whole = disk();
        let length = with(&whole, &[b"one", b"two"]).end;
        for cut in START as u64..length {
            let disk = disk();
            with(&disk, &[b"one", b"two"]).file.set_len(cut).unwrap();
            let found = Found::read(&disk, Path::new(PATH)).unwrap().unwrap();
            assert_eq!(found.changes.len(), usize::from(cut >= (START + FRAME + 3) as u64), "{cut}");
            let mut journal = Journal::resume(&disk, Path::new(PATH), &found).unwrap();
            journal.add(b"next");
            journal.write().unwrap();
            assert_eq!(changes(&disk).last().unwrap(), b"next");
        }
        whole.open(Path::new(PATH), false).unwrap().set_len(HEAD as u64 - 1).unwrap();
        assert!(Found::read(&whole, Path::new(PATH)).unwrap().is_none());
    }

    #[test]
    fn a_flipped_bit_costs_the_change_that_it_is_in() {
        let length = with(&disk(), &[b"one", b"two", b"three"]).end;
        for at in 0..length {
            let disk = disk();
            with(&disk, &[b"one", b"two", b"three"]);
            let file = disk.open(Path::new(PATH), false).unwrap();
            let mut byte = [0];
            file.read_at(&mut byte, at).unwrap();
            file.write_at(&mut [IoSlice::new(&[byte[0] ^ 0x10])], at).unwrap();
            assert_eq!(changes(&disk).len(), if at < START as u64 { 3 } else { 2 }, "{at}");
        }
    }

    #[test]
    fn what_a_full_disk_refused_is_written_when_there_is_room() {
        let disk = disk();
        let mut journal = with(&disk, &[b"one"]);
        disk.set_room(Some(5));
        journal.add(b"two");
        assert!(journal.write().is_err() && journal.is_behind() && !journal.is_lost());
        disk.set_room(None);
        journal.add(b"three");
        journal.write().unwrap();
        assert!(!journal.is_behind());
        assert_eq!(changes(&disk), [&b"one"[..], b"two", b"three"]);
    }

    #[test]
    fn a_failed_sync_ends_it() {
        let disk = disk();
        let mut journal = with(&disk, &[b"one"]);
        disk.fail_syncs(true);
        journal.add(b"two");
        assert!(journal.write().is_err() && journal.is_lost());
    }
}
