//! A disk whose power goes after some operations.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};

use apogee_base::disk::{Disk, DiskFile, Lock, SimDisk, Space};
use bytes::Bytes;

/// See the module.
pub(super) struct Mortal {
    sim: SimDisk,
    left: Arc<Mutex<i64>>,
}

struct MortalFile {
    file: Arc<dyn DiskFile>,
    sim: SimDisk,
    left: Arc<Mutex<i64>>,
}

fn count(sim: &SimDisk, left: &Mutex<i64>) -> io::Result<()> {
    let mut left = left.lock().unwrap();
    *left -= 1;
    match *left {
        0.. => return Ok(()),
        -1 => sim.crash(),
        _ => {}
    }
    Err(io::Error::other("no power"))
}

impl Mortal {
    pub fn new(sim: &SimDisk, operations: i64) -> Self {
        Self { sim: sim.clone(), left: Arc::new(Mutex::new(operations)) }
    }

    fn count(&self) -> io::Result<()> {
        count(&self.sim, &self.left)
    }
}

impl Disk for Mortal {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.count()?;
        let file = self.sim.open(path, create)?;
        Ok(Arc::new(MortalFile { file, sim: self.sim.clone(), left: Arc::clone(&self.left) }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.sim.list(folder)
    }

    fn exists(&self, path: &Path) -> bool {
        self.sim.exists(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.sim.create_folder(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        self.sim.remove(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.count()?;
        self.sim.remove_folder(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.count()?;
        self.sim.sync_folder(folder)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        self.sim.space(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.sim.lock(path)
    }
}

impl DiskFile for MortalFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        count(&self.sim, &self.left)?;
        self.file.set_len(length)
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        count(&self.sim, &self.left)?;
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
        count(&self.sim, &self.left)?;
        self.file.sync()
    }
}
