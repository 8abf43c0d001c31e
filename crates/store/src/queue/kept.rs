//! Units of rare queues, kept in files of ours: with a hundred thousand topics most units would else
//! cost a write of a block each, in a file that nobody reads.
//!
//! ```text
//! <store>/units/<where in the log it begins>: batches
//! batch: magic(4) bytes of runs(4) from(8) to(8) store time before `from`(8) crc32 of all(4) runs
//! run: bytes of topic(2) topic queue id(4) what(1) offset(8) count(4) units(20 each)
//! ```
//!
//! At a checkpoint the units that came since the last one are added as a batch, for records of the log
//! between two places; they also stay in memory until there are enough to write them to their queue's
//! own file. The files are read at start only. Before the beginning of the first one the queues' own
//! files are complete, so a file goes when they are complete up to its end. Should one be damaged or
//! gone, the log tells the same. Upstream's broker doesn't know them: it reads the log from where the
//! checkpoint says that the queues' own files end.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::{self, Disk, read};
use bytes::Buf;

use super::{UNIT, Unit};
use crate::checkpoint::Checkpoint;
use crate::log::{file_name, offset_of};

const MAGIC: u32 = 0x4170_7531;
const HEAD: usize = 36;
/// A file that has so many units is followed by another.
const UNITS_OF_PART: u64 = 256 << 10;

/// Bytes of a batch that are written before more are gathered.
const LARGE: usize = 1 << 20;

/// What of a queue is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum What {
    /// Units.
    Units = 0,
    /// The queue begins anew with these units.
    Anew = 1,
    /// The topic was deleted: what was told of its queues is void.
    Deleted = 2,
}

/// Units of a queue from an offset on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub offset: i64,
    pub units: Vec<Unit>,
}

/// The last units of queues, by topic and id.
pub(crate) type Runs = HashMap<Arc<str>, HashMap<i32, Run>>;

/// A batch in the making.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    units: u64,
}

pub(crate) struct KeptUnits {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    parts: Vec<Part>,
    /// Where the parts' units end in the log.
    to: i64,
    /// Store time of the last record before it.
    timestamp: i64,
    /// The last write failed: remains of it may stand behind the end.
    is_torn: bool,
    /// The last part has units of records at or after `to`.
    is_ahead: bool,
    part_units: u64,
}

/// One file.
struct Part {
    from: i64,
    /// Store time of the last record before it.
    timestamp: i64,
    length: u64,
    units: u64,
}

impl Batch {
    pub fn add(&mut self, topic: &str, id: i32, begins_anew: bool, offset: i64, units: impl IntoIterator<Item = Unit>) {
        let what = if begins_anew { What::Anew } else { What::Units };
        self.run(topic, id, what, offset, units);
    }

    /// The topic was deleted; before anything that is added of a topic of its name later.
    pub fn delete(&mut self, topic: &str) {
        self.run(topic, 0, What::Deleted, 0, []);
    }

    /// So much is to be told that it should not wait in memory for more.
    pub fn is_large(&self) -> bool {
        self.bytes.len() >= LARGE
    }

    /// Nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn run(&mut self, topic: &str, id: i32, what: What, offset: i64, units: impl IntoIterator<Item = Unit>) {
        self.bytes.extend((topic.len() as u16).to_be_bytes());
        self.bytes.extend(topic.as_bytes());
        self.bytes.extend(id.to_be_bytes());
        self.bytes.push(what as u8);
        self.bytes.extend(offset.to_be_bytes());
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        units.into_iter().for_each(|unit| self.bytes.extend(unit.encoded()));
        let count = (self.bytes.len() - at - 4) as u64 / UNIT;
        self.bytes[at..at + 4].copy_from_slice(&(count as u32).to_be_bytes());
        self.units += count;
    }
}

