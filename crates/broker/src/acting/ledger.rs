//! What a slave delivered in its master's place, in a file of its own: its log is a copy, and nothing is written there.
//!
//! Each entry is 20 bytes: place in the log (8) and time of storing (8) of the message that waited, and a CRC of both
//! (4), big-endian. The file is only added to, until the master has taken it all: then it is empty again.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::disk::{self, Disk, DiskFile};
use apogee_message::crc31;
use bytes::{Buf, BufMut};

/// Entries that are held at most: each costs some memory, here and at the master that takes them over.
pub(super) const MOST: usize = 1 << 20;
/// Bytes of an entry in the file.
const SIZE: usize = Delivered::SIZE + 4;
/// The file's name.
const FILE: &str = "deliveredForMaster";

/// A message that waited in the log, and was delivered to another broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Where its record is in the log.
    pub offset: i64,
    /// When it was stored, in milliseconds since 1970: tells whether a log has the same message there.
    pub stored_ms: i64,
}

impl Delivered {
    /// Bytes of one on the wire.
    pub const SIZE: usize = 16;

    /// Puts them behind each other.
    pub fn encode(all: &[Self]) -> Vec<u8> {
        let mut out = Vec::with_capacity(all.len() * Self::SIZE);
        all.iter().for_each(|one| one.put(&mut out));
        out
    }

    /// Reads what [`Delivered::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        let parts = bytes.chunks_exact(Self::SIZE);
        parts.remainder().is_empty().then(|| parts.map(Self::get).collect())
    }

    fn put(self, out: &mut Vec<u8>) {
        out.put_i64(self.offset);
        out.put_i64(self.stored_ms);
    }

    /// Of so many bytes as one has.
    fn get(mut bytes: &[u8]) -> Self {
        Self { offset: bytes.get_i64(), stored_ms: bytes.get_i64() }
    }
}

/// See the module.
pub(crate) struct Ledger {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Held by the one who writes; none before the first entry.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<Delivered>,
    /// Their places in the log.
    known: HashSet<i64>,
    /// So many of the first are on disk,
    written: usize,
    /// and so many the master knows:
    told: usize,
    /// it noted them in its log before this place.
    noted_to: i64,
}

