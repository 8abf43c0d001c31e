//! The file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::fs::{Advice, FlockOperation, fadvise, fcntl_lock, flock, statvfs, syncfs};

use super::map::Map;
use super::{Disk, DiskFile, Lock, Space};

/// Pieces that one system call takes (IOV_MAX).
const MOST_PIECES: usize = 1024;

/// The file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Arc::new(RealFile { file, map: OnceLock::new(), read_ahead: AtomicBool::new(false) }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok()).transpose();
        let mut names = entries.filter_map(name).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let figures = statvfs(folder)?;
        // As `df` has it: what only the superuser may use doesn't count as room.
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Space { used: bytes(figures.f_blocks - figures.f_bfree), free: bytes(figures.f_bavail) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // The first keeps out another of us, the second a Java process: the two kinds don't see
        // each other.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::ACCESS => io::ErrorKind::WouldBlock.into(),
            other => io::Error::from(other),
        })?;
        Ok(Box::new(RealLock { file }))
    }
}

struct RealLock {
    file: File,
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing it would do, were it not for a child process that is being started at this moment: it has the file, too,
        // and the lock with it, until it runs its program. Nothing can be done where this fails.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock for RealLock {
    fn sync_all(&self) -> io::Result<()> {
        // The whole file system, in one call. It reports failures since the file was opened: one
        // opened just for this could miss what failed before.
        Ok(syncfs(&self.file)?)
    }
}

struct RealFile {
    file: File,
    map: OnceLock<Map>,
    /// What the map, once there is one, was told last.
    read_ahead: AtomicBool,
}

impl RealFile {
    fn mapped(&self) -> io::Result<&Bytes> {
        if let Some(map) = self.map.get() {
            return Ok(&map.bytes);
        }
        // Two threads may map at the same time; one mapping is kept.
        let map = Map::of(&self.file)?;
        let map = self.map.get_or_init(|| map);
        if self.read_ahead.load(Ordering::Relaxed) {
            map.set_read_ahead(true);
        }
        Ok(&map.bytes)
    }
}

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut rest = pieces;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let call = &rest[..rest.len().min(MOST_PIECES)];
            let written = match rustix::io::pwritev(self.file.as_fd(), call, offset) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                written => written?,
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn slice(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let map = self.mapped()?;
        let end = (offset as usize).checked_add(length).filter(|end| *end <= map.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(map.slice(offset as usize..end))
    }

    fn view(&self, offset: u64, length: usize, end: u64) -> io::Result<(u64, Bytes)> {
        let least = offset.checked_add(length as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((0, self.slice(0, usize::try_from(least.max(end)).map_err(|_| io::ErrorKind::UnexpectedEof)?)?))
    }

    fn prefetch(&self, offset: u64, length: u64) {
        // A file system that cannot do it reads when the bytes are touched.
        let _ = fadvise(&self.file, offset, NonZeroU64::new(length), Advice::WillNeed);
    }

    fn set_read_ahead(&self, on: bool) {
        // Who maps it at this very moment may miss it: it is a hint.
        self.read_ahead.store(on, Ordering::Relaxed);
        if let Some(map) = self.map.get() {
            map.set_read_ahead(on);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
