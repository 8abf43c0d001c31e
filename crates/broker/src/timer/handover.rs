//! What Apache's broker needs to go on where this one stops: its timer log, with all that waits, and
//! its checkpoint. It makes its wheel anew from the log (upstream `TimerMessageStore.recover`).

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{self, Disk, DiskFile};
use apogee_message::crc31;
use apogee_message::tag::java_hash;
use bytes::BufMut;

use super::foreign::{Foreign, PRECISION};

/// Bytes of a file of the timer log (upstream `mappedFileSizeTimerLog`).
const FILE: u64 = 100 << 20;
/// Bytes of a unit.
const UNIT: usize = 52;
/// Bytes that stay free at the end of a file, at least.
const BLANK: u64 = 16;
const BLANK_MAGIC: i32 = 0xCBD4_3194_u32 as i32;
/// No unit of the same second before this one.
const NONE: i64 = -1;
/// Seconds whose units may be mixed.
const SECONDS: usize = 4;
/// Bytes of units written at a time.
const WRITE: usize = 1 << 20;
/// Bytes of the checkpoint.
const CHECKPOINT: usize = 4096;
/// Bytes of it that are used.
const FIELDS: usize = 56;
/// So long before all that waits is the time of the unit that tells how far the wheel topic was read.
const BEFORE_MS: i64 = 3_600_000;

/// What a unit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Deliver,
    /// The message is written to the wheel topic again.
    Roll,
    /// Another message is not to be delivered.
    Delete,
}

/// A message that waits.
pub(super) struct Pending<'t> {
    pub time: i64,
    pub offset: i64,
    pub size: u32,
    pub purpose: Purpose,
    pub topic: &'t str,
}

/// Apache's checkpoint, when everything in the wheel topic before `queue_offset` is done with or in the timer log,
/// and nothing in the log is due before `read_time`.
pub(super) struct Checkpoint {
    bytes: Vec<u8>,
    pub foreign: Foreign,
}

impl Checkpoint {
    pub fn new(read_time: i64, queue_offset: i64, now_ms: i64) -> Self {
        let read_time = read_time.div_euclid(PRECISION) * PRECISION;
        let mut bytes = Vec::with_capacity(CHECKPOINT);
        bytes.put_i64(read_time);
        // The whole log is to be read.
        bytes.put_i64(0);
        bytes.put_i64(queue_offset);
        bytes.put_i64(queue_offset);
        // Data version: state, time, counter.
        bytes.put_i64(0);
        bytes.put_i64(now_ms);
        bytes.put_i64(1);
        bytes.resize(CHECKPOINT, 0);
        Self { foreign: Foreign { check: crc31(&bytes), read_time, queue_offset }, bytes }
    }

    /// What it says, without the room behind it.
    pub fn fields(&self) -> &[u8] {
        &self.bytes[..FIELDS]
    }

    /// Replaces the file in the folder of the configuration.
    pub fn save(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        disk::replace(disk, &folder.join(Foreign::FILE), &self.bytes)
    }
}

/// Writes the timer log anew, in ascending order of time but for a second.
pub(super) struct Writer<'d> {
    disk: &'d dyn Disk,
    root: &'d Path,
    file: Option<Arc<dyn DiskFile>>,
    /// What goes to the log next, and where.
    buffer: Vec<u8>,
    at: u64,
    /// Where the last unit of each second is, for the last few seconds.
    last: BTreeMap<i64, i64>,
    now_ms: i64,
}

impl<'d> Writer<'d> {
    /// Removes wheel and log of before.
    pub fn new(disk: &'d dyn Disk, root: &'d Path, now_ms: i64) -> io::Result<Self> {
        disk.remove_folder(&root.join("timerlog"))?;
        let wheel = root.join("timerwheel");
        if disk.exists(&wheel) {
            disk.remove(&wheel)?;
        }
        disk.create_folder(&root.join("timerlog"))?;
        disk.sync_folder(root)?;
        Ok(Self { disk, root, file: None, buffer: Vec::new(), at: 0, last: BTreeMap::new(), now_ms })
    }

    pub fn push(&mut self, pending: &Pending<'_>) -> io::Result<()> {
        if self.end() % FILE + UNIT as u64 + BLANK > FILE {
            let left = FILE - self.end() % FILE;
            self.buffer.put_i32(left as i32);
            self.buffer.put_i64(0);
            self.buffer.put_i32(BLANK_MAGIC);
            self.end_file()?;
            self.at = self.at.next_multiple_of(FILE);
        }
        let position = self.end() as i64;
        let second = pending.time.div_euclid(PRECISION);
        let previous = self.last.insert(second, position).unwrap_or(NONE);
        if self.last.len() > SECONDS {
            self.last.pop_first();
        }
        let magic = match pending.purpose {
            Purpose::Deliver => 1,
            Purpose::Roll => 1 | 2,
            Purpose::Delete => 1 | 4,
        };
        // What is long overdue is overdue.
        let delay = pending.time.saturating_sub(self.now_ms).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        self.buffer.put_i32(UNIT as i32);
        self.buffer.put_i64(previous);
        self.buffer.put_i32(magic);
        self.buffer.put_i64(pending.time - i64::from(delay));
        self.buffer.put_i32(delay);
        self.buffer.put_i64(pending.offset);
        self.buffer.put_u32(pending.size);
        self.buffer.put_i32(java_hash(pending.topic));
        self.buffer.put_i64(0);
        if self.buffer.len() >= WRITE { self.write() } else { Ok(()) }
    }

