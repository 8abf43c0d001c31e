//! The seam for files: all file access of the cores goes through [`Disk`].
//!
//! [`RealDisk`] is the file system. [`SimDisk`] keeps files in memory, forgets at a crash what was
//! not synced, and fails on demand.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

mod map;
mod real;
mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// Folders and names.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing, creating it (empty) if `create` is set.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Names in a folder, sorted; none when there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> bool;
    /// Creates a folder and those above it.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Renames a file, replacing one that has the name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it; nothing when it isn't there.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes what was created, renamed and removed in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// How much room the file system of a folder has.
    fn space(&self, folder: &Path) -> io::Result<Space>;
    /// Takes an exclusive lock on a file, creating it; it lasts until the returned value is
    /// dropped. [`io::ErrorKind::WouldBlock`] when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// The room of a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used.
    pub used: u64,
    /// Bytes that can be written yet.
    pub free: u64,
}

impl Space {
    /// How much of it is used: 0 to 1.
    pub fn usage(self) -> f64 {
        self.used as f64 / ((self.used + self.free) as f64).max(1.0)
    }
}

/// Holds a lock until dropped.
pub trait Lock: Send + Sync {
    /// Makes everything below the lock file's folder durable: cheaper than one by one when much has
    /// changed. A write of the system's own that failed since the lock was taken is an error here,
    /// once; so who gets one must take everything since the last success for lost.
    fn sync_all(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts, or extends with zeros that take no room.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Writes all pieces one after the other from `offset` on.
    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Reads from `offset` on until the buffer is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// A part of a file that is never cut while it is in use. On a real disk this is the mapped
    /// file, not a copy. An error when the file is shorter.
    fn slice(&self, offset: u64, length: usize) -> io::Result<Bytes>;
    /// For many looks at one file: a part of it from some place up to `end`, which holds what [`Self::slice`]
    /// returns. On a real disk all before `end`, for it costs no more. Returns where the part begins, too.
    fn view(&self, offset: u64, length: usize, end: u64) -> io::Result<(u64, Bytes)> {
        let _ = end;
        Ok((offset, self.slice(offset, length)?))
    }
    /// Has a part read into memory soon. Only a hint: it does not wait, and cannot fail.
    fn prefetch(&self, offset: u64, length: u64);
    /// Whether the system may read more than is touched, as it thinks best. Only a hint; it does not at first.
    fn set_read_ahead(&self, on: bool) {
        let _ = on;
    }
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
}

impl fmt::Debug for dyn DiskFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskFile")
    }
}

/// Reads a whole file.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, false)?;
    let mut bytes = vec![0; file.length()? as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// An empty file. One that has the name is removed and not emptied: once a sync of a file has failed, a later
/// one says nothing about it.
pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    if disk.exists(path) {
        disk.remove(path)?;
    }
    disk.open(path, true)
}

/// Replaces a file as a whole, durably: after a crash there is the old content or the new. The old
/// one is kept as `<path>.bak`, as upstream keeps it.
pub fn replace(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(disk, path)?;
    replacement.write_all(content)?;
    replacement.commit()
}

/// The same for a content that is written piece by piece. Until [`Replacement::commit`] the old one is there.
pub struct Replacement<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    next: Appended,
}

impl<'d> Replacement<'d> {
    /// Begins with nothing.
    pub fn begin(disk: &'d dyn Disk, path: &Path) -> io::Result<Self> {
        Ok(Self { disk, path: path.to_owned(), next: Appended::create(disk, &beside(path, ".tmp"))? })
    }

    /// Puts what was written in the place of the old content.
    pub fn commit(self) -> io::Result<()> {
        self.next.sync()?;
        // The parent of a bare name is the empty path.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if self.disk.exists(&self.path) {
            self.disk.rename(&self.path, &beside(&self.path, ".bak"))?;
        }
        self.disk.rename(&beside(&self.path, ".tmp"), &self.path)?;
        self.disk.sync_folder(folder)
    }
}

impl Write for Replacement<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.next.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file that is written from its beginning on, each piece at once.
pub struct Appended {
    file: Arc<dyn DiskFile>,
    length: u64,
}

impl Appended {
    /// An empty one, see [`create`].
    pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        Ok(Self { file: create(disk, path)?, length: 0 })
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Write for Appended {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.file.write_at(&mut [IoSlice::new(piece)], self.length)?;
        self.length += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of the same name with something added to it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads what [`replace`] wrote, the kept old content if a crash came between its two renames.
/// `None` when there is neither.
pub fn read_replaced(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    for path in [path, &beside(path, ".bak")] {
        if disk.exists(path) {
            return read(disk, path).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
