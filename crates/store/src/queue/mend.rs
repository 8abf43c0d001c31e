//! Files of a queue that are gone or cut short are made anew from the log, when the queue is opened.
//!
//! What should be there is told by what is: files follow each other, all have one length, and what comes
//! before the first or after the last of them is looked up in the log where it isn't certain.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk;
use apogee_message::light;
use apogee_message::record::Record;

use super::files::QueueFiles;
use super::{BatchUnit, MOST_MISSING, UNIT, Unit};
use crate::deleted::Deleted;
use crate::dispatch::{Tagger, has_queue};
use crate::log::{Log, file_name, offset_of};
use crate::scan::{Checks, Found, Scan};

/// Messages of a queue that its files may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub kind: Kind,
    /// Their offsets.
    pub offsets: Range<i64>,
    /// Where in the log they can be.
    pub log: Range<i64>,
}

impl Gap {
    /// Whether something is missing for certain.
    pub fn is_certain(&self) -> bool {
        match self.kind {
            Kind::Front => false,
            Kind::Between => true,
            // Nothing is left.
            Kind::End => self.offsets.start == 0,
        }
    }
}

/// Which part of a queue's files a gap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Before the first file; perhaps nothing is missing.
    Front,
    /// Between two files: something is missing for certain.
    Between,
    /// After the last file, or in place of all of them; perhaps nothing is missing.
    End,
}

/// What queues are made anew from.
pub(crate) struct Source {
    pub log: Arc<Log>,
    pub tagger: Tagger,
    pub checks: Checks,
    pub deleted: Arc<Deleted>,
}

impl Source {
    /// The unit of a record in a queue in which a record may be several messages.
    pub(super) fn unit_of(&self, record: &Record<'_>) -> BatchUnit {
        let tag_code = self.tagger.tag_code(record.topic, record.properties, record.store_timestamp);
        let unit = Unit { physical_offset: record.physical_offset, size: record.size, tag_code };
        let (store_timestamp, first) = (record.store_timestamp, record.queue_offset);
        BatchUnit { unit, store_timestamp, first, messages: record.messages().min(i16::MAX as u16) as i16 }
    }
}

impl QueueFiles {
    /// Makes anew what a queue's files lack, durably. Nobody else may use the queue.
    pub fn mend(&self, source: &Source, topic: &str, id: i32, gaps: &[Gap]) -> io::Result<()> {
        let folder = self.folders.folder(topic, id);
        for gap in gaps {
            if gap.kind == Kind::End && gap.offsets.start == 0 {
                // Nothing in the files that are left counts, and where the queue begins is unknown.
                for name in self.folders.disk.list(&folder)?.iter().filter(|name| offset_of(name).is_some()) {
                    self.folders.disk.remove(&folder.join(name))?;
                }
            }
            let mut patch = Patch::new(self, &folder, gap);
            let Range { start: at, end: to } = gap.log;
            let scan =
                Scan { log: &source.log, checks: source.checks, at, to, ahead: 0, known: to, ends_from: i64::MAX };
            for found in scan {
                let Found::Record(bytes) = found else { continue };
                let Ok(record) = Record::read(&bytes) else { continue };
                let offsets = match light::is_light(topic) {
                    true => light::offset_in(&record, topic).map(|offset| offset..offset + 1),
                    false if record.queue_id == id && record.topic == topic => Some(record.offsets()),
                    false => None,
                };
                let Some(offsets) = offsets else { continue };
                if has_queue(record.sys_flag) && !source.deleted.covers(topic, record.physical_offset) {
                    let tag_code = source.tagger.tag_code(record.topic, record.properties, record.store_timestamp);
                    let unit = Unit { physical_offset: record.physical_offset, size: record.size, tag_code };
                    for offset in offsets.filter(|offset| gap.offsets.contains(offset)) {
                        patch.put(offset, unit)?;
                    }
                }
            }
            let (messages, lost) = patch.finish()?;
            if messages > 0 || lost > 0 {
                let from = gap.offsets.start;
                tracing::error!(folder = %folder.display(), from, messages, lost, "files of a queue were missing or cut short: they are made anew from the commit log");
            }
        }
        for name in self.folders.disk.list(&folder)?.iter().filter(|name| offset_of(name).is_some()) {
            let file = self.folders.disk.open(&folder.join(name), false)?;
            let length = file.length()?;
            if length < self.size {
                // Without the part of a unit.
                file.set_len(length - length % UNIT)?;
                file.set_len(self.size)?;
                file.sync()?;
            }
        }
        Ok(())
    }
}

