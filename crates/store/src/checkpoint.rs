//! The checkpoint file: how far queues and index are durable (upstream `StoreCheckpoint`).

use std::io::{self, IoSlice};
use std::path::Path;

use apogee_base::disk::Disk;

/// Bytes of the file; all after the fields is zero.
const FILE_SIZE: u64 = 4096;
const FIELDS: usize = 6;
/// Where our copy of the fields stands, in a sector of its own, with what we know beyond them and a
/// check sum: `magic(8) fields(8 each) queues(8) index files(8) units offset(8) units
/// length(8) crc32(4)`. Upstream's broker leaves it
/// as it is, so it may be older than the fields.
const COPY_AT: u64 = 512;
const COPY_MAGIC: &[u8; 8] = b"apogee02";
const COPY_FIELDS: usize = FIELDS + 4;
const COPY_LENGTH: usize = 8 + COPY_FIELDS * 8 + 4;

/// Fields of the file, in order, each 8 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Store time of the last record flushed to the log, in milliseconds.
    pub physic_timestamp: i64,
    /// Store time of the last record whose queue unit is durable, in milliseconds.
    pub logics_timestamp: i64,
    /// Store time of the last entry of the last full index file, in milliseconds.
    pub index_timestamp: i64,
    /// For replication.
    pub master_flushed_offset: i64,
    /// For replication.
    pub confirm_offset: i64,
    /// End of the last record whose queue unit is durable in its queue's own file. 0 in files of older
    /// versions.
    pub logics_offset: i64,
    /// Folders of queues, at least. 0 when another broker wrote last.
    pub queues: i64,
    /// Files of the index, at least. 0 when another broker wrote last.
    pub index_files: i64,
    /// End of the last record whose queue unit is durable in its queue's own file or in one of kept
    /// units. 0 when another broker wrote last.
    pub units_offset: i64,
    /// Bytes of the last file of kept units.
    pub units_length: i64,
}

impl Checkpoint {
    /// Reads the file. Our copy counts where it is whole: it was true when it was written, and what it
    /// leaves out is done again. Where the fields are others, another broker wrote them, or, if the store
    /// was `left_by_us` in disorder, only one of the two reached the disk. `None` when there is no file.
    pub fn read(disk: &dyn Disk, path: &Path, left_by_us: bool) -> io::Result<Option<Self>> {
        if !disk.exists(path) {
            return Ok(None);
        }
        let file = disk.open(path, false)?;
        let (mut bytes, mut copy) = ([0; FIELDS * 8], [0; COPY_LENGTH]);
        file.read_at(&mut bytes, 0)?;
        file.read_at(&mut copy, COPY_AT)?;
        let fields = Self::of(&bytes);
        let Some(copy) = Self::of_copy(&copy) else { return Ok(Some(fields)) };
        let upstream = Self { queues: 0, index_files: 0, units_offset: 0, units_length: 0, ..copy };
        Ok(Some(if upstream == fields || left_by_us { copy } else { upstream }))
    }

    /// Everything before this place is known to queues.
    pub fn complete_to(&self) -> i64 {
        self.logics_offset.max(self.units_offset)
    }

    fn of_copy(bytes: &[u8; COPY_LENGTH]) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        let fields = content.strip_prefix(COPY_MAGIC)?;
        (*sum == crc32fast::hash(content).to_be_bytes()).then(|| Self::of(fields))
    }

    fn of(bytes: &[u8]) -> Self {
        let field = |at: usize| {
            let field = bytes.get(at * 8..at * 8 + 8).and_then(|field| field.try_into().ok());
            field.map_or(0, i64::from_be_bytes)
        };
        Self {
            physic_timestamp: field(0),
            logics_timestamp: field(1),
            index_timestamp: field(2),
            master_flushed_offset: field(3),
            confirm_offset: field(4),
            logics_offset: field(5),
            queues: field(6),
            index_files: field(7),
            units_offset: field(8),
            units_length: field(9),
        }
    }

    /// Writes the file and makes it durable. The fields share a sector, and so does the
    /// copy: each is all old or all new.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let fields = [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed_offset,
            self.confirm_offset,
            self.logics_offset,
            self.queues,
            self.index_files,
            self.units_offset,
            self.units_length,
        ];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        let copy = [COPY_MAGIC, &bytes[..]].concat();
        let sum = crc32fast::hash(&copy).to_be_bytes();
        let new = !disk.exists(path);
        let file = disk.open(path, true)?;
        if new {
            file.set_len(FILE_SIZE)?;
        }
        file.write_at(&mut [IoSlice::new(&copy), IoSlice::new(&sum)], COPY_AT)?;
        file.write_at(&mut [IoSlice::new(&bytes[..FIELDS * 8])], 0)?;
        file.sync()?;
        if new {
            disk.sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }
}
