//! What happens at start: find the end of the log, and dispatch again what queues and index may
//! lack.

use apogee_message::record::{MAGIC_BLANK, Record};
use bytes::{Buf, Bytes};

use crate::dispatch::{Dispatch, Dispatcher, Tagger};
use crate::error::{Context, StoreError};
use crate::log::{Log, Segment};
use crate::queue::QueueTable;

/// What is done with each record found.
type Each<'e> = dyn FnMut(&Record<'_>, &Bytes) -> Result<(), StoreError> + 'e;

/// How the log was left.
pub(crate) struct Recovery<'s> {
    pub log: &'s Log,
    pub queues: &'s QueueTable,
    pub dispatcher: &'s Dispatcher,
    pub tagger: &'s Tagger,
    pub check_crc: bool,
}

impl Recovery<'_> {
    /// The end of the log: the first place from `dispatched_to` on where no whole record stands.
    pub fn end(&self, dispatched_to: i64) -> Result<i64, StoreError> {
        self.scan(dispatched_to, &mut |_, _| Ok(()))
    }

    /// Dispatches the records from `dispatched_to` on, before which queues and index are complete,
    /// and cuts what is not whole. Returns the end of the log.
    pub fn run(&self, dispatched_to: i64) -> Result<i64, StoreError> {
        // What a killed process wrote may be in the system's memory only.
        for segment in self.log.all_segments() {
            if segment.base + self.log.segment_size as i64 > dispatched_to {
                segment.file.sync().context("cannot flush the files of", self.log.folder())?;
            }
        }
        let mut records = 0_u64;
        let end = self.scan(dispatched_to, &mut |record, bytes| {
            records += 1;
            self.log.publish(record.physical_offset + i64::from(record.size));
            let dispatch = Dispatch::of_record(record, bytes, self.queues, self.tagger);
            self.dispatcher.dispatch(&dispatch.context("cannot read the queues of the log in", self.log.folder())?);
            Ok(())
        })?;
        self.cut(end)?;
        self.log.set_end(end);
        if records > 0 {
            tracing::info!(records, from = dispatched_to, to = end, "records were put into their queues again");
        }
        Ok(end)
    }

    fn scan(&self, dispatched_to: i64, each: &mut Each<'_>) -> Result<i64, StoreError> {
        let start = self.start(dispatched_to);
        let mut end = start;
        'segments: for segment in self.log.all_segments() {
            let segment_end = segment.base + self.log.segment_size as i64;
            if segment_end <= start {
                continue;
            }
            end = start.max(segment.base);
            loop {
                match self.next(&segment, end, segment_end) {
                    Next::Record(bytes) => {
                        let record = Record::read(&bytes).map_err(|error| StoreError::Damaged {
                            path: self.log.folder().to_owned(),
                            reason: error.to_string(),
                        })?;
                        end += i64::from(record.size);
                        if record.physical_offset >= dispatched_to {
                            each(&record, &bytes)?;
                        }
                    }
                    Next::Segment => {
                        end = segment_end;
                        break;
                    }
                    Next::End => break 'segments,
                }
            }
        }
        Ok(end)
    }

    /// Where to scan from: the place itself if a record, or the log's end, can stand there, else the
    /// beginning of its segment.
    fn start(&self, dispatched_to: i64) -> i64 {
        let start = dispatched_to.max(self.log.min_offset());
        let Some(segment) = self.log.segment(start) else {
            // Past the last segment: its beginning is as far back as one has to look.
            return self.log.all_segments().last().map_or(start, |last| last.base);
        };
        match self.next(&segment, start, segment.base + self.log.segment_size as i64) {
            Next::Record(_) | Next::Segment => start,
            Next::End if self.is_zero(start) => start,
            Next::End => segment.base,
        }
    }

    /// What stands at a place of a segment.
    fn next(&self, segment: &Segment, at: i64, segment_end: i64) -> Next {
        let bytes = |length: usize| segment.file.slice((at - segment.base) as u64, length).ok();
        let Some(mut head) = (at + 8 <= segment_end).then(|| bytes(8)).flatten() else { return Next::End };
        let (size, magic) = (head.get_u32(), head.get_u32());
        if magic == MAGIC_BLANK && at + i64::from(size) == segment_end {
            return Next::Segment;
        }
        if size == 0 || at + i64::from(size) > segment_end {
            return Next::End;
        }
        let Some(bytes) = bytes(size as usize) else { return Next::End };
        match Record::read(&bytes) {
            Ok(record) if record.physical_offset == at && (!self.check_crc || record.body_is_intact()) => {}
            Ok(record) if record.physical_offset == at => {
                tracing::error!(
                    offset = at,
                    topic = record.topic,
                    "a record's body is not what was stored; the log ends before it"
                );
                return Next::End;
            }
            _ => return Next::End,
        }
        Next::Record(bytes)
    }

    fn is_zero(&self, at: i64) -> bool {
        self.log.slice_unpublished(at, 8).is_none_or(|head| head.iter().all(|&byte| byte == 0))
    }

    /// Zeros what stands after the end, so that no later recovery takes remains of a torn write for
    /// records, and removes the segments behind.
    fn cut(&self, end: i64) -> Result<(), StoreError> {
        let Some(segment) = self.log.segment(end) else { return Ok(()) };
        if end == segment.base && segment.base > self.log.min_offset() {
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

enum Next {
    Record(Bytes),
    /// The rest of the segment is unused.
    Segment,
    End,
}
