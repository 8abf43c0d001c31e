//! What happens at start: find the end of the log, and dispatch again what queues and index may
//! lack.
//!
//! The log is known to be durable up to the mark of the last flush and to the last checkpoint. Before
//! that place what is not whole is damage: it is told, passed over, and everything behind it stays.
//! After that place, if the store was not closed, the log ends before the first thing that is not
//! whole: a torn write, that nobody was told of.

use std::io::{self, IoSlice};

use apogee_message::record::Record;
use bytes::Bytes;

use crate::deleted::Deleted;
use crate::dispatch::{Dispatch, Dispatcher, Tagger, has_queue};
use crate::error::{Context, StoreError};
use crate::log::{Log, file_name};
use crate::queue::{QueueTable, Unit};
use crate::scan::{Checks, Damaged, Found, Scan};

/// What is done with each record found.
type Each<'e> = dyn FnMut(&Record<'_>, &Bytes) -> Result<(), StoreError> + 'e;

/// Units that come into memory and are written before recovery goes on.
const MOST_UNITS_IN_MEMORY: usize = 1 << 20;
/// Damaged parts of the log that are told one by one.
const MOST_TOLD: usize = 10_000;

/// Most bytes of the log's end that are written again: twice what may wait for a flush by default.
const MOST_AGAIN: i64 = 256 << 20;
/// Bytes that are written again at a time.
const AGAIN_AT_A_TIME: usize = 1 << 20;

/// How the log was left.
pub(crate) struct Recovery<'s> {
    pub log: &'s Log,
    pub queues: &'s QueueTable,
    pub dispatcher: &'s Dispatcher,
    pub tagger: &'s Tagger,
    pub deleted: &'s Deleted,
    pub checks: Checks,
    /// The log is known to have been durable up to here.
    pub durable_to: i64,
    /// The store was closed: all of the log was durable.
    pub clean: bool,
}

