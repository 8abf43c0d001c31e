//! A small file that survives a crash whole: the old content or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Disk};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path} {what}: {source}")]
pub struct FileError {
    path: String,
    what: &'static str,
    source: io::Error,
}

/// A file that is read and replaced as a whole.
#[derive(Clone)]
pub(crate) struct KeptFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl KeptFile {
    pub fn new(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Self {
        Self { disk, path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content, `None` if there is no file.
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        disk::read_replaced(&*self.disk, &self.path).map_err(self.error("cannot be read"))
    }

    /// The content before the last replacement.
    pub fn read_backup(&self) -> Result<Option<Vec<u8>>, FileError> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".bak");
        let backup = Path::new(&name);
        let read = self.disk.exists(backup).then(|| disk::read(&*self.disk, backup));
        read.transpose().map_err(self.error("has a backup that cannot be read"))
    }

    /// Replaces the content; the content before goes to the same name with `.bak` added.
    pub fn replace(&self, content: &str) -> Result<(), FileError> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            self.disk.create_folder(folder).map_err(self.error("lacks a folder that cannot be created"))?;
        }
        disk::replace(&*self.disk, &self.path, content.as_bytes()).map_err(self.error("cannot be written"))
    }

    fn error(&self, what: &'static str) -> impl FnOnce(io::Error) -> FileError {
        let path = self.path.display().to_string();
        move |source| FileError { path, what, source }
    }
}
