//! Several runs become one, a slice at a time.

use std::collections::BTreeSet;
use std::io;

use super::entry::Entry;
use super::run::{Cursor, Writer};

pub(super) struct Merge {
    /// Of the run that it makes.
    pub id: u64,
    pub writer: Writer,
    /// Entries taken from its sources since it began: the first of what it writes.
    pub popped: u64,
    sources: Vec<Cursor>,
    /// The first entry of each source that has one.
    heads: BTreeSet<(Entry, usize)>,
}

impl Merge {
    pub fn new(id: u64, writer: Writer, sources: Vec<Cursor>) -> Self {
        let heads = sources.iter().enumerate().filter_map(|(at, source)| Some((source.entry()?, at))).collect();
        Self { id, writer, popped: 0, sources, heads }
    }

    /// Writes so many entries and makes them durable. Says whether those were the last.
    pub fn step(&mut self, entries: usize) -> io::Result<bool> {
        for _ in 0..entries {
            let Some((entry, at)) = self.heads.pop_first() else { return Ok(true) };
            self.writer.push(&entry)?;
            self.sources[at].advance()?;
            self.heads.extend(self.sources[at].entry().map(|next| (next, at)));
        }
        self.writer.sync()?;
        Ok(self.heads.is_empty())
    }
}