impl Ledger {
    /// Reads the file in a folder, up to the first entry that is not whole: what comes behind it is delivered once more.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let mut state = State::default();
        let mut file = None;
        if disk.exists(&path) {
            let bytes = disk::read(&*disk, &path)?;
            state.entries = bytes.chunks_exact(SIZE).map_while(whole).collect();
            state.known = state.entries.iter().map(|entry| entry.offset).collect();
            state.written = state.entries.len();
            if state.written * SIZE < bytes.len() {
                tracing::warn!(
                    file = %path.display(),
                    bytes = bytes.len() - state.written * SIZE,
                    "the end of what this slave delivered for its master cannot be read: those messages come twice"
                );
            }
            file = Some(disk.open(&path, false)?);
        }
        Ok(Self { disk, path, file: Mutex::new(file), state: Mutex::new(state) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether the message at a place in the log is one of them.
    pub fn contains(&self, offset: i64) -> bool {
        self.lock().known.contains(&offset)
    }

    /// Adds some, durably. Those that cannot be written are known until the process ends, and written with the next.
    pub fn add(&self, delivered: &[Delivered]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (written, bytes) = {
            let mut state = self.lock();
            for one in delivered {
                if state.known.insert(one.offset) {
                    state.entries.push(*one);
                }
            }
            (state.written, encode(&state.entries[state.written..]))
        };
        if file.is_none() {
            *file = Some(disk::create(&*self.disk, &self.path)?);
            if let Some(folder) = self.path.parent() {
                self.disk.sync_folder(folder)?;
            }
        }
        if let Some(file) = &*file {
            file.write_at(&mut [IoSlice::new(&bytes)], (written * SIZE) as u64)?;
            file.sync()?;
        }
        self.lock().written = written + bytes.len() / SIZE;
        Ok(())
    }

    /// Some that the master was not told of yet, the oldest first.
    pub fn untold(&self, most: usize) -> Vec<Delivered> {
        let state = self.lock();
        state.entries[state.told..].iter().take(most).copied().collect()
    }

    /// The master knows so many more, and has noted them in its log before `noted_to`.
    pub fn told(&self, count: usize, noted_to: i64) {
        let mut state = self.lock();
        state.told = (state.told + count).min(state.entries.len());
        state.noted_to = noted_to;
    }

    /// Whether the log up to `log_end` tells all that is here.
    pub fn is_covered(&self, log_end: i64) -> bool {
        let state = self.lock();
        !state.entries.is_empty() && state.told == state.entries.len() && state.noted_to <= log_end
    }

    /// Empties it, once the log up to `log_end` tells all that is here.
    pub fn forget_covered(&self, log_end: i64) -> io::Result<()> {
        // Nothing is added meanwhile.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_covered(log_end) {
            return Ok(());
        }
        if let Some(file) = &*file {
            file.set_len(0)?;
            file.sync()?;
        }
        *self.lock() = State::default();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(entries: &[Delivered]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * SIZE);
    for entry in entries {
        let begin = out.len();
        entry.put(&mut out);
        let crc = crc31(&out[begin..]);
        out.put_u32(crc);
    }
    out
}

/// The entry in so many bytes as one has in the file, unless it is damaged.
fn whole(bytes: &[u8]) -> Option<Delivered> {
    let (entry, mut crc) = bytes.split_at(Delivered::SIZE);
    (crc31(entry) == crc.get_u32()).then(|| Delivered::get(entry))
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    fn entry(offset: i64) -> Delivered {
        Delivered { offset, stored_ms: offset + 1_000 }
    }

    fn open(disk: &SimDisk) -> Ledger {
        disk.create_folder(Path::new("/c")).unwrap();
        Ledger::open(Arc::new(disk.clone()), Path::new("/c")).unwrap()
    }

    #[test]
    fn what_was_delivered_outlives_a_power_cut_until_the_log_tells_it() {
        let disk = SimDisk::new(1);
        let ledger = open(&disk);
        ledger.add(&[entry(7), entry(9)]).unwrap();
        ledger.add(&[entry(9), entry(3)]).unwrap();
        disk.crash();
        let ledger = open(&disk);
        assert_eq!(ledger.untold(10), [entry(7), entry(9), entry(3)]);
        assert!(ledger.contains(9) && !ledger.contains(8));
        ledger.told(2, 500);
        assert_eq!(ledger.untold(10), [entry(3)]);
        ledger.forget_covered(1_000).unwrap();
        assert_eq!(ledger.len(), 3, "the master does not know all");
        ledger.told(1, 600);
        ledger.forget_covered(599).unwrap();
        assert_eq!(ledger.len(), 3, "the log here does not have what the master noted");
        ledger.forget_covered(600).unwrap();
        assert_eq!((ledger.len(), ledger.contains(9)), (0, false));
        ledger.add(&[entry(11)]).unwrap();
        disk.crash();
        assert_eq!(open(&disk).untold(10), [entry(11)]);
    }

    #[test]
    fn a_damaged_end_is_left_out_and_written_over() {
        let disk = SimDisk::new(1);
        open(&disk).add(&[entry(7), entry(9)]).unwrap();
        let file = disk.open(&Path::new("/c").join(FILE), false).unwrap();
        file.set_len(2 * SIZE as u64 - 1).unwrap();
        file.sync().unwrap();
        let ledger = open(&disk);
        assert_eq!(ledger.untold(10), [entry(7)]);
        ledger.add(&[entry(5)]).unwrap();
        assert_eq!(open(&disk).untold(10), [entry(7), entry(5)]);
    }

    #[test]
    fn what_is_told_is_understood_and_nonsense_refused() {
        let all = [entry(1), entry(i64::MAX - 5_000)];
        assert_eq!(Delivered::decode(&Delivered::encode(&all)).as_deref(), Some(&all[..]));
        assert_eq!(Delivered::decode(&[0; 17]), None);
    }
}
