//! The slots of an index file: for each hash the number of the newest entry. Pages of them are in memory as
//! they stand in the file.

use std::io::{self, IoSlice};

use apogee_base::disk::DiskFile;
use bytes::Buf;

/// Bytes of a slot.
pub(super) const SLOT: u64 = 4;
/// Slots that are read and written together.
pub(super) const PAGE: u32 = 1024;
/// Pages in a row that one write takes.
const RUN: usize = 256;

/// Pages of slots, those that were asked for.
pub(super) struct Slots {
    pages: Vec<Option<Page>>,
}

struct Page {
    bytes: Box<[u8]>,
    dirty: bool,
}

impl Slots {
    /// None of a file's so many slots is in memory.
    pub fn new(count: u32) -> Self {
        Self { pages: (0..count.div_ceil(PAGE)).map(|_| None).collect() }
    }

    /// Whether a slot is in memory.
    pub fn has(&self, slot: u32) -> bool {
        self.pages.get((slot / PAGE) as usize).is_some_and(Option::is_some)
    }

    /// Takes the page that a slot is in, unless it is there.
    pub fn load(&mut self, slot: u32, bytes: Vec<u8>) {
        if let Some(page) = self.pages.get_mut((slot / PAGE) as usize) {
            page.get_or_insert_with(|| Page { bytes: bytes.into(), dirty: false });
        }
    }

    /// What a slot holds; `None` when it is not in memory.
    pub fn get(&self, slot: u32) -> Option<u32> {
        let page = self.pages.get((slot / PAGE) as usize)?.as_ref()?;
        let at = (slot % PAGE) as usize * SLOT as usize;
        page.bytes.get(at..).map(|mut bytes| bytes.get_u32())
    }

    /// Lets a slot in memory hold a number.
    pub fn set(&mut self, slot: u32, number: u32) {
        let at = (slot % PAGE) as usize * SLOT as usize;
        let page = self.pages.get_mut((slot / PAGE) as usize).and_then(Option::as_mut);
        if let Some(page) = page {
            page.bytes[at..at + SLOT as usize].copy_from_slice(&number.to_be_bytes());
            page.dirty = true;
        }
    }

    /// Pages that are not in the file as they are, from a page on: the next ones in a row, with the number
    /// of the first.
    pub fn dirty_run(&self, from: usize) -> Option<(usize, Vec<u8>)> {
        let is_dirty = |page: &&Option<Page>| page.as_ref().is_some_and(|page| page.dirty);
        let first = from + self.pages.get(from..)?.iter().position(|page| is_dirty(&page))?;
        let run: Vec<&[u8]> =
            self.pages[first..].iter().take(RUN).take_while(is_dirty).flatten().map(|page| &*page.bytes).collect();
        Some((first, run.concat()))
    }

    /// All pages stand in the file as they are now.
    pub fn are_written(&mut self) {
        self.pages.iter_mut().flatten().for_each(|page| page.dirty = false);
    }

    /// None is in memory any more.
    pub fn forget(&mut self) {
        self.pages.iter_mut().for_each(|page| *page = None);
    }
}

/// Reads the page that a slot is in, of a file with so many slots that begin at `start`.
pub(super) fn read_page(file: &dyn DiskFile, start: u64, count: u32, slot: u32) -> io::Result<Vec<u8>> {
    let first = slot / PAGE * PAGE;
    let mut bytes = vec![0; PAGE.min(count - first) as usize * SLOT as usize];
    file.read_at(&mut bytes, start + u64::from(first) * SLOT)?;
    Ok(bytes)
}

/// Reads a slot of a file whose slots begin at `start`.
pub(super) fn read_slot(file: &dyn DiskFile, start: u64, slot: u32) -> io::Result<u32> {
    let mut bytes = [0; SLOT as usize];
    file.read_at(&mut bytes, start + u64::from(slot) * SLOT)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Writes pages in a row.
pub(super) fn write_pages(file: &dyn DiskFile, start: u64, first: usize, bytes: &[u8]) -> io::Result<()> {
    file.write_at(&mut [IoSlice::new(bytes)], start + first as u64 * u64::from(PAGE) * SLOT)
}
