//! Tables kept in JSON files of upstream's names and shapes (upstream `ConfigManager`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::{self, Disk};
use apogee_wire::bodies::{Body, BodyError};

/// Why a file of the broker's state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The disk refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not the JSON it should be.
    #[error("{} cannot be understood: {source}; put it right, or move it away to begin without it", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BodyError,
    },
}

/// One such file.
#[derive(Clone)]
pub struct JsonFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl JsonFile {
    /// The file at a path; its folder is there.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Reads it, or the copy of what it was before when a crash took it. `None` when there is
    /// neither.
    pub fn load<B: Body>(&self) -> Result<Option<B>, PersistError> {
        let read = disk::read_replaced(&*self.disk, &self.path);
        let error = |source| PersistError::Io { action: "read", path: self.path.clone(), source };
        let Some(text) = read.map_err(error)? else { return Ok(None) };
        B::decode(&text).map(Some).map_err(|source| PersistError::Malformed { path: self.path.clone(), source })
    }

    /// Replaces it, durably.
    pub fn save<B: Body>(&self, content: &B) -> Result<(), PersistError> {
        let error = |source| PersistError::Io { action: "write", path: self.path.clone(), source };
        disk::replace(&*self.disk, &self.path, &content.encode_pretty()).map_err(error)
    }
}
