//! A log that is a copy of another one, on a slave: bytes come as they stand there, cut anywhere.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_message::record::{HEAD_LENGTH, MAGIC_BLANK, MAGIC_V1, MAGIC_V2, Record};
use apogee_telemetry::moment;
use bytes::{Buf, Bytes};

use super::append::{AppendDone, Appended, Health, is_full};
use super::confirm::{Confirmer, Written};
use super::{Log, Segment};
use crate::deleted::Deleted;
use crate::dispatch::{Dispatch, Tagger};
use crate::error::AppendError;
use crate::queue::QueueTable;
use crate::scan::{Checks, Damaged, Found, Scan};

/// Why bytes were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The store has a log of its own.
    #[error("this store was not opened as a copy of another one")]
    NoCopy,
    /// Something would be missing, or be overwritten.
    #[error("bytes for offset {offset} of the log came, and it ends at {end}")]
    NotTheEnd {
        /// Where they belong.
        offset: i64,
        /// End of the log.
        end: i64,
    },
    /// An empty log cannot begin there.
    #[error(
        "the log cannot begin at {offset}: its files are {file_size} bytes long; set mappedFileSizeCommitLog as the master has it"
    )]
    NotABeginning {
        /// Where the bytes belong.
        offset: i64,
        /// Bytes of a file of the log.
        file_size: u64,
    },
    /// They could not be written.
    #[error(transparent)]
    Write(#[from] AppendError),
}

/// Continues a copy.
pub(crate) struct Follower {
    log: Arc<Log>,
    queues: Arc<QueueTable>,
    confirmer: Arc<Confirmer>,
    health: Arc<Health>,
    tagger: Tagger,
    deleted: Arc<Deleted>,
    nobody: Arc<dyn AppendDone>,
    /// Where the first record begins that is not whole yet. Held by the one who appends.
    taken_to: Mutex<i64>,
}

/// A record of another broker has no sender here.
struct Nobody;

impl AppendDone for Nobody {
    fn done(&self, _: u64, _: &Result<Appended, AppendError>) {}

    fn is_promise(&self) -> bool {
        false
    }
}

impl Follower {
    pub fn new(
        log: &Arc<Log>,
        queues: &Arc<QueueTable>,
        confirmer: &Arc<Confirmer>,
        health: &Arc<Health>,
        tagger: &Tagger,
        deleted: &Arc<Deleted>,
    ) -> Self {
        log.set_whole(log.written());
        Self {
            taken_to: Mutex::new(log.written()),
            log: Arc::clone(log),
            queues: Arc::clone(queues),
            confirmer: Arc::clone(confirmer),
            health: Arc::clone(health),
            tagger: tagger.clone(),
            deleted: Arc::clone(deleted),
            nobody: Arc::new(Nobody),
        }
    }

    /// Writes bytes to the log's end, and hands on the records that are whole.
    pub fn append(&self, offset: i64, bytes: &[u8], now_ms: i64) -> Result<(), CopyError> {
        if let Some(reason) = self.health.failure() {
            return Err(AppendError::Failed(reason.to_owned()).into());
        }
        let mut taken_to = self.taken_to.lock().unwrap_or_else(PoisonError::into_inner);
        if self.log.all_segments().is_empty() {
            self.begin(offset)?;
            *taken_to = offset;
        }
        let end = self.log.written();
        if offset != end {
            return Err(CopyError::NotTheEnd { offset, end });
        }
        let written = self.write(bytes);
        let records = self.take(&mut taken_to, now_ms);
        self.log.set_whole(*taken_to);
        self.confirmer.written(records.into_iter());
        Ok(written?)
    }

    fn begin(&self, offset: i64) -> Result<(), CopyError> {
        let file_size = self.log.segment_size;
        if offset < 0 || !(offset as u64).is_multiple_of(file_size) {
            return Err(CopyError::NotABeginning { offset, file_size });
        }
        self.log.add_segment(offset).map_err(|error| self.failed(&error))?;
        self.log.set_end(offset);
        self.log.set_whole(offset);
        self.queues.set_log(offset, offset);
        Ok(())
    }

