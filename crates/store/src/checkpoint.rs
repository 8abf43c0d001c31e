//! The checkpoint file: how far queues and index are durable (upstream `StoreCheckpoint`).

use std::io::{self, IoSlice};
use std::path::Path;

use apogee_base::disk::Disk;

/// Bytes of the file; all after the fields is zero.
const FILE_SIZE: u64 = 4096;
const FIELDS: usize = 6;

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
    /// End of the last record whose queue unit is durable. 0 in files of older versions.
    pub logics_offset: i64,
}

impl Checkpoint {
    /// Reads the file; all zero when there is none.
    pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        if !disk.exists(path) {
            return Ok(Self::default());
        }
        let mut bytes = [0; FIELDS * 8];
        disk.open(path, false)?.read_at(&mut bytes, 0)?;
        let field = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            i64::from_be_bytes(field)
        };
        Ok(Self {
            physic_timestamp: field(0),
            logics_timestamp: field(1),
            index_timestamp: field(2),
            master_flushed_offset: field(3),
            confirm_offset: field(4),
            logics_offset: field(5),
        })
    }

    /// Writes the file and makes it durable. The fields share a sector: they are all old or all new.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let fields = [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed_offset,
            self.confirm_offset,
            self.logics_offset,
        ];
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        let new = !disk.exists(path);
        let file = disk.open(path, true)?;
        if new {
            file.set_len(FILE_SIZE)?;
        }
        file.write_at(&mut [IoSlice::new(&bytes)], 0)?;
        file.sync()?;
        if new {
            disk.sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }
}