impl KeptUnits {
    /// The units that a store's files tell; `None` where they are not whole, or not those that the
    /// checkpoint means.
    pub fn load(
        disk: &Arc<dyn Disk>,
        folder: PathBuf,
        point: &Checkpoint,
        most: usize,
    ) -> io::Result<Option<(Self, Runs)>> {
        let (mut kept, mut runs) = (Self::empty(disk, folder, point, most), Runs::new());
        kept.to = point.logics_offset;
        kept.timestamp = point.logics_timestamp;
        let mut bases = kept.bases()?;
        bases.retain(|base| (point.logics_offset..point.units_offset).contains(base));
        for (index, base) in bases.iter().enumerate() {
            let mut bytes = read(&**disk, &kept.folder.join(file_name(*base)))?;
            if index + 1 == bases.len() {
                // What follows was written after the checkpoint.
                bytes.truncate(point.units_length as usize);
            }
            if *base != kept.to || !kept.read(*base, &bytes, &mut runs) {
                return Ok(None);
            }
        }
        let is_whole = kept.to == point.units_offset
            && kept.parts.last().map_or(0, |part| part.length) == point.units_length as u64;
        // What was written after the checkpoint is not its.
        kept.is_torn = true;
        Ok(is_whole.then_some((kept, runs)))
    }

    /// None yet: queues' own files are complete up to the checkpoint.
    pub fn empty(disk: &Arc<dyn Disk>, folder: PathBuf, point: &Checkpoint, most: usize) -> Self {
        Self {
            disk: Arc::clone(disk),
            folder,
            parts: Vec::new(),
            to: point.logics_offset,
            timestamp: point.logics_timestamp,
            is_torn: true,
            is_ahead: false,
            part_units: (most as u64 / 16).clamp(1, UNITS_OF_PART),
        }
    }

    fn bases(&self) -> io::Result<Vec<i64>> {
        let mut bases: Vec<i64> = self.disk.list(&self.folder)?.iter().filter_map(|name| offset_of(name)).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// Reads a part. Says whether it is whole.
    fn read(&mut self, base: i64, bytes: &[u8], runs: &mut Runs) -> bool {
        let mut part = Part { from: base, timestamp: self.timestamp, length: bytes.len() as u64, units: 0 };
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some((head, content)) = rest.split_first_chunk::<HEAD>() else { return false };
            let mut fields = &head[..];
            let (magic, length) = (fields.get_u32(), fields.get_u32() as usize);
            let (from, to, timestamp, sum) = (fields.get_i64(), fields.get_i64(), fields.get_i64(), fields.get_u32());
            let Some((content, behind)) = content.split_at_checked(length) else { return false };
            if magic != MAGIC || sum != sum_of(&head[..HEAD - 4], content) || from != self.to || to < from {
                return false;
            }
            if from == base {
                part.timestamp = timestamp;
            }
            match read_runs(content, runs) {
                Some(units) => part.units += units,
                None => return false,
            }
            (self.to, rest) = (to, behind);
        }
        self.parts.push(part);
        true
    }

    /// Adds a part of what came since the last batch; [`KeptUnits::append`] adds the rest.
    pub fn append_some(&mut self, batch: &Batch) -> io::Result<()> {
        self.write(batch, self.to)?;
        self.is_ahead = true;
        Ok(())
    }

    /// Adds what came since the last batch, for records up to `to`, the last of them stored at a time.
    /// Durable with all else of the store.
    pub fn append(&mut self, batch: &Batch, to: i64, timestamp: i64) -> io::Result<()> {
        self.write(batch, to)?;
        (self.is_ahead, self.to, self.timestamp) = (false, to, timestamp);
        Ok(())
    }

    fn write(&mut self, batch: &Batch, to: i64) -> io::Result<()> {
        let is_full = |part: &Part| part.units >= self.part_units && part.from < self.to;
        // A part has at least a byte of the log, so that no two have the same name, and only units from
        // where it begins on, and before the next.
        if self.parts.last().is_none_or(|part| is_full(part) && !self.is_ahead) {
            self.disk.create_folder(&self.folder)?;
            disk::create(&*self.disk, &self.folder.join(file_name(self.to)))?;
            self.parts.push(Part { from: self.to, timestamp: self.timestamp, length: 0, units: 0 });
        }
        let Some(part) = self.parts.last_mut() else { return Ok(()) };
        let file = self.disk.open(&self.folder.join(file_name(part.from)), false)?;
        if std::mem::replace(&mut self.is_torn, true) {
            file.set_len(part.length)?;
        }
        let mut head = Vec::with_capacity(HEAD);
        head.extend(MAGIC.to_be_bytes());
        head.extend((batch.bytes.len() as u32).to_be_bytes());
        [self.to, to, self.timestamp].iter().for_each(|field| head.extend(field.to_be_bytes()));
        head.extend(sum_of(&head, &batch.bytes).to_be_bytes());
        file.write_at(&mut [IoSlice::new(&head), IoSlice::new(&batch.bytes)], part.length)?;
        part.length += (head.len() + batch.bytes.len()) as u64;
        part.units += batch.units;
        self.is_torn = false;
        Ok(())
    }