    /// The last unit tells how far the wheel topic was read: it names that topic's last message, at a time that is over.
    pub fn finish(mut self, offset: i64, size: u32, before: i64) -> io::Result<()> {
        self.last.clear();
        let time = before - BEFORE_MS;
        self.push(&Pending { time, offset, size, purpose: Purpose::Deliver, topic: "" })?;
        self.end_file()?;
        self.disk.sync_folder(&self.root.join("timerlog"))
    }

    /// Where the next unit goes.
    fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.write()?;
        self.file.take().map_or(Ok(()), |file| file.sync())
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let path = self.root.join("timerlog").join(format!("{:020}", self.at / FILE * FILE));
                let file = self.disk.open(&path, true)?;
                file.set_len(FILE)?;
                self.file = Some(Arc::clone(&file));
                file
            }
        };
        file.write_at(&mut [IoSlice::new(&self.buffer)], self.at % FILE)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;
    use bytes::Buf;

    use super::*;

    fn pending(time: i64, offset: i64, purpose: Purpose) -> Pending<'static> {
        Pending { time, offset, size: 9, purpose, topic: "T" }
    }

    /// The previous one's place, the magic, the time and the offset of the unit at a place.
    fn unit(disk: &SimDisk, at: u64) -> (i64, i32, i64, i64) {
        let path = Path::new("/s/timerlog").join(format!("{:020}", at / FILE * FILE));
        let mut bytes = [0; UNIT];
        disk.open(&path, false).unwrap().read_at(&mut bytes, at % FILE).unwrap();
        let mut bytes = &bytes[..];
        assert_eq!(bytes.get_i32(), UNIT as i32, "{at}");
        let (previous, magic) = (bytes.get_i64(), bytes.get_i32());
        let time = bytes.get_i64() + i64::from(bytes.get_i32());
        (previous, magic, time, bytes.get_i64())
    }

    #[test]
    fn units_of_a_second_are_a_chain_and_files_end_with_a_blank() {
        let disk = SimDisk::new(1);
        let root = Path::new("/s");
        let mut writer = Writer::new(&disk, root, 50_000).unwrap();
        let start = FILE - 3 * UNIT as u64;
        writer.at = start;
        writer.push(&pending(60_000, 1, Purpose::Deliver)).unwrap();
        writer.push(&pending(61_500, 2, Purpose::Roll)).unwrap();
        writer.push(&pending(60_999, 3, Purpose::Delete)).unwrap();
        writer.push(&pending(61_000, 4, Purpose::Deliver)).unwrap();
        writer.finish(77, 9, 60_000).unwrap();
        let place = |unit: u64| start + unit * UNIT as u64;
        assert_eq!(unit(&disk, place(0)), (NONE, 1, 60_000, 1));
        assert_eq!(unit(&disk, place(1)), (NONE, 3, 61_500, 2));
        // No room is left for the mark behind a third one.
        assert_eq!(unit(&disk, FILE), (place(0) as i64, 5, 60_999, 3));
        assert_eq!(unit(&disk, FILE + UNIT as u64), (place(1) as i64, 1, 61_000, 4));
        assert_eq!(unit(&disk, FILE + 2 * UNIT as u64), (NONE, 1, 60_000 - BEFORE_MS, 77));
        let mut blank = [0; 16];
        let first = disk.open(&root.join("timerlog").join(format!("{:020}", 0)), false).unwrap();
        first.read_at(&mut blank, place(2)).unwrap();
        assert_eq!((&blank[..4], &blank[12..]), (&52_i32.to_be_bytes()[..], &BLANK_MAGIC.to_be_bytes()[..]));
        assert_eq!(first.length().unwrap(), FILE);
    }

    #[test]
    fn the_checkpoint_is_read_as_apache_writes_it() {
        let disk = SimDisk::new(1);
        let folder = Path::new("/s/config");
        disk.create_folder(folder).unwrap();
        let checkpoint = Checkpoint::new(61_234, 7, 70_000);
        checkpoint.save(&disk, folder).unwrap();
        assert_eq!(Foreign::read(&disk, folder).unwrap(), checkpoint.foreign);
        assert_eq!((checkpoint.foreign.read_time, checkpoint.foreign.queue_offset), (61_000, 7));
    }
}