impl Recovery<'_> {
    /// The end of the log: the first place from `dispatched_to` on where no whole record stands.
    pub fn end(&self, dispatched_to: i64) -> Result<i64, StoreError> {
        self.scan(dispatched_to, &mut |_, _| Ok(())).map(|(end, _)| end)
    }

    /// Dispatches the records from `dispatched_to` on, before which queues and index are complete,
    /// and cuts what is not whole. Returns the end of the log.
    pub fn run(&self, dispatched_to: i64) -> Result<i64, StoreError> {
        // What a killed process wrote may be in the system's memory only, the names of its files, too.
        self.log.sync_names().context("cannot flush the folder", self.log.folder())?;
        self.write_again().context("cannot write the end of the log again in", self.log.folder())?;
        for segment in self.log.all_segments() {
            if segment.base + self.log.segment_size as i64 > dispatched_to {
                segment.file.sync().context("cannot flush the files of", self.log.folder())?;
            }
        }
        let mut records = 0_u64;
        let most_units = self.queues.units_in_memory() + MOST_UNITS_IN_MEMORY;
        let (end, damaged) = self.scan(dispatched_to, &mut |record, _| {
            records += 1;
            self.log.publish(record.physical_offset + i64::from(record.size));
            let dispatch = Dispatch::of_record(record, self.queues, self.tagger, self.deleted);
            self.dispatcher.dispatch(&dispatch.context("cannot read the queues of the log in", self.log.folder())?);
            if self.queues.units_in_memory() >= most_units {
                // All of the log that is there was flushed above.
                self.queues.write(i64::MAX).context("cannot write the queues of", self.log.folder())?;
            }
            Ok(())
        })?;
        for damaged in damaged.iter().filter(|damaged| damaged.at >= dispatched_to) {
            self.keep_place(damaged).context("cannot read the queues of the log in", self.log.folder())?;
        }
        self.cut(end)?;
        self.log.set_end(end);
        self.dispatcher.set_end(end.max(self.dispatcher.progress().0));
        if records > 0 {
            tracing::info!(records, from = dispatched_to, to = end, "records were put into their queues again");
        }
        Ok(end)
    }

    /// Writes what is not known to be durable in its place again, so that a sync makes it so. After a sync
    /// that failed, the system goes on to show what it could not write, and counts it as written: for a
    /// process that starts then, another sync would do nothing and report success.
    fn write_again(&self) -> io::Result<()> {
        let Some(last) = self.log.all_segments().pop().filter(|_| !self.clean) else { return Ok(()) };
        // What lies before waits for no flush any more; and at the beginning of a file a record begins.
        let least = self.log.segment(last.base - MOST_AGAIN).map_or(self.log.min_offset(), |segment| segment.base);
        let mut scan = self.from(self.durable_to.max(least));
        let from = scan.at;
        scan.by_ref().for_each(drop);
        let (mut at, to) = (from.max(scan.at - MOST_AGAIN), scan.at);
        if at >= to {
            return Ok(());
        }
        let mut buffer = vec![0; AGAIN_AT_A_TIME.min((to - at) as usize)];
        tracing::info!(from = at, to, "the end of the commit log may not be on disk: it is written again");
        while let Some(segment) = self.log.segment_from(at).filter(|segment| at.max(segment.base) < to) {
            at = at.max(segment.base);
            let end = to.min(segment.base + self.log.segment_size as i64);
            let length = buffer.len().min((end - at) as usize);
            let place = (at - segment.base) as u64;
            let read = segment.file.read_at(&mut buffer[..length], place)?;
            segment.file.write_at(&mut [IoSlice::new(&buffer[..read])], place)?;
            at += length as i64;
        }
        Ok(())
    }

    fn scan(&self, dispatched_to: i64, each: &mut Each<'_>) -> Result<(i64, Vec<Damaged>), StoreError> {
        let mut scan = self.from(0);
        scan.at = self.start(dispatched_to, &scan);
        let mut damages = Vec::new();
        for found in scan.by_ref() {
            match found {
                Found::Record(bytes) => {
                    let record = Record::read(&bytes).map_err(|error| StoreError::Damaged {
                        path: self.log.folder().to_owned(),
                        reason: error.to_string(),
                    })?;
                    if record.physical_offset >= dispatched_to {
                        each(&record, &bytes)?;
                    }
                }
                Found::Damaged(damaged) if damages.len() < MOST_TOLD => {
                    let Damaged { at, length, reason, .. } = &damaged;
                    let base = self.log.segment(*at).map_or(*at, |segment| segment.base);
                    let file = self.log.folder().join(file_name(base));
                    tracing::error!(file = %file.display(), offset = at, length, %reason, "a part of the commit log is damaged: it is passed over");
                    damages.push(damaged);
                }
                Found::Damaged(_) => {}
            }
        }
        Ok((scan.at, damages))
    }

    /// A scan of all that follows a place.
    fn from(&self, at: i64) -> Scan<'_> {
        let ends_from = if self.clean { i64::MAX } else { self.durable_to };
        Scan { log: self.log, checks: self.checks, at, to: i64::MAX, ahead: 0, known: self.durable_to, ends_from }
    }

    /// The place of a damaged message in its queue is not given again, if it was the last one; between
    /// others it is empty anyway.
    fn keep_place(&self, damaged: &Damaged) -> io::Result<()> {
        let record = damaged.legible.as_ref().and_then(|bytes| Record::read(bytes).ok());
        let Some(record) = record.filter(|record| has_queue(record.sys_flag)) else { return Ok(()) };
        // What the record says may be what is wrong with it: it makes no queue, and no hole.
        if let Some(queue) = self.queues.get(record.topic, record.queue_id)?
            && queue.range().1 == record.queue_offset
        {
            self.queues.push(&queue, record.queue_offset, Unit::BLANK, record.messages());
        }
        Ok(())
    }

    /// Where to scan from: the place itself if a record, or the log's end, can stand there, else the
    /// beginning of its segment.
    fn start(&self, dispatched_to: i64, scan: &Scan<'_>) -> i64 {
        let start = dispatched_to.max(self.log.min_offset());
        let Some(segment) = self.log.segment(start) else {
            if self.log.is_missing(start) {
                return start;
            }
            // Past the last segment: its beginning is as far back as one has to look.
            return self.log.all_segments().last().map_or(start, |last| last.base);
        };
        if scan.is_whole(&segment, start) || self.is_zero(start) { start } else { segment.base }
    }

    fn is_zero(&self, at: i64) -> bool {
        self.log.slice_unpublished(at, 8).is_none_or(|head| head.iter().all(|&byte| byte == 0))
    }

    /// Zeros what stands after the end, so that no later recovery takes remains of a torn write for
    /// records, and removes the segments behind.
    fn cut(&self, end: i64) -> Result<(), StoreError> {
        let Some(segment) = self.log.segment(end) else { return Ok(()) };
        // Behind a file that is missing an empty one stays: it tells where the log goes on.
        if end == segment.base && segment.base > self.log.min_offset() && self.log.segment(end - 1).is_some() {
            return self.log.remove_from(segment.base);
        }
        self.log.remove_from(segment.base + 1)?;
        let at = (end - segment.base) as u64;
        if !self.is_zero(end) {
            tracing::warn!(end, "what stood after the last whole record of the commit log was cut off");
        }
        let folder = self.log.folder();
        segment.file.set_len(at).context("cannot cut the last file of", folder)?;
        segment.file.set_len(self.log.segment_size).context("cannot extend the last file of", folder)?;
        segment.file.sync().context("cannot flush the last file of", folder)
    }
}
