//! The timer's state on disk, a file that is replaced as a whole.

use std::io;
use std::path::Path;

use apogee_base::disk::{self, Disk};
use apogee_message::crc31;
use apogee_wire::bodies::{Body, TimerMetricsSerializeWrapper};
use bytes::{Buf, BufMut};

use super::counts::Counts;
use super::entry::{self, Entry};
use super::queue::{QueueState, RunState};

/// The file's name in the timer's folder.
pub(super) const FILE: &str = "state";
/// First word of the file: format and version.
const MAGIC: u64 = u64::from_be_bytes(*b"apogtmr2");

/// Where the timer goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Units of the wheel topic's queue before this offset are in the queue below, or done with.
    pub scanned: i64,
    /// End in the log of the last record taken in: whatever happens to the queue, those before are not
    /// taken in twice.
    pub scanned_end: i64,
    /// Deliveries that stand in the log before this offset are known to the queue below.
    pub log_offset: i64,
    /// Units before this offset are of Apache's broker.
    pub foreign_end: i64,
    /// Checksum of the file in which Apache's broker notes its progress; another one: it has run
    /// since, and knows better.
    pub foreign_check: u32,
    /// How many messages wait, in the queue below.
    pub counts: Counts,
    pub queue: QueueState,
}

impl State {
    /// Reads the file; `None` when there is none that can be used.
    pub fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        let Some(bytes) = disk::read_replaced(disk, &path)? else { return Ok(None) };
        let state = Self::decode(&bytes);
        if state.is_none() {
            tracing::error!(file = %path.display(), "the timer's state is damaged");
        }
        Ok(state)
    }

    /// Replaces the file, durably.
    pub fn save(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        disk::replace(disk, &folder.join(FILE), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.queue.runs.len() * 24 + self.queue.entries.len() * entry::SIZE);
        out.put_u64(MAGIC);
        out.put_i64(self.scanned);
        out.put_i64(self.scanned_end);
        out.put_i64(self.log_offset);
        out.put_i64(self.foreign_end);
        out.put_u32(self.foreign_check);
        let counts = self.counts.metrics().encode();
        out.put_u64(counts.len() as u64);
        out.put_slice(&counts);
        out.put_u64(self.queue.next_id);
        out.put_u64(self.queue.runs.len() as u64);
        for run in &self.queue.runs {
            out.put_u64(run.id);
            out.put_u64(run.count);
            out.put_u64(run.position);
        }
        out.put_u64(self.queue.entries.len() as u64);
        self.queue.entries.iter().for_each(|entry| entry.put(&mut out));
        let crc = crc31(&out);
        out.put_u32(crc);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc31(rest) != crc.get_u32() || rest.try_get_u64().ok()? != MAGIC {
            return None;
        }
        let rest = &mut rest;
        let scanned = rest.try_get_i64().ok()?;
        let scanned_end = rest.try_get_i64().ok()?;
        let log_offset = rest.try_get_i64().ok()?;
        let foreign_end = rest.try_get_i64().ok()?;
        let foreign_check = rest.try_get_u32().ok()?;
        let length = usize::try_from(rest.try_get_u64().ok()?).ok()?;
        let (counts, after) = rest.split_at_checked(length)?;
        let counts = TimerMetricsSerializeWrapper::decode(counts).ok()?.into();
        *rest = after;
        let next_id = rest.try_get_u64().ok()?;
        let count = rest.try_get_u64().ok()?;
        let runs = (0..count).map(|_| run(rest)).collect::<Option<_>>()?;
        let count = rest.try_get_u64().ok()?;
        let entries = (0..count).map(|_| Entry::get(rest)).collect::<Option<_>>()?;
        let queue = QueueState { next_id, runs, entries };
        rest.is_empty().then_some(Self { scanned, scanned_end, log_offset, foreign_end, foreign_check, counts, queue })
    }
}

fn run(rest: &mut &[u8]) -> Option<RunState> {
    let (id, count) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
    Some(RunState { id, count, position: rest.try_get_u64().ok()? })
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;
    use apogee_wire::bodies::TimerMetric;

    use super::super::entry::Kind;
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_damage_is_noticed() {
        let (disk, folder) = (SimDisk::new(1), Path::new("/t"));
        disk.create_folder(folder).unwrap();
        assert_eq!(State::load(&disk, folder).unwrap(), None);
        let entry = Entry { time: -5, offset: 7, size: 9, kind: Kind::Delete };
        let queue = QueueState {
            next_id: 3,
            runs: vec![RunState { id: 1, count: 10, position: 4 }],
            entries: vec![entry, Entry { kind: Kind::Message, ..entry }],
        };
        let waiting = TimerMetric { count: -2, time_stamp: 9 };
        let counts =
            TimerMetricsSerializeWrapper { timing_count: [("T".into(), waiting)].into(), ..Default::default() };
        let counts = counts.into();
        let state =
            State { scanned: 1, scanned_end: 6, log_offset: 2, foreign_end: 3, foreign_check: 4, counts, queue };
        state.save(&disk, folder).unwrap();
        assert_eq!(State::load(&disk, folder).unwrap(), Some(state.clone()));
        let bytes = state.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(State::decode(&damaged), None, "{at}");
            assert_eq!(State::decode(&bytes[..at]), None, "{at}");
        }
    }
}
