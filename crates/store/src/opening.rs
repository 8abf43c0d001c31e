//! Opening a store: how it was left, what of it must be made anew, and what a crash left to be done again.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use apogee_base::disk::{self, Disk};

use crate::checkpoint::Checkpoint;
use crate::compaction::Compaction;
use crate::deleted::Deleted;
use crate::dispatch::{Dispatcher, Tagger};
use crate::error::{Context, StoreError};
use crate::index::{self, Index};
use crate::log::{self, Log};
use crate::mark::Mark;
use crate::missing::Missing;
use crate::options::StoreOptions;
use crate::queue::{BatchFiles, KeptUnits, Kind, QueueFiles, QueueTable, Source};
use crate::recovery::Recovery;
use crate::scan::Checks;

/// First word of the abort marker of a store that this code left: what it wrote is in a known order.
const OURS: &[u8] = b"apogee";

/// How the last process left a store, as its file `abort` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// In order.
    Closed,
    /// It was ours, and ended in the midst of its work.
    ByUs,
    /// Another broker's ended so.
    ByAnother,
}

impl Left {
    pub fn of(disk: &dyn Disk, root: &Path) -> Result<Self, StoreError> {
        let abort = root.join("abort");
        if !disk.exists(&abort) {
            return Ok(Self::Closed);
        }
        let content = disk::read(disk, &abort).context("cannot read", &abort)?;
        Ok(if content.starts_with(OURS) { Self::ByUs } else { Self::ByAnother })
    }
}

/// The parts of a store that is being opened.
pub(crate) struct Opening<'o> {
    options: &'o StoreOptions,
    disk: Arc<dyn Disk>,
    root: PathBuf,
    left: Left,
    /// `None`: there is no such file.
    checkpoint: Option<Checkpoint>,
    log: Arc<Log>,
    /// End of the files that the log has.
    log_end: i64,
    mark: Mark,
    /// What the mark said.
    marked: i64,
    missing: Missing,
    queues: Arc<QueueTable>,
    tagger: Tagger,
    deleted: Arc<Deleted>,
    kept: Option<KeptUnits>,
}

/// The parts of a store that is open.
pub(crate) struct Opened {
    pub log: Arc<Log>,
    pub queues: Arc<QueueTable>,
    pub tagger: Tagger,
    pub deleted: Arc<Deleted>,
    pub index: Option<Arc<Index>>,
    pub compaction: Option<Compaction>,
    pub dispatcher: Arc<Dispatcher>,
    pub mark: Mark,
    pub checkpoint: Checkpoint,
    pub kept: KeptUnits,
}

impl<'o> Opening<'o> {
    /// Looks at what is there. The store's lock is held.
    pub fn look(disk: Arc<dyn Disk>, root: PathBuf, options: &'o StoreOptions) -> Result<Self, StoreError> {
        let left = Left::of(&*disk, &root)?;
        let log_folder = options.log_folder.clone().unwrap_or_else(|| root.join("commitlog"));
        if let Some(to) = options.cut_at {
            empty_if_before(&*disk, &root, &log_folder, to)?;
        }
        let path = root.join("checkpoint");
        let checkpoint = Checkpoint::read(&*disk, &path, left == Left::ByUs).context("cannot read", &path)?;
        let log = Arc::new(Log::open(Arc::clone(&disk), log_folder, options.log_file_size)?);
        log.set_read_ahead(options.read_ahead);
        let (mark, mut marked) = Mark::open(&*disk, &root).context("cannot open the file `flushed` in", &root)?;
        marked = options.cut_at.map_or(marked, |to| marked.min(to));
        let missing = Missing::open(&*disk, &root).context("cannot read the file `missing` in", &root)?;
        log.continue_behind(marked).context("cannot begin a file in", log.folder())?;
        let log_end = log.all_segments().last().map_or(0, |last| last.base + options.log_file_size as i64);
        let folder = root.join("consumequeue");
        let files = QueueFiles::new(Arc::clone(&disk), folder.clone(), options.queue_file_size);
        let batches = BatchFiles::new(Arc::clone(&disk), root.join("batchconsumequeue"), options.batch_queue_file_size);
        let queues = files.and_then(|files| QueueTable::open(files, batches, options.hot_bytes, options.light_queues));
        let queues = queues.context("cannot open the queues in", &root)?;
        let tagger = Tagger::new(&options.delays);
        let deleted = Deleted::open(Arc::clone(&disk), &root, log.min_offset());
        let deleted = Arc::new(deleted.context("cannot use the file `deleted` in", &root)?);
        queues.know_source(Source {
            log: Arc::clone(&log),
            tagger: tagger.clone(),
            checks: Checks { sums: true, whole_sum: options.require_sums },
            deleted: Arc::clone(&deleted),
        });
        let queues = Arc::new(queues);
        Ok(Self {
            options,
            disk,
            root,
            left,
            checkpoint,
            log,
            log_end,
            mark,
            marked,
            missing,
            queues,
            tagger,
            deleted,
            kept: None,
        })
    }