/// One gap as it is filled, file by file in order: each takes its place when it is complete. Wherever a
/// crash or a full disk comes between, those that are not there yet are still found missing.
struct Patch<'f> {
    files: &'f QueueFiles,
    folder: &'f Path,
    gap: &'f Gap,
    /// The file at hand: its number among the queue's, and its content.
    file: Option<(i64, Vec<u8>)>,
    is_changed: bool,
    /// End of what was put so far.
    end: Option<i64>,
    made: Vec<PathBuf>,
    messages: u64,
    lost: u64,
}

impl<'f> Patch<'f> {
    fn new(files: &'f QueueFiles, folder: &'f Path, gap: &'f Gap) -> Self {
        Self { files, folder, gap, file: None, is_changed: false, end: None, made: Vec::new(), messages: 0, lost: 0 }
    }

    fn put(&mut self, offset: i64, unit: Unit) -> io::Result<()> {
        if offset == 0 && self.end.is_some() && self.gap.kind == Kind::End {
            // The topic was deleted and made again.
            self.file = None;
            for path in self.made.drain(..) {
                self.files.folders.disk.remove(&path)?;
            }
            (self.end, self.messages, self.lost, self.is_changed) = (None, 0, 0, false);
        }
        match self.end {
            Some(end) if offset - end > MOST_MISSING => return Ok(()),
            Some(end) => self.fill(end..offset, true)?,
            None if self.begins_unknown() => self.fill(offset - offset % self.files.per_file()..offset, false)?,
            None => self.fill(self.gap.offsets.start..offset, true)?,
        }
        self.end = self.end.max(Some(offset + 1));
        self.messages += 1;
        self.set(offset, unit)
    }

    /// Whether nothing tells where the messages begin that the log still has.
    fn begins_unknown(&self) -> bool {
        self.gap.kind == Kind::Front || self.gap.kind == Kind::End && self.gap.offsets.start == 0
    }

    /// Completes the last file. Says how many messages were found and how many were not.
    fn finish(mut self) -> io::Result<(u64, u64)> {
        let offsets = &self.gap.offsets;
        match (self.gap.kind, self.end) {
            (Kind::Between, None) => self.fill(offsets.clone(), true)?,
            (Kind::Between | Kind::Front, Some(end)) => self.fill(end..offsets.end, true)?,
            _ => {}
        }
        self.save()?;
        Ok((self.messages, self.lost))
    }

    /// Puts blanks where no unit is.
    fn fill(&mut self, places: Range<i64>, are_lost: bool) -> io::Result<()> {
        for offset in places {
            if self.unit(offset)?.size == 0 {
                self.set(offset, Unit::BLANK)?;
                self.lost += u64::from(are_lost);
            }
        }
        Ok(())
    }

    fn unit(&mut self, offset: i64) -> io::Result<Unit> {
        let at = self.place(offset)?;
        Ok(self.file.as_ref().map_or(Unit::BLANK, |(_, bytes)| Unit::decode(&bytes[at..at + UNIT as usize])))
    }

    fn set(&mut self, offset: i64, unit: Unit) -> io::Result<()> {
        let at = self.place(offset)?;
        if let Some((_, bytes)) = &mut self.file {
            bytes[at..at + UNIT as usize].copy_from_slice(&unit.encoded());
            self.is_changed = true;
        }
        Ok(())
    }

    /// Takes the file of an offset at hand. Says where in it the offset's unit is.
    fn place(&mut self, offset: i64) -> io::Result<usize> {
        let per_file = self.files.per_file();
        let number = offset / per_file;
        if self.file.as_ref().is_none_or(|(at_hand, _)| *at_hand != number) {
            self.save()?;
            let mut bytes = vec![0; self.files.size as usize];
            let path = self.path(number);
            if self.files.folders.disk.exists(&path) {
                let read = self.files.folders.disk.open(&path, false)?.read_at(&mut bytes, 0)?;
                bytes[read - read % UNIT as usize..].fill(0);
            }
            self.file = Some((number, bytes));
        }
        Ok((offset % per_file) as usize * UNIT as usize)
    }

    fn save(&mut self) -> io::Result<()> {
        let Some((number, bytes)) = self.file.take().filter(|_| self.is_changed) else { return Ok(()) };
        self.is_changed = false;
        let (disk, path) = (&self.files.folders.disk, self.path(number));
        // Not in the folder itself: upstream's broker would take it for a file of the queue.
        let new = self.files.folders.root.with_extension("new");
        let file = disk::create(&**disk, &new)?;
        file.set_len(self.files.size)?;
        file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
        file.sync()?;
        disk.rename(&new, &path)?;
        disk.sync_folder(self.folder)?;
        self.made.push(path);
        Ok(())
    }

    fn path(&self, number: i64) -> PathBuf {
        self.folder.join(file_name(number * self.files.size as i64))
    }
}
