//! The slots of an index file: for each hash the number of the newest entry. They stay in the file, and what is
//! new goes into them when it is written, in order of its places: as hashes lie everywhere, holding the pages that are
//! in use would be holding all.

use std::io::{self, IoSlice};

use apogee_base::disk::DiskFile;
use bytes::Buf;

/// Bytes of a slot.
pub(super) const SLOT: u64 = 4;
/// Slots of a page, the least that is read or written for new entries.
const PAGE: u32 = 1024;
/// Pages in a row that are read and written together.
const RUN: u32 = 256;

/// All slots of a file.
pub(super) struct Slots<'f> {
    pub file: &'f dyn DiskFile,
    /// Where they begin.
    pub start: u64,
    /// How many there are.
    pub count: u32,
}

/// Slots that follow each other, as they stand in the file.
pub(super) struct Run {
    first: u32,
    bytes: Vec<u8>,
}

impl Slots<'_> {
    /// What a slot holds.
    pub fn read(&self, slot: u32) -> io::Result<u32> {
        let mut bytes = [0; SLOT as usize];
        self.file.read_at(&mut bytes, self.place(slot))?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// All of them, in runs.
    pub fn all(&self) -> impl Iterator<Item = io::Result<Run>> {
        (0..self.count).step_by((PAGE * RUN) as usize).map(|first| self.run(first, PAGE * RUN))
    }

    /// Gives `each` the runs that some entries go into, each run with those of it. The entries are given by slot
    /// and anything else, in order of their slots.
    pub fn each_run<E>(
        &self,
        mut entries: &[(u32, E)],
        mut each: impl FnMut(&mut Run, &[(u32, E)]) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some((slot, _)) = entries.first() {
            let first = slot / PAGE;
            // The next pages, as long as each has an entry.
            let (mut pages, mut end) = (0, 0);
            while pages < RUN && entries.get(end).is_some_and(|(slot, _)| slot / PAGE == first + pages) {
                end += entries[end..].partition_point(|(slot, _)| slot / PAGE == first + pages);
                pages += 1;
            }
            let (those, rest) = entries.split_at(end);
            each(&mut self.run(first * PAGE, pages * PAGE)?, those)?;
            entries = rest;
        }
        Ok(())
    }

    /// Writes a run.
    pub fn write(&self, run: &Run) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(&run.bytes)], self.place(run.first))
    }

    fn run(&self, first: u32, count: u32) -> io::Result<Run> {
        let mut bytes = vec![0; count.min(self.count - first) as usize * SLOT as usize];
        self.file.read_at(&mut bytes, self.place(first))?;
        Ok(Run { first, bytes })
    }

    fn place(&self, slot: u32) -> u64 {
        self.start + u64::from(slot) * SLOT
    }
}

impl Run {
    /// Lets a slot of it hold a number. Returns the one that it held.
    pub fn replace(&mut self, slot: u32, number: u32) -> u32 {
        let at = (slot - self.first) as usize * SLOT as usize;
        replace(&mut self.bytes[at..at + SLOT as usize], number)
    }

    /// Lets each slot hold the number that `number` has for the one it held. Says whether any differs.
    pub fn map(&mut self, mut number: impl FnMut(u32) -> io::Result<u32>) -> io::Result<bool> {
        let mut is_changed = false;
        for slot in self.bytes.chunks_exact_mut(SLOT as usize) {
            let number = number((&*slot).get_u32())?;
            is_changed |= replace(slot, number) != number;
        }
        Ok(is_changed)
    }
}

fn replace(mut slot: &mut [u8], number: u32) -> u32 {
    let before = (&*slot).get_u32();
    bytes::BufMut::put_u32(&mut slot, number);
    before
}
