//! A disk whose power goes at a chosen step.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use apogee_base::disk::{Disk, DiskFile, Lock, SimDisk, Space};
use bytes::Bytes;

/// See the module. What changes nothing is no step.
#[derive(Clone)]
pub struct Fragile {
    disk: SimDisk,
    left: Arc<AtomicI64>,
}

impl Fragile {
    /// Lasts for ever, until [`Fragile::set`].
    pub fn new(disk: SimDisk) -> Self {
        Self { disk, left: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    /// The power goes after so many steps.
    pub fn set(&self, steps: i64) {
        self.left.store(steps, Ordering::Relaxed);
    }

    /// Whether it has gone.
    pub fn is_gone(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    fn step(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.disk.crash();
        }
        self.look()
    }

    fn look(&self) -> io::Result<()> {
        if self.is_gone() { Err(io::Error::other("the power has gone")) } else { Ok(()) }
    }
}

impl Disk for Fragile {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        if create && !self.disk.exists(path) { self.step() } else { self.look() }?;
        Ok(Arc::new(FragileFile { file: self.disk.open(path, create)?, disk: self.clone() }))
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.look()?;
        self.disk.list(folder)
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.create_folder(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.remove(path)
    }
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.remove_folder(folder)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.sync_folder(folder)
    }
    fn space(&self, folder: &Path) -> io::Result<Space> {
        self.disk.space(folder)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

struct FragileFile {
    file: Arc<dyn DiskFile>,
    disk: Fragile,
}

impl DiskFile for FragileFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.step()?;
        self.file.set_len(length)
    }
    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.step()?;
        self.file.write_at(pieces, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn slice(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.file.slice(offset, length)
    }
    fn prefetch(&self, offset: u64, length: u64) {
        self.file.prefetch(offset, length);
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.step()?;
        self.file.sync()
    }
}
