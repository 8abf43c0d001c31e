//! The folders of queues: `<root>/<topic>/<queue id>`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use apogee_base::disk::{Disk, DiskFile};

use super::Queue;
use crate::log::{file_name, offset_of};

/// The folders of all queues of one kind, and how many there are.
pub(crate) struct Folders {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    count: AtomicI64,
}

impl Folders {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk, root, count: AtomicI64::new(0) }
    }

    /// Topics with the ids of their queues; called once, as it counts them.
    pub fn topics(&self) -> io::Result<Vec<(String, Vec<i32>)>> {
        let mut topics = Vec::new();
        for topic in self.disk.list(&self.root)? {
            match self.disk.list(&self.root.join(&topic)) {
                Ok(ids) => {
                    let ids: Vec<i32> = ids.iter().filter_map(|id| id.parse().ok()).collect();
                    self.count.fetch_add(ids.len() as i64, Ordering::Relaxed);
                    topics.push((topic, ids));
                }
                // Not ours.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many a topic has.
    pub fn of(&self, topic: &str) -> io::Result<i64> {
        let names = self.disk.list(&self.root.join(topic))?;
        Ok(names.iter().filter(|name| name.parse::<i32>().is_ok()).count() as i64)
    }

    pub fn folder(&self, topic: &str, id: i32) -> PathBuf {
        self.root.join(topic).join(id.to_string())
    }

    /// Where the files of a queue begin, in bytes of all its files; in order.
    pub fn bases(&self, topic: &str, id: i32) -> io::Result<Vec<i64>> {
        let names = self.disk.list(&self.folder(topic, id))?;
        let mut bases: Vec<i64> = names.iter().filter_map(|name| offset_of(name)).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// A file of a queue. One that is not there is created with so many bytes, if `create` says how many.
    pub fn file(&self, queue: &Queue, base: i64, create: Option<u64>) -> io::Result<Arc<dyn DiskFile>> {
        let folder = self.folder(&queue.topic, queue.id);
        let path = folder.join(file_name(base));
        let size = match (self.disk.open(&path, false), create) {
            (Err(error), Some(size)) if error.kind() == io::ErrorKind::NotFound => size,
            (opened, _) => return opened,
        };
        if !self.disk.exists(&folder) {
            self.disk.create_folder(&folder)?;
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        let file = self.disk.open(&path, true)?;
        file.set_len(size)?;
        Ok(file)
    }

    /// Removes all files of a topic, durably.
    pub fn remove(&self, topic: &str) -> io::Result<()> {
        let folder = self.root.join(topic);
        if !self.disk.exists(&folder) {
            return Ok(());
        }
        let folders = self.of(topic)?;
        self.disk.remove_folder(&folder)?;
        self.count.fetch_sub(folders, Ordering::Relaxed);
        self.disk.sync_folder(&self.root)
    }

    /// Removes the files of one queue.
    pub fn remove_queue(&self, queue: &Queue) -> io::Result<()> {
        let folder = self.folder(&queue.topic, queue.id);
        if self.disk.exists(&folder) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.disk.remove_folder(&folder)
    }
}