    /// The queues' own files are complete up to the end of the log: begins anew there.
    pub fn all_written(&mut self, to: i64, timestamp: i64) {
        self.parts.clear();
        (self.is_ahead, self.to, self.timestamp) = (false, to, timestamp);
    }

    /// The first place at or after `at` up to which queues can be written so that a file here begins
    /// there, or none is needed any more; and the store time there.
    pub fn boundary(&self, at: i64) -> Option<(i64, i64)> {
        let begins = self.parts.iter().map(|part| (part.from, part.timestamp));
        begins.chain([(self.to, self.timestamp)]).find(|(from, _)| *from >= at)
    }

    /// The place up to which queues must be written for about so many units to leave memory.
    pub fn boundary_of(&self, units: u64) -> i64 {
        let mut count = 0;
        for part in &self.parts {
            if count >= units {
                return part.from;
            }
            count += part.units;
        }
        if count >= units { self.to } else { i64::MAX }
    }

    /// Bytes of the last file.
    pub fn length(&self) -> i64 {
        self.parts.last().map_or(0, |part| part.length as i64)
    }

    /// End of the units in the log.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// Removes what is not needed: queues' own files are complete up to a place, durably.
    pub fn remove_before(&mut self, to: i64) -> io::Result<()> {
        let ends: Vec<i64> = self.parts.iter().skip(1).map(|part| part.from).chain([self.to]).collect();
        let gone = ends.iter().filter(|end| **end <= to).count();
        self.parts.drain(..gone.min(self.parts.len()));
        let needed = |base: i64| self.parts.iter().any(|part| part.from == base);
        let mut bases = self.bases()?;
        bases.retain(|base| !needed(*base));
        for base in &bases {
            self.disk.remove(&self.folder.join(file_name(*base)))?;
        }
        // They must not come back once another broker may have had the log.
        if bases.is_empty() { Ok(()) } else { self.disk.sync_folder(&self.folder) }
    }
}

fn sum_of(head: &[u8], content: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(content);
    sum.finalize()
}

