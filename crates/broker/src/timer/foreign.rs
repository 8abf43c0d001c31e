//! What Apache's broker left: how far its own timer came with the same wheel topic.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use apogee_base::disk::{self, Disk};
use apogee_message::crc31;
use apogee_message::names::property;
use apogee_message::record::Record;
use apogee_store::Store;
use bytes::Buf;

/// Milliseconds by which Apache's broker is late: it rounds down, and delivers at the second's end.
pub(super) const PRECISION: i64 = 1000;

/// The file `timercheck` of Apache's broker; all zero when it was never here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Tells whether the file has changed.
    pub check: u32,
    /// What it had taken in was delivered when due before this time, in its milliseconds.
    pub read_time: i64,
    /// It had taken in the wheel topic's units before this offset.
    pub queue_offset: i64,
}

impl Foreign {
    /// The file's name.
    pub const FILE: &str = "timercheck";

    /// Reads `timercheck` in the folder of the configuration.
    pub fn read(disk: &dyn Disk, folder: &Path) -> io::Result<Self> {
        let path = folder.join(Self::FILE);
        if !disk.exists(&path) {
            return Ok(Self::default());
        }
        let bytes = disk::read(disk, &path)?;
        let mut fields = &bytes[..];
        let mut field = || fields.try_get_i64().unwrap_or(0);
        let (read_time, _flushed, queue_offset) = (field(), field(), field());
        Ok(Self { check: crc31(&bytes), read_time, queue_offset })
    }

    /// Whether Apache's broker has dealt with a unit: delivered it, or put a copy behind when its
    /// time was too far away for its wheel.
    pub fn is_done(&self, unit: i64, out_ms: i64, rolled_at: Option<i64>) -> bool {
        // At the border rather twice than never.
        let is_rolled = rolled_at.is_some_and(|time| time + 2 * PRECISION <= self.read_time);
        unit < self.queue_offset && (out_ms < self.read_time || is_rolled)
    }
}

/// Milliseconds by which a record may have been stored before the time that `timercheck` tells, and count as behind it.
const MARGIN: i64 = 10_000;
/// Most deliveries that are remembered; those beyond come twice.
const MOST_DELIVERIES: usize = 1 << 20;

/// What Apache's broker took out of its wheel after it wrote `timercheck`, which is seconds old when that broker is
/// killed, or when a slave asked for it. Its deliveries don't name the record that they were made of, but have its
/// unique key and its time.
#[derive(Default)]
pub(super) struct Deliveries {
    /// Where in the log the last one is, by hash of key and time.
    places: HashMap<u64, i64>,
}

impl Deliveries {
    /// Reads the log from where `timercheck` was written.
    pub fn since(store: &Store, read_time: i64) -> Self {
        let (mut places, since) = (HashMap::new(), read_time.saturating_sub(MARGIN));
        let segments = store.log_segments();
        let first = segments.iter().find(|segment| segment.newest_ms.is_none_or(|newest| newest >= since));
        for bytes in first.into_iter().flat_map(|segment| store.records(segment.begin)) {
            let Ok(record) = Record::read(&bytes) else { continue };
            if record.property(property::TIMER_DEQUEUE_MS).is_none() {
                continue;
            }
            if let Some(id) = id(&record)
                && places.len() < MOST_DELIVERIES
            {
                places.insert(hash(id), record.physical_offset);
            }
        }
        Self { places }
    }

    /// Whether a record of the wheel topic was taken out.
    pub fn contains(&self, store: &Store, waiting: &Record<'_>) -> bool {
        let Some(searched) = id(waiting) else { return false };
        let Some(place) = self.places.get(&hash(searched)).filter(|place| **place > waiting.physical_offset) else {
            return false;
        };
        let bytes = store.record_at(*place);
        bytes.is_some_and(|bytes| Record::read(&bytes).is_ok_and(|record| id(&record) == Some(searched)))
    }
}

/// What a delivery has of the record that it was made of.
fn id<'r>(record: &Record<'r>) -> Option<(&'r str, &'r str)> {
    Some((record.property(property::UNIQ_KEY)?, record.property(property::TIMER_OUT_MS)?))
}

fn hash(id: (&str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
