//! A disk in memory that forgets and fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Disk, DiskFile, Lock, Space};

/// A disk in memory, with a live image and a durable one. [`SimDisk::crash`] makes the durable image
/// live: what was not synced is lost, or survives by parts, as the seed has it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    during_sync: Arc<Mutex<Option<Meanwhile>>>,
}

/// What happens while the disk works.
type Meanwhile = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Files by name; an inode may have been renamed since it was made durable.
    live: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    /// Names that survive a crash.
    durable: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    folders: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    /// Counts crashes: handles of before are dead.
    life: u64,
    /// Bytes of room; `None` is without end.
    room: Option<u64>,
    fail_writes: bool,
    fail_syncs: bool,
    random: u64,
    bytes_read: u64,
}

#[derive(Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<Unsynced>,
    /// End of what was written, and has its room on the disk.
    allocated: u64,
}

#[derive(Clone)]
struct Unsynced {
    offset: u64,
    bytes: Vec<u8>,
    /// It replaced what was written before, within one sector: it is there as a whole or not at all.
    whole: bool,
}

/// Bytes that a disk writes together or not at all.
const SECTOR: u64 = 512;

impl Inode {
    fn sync(&mut self) {
        for Unsynced { offset, bytes, .. } in std::mem::take(&mut self.unsynced) {
            put(&mut self.durable, offset, &bytes);
        }
    }

    /// A sync failed. As on Linux the pages are marked clean although nothing reached the disk.
    fn forget(&mut self) {
        self.unsynced.clear();
    }
}