/// Takes over the runs of a batch; returns how many units they have. `None` where they are not whole.
fn read_runs(mut content: &[u8], runs: &mut Runs) -> Option<u64> {
    let mut count = 0;
    while !content.is_empty() {
        let topic = content.try_get_u16().ok()? as usize;
        let (topic, rest) = content.split_at_checked(topic)?;
        let topic = std::str::from_utf8(topic).ok()?;
        content = rest;
        let (id, what) = (content.try_get_i32().ok()?, content.try_get_u8().ok()?);
        let (offset, units) = (content.try_get_i64().ok()?, content.try_get_u32().ok()? as usize);
        let (units, rest) = content.split_at_checked(units * UNIT as usize)?;
        content = rest;
        if what == What::Deleted as u8 {
            runs.remove(topic);
            continue;
        }
        count += units.len() as u64 / UNIT;
        let queues = match runs.get_mut(topic) {
            Some(queues) => queues,
            None => runs.entry(topic.into()).or_default(),
        };
        let run = queues.entry(id).or_default();
        // Otherwise those between are in the queue's own files, and so are those before.
        if what == What::Anew as u8 || offset != run.offset + run.units.len() as i64 {
            *run = Run { offset, units: Vec::new() };
        }
        run.units.extend(units.chunks_exact(UNIT as usize).map(Unit::decode));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    fn unit(at: i64) -> Unit {
        Unit { physical_offset: at, size: 10, tag_code: at }
    }

    fn run(offset: i64, places: &[i64]) -> Run {
        Run { offset, units: places.iter().map(|at| unit(*at)).collect() }
    }

    /// Parts of three units: 100..200 with two batches, 200..300 with one.
    fn written(disk: &Arc<dyn Disk>) -> (KeptUnits, Checkpoint) {
        let mut point = Checkpoint { logics_offset: 100, logics_timestamp: 1, ..Checkpoint::default() };
        let mut kept = KeptUnits::empty(disk, "/units".into(), &point, 48);
        let batches =
            [(150, [(0, 7, 110), (1, 0, 120)]), (200, [(0, 8, 160), (2, 5, 170)]), (300, [(0, 20, 210), (1, 1, 220)])];
        for (to, units) in batches {
            let mut batch = Batch::default();
            units.iter().for_each(|(id, offset, at)| batch.add("T", *id, false, *offset, [unit(*at)]));
            kept.append(&batch, to, to).unwrap();
        }
        (point.units_offset, point.units_length) = (kept.to(), kept.length());
        (kept, point)
    }

    fn disk() -> Arc<dyn Disk> {
        Arc::new(SimDisk::new(1))
    }

    fn load(disk: &Arc<dyn Disk>, point: &Checkpoint) -> Option<(KeptUnits, Runs)> {
        KeptUnits::load(disk, "/units".into(), point, 48).unwrap()
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let disk = disk();
        let (_, point) = written(&disk);
        let (mut kept, runs) = load(&disk, &point).unwrap();
        let queues = &runs["T"];
        assert_eq!(queues[&0], run(20, &[210]), "what lies between is in the queue's own file");
        assert_eq!((&queues[&1], &queues[&2]), (&run(0, &[120, 220]), &run(5, &[170])));
        assert_eq!((kept.boundary(0), kept.boundary(101)), (Some((100, 1)), Some((200, 200))));
        assert_eq!((kept.boundary_of(4), kept.boundary_of(6), kept.boundary_of(7)), (200, 300, i64::MAX));

        let mut batch = Batch::default();
        batch.delete("T");
        batch.add("T", 1, false, 0, [unit(310)]);
        kept.append(&batch, 400, 400).unwrap();
        let (units_offset, units_length) = (kept.to(), kept.length());
        let (_, runs) = load(&disk, &Checkpoint { units_offset, units_length, ..point }).unwrap();
        assert_eq!((runs["T"].len(), &runs["T"][&1]), (1, &run(0, &[310])));
        assert!(load(&disk, &point).is_some(), "what came after the checkpoint is left out");

        kept.remove_before(200).unwrap();
        assert_eq!(disk.list("/units".as_ref()).unwrap(), [file_name(200)]);
        let later = Checkpoint { logics_offset: 200, units_offset, units_length, ..point };
        assert_eq!(load(&disk, &later).unwrap().1["T"].len(), 1);
    }

    #[test]
    fn a_batch_in_pieces_is_one() {
        let disk = disk();
        let point = Checkpoint { logics_offset: 100, logics_timestamp: 1, ..Checkpoint::default() };
        let mut kept = KeptUnits::empty(&disk, "/units".into(), &point, 48);
        for (to, from) in [(200, 110), (300, 210)] {
            for id in 0..5 {
                let mut batch = Batch::default();
                batch.add("T", id, false, from, [unit(from + i64::from(id))]);
                kept.append_some(&batch).unwrap();
            }
            kept.append(&Batch::default(), to, to).unwrap();
        }
        let point = Checkpoint { units_offset: kept.to(), units_length: kept.length(), ..point };
        let (mut kept, runs) = load(&disk, &point).unwrap();
        assert_eq!(runs["T"][&4], run(210, &[214]));
        kept.remove_before(200).unwrap();
        let (_, runs) = load(&disk, &Checkpoint { logics_offset: 200, ..point }).unwrap();
        assert_eq!((runs["T"].len(), &runs["T"][&0]), (5, &run(210, &[210])), "each piece is in the part of its batch");
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        for file in [100, 200] {
            for at in [0, 5, 20, 34, 40, 60, 70] {
                let disk = disk();
                let (_, point) = written(&disk);
                let path = PathBuf::from("/units").join(file_name(file));
                let file = disk.open(&path, false).unwrap();
                let mut byte = [0];
                file.read_at(&mut byte, at).unwrap();
                file.write_at(&mut [IoSlice::new(&[byte[0] ^ 1])], at).unwrap();
                assert!(load(&disk, &point).is_none(), "{at}");
                file.set_len(50).unwrap();
                assert!(load(&disk, &point).is_none());
                disk.remove(&path).unwrap();
                assert!(load(&disk, &point).is_none());
            }
        }
    }
}
