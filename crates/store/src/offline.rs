//! A store that no broker has open: checking all of it, and showing what is in it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{Disk, Lock};
use apogee_message::names::SCHEDULE_TOPIC;
use apogee_message::record::Record;
use bytes::Bytes;

use crate::checkpoint::Checkpoint;
use crate::dispatch::{Tagger, has_queue};
use crate::error::{Context, StoreError};
use crate::index::{Index, IndexFile};
use crate::log::{Log, file_name, offset_of};
use crate::mark;
use crate::opening::Left;
use crate::queue::{BatchUnit, KeptUnits, Runs, UNIT, Unit};
use crate::scan::{Checks, Found, Scan};

/// Problems that are kept one by one; more are only counted.
const MOST_KEPT: usize = 1_000;
/// Tag codes up to this one are places in the extension of the queue (upstream `ConsumeQueueExt`).
const LAST_EXT: i64 = i32::MIN as i64 - 1;
/// Units of a queue that are read together.
const UNITS: usize = 4_096;
/// Folder of the queues in which a record may be several messages.
const BATCHES: &str = "batchconsumequeue";

/// A store's folder, locked, with the sizes that its files tell.
pub struct Offline {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    log: Log,
    checkpoint: Option<Checkpoint>,
    /// Everything before this place of the log has its unit in a queue.
    complete_to: i64,
    /// Units of rare queues that are in no file of their queue yet. `None`: they are damaged, and the
    /// next start reads the log for them.
    kept: Option<Runs>,
    index_sizes: (u32, u32),
    _lock: Box<dyn Lock>,
}

/// Folders of queues by topic and id, and the size of their files.
type QueueFolders = HashMap<(String, i32), (PathBuf, u64)>;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Byte of the file.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Whole records.
    pub records: u64,
    /// Records with a check sum over all of them.
    pub with_sum: u64,
    /// Records of topics that have no queues: they were deleted.
    pub without_queue: u64,
    /// Units of queues that lead to a record.
    pub units: u64,
    /// Entries of the index that lead to a record.
    pub entries: u64,
    /// Index files that were not looked into, as they have other sizes than told.
    pub index_files_skipped: u64,
    /// First byte of the log.
    pub log_begin: i64,
    /// Where the log ends.
    pub log_end: i64,
    /// The first problems.
    pub problems: Vec<Problem>,
    /// All problems.
    pub problem_count: u64,
}

impl Report {
    fn add(&mut self, file: PathBuf, at: u64, what: String) {
        self.problem_count += 1;
        if self.problems.len() < MOST_KEPT {
            self.problems.push(Problem { file, at, what });
        }
    }
}

/// What stands at a place of the log.
pub enum Stands {
    /// A whole record.
    Record(Bytes),
    /// Bytes that are no record: where, how many, why.
    Damaged(i64, i64, String),
}

/// An entry of the index.
#[derive(Debug, Clone, Copy)]
pub struct IndexEntry {
    /// Number in its file, from 1.
    pub number: u32,
    /// Hash of topic and key.
    pub hash: i32,
    /// Place of the record in the log.
    pub physical_offset: i64,
    /// When it was stored, in milliseconds since 1970, to the second.
    pub timestamp: i64,
    /// The entry before it in its slot; 0: none.
    pub previous: u32,
}

