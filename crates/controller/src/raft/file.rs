//! The one file that a controller keeps, a `redb` database on the seam for disks.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{Disk, DiskFile, Lock};
use openraft::{AnyError, ErrorSubject, ErrorVerb, StorageError, StorageIOError};
use redb::{ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::peers::PeerId;

/// Its name in `controllerStorePath`.
const FILE: &str = "controller.redb";
/// Held by the process that has the folder.
const LOCK: &str = "controller.lock";

/// Entries of the log, by index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Everything else, by name.
pub(super) const REST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rest");

/// Why the file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("{folder} cannot be used: {source}")]
    Folder { folder: String, source: io::Error },
    #[error("{0} is in use by another controller: give each a controllerStorePath of its own")]
    InUse(String),
    #[error(
        "{file} cannot be opened: {reason}; put back a copy, or remove it to take the state from the other controllers"
    )]
    File { file: String, reason: String },
}

/// The open file.
pub struct Database {
    pub(super) file: redb::Database,
    _lock: Box<dyn Lock>,
}

impl Database {
    /// Opens the file in a folder, both created when they are not there.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { folder: folder.display().to_string(), source };
        disk.create_folder(folder).map_err(failed)?;
        let lock = disk.lock(&folder.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(folder.display().to_string()),
            _ => failed(error),
        })?;
        let path = folder.join(FILE);
        let on_disk = disk.open(&path, true).map_err(failed)?;
        disk.sync_folder(folder).map_err(failed)?;
        let broken = |reason: String| OpenError::File { file: path.display().to_string(), reason };
        let file =
            redb::Builder::new().create_with_backend(OnDisk(on_disk)).map_err(|error| broken(error.to_string()))?;
        let database = Self { file, _lock: lock };
        // Later reads find all tables.
        database
            .write(|transaction| {
                transaction.open_table(LOG)?;
                transaction.open_table(REST)?;
                Ok(())
            })
            .map_err(|error| broken(error.to_string()))?;
        Ok(database)
    }

    /// Does what `change` does, durably and as a whole.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let transaction = self.file.begin_write()?;
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// What has a name in the table of the rest.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AnyError> {
        let table = self.file.begin_read().map_err(any)?.open_table(REST).map_err(any)?;
        let found = table.get(name).map_err(any)?;
        found.map(|bytes| serde_json::from_slice(bytes.value()).map_err(any)).transpose()
    }
}

fn any(error: impl std::error::Error + 'static) -> AnyError {
    AnyError::new(&error)
}

/// As the database holds it.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, AnyError> {
    serde_json::to_vec(value).map_err(any)
}

/// What Raft is told when the file fails: it stops then.
pub(super) fn failed(verb: ErrorVerb, error: impl Into<AnyError>) -> StorageError<PeerId> {
    StorageError::IO { source: StorageIOError::new(ErrorSubject::Store, verb, error) }
}

/// Writes on a thread that may wait.
pub(super) async fn write(
    database: &Arc<Database>,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static,
) -> Result<(), StorageError<PeerId>> {
    let database = Arc::clone(database);
    let written = tokio::task::spawn_blocking(move || database.write(change)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(%error, "the controller's state cannot be written: it stops; see to the disk and restart it");
            Err(failed(ErrorVerb::Write, any(error)))
        }
        Err(error) => Err(failed(ErrorVerb::Write, any(error))),
    }
}

struct OnDisk(Arc<dyn DiskFile>);

impl fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDisk")
    }
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.0.read_at(out, offset)?;
        if read == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(&mut [IoSlice::new(data)], offset)
    }
}