impl SimDisk {
    /// An empty disk whose crashes are decided by `seed`.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state().random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        disk
    }

    /// The power goes: of what was not synced each write is kept, torn or lost. Open files of before
    /// fail from now on.
    pub fn crash(&self) {
        let mut state = self.state();
        state.life += 1;
        state.locked.clear();
        // Names not synced: each survives by chance.
        let mut names = state.durable.clone();
        for (path, inode) in state.live.clone() {
            if !names.contains_key(&path) && state.chance(2) {
                names.insert(path, inode);
            }
        }
        for inode in names.values() {
            let mut inode = lock(inode);
            let mut content = inode.durable.clone();
            for Unsynced { offset, bytes, whole } in std::mem::take(&mut inode.unsynced) {
                let keep = match state.next() % 3 {
                    0 => 0,
                    1 => bytes.len(),
                    _ if whole => 0,
                    _ => state.next() as usize % (bytes.len() + 1),
                };
                put(&mut content, offset, &bytes[..keep]);
            }
            inode.live.clone_from(&content);
            inode.durable = content;
        }
        state.live.clone_from(&names);
        state.durable = names;
    }

    /// The process dies and the system lives on: nothing is lost but locks and open files.
    pub fn kill_process(&self) {
        let mut state = self.state();
        state.life += 1;
        state.locked.clear();
    }

    /// Lets writes fail with an I/O error, or no longer.
    pub fn fail_writes(&self, fail: bool) {
        self.state().fail_writes = fail;
    }

    /// Lets syncs fail with an I/O error, or no longer. What a failed sync should have made durable
    /// counts as lost.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().fail_syncs = fail;
    }

    /// Lets syncs of files take their time: `meanwhile` is called in each, before anything is durable. It may
    /// use the disk, and crash it.
    pub fn slow_syncs(&self, meanwhile: impl Fn() + Send + Sync + 'static) {
        *lock(&self.during_sync) = Some(Arc::new(meanwhile));
    }

    /// Leaves room for so many bytes of further writes. A file that is removed gives its room back.
    pub fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Bytes that were read from files so far.
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Xorshift: a seed gives the same crash each time.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.next().is_multiple_of(one_in)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset as usize..end].copy_from_slice(bytes);
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if create && !path.parent().is_none_or(|folder| state.folders.contains(folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match state.live.get(path) {
            Some(inode) => Arc::clone(inode),
            None if create => {
                let inode = Arc::<Mutex<Inode>>::default();
                state.live.insert(path.to_owned(), Arc::clone(&inode));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode, life: state.life }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.live.keys().chain(&state.folders).filter(|path| path.parent() == Some(folder));
        let names: BTreeSet<_> = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        state.live.contains_key(path) || state.folders.contains(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.state().folders.extend(folder.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        let allocated = lock(&inode).allocated;
        state.room = state.room.map(|room| room + allocated);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.live.retain(|path, _| !path.starts_with(folder));
        state.folders.retain(|path| !path.starts_with(folder));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.fail_syncs {
            return Err(io::Error::other("a simulated failure"));
        }
        let within = |path: &Path| path.parent() == Some(folder);
        let mut durable = std::mem::take(&mut state.durable);
        durable.retain(|path, _| {
            // With a folder's name all below it is gone.
            let is_removed =
                path.starts_with(folder) && path.parent().is_some_and(|parent| !state.folders.contains(parent));
            !within(path) && !is_removed
        });
        state.durable = durable;
        let names: Vec<_> =
            state.live.iter().filter(|(path, _)| within(path)).map(|(p, i)| (p.clone(), i.clone())).collect();
        state.durable.extend(names);
        Ok(())
    }

    /// What files take of it and of the room; nothing while that is without end.
    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state();
        let used = state.live.values().map(|inode| lock(inode).allocated).sum();
        Ok(state.room.map_or(Space { used: 0, free: u64::MAX }, |free| Space { used, free }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.open(path, true)?;
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), life: state.life }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl Lock for SimLock {
    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("locked before the crash"));
        }
        let root = self.path.parent().unwrap_or(&self.path);
        let below = |path: &Path| path.starts_with(root);
        let live: Vec<_> =
            state.live.iter().filter(|(path, _)| below(path)).map(|(p, i)| (p.clone(), i.clone())).collect();
        if state.fail_syncs {
            live.iter().for_each(|(_, inode)| lock(inode).forget());
            return Err(io::Error::other("a simulated failure"));
        }
        live.iter().for_each(|(_, inode)| lock(inode).sync());
        state.durable.retain(|path, _| !below(path));
        state.durable.extend(live);
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: Arc<Mutex<Inode>>,
    life: u64,
}

impl SimFile {
    /// The disk's state, if the file was opened in this life.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(io::Error::other("opened before the crash")) }
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let _state = self.alive()?;
        Ok(lock(&self.inode).live.len() as u64)
    }

    /// Simplified: a new length is durable at once.
    fn set_len(&self, length: u64) -> io::Result<()> {
        let _state = self.alive()?;
        let mut inode = lock(&self.inode);
        inode.allocated = inode.allocated.min(length);
        inode.live.resize(length as usize, 0);
        inode.durable.resize(length as usize, 0);
        inode.unsynced.retain_mut(|write| {
            write.bytes.truncate(length.saturating_sub(write.offset) as usize);
            !write.bytes.is_empty()
        });
        Ok(())
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        // As on a real disk, a write that fails may have written its beginning.
        let mut outcome = Ok(());
        if state.fail_writes {
            let written = state.next() as usize % (bytes.len() + 1);
            bytes.truncate(written);
            outcome = Err(io::Error::other("a simulated failure"));
        }
        let mut inode = lock(&self.inode);
        if let Some(room) = &mut state.room {
            // What was written before has its room already.
            let has = inode.allocated.saturating_sub(offset);
            let takes = (bytes.len() as u64).saturating_sub(has);
            if takes > *room {
                bytes.truncate((has + *room) as usize);
                outcome = Err(io::ErrorKind::StorageFull.into());
            }
            *room = room.saturating_sub(takes);
        }
        let end = offset + bytes.len() as u64;
        let whole = end <= inode.allocated && offset / SECTOR == end.saturating_sub(1) / SECTOR;
        inode.allocated = inode.allocated.max(end);
        put(&mut inode.live, offset, &bytes);
        inode.unsynced.push(Unsynced { offset, bytes, whole });
        outcome
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        let inode = lock(&self.inode);
        let rest = inode.live.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        state.bytes_read += read as u64;
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn slice(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        let read = self.read_at(&mut bytes, offset)?;
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.into())
    }

    fn prefetch(&self, _: u64, _: u64) {}

    fn sync(&self) -> io::Result<()> {
        let meanwhile = lock(&self.disk.during_sync).clone();
        meanwhile.iter().for_each(|meanwhile| meanwhile());
        let state = self.alive()?;
        let mut inode = lock(&self.inode);
        if state.fail_syncs {
            inode.forget();
            return Err(io::Error::other("a simulated failure"));
        }
        inode.sync();
        Ok(())
    }
}