    /// Makes of it a store that is whole, and marks it as open.
    pub fn finish(mut self) -> Result<Opened, StoreError> {
        let compaction = self.open_compaction()?;
        if let Some(to) = self.options.cut_at {
            if let Some(compaction) = &compaction {
                compaction.cut(to).context("cannot cut the compacted logs in", compaction.root())?;
            }
            self.cut(to)?;
        }
        self.load_kept_units()?;
        let anew = self.reason_to_begin_anew()?;
        if let Some(reason) = anew {
            self.begin_anew(reason)?;
        }
        let mut checkpoint = self.checkpoint.unwrap_or_default();
        let complete_to = self.complete_to();
        let index = self.open_index(complete_to)?;
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&self.queues), index.clone()));
        // Before this place queues and index are complete and durable.
        let dispatched_to = match complete_to {
            _ if anew.is_some() => 0,
            0 if self.left == Left::Closed => self.queues.last_end().context("cannot read", &self.queue_folder())?,
            offset => offset,
        };
        let (dispatched_to, end) = self.recover(&checkpoint, dispatched_to, &dispatcher)?;
        let mut kept = self.kept.take().unwrap_or_else(|| {
            // So far queues' own files are complete.
            checkpoint.logics_offset = dispatched_to.min(end);
            checkpoint.units_offset = checkpoint.logics_offset;
            KeptUnits::empty(&self.disk, self.units_folder(), &checkpoint, self.options.kept_units)
        });
        self.deleted.limit(end).context("cannot write the file `deleted` in", &self.root)?;
        self.missing
            .note(&*self.disk, &self.log, dispatched_to)
            .context("cannot write the file `missing` in", &self.root)?;
        kept.remove_before(checkpoint.logics_offset).context("cannot remove old files in", &self.units_folder())?;
        self.mark.put(end);
        if end < self.marked {
            self.mark.sync().context("cannot flush the file `flushed` in", &self.root)?;
        }
        if let Some(compaction) = &compaction {
            self.go_on_behind(compaction)?;
        }
        self.mark_as_open()?;
        let Self { log, queues, tagger, deleted, mark, .. } = self;
        Ok(Opened { log, queues, tagger, deleted, index, compaction, dispatcher, mark, checkpoint, kept })
    }

    /// Takes away what is behind a place of the log. Whatever points there goes first, so that a crash in between
    /// leaves a store that can be opened, and be cut again.
    fn cut(&mut self, to: i64) -> Result<(), StoreError> {
        if to >= self.log_end {
            return Ok(());
        }
        tracing::warn!(to, log = %self.log.folder().display(), "the commit log is cut: what is behind is not what the other replicas have");
        if let Some(mut point) = self.checkpoint.filter(|point| point.complete_to() > to) {
            point.logics_offset = point.logics_offset.min(to);
            // What the kept units know is read from the log again.
            (point.units_offset, point.units_length) = (point.logics_offset, 0);
            let path = self.root.join("checkpoint");
            point.write(&*self.disk, &path).context("cannot write", &path)?;
            self.checkpoint = Some(point);
        }
        self.wipe_after(to)?;
        self.mark.put(self.marked);
        self.mark.sync().context("cannot flush the file `flushed` in", &self.root)?;
        self.log.cut(to)?;
        self.log_end = self.log.all_segments().last().map_or(0, |last| last.base + self.options.log_file_size as i64);
        Ok(())
    }

    /// The units of rare queues that are not in their own files yet.
    fn load_kept_units(&mut self) -> Result<(), StoreError> {
        let Some(mut point) = self.checkpoint else { return Ok(()) };
        if point.units_offset <= point.logics_offset || self.left == Left::ByAnother {
            return Ok(());
        }
        let folder = self.units_folder();
        let loaded = KeptUnits::load(&self.disk, folder.clone(), &point, self.options.kept_units);
        if let Some((units, mut runs)) = loaded.context("cannot read", &folder)? {
            runs.retain(|topic, queues| self.deleted.forget(topic, queues));
            self.queues.park(runs);
            self.kept = Some(units);
            return Ok(());
        }
        tracing::warn!(folder = %folder.display(), from = point.logics_offset, "kept units of queues are damaged or missing: the log is read for them");
        // Before the index goes back as far: a crash before the end shall begin there again.
        (point.units_offset, point.units_length) = (point.logics_offset, 0);
        point.index_files = 0;
        let path = self.root.join("checkpoint");
        point.write(&*self.disk, &path).context("cannot write", &path)?;
        self.checkpoint = Some(point);
        Ok(())
    }

    /// Up to where the checkpoint knows queues to be complete.
    fn complete_to(&self) -> i64 {
        let point = self.checkpoint.unwrap_or_default();
        if self.kept.is_some() { point.units_offset } else { point.logics_offset }
    }

    /// Why queues and index cannot be gone on with; `None` if they can.
    fn reason_to_begin_anew(&self) -> Result<Option<&'static str>, StoreError> {
        if self.log_end == 0 {
            return Ok(None);
        }
        let Some(point) = self.checkpoint else { return Ok(Some("there is no checkpoint")) };
        let (complete_to, index_folder) = (self.complete_to(), self.index_folder());
        let index_files = Index::names(&*self.disk, &index_folder).context("cannot list", &index_folder)?.len() as i64;
        Ok(if self.missing.has_come_back(&self.log) {
            Some("a file of the commit log that was missing is there again")
        } else if !(0..=self.log_end).contains(&point.logics_offset) || complete_to > self.log_end {
            Some("the checkpoint is damaged")
        } else if self.queues.folders() < point.queues {
            Some("folders of queues are missing")
        } else if self.options.index && index_files < point.index_files {
            Some("files of the index are missing")
        } else if complete_to > 0 && self.left != Left::ByAnother && !self.mend(complete_to)? {
            Some("files of many queues are missing")
        } else {
            None
        })
    }

    /// Makes single files of queues anew that are missing. Says no when there are too many.
    fn mend(&self, to: i64) -> Result<bool, StoreError> {
        self.queues.mend(self.log.min_offset(), to).context("cannot make files anew in", &self.queue_folder())
    }

    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        tracing::warn!(reason, "all queues and the index are made anew from the commit log");
        self.kept = None;
        self.queues.forget_parked();
        // First of all: a crash before the end shall begin here again.
        if self.checkpoint.take().is_some() {
            let path = self.root.join("checkpoint");
            self.disk.remove(&path).context("cannot remove", &path)?;
            self.disk.sync_folder(&self.root).context("cannot flush", &self.root)?;
        }
        // What is before the beginning of the log still tells where its queue goes on.
        self.wipe_after(self.log.min_offset())?;
        self.disk.remove_folder(&self.index_folder()).context("cannot remove", &self.index_folder())
    }

    fn open_index(&self, complete_to: i64) -> Result<Option<Arc<Index>>, StoreError> {
        if !self.options.index {
            return Ok(None);
        }
        let left = match self.left {
            Left::Closed => index::Left::Complete,
            Left::ByAnother => index::Left::Unknown,
            Left::ByUs => index::Left::CompleteTo(complete_to),
        };
        let (slots, entries) = (self.options.index_slots, self.options.index_entries);
        let index = Index::open(Arc::clone(&self.disk), self.index_folder(), slots, entries, left);
        Ok(Some(Arc::new(index.context("cannot open", &self.index_folder())?)))
    }

    fn open_compaction(&self) -> Result<Option<Compaction>, StoreError> {
        let Some(options) = self.options.compaction else { return Ok(None) };
        let opened = Compaction::open(Arc::clone(&self.disk), &self.root, options, self.left != Left::Closed);
        opened.map(Some).context("cannot open the compacted logs in", &self.root.join("compaction"))
    }

    /// No offset is given again that a compacted log has a message of: where a queue ended may be lost with its files
    /// and the log's.
    fn go_on_behind(&self, compaction: &Compaction) -> Result<(), StoreError> {
        for compacted in compaction.all().iter().filter(|compacted| compacted.end() > 0) {
            let queue = self.queues.get_or_create(&compacted.topic, compacted.id, Kind::Simple);
            let queue = queue.context("cannot open a queue in", &self.queue_folder())?;
            queue.next.fetch_max(compacted.end(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Does again what queues and index may lack. Returns from where on, and the end of the log.
    fn recover(
        &mut self,
        point: &Checkpoint,
        dispatched_to: i64,
        dispatcher: &Dispatcher,
    ) -> Result<(i64, i64), StoreError> {
        let (log, queues) = (Arc::clone(&self.log), Arc::clone(&self.queues));
        let begin = log.min_offset();
        let recovery = Recovery {
            log: &log,
            queues: &queues,
            dispatcher,
            tagger: &self.tagger.clone(),
            deleted: &Arc::clone(&self.deleted),
            checks: Checks { sums: self.options.check_crc_on_recover, whole_sum: self.options.require_sums },
            durable_to: self.marked.max(point.complete_to()),
            clean: self.left == Left::Closed,
        };
        // What lay before the log's beginning is in no log to be dispatched again, and still tells where
        // its queue goes on.
        let mut dispatched_to = dispatched_to.max(begin);
        if self.left == Left::ByAnother {
            // Another broker's queues may lack records from before the checkpoint, and know of some
            // that the log lost. It goes back to the beginning of a log file; so does this.
            dispatched_to = log.segment(dispatched_to).map_or(dispatched_to, |segment| segment.base);
            let end = recovery.end(dispatched_to)?;
            self.wipe_after(end)?;
            queues.set_log(begin, end);
        } else {
            queues.set_log(begin, dispatched_to);
        }
        dispatcher.set_end(dispatched_to.max(begin));
        let mut end = recovery.run(dispatched_to)?;
        if end < dispatched_to {
            tracing::error!(
                end,
                expected = dispatched_to,
                "the commit log is shorter than it was, and messages are lost: look for what removed or cut its files"
            );
            self.wipe_after(end)?;
            queues.set_log(begin, end);
            dispatcher.set_end(end);
            if self.kept.take().is_some() {
                queues.forget_parked();
                dispatched_to = point.logics_offset.max(begin);
                if dispatched_to < end {
                    dispatcher.set_end(dispatched_to);
                    end = recovery.run(dispatched_to)?;
                }
            }
        }
        Ok((dispatched_to, end))
    }

    fn wipe_after(&self, end: i64) -> Result<(), StoreError> {
        self.queues.wipe_after(end).context("cannot write", &self.queue_folder())
    }

    /// From now on, until it is closed, the store is one in the midst of work.
    fn mark_as_open(&self) -> Result<(), StoreError> {
        let abort = self.root.join("abort");
        let marker = self.disk.open(&abort, true).context("cannot create", &abort)?;
        let content = [OURS, b" ", std::process::id().to_string().as_bytes()].concat();
        // Never empty in between: that would be another broker's, and for want of room it might stay so.
        let written = marker.write_at(&mut [IoSlice::new(&content)], 0);
        if written.is_err() && self.left == Left::Closed {
            let _ = self.disk.remove(&abort);
        }
        let written = written.and_then(|()| marker.set_len(content.len() as u64));
        let durable = written.and_then(|()| marker.sync()).and_then(|()| self.disk.sync_folder(&self.root));
        durable.context("cannot write", &abort)
    }

    fn queue_folder(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    fn index_folder(&self) -> PathBuf {
        self.root.join("index")
    }

    fn units_folder(&self) -> PathBuf {
        self.root.join("units")
    }
}

/// Removes the log and all that was made of it, if it begins at or behind the place where it is to be cut.
fn empty_if_before(disk: &dyn Disk, root: &Path, log_folder: &Path, to: i64) -> Result<(), StoreError> {
    disk.create_folder(log_folder).context("cannot create", log_folder)?;
    let names = disk.list(log_folder).context("cannot list", log_folder)?;
    let begins = names.iter().filter_map(|name| log::offset_of(name)).min();
    if begins.is_none_or(|begins| begins < to) {
        return Ok(());
    }
    tracing::warn!(log = %log_folder.display(), "the store is emptied: its commit log is not the one that the other replicas have");
    // First what tells of the rest, so that a crash in between leaves nothing that is taken for whole.
    let mut files = vec![root.join("checkpoint"), root.join("flushed"), root.join("missing"), root.join("deleted")];
    files.extend(names.iter().filter(|name| log::offset_of(name).is_some()).map(|name| log_folder.join(name)));
    for file in files.iter().filter(|file| disk.exists(file)) {
        disk.remove(file).context("cannot remove", file)?;
    }
    for folder in ["units", "consumequeue", "batchconsumequeue", "index"].map(|name| root.join(name)) {
        disk.remove_folder(&folder).context("cannot remove", &folder)?;
    }
    disk.sync_folder(log_folder).context("cannot flush", log_folder)?;
    disk.sync_folder(root).context("cannot flush", root)
}