impl Offline {
    /// Opens the store in `root`; refused while a broker has it. `index_sizes` are hash slots and
    /// entries of an index file, which its files don't tell.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        log_folder: Option<PathBuf>,
        index_sizes: (u32, u32),
    ) -> Result<Self, StoreError> {
        let folder = log_folder.unwrap_or_else(|| root.join("commitlog"));
        if !disk.exists(&folder) {
            let reason = "there is no such folder: name the folder of a store, in which `commitlog` is, or of its log";
            return Err(StoreError::Damaged { path: folder, reason: reason.to_owned() });
        }
        let lock = crate::store::lock(&*disk, &root)?;
        let names = disk.list(&folder).context("cannot list", &folder)?;
        let first = names.iter().find(|name| offset_of(name).is_some());
        let length = |name: &String| disk.open(&folder.join(name), false)?.length();
        let size = first.map(length).transpose().context("cannot open the first file of", &folder)?;
        let log = Log::open(Arc::clone(&disk), folder, size.unwrap_or(1 << 30).max(1))?;
        let left = Left::of(&*disk, &root)?;
        let ours = left == Left::ByUs;
        let path = root.join("checkpoint");
        let checkpoint = Checkpoint::read(&*disk, &path, ours).context("cannot read", &path)?;
        let folder = root.join("units");
        let kept = match checkpoint.filter(|point| ours && point.units_offset > point.logics_offset) {
            Some(point) => {
                let loaded = KeptUnits::load(&disk, folder.clone(), &point, 0).context("cannot read", &folder)?;
                loaded.map(|(_, runs)| runs)
            }
            None => Some(Runs::new()),
        };
        let complete_to = match (left, checkpoint) {
            (Left::Closed, _) => i64::MAX,
            (_, Some(point)) if ours && kept.is_some() => point.complete_to(),
            (_, point) => point.map_or(0, |point| point.logics_offset),
        };
        Ok(Self { disk, root, log, checkpoint, complete_to, kept, index_sizes, _lock: lock })
    }

    /// The log from its beginning.
    pub fn log(&self) -> impl Iterator<Item = Stands> + '_ {
        self.scan().map(|found| match found {
            Found::Record(bytes) => Stands::Record(bytes),
            Found::Damaged(damaged) => Stands::Damaged(damaged.at, damaged.length, damaged.reason.to_string()),
        })
    }

    fn scan(&self) -> Scan<'_> {
        let path = self.root.join("flushed");
        let marked = apogee_base::disk::read(&*self.disk, &path).map_or(0, |bytes| mark::said(&bytes));
        let known = marked.max(self.checkpoint.map_or(0, |point| point.complete_to()));
        let ends_from = if self.complete_to == i64::MAX { i64::MAX } else { known };
        let checks = Checks { sums: true, whole_sum: false };
        Scan { log: &self.log, checks, at: self.log.min_offset(), to: i64::MAX, ahead: 0, known, ends_from }
    }

    /// Fields of the checkpoint with their names in upstream's order; `None` when there is no file.
    pub fn checkpoint(&self) -> Option<[(&'static str, i64); 6]> {
        let point = self.checkpoint?;
        Some([
            ("physicMsgTimestamp", point.physic_timestamp),
            ("logicsMsgTimestamp", point.logics_timestamp),
            ("indexMsgTimestamp", point.index_timestamp),
            ("masterFlushedOffset", point.master_flushed_offset),
            ("confirmPhyOffset", point.confirm_offset),
            ("logicsPhysicalOffset", point.logics_offset),
        ])
    }

    /// Topics and the ids of their queues.
    pub fn queues(&self) -> Result<Vec<(String, i32)>, StoreError> {
        let mut queues = Vec::new();
        for root in ["consumequeue", BATCHES].map(|name| self.root.join(name)) {
            for topic in self.disk.list(&root).context("cannot list", &root)? {
                let ids = self.disk.list(&root.join(&topic)).unwrap_or_default();
                queues.extend(ids.iter().filter_map(|id| id.parse().ok()).map(|id| (topic.clone(), id)));
            }
        }
        let known: HashSet<(String, i32)> = queues.iter().cloned().collect();
        let kept = self.kept.iter().flatten();
        let kept = kept.flat_map(|(topic, ids)| ids.keys().map(move |id| (topic.to_string(), *id)));
        queues.extend(kept.filter(|queue| !known.contains(queue)));
        Ok(queues)
    }

    /// The kept units of a queue, with their offsets.
    fn kept(&self, topic: &str, id: i32) -> impl Iterator<Item = (i64, Unit)> + '_ {
        let run = self.kept.as_ref().and_then(|kept| kept.get(topic)?.get(&id));
        run.into_iter().flat_map(|run| (run.offset..).zip(run.units.iter().copied()))
    }

    /// Calls `each` with all units of a queue that are not empty: their offset, the unit, its file and
    /// its place there. A record that is several messages has one, with the offset of the first of them, if its queue
    /// keeps batches.
    pub fn units(&self, topic: &str, id: i32, each: &mut dyn FnMut(i64, Unit, &Path, u64)) -> Result<(), StoreError> {
        if self.keeps_batches(topic, id) {
            return self.batch_units(topic, id, &mut |unit, path, at| each(unit.first, unit.unit, path, at));
        }
        let folder = self.root.join("consumequeue").join(topic).join(id.to_string());
        let mut end = 0;
        for name in self.disk.list(&folder).context("cannot list", &folder)? {
            let Some(base) = offset_of(&name) else { continue };
            let path = folder.join(&name);
            let mut walk = || -> io::Result<()> {
                let file = self.disk.open(&path, false)?;
                let mut bytes = vec![0; UNITS * UNIT as usize];
                let mut at = 0;
                loop {
                    let read = file.read_at(&mut bytes, at)?;
                    let units = bytes[..read].chunks_exact(UNIT as usize);
                    for (number, unit) in units.enumerate().filter(|(_, unit)| unit.iter().any(|byte| *byte != 0)) {
                        let place = at + number as u64 * UNIT;
                        let offset = (base + place as i64) / UNIT as i64;
                        each(offset, Unit::decode(unit), &path, place);
                        end = offset + 1;
                    }
                    if read < bytes.len() {
                        return Ok(());
                    }
                    at += read as u64;
                }
            };
            walk().context("cannot read", &path)?;
        }
        let path = self.root.join("units");
        self.kept(topic, id)
            .filter(|(offset, _)| *offset >= end)
            .for_each(|(offset, unit)| each(offset, unit, &path, 0));
        Ok(())
    }

    fn keeps_batches(&self, topic: &str, id: i32) -> bool {
        self.disk.exists(&self.root.join(BATCHES).join(topic).join(id.to_string()))
    }

    fn batch_units(
        &self,
        topic: &str,
        id: i32,
        each: &mut dyn FnMut(&BatchUnit, &Path, u64),
    ) -> Result<(), StoreError> {
        let folder = self.root.join(BATCHES).join(topic).join(id.to_string());
        for name in self.disk.list(&folder).context("cannot list", &folder)? {
            let path = folder.join(&name);
            let bytes = apogee_base::disk::read(&*self.disk, &path).context("cannot read", &path)?;
            let units = bytes.chunks_exact(BatchUnit::SIZE).enumerate();
            for (number, unit) in units.filter(|(_, unit)| unit.iter().any(|byte| *byte != 0)) {
                each(&BatchUnit::decode(unit), &path, (number * BatchUnit::SIZE) as u64);
            }
        }
        Ok(())
    }

    /// The units of a queue that keeps batches, by the places of their records.
    fn batches(&self, topic: &str, id: i32) -> Result<HashMap<i64, BatchUnit>, StoreError> {
        let mut units = HashMap::new();
        self.batch_units(topic, id, &mut |unit, _, _| units.extend([(unit.unit.physical_offset, *unit)]))?;
        Ok(units)
    }

    fn kept_at(&self, topic: &str, id: i32, offset: i64) -> Option<Unit> {
        let run = self.kept.as_ref()?.get(topic)?.get(&id)?;
        run.units.get(usize::try_from(offset - run.offset).ok()?).copied()
    }

    /// Paths of the index's files.
    pub fn index_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.root.join("index");
        let names = Index::names(&*self.disk, &folder).context("cannot list", &folder)?;
        Ok(names.iter().map(|name| folder.join(name)).collect())
    }

    /// The entries of an index file. An error when it has other sizes than told.
    pub fn entries(&self, path: &Path) -> Result<impl Iterator<Item = io::Result<IndexEntry>> + use<>, StoreError> {
        let (slots, entries) = self.index_sizes;
        let file = IndexFile::open(&*self.disk, path, slots, entries, false).context("cannot use", path)?;
        let mut number = 0;
        Ok(std::iter::from_fn(move || {
            number += 1;
            file.entry_at_number(number).transpose()
        }))
    }

    /// Checks everything. `progress` is told the bytes of the log that were looked at, and all of them.
    pub fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StoreError> {
        let mut report = Report { log_begin: self.log.min_offset(), ..Report::default() };
        self.check_log(&mut report, progress)?;
        self.check_queues(&mut report)?;
        if self.kept.is_none() {
            let what = "the units of rare queues are damaged or missing; the next start reads the log for them";
            report.add(self.root.join("units"), 0, what.to_owned());
        }
        self.check_index(&mut report)?;
        if let Some(point) = self.checkpoint.filter(|point| point.complete_to() > report.log_end) {
            let what = format!(
                "it says that the log was complete up to {}, and the log ends at {}",
                point.complete_to(),
                report.log_end
            );
            report.add(self.root.join("checkpoint"), 40, what);
        }
        Ok(report)
    }

    /// Checks the records and that each has its unit.
    fn check_log(&self, report: &mut Report, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        let segments = self.log.all_segments();
        let total = segments.len() as u64 * self.log.segment_size;
        let files = self.queue_files()?;
        let tagger = Tagger::new(&[]);
        let mut batches: HashMap<(String, i32), HashMap<i64, BatchUnit>> = HashMap::new();
        let mut scan = self.scan();
        while let Some(found) = scan.next() {
            progress((scan.at - report.log_begin) as u64, total);
            let bytes = match found {
                Found::Record(bytes) => bytes,
                Found::Damaged(damaged) => {
                    let (file, at) = self.place(damaged.at);
                    report.add(file, at, format!("{} bytes are no record: {}", damaged.length, damaged.reason));
                    continue;
                }
            };
            let Ok(record) = Record::read(&bytes) else { continue };
            report.records += 1;
            report.with_sum += u64::from(record.has_sum());
            if !has_queue(record.sys_flag) || record.physical_offset >= self.complete_to {
                continue;
            }
            if self.keeps_batches(record.topic, record.queue_id) {
                let queue = (record.topic.to_owned(), record.queue_id);
                let units = match batches.entry(queue) {
                    Entry::Occupied(units) => units.into_mut(),
                    Entry::Vacant(place) => place.insert(self.batches(record.topic, record.queue_id)?),
                };
                let leads = units.get(&record.physical_offset).is_some_and(|unit| {
                    let is_its =
                        unit.first == record.queue_offset && unit.end() - unit.first == record.messages().into();
                    is_its && unit.unit.size == record.size
                });
                if !leads {
                    let folder = self.root.join(BATCHES).join(record.topic).join(record.queue_id.to_string());
                    let what = format!("the unit of the record at {} is missing or not its", record.physical_offset);
                    report.add(folder, 0, what);
                }
                continue;
            }
            let kept = self.kept_at(record.topic, record.queue_id, record.queue_offset);
            let is_kept = kept.is_some_and(|unit| unit.physical_offset == record.physical_offset);
            let Some((folder, size)) = files.get(&(record.topic.to_owned(), record.queue_id)) else {
                report.without_queue += u64::from(!is_kept);
                continue;
            };
            let byte = record.queue_offset as u64 * UNIT;
            let path = folder.join(file_name((byte - byte % size) as i64));
            let mut unit = [0; UNIT as usize];
            let read = self.disk.open(&path, false).and_then(|file| file.read_at(&mut unit, byte % size));
            let unit = Unit::decode(&unit);
            let tag_code = tagger.tag_code(record.topic, record.properties, record.store_timestamp);
            let is_tagged = record.topic == SCHEDULE_TOPIC || unit.tag_code == tag_code || unit.tag_code <= LAST_EXT;
            let leads = unit.physical_offset == record.physical_offset && unit.size == record.size && is_tagged;
            let has_none = !read.is_ok_and(|read| read > 0) || unit.size == 0;
            if has_none && is_kept {
                continue;
            }
            if has_none {
                report.add(
                    path,
                    byte % size,
                    format!("the unit of the record at {} is missing", record.physical_offset),
                );
            } else if !leads {
                let what = format!("the unit is not that of its record, which is at {}", record.physical_offset);
                report.add(path, byte % size, what);
            }
        }
        report.log_end = scan.at;
        progress(total, total);
        Ok(())
    }

    /// Folders of the queues, and the size of their files.
    fn queue_files(&self) -> Result<QueueFolders, StoreError> {
        let mut files = QueueFolders::new();
        for (topic, id) in self.queues()? {
            let folder = self.root.join("consumequeue").join(&topic).join(id.to_string());
            let names = self.disk.list(&folder).context("cannot list", &folder)?;
            let Some(first) = names.iter().find(|name| offset_of(name).is_some()) else { continue };
            let length = self.disk.open(&folder.join(first), false).and_then(|file| file.length());
            let length = length.context("cannot read the length of a file in", &folder)?;
            files.insert((topic, id), (folder, length.max(UNIT)));
        }
        Ok(files)
    }

    /// Checks that units lead to records.
    fn check_queues(&self, report: &mut Report) -> Result<(), StoreError> {
        let (begin, end) = (report.log_begin, report.log_end);
        for (topic, id) in self.queues()? {
            self.units(&topic, id, &mut |offset, unit, path, at| {
                if unit.is_blank() || (0..begin).contains(&unit.physical_offset) {
                    return;
                }
                // What a crash left behind the last checkpoint is written again at the next start.
                let is_left = unit.physical_offset >= self.complete_to.min(end) && self.complete_to != i64::MAX;
                if self.log.is_missing(unit.physical_offset) {
                    // Told of the file.
                } else if self.log.leads_to(&unit, &topic, id, offset) == Some(true) {
                    report.units += 1;
                } else if !is_left {
                    let what =
                        format!("the unit of offset {offset} leads to {}: no record of it", unit.physical_offset);
                    report.add(path.to_owned(), at, what);
                }
            })?;
        }
        Ok(())
    }

    /// Checks that entries lead to records.
    fn check_index(&self, report: &mut Report) -> Result<(), StoreError> {
        for path in self.index_files()? {
            let Ok(entries) = self.entries(&path) else {
                report.index_files_skipped += 1;
                continue;
            };
            for entry in entries {
                let entry = entry.context("cannot read", &path)?;
                let at = entry.physical_offset;
                if (0..report.log_begin).contains(&at) {
                    continue;
                }
                let own = self.log.slice_unpublished(at, 36).map(|head| i64::from_be_bytes(place_of(&head)));
                if own == Some(at) && entry.previous < entry.number {
                    report.entries += 1;
                } else if at < self.complete_to || self.complete_to == i64::MAX {
                    let place = IndexFile::place(self.index_sizes.0, entry.number);
                    report.add(path.clone(), place, format!("entry {} leads to {at}: no record", entry.number));
                }
            }
        }
        Ok(())
    }

    /// File and byte of a place in the log.
    fn place(&self, at: i64) -> (PathBuf, u64) {
        let base = self.log.segment(at).map_or(at, |segment| segment.base);
        (self.log.folder().join(file_name(base)), (at - base) as u64)
    }
}

/// Where a record says that it stands.
fn place_of(head: &[u8]) -> [u8; 8] {
    let mut place = [0; 8];
    place.copy_from_slice(&head[apogee_message::record::PHYSICAL_OFFSET_AT..][..8]);
    place
}