    fn write(&self, mut bytes: &[u8]) -> Result<(), AppendError> {
        while !bytes.is_empty() {
            let at = self.log.written();
            let segment = self.log.segment(at).map_or_else(|| self.log.add_segment(at), Ok);
            let segment = segment.map_err(|error| self.failed(&error))?;
            let room = (segment.base + self.log.segment_size as i64 - at) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let written = segment.file.write_at(&mut [IoSlice::new(now)], (at - segment.base) as u64);
            written.map_err(|error| self.failed(&error))?;
            self.log.publish(at + now.len() as i64);
            bytes = later;
        }
        Ok(())
    }

    /// The records that are whole since the last time.
    fn take(&self, taken_to: &mut i64, now_ms: i64) -> Vec<Written> {
        let (end, moment, mut records) = (self.log.written(), moment::now(), Vec::new());
        while let Some(segment) = self.log.segment(*taken_to).filter(|_| *taken_to < end) {
            let found = match self.next(&segment, *taken_to, end) {
                Next::NotWhole => break,
                Next::Blank => {
                    *taken_to = segment.base + self.log.segment_size as i64;
                    continue;
                }
                Next::Stands => self.scan(*taken_to, end).next(),
            };
            match found {
                Some(Found::Record(bytes)) => {
                    *taken_to += bytes.len() as i64;
                    records.extend(self.written(&bytes, moment, now_ms));
                }
                // As it stands in the master's log, which passes over it, too.
                Some(Found::Damaged(Damaged { at, length, reason, .. })) if at + length <= end => {
                    tracing::error!(offset = at, length, %reason, "a part of the master's commit log came damaged: it is passed over; check the master's disk");
                    *taken_to = at + length;
                }
                _ => break,
            }
        }
        records
    }

    /// What stands at a place, as far as its first bytes tell.
    fn next(&self, segment: &Segment, at: i64, end: i64) -> Next {
        let of_file = segment.base + self.log.segment_size as i64;
        let Some(mut head) = self.log.slice(at, 8) else { return Next::NotWhole };
        let (size, magic) = (head.get_u32(), head.get_u32());
        let until = at + i64::from(size);
        match magic {
            MAGIC_BLANK if until == of_file => {
                if until <= end {
                    Next::Blank
                } else {
                    Next::NotWhole
                }
            }
            MAGIC_V1 | MAGIC_V2 if size as usize >= HEAD_LENGTH && until > end && until <= of_file => Next::NotWhole,
            _ => Next::Stands,
        }
    }

    fn scan(&self, at: i64, end: i64) -> Scan<'_> {
        let checks = Checks { sums: true, whole_sum: false };
        Scan { log: &self.log, checks, at, to: end, ahead: i64::MAX, known: end, ends_from: i64::MAX }
    }

    fn written(&self, bytes: &Bytes, moment: u64, now_ms: i64) -> Option<Written> {
        let record = Record::read(bytes).ok()?;
        let dispatch = match Dispatch::of_record(&record, &self.queues, &self.tagger, &self.deleted) {
            Ok(dispatch) => dispatch,
            Err(error) => {
                self.health.fail(format!("cannot read the queues of topic {}: {error}", record.topic));
                return None;
            }
        };
        let appended = Appended {
            physical_offset: record.physical_offset,
            size: record.size,
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            // When it came here: what waits for its flush is not as old as the message.
            store_timestamp: now_ms,
            copied: true,
        };
        Some(Written { dispatch, appended, done: Arc::clone(&self.nobody), token: 0, waits: false, moment })
    }

    fn failed(&self, error: &io::Error) -> AppendError {
        if is_full(error) {
            return AppendError::DiskFull;
        }
        self.health.fail(format!("cannot write to the commit log in {}: {error}", self.log.folder().display()));
        AppendError::Failed(self.health.failure().unwrap_or_default().to_owned())
    }
}

/// What the first bytes tell.
enum Next {
    /// A record, or what should be one.
    Stands,
    /// The rest of the file is unused.
    Blank,
    /// It goes on behind the end.
    NotWhole,
}
