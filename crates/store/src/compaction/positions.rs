//! Up to where queues are compacted: the file `position-checkpoint` (upstream `CompactionPositionMgr`).
//!
//! ```text
//! {"queueOffsetMap":{"<topic>_<queue>":<last offset that is compacted>,…}}
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::disk::{self, Disk};

/// The offsets, in memory and in their file. What is lost of it is compacted once more.
pub(super) struct Positions {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// By topic and queue, as the file names them.
    offsets: Mutex<BTreeMap<String, i64>>,
    /// Held by the one who writes the file.
    writing: Mutex<()>,
}

impl Positions {
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        let text = disk::read_replaced(&*disk, &path)?.unwrap_or_default();
        let offsets = parse(&String::from_utf8_lossy(&text)).unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "up to where queues are compacted cannot be read: all is compacted once more");
            BTreeMap::new()
        });
        Ok(Self { disk, path, offsets: Mutex::new(offsets), writing: Mutex::default() })
    }

    /// Last offset of a queue that is compacted; -1 while there is none.
    pub fn get(&self, topic: &str, id: i32) -> i64 {
        self.lock().get(&name(topic, id)).copied().unwrap_or(-1)
    }

    /// Sets it, durably.
    pub fn set(&self, topic: &str, id: i32, offset: i64) -> io::Result<()> {
        self.lock().insert(name(topic, id), offset);
        self.save()
    }

    /// Forgets queues, durably.
    pub fn forget(&self, topic: &str, ids: impl Iterator<Item = i32>) -> io::Result<()> {
        {
            let mut offsets = self.lock();
            for id in ids {
                offsets.remove(&name(topic, id));
            }
        }
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = print(&self.lock());
        disk::replace(&*self.disk, &self.path, text.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(topic: &str, id: i32) -> String {
    format!("{topic}_{id}")
}

fn print(offsets: &BTreeMap<String, i64>) -> String {
    let mut text = "{\"queueOffsetMap\":{".to_owned();
    for (index, (name, offset)) in offsets.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Names of topics have no character that would have to be escaped. A string takes all.
        let _ = write!(text, "{comma}\"{name}\":{offset}");
    }
    text + "}}"
}

/// Reads what [`print`] writes, with whatever space between; nothing of an empty text.
fn parse(text: &str) -> Option<BTreeMap<String, i64>> {
    if text.trim().is_empty() {
        return Some(BTreeMap::new());
    }
    let entries = text.split_once("queueOffsetMap")?.1.split_once('{')?.1.split_once('}')?.0;
    let entries = entries.split(',').filter(|entry| !entry.trim().is_empty());
    let entry = |entry: &str| {
        let (name, offset) = entry.rsplit_once(':')?;
        Some((name.trim().trim_matches('"').to_owned(), offset.trim().parse().ok()?))
    };
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_upstream_writes_too() {
        let disk = SimDisk::new(1);
        disk.create_folder("/s".as_ref()).unwrap();
        let open = || Positions::open(Arc::new(disk.clone()), "/s/position-checkpoint".into()).unwrap();
        let positions = open();
        assert_eq!(positions.get("T", 0), -1);
        positions.set("T", 0, 17).unwrap();
        positions.set("%R_T", 12, 5).unwrap();
        assert_eq!((open().get("T", 0), open().get("%R_T", 12)), (17, 5));
        open().forget("T", 0..3).unwrap();
        assert_eq!((open().get("T", 0), open().get("%R_T", 12)), (-1, 5));

        let pretty = "{\n\t\"queueOffsetMap\":{\n\t\t\"a_0\":44,\"b_1\":0\n\t}\n}";
        assert_eq!(parse(pretty), Some([("a_0".to_owned(), 44), ("b_1".to_owned(), 0)].into()));
        assert_eq!(parse("{\"queueOffsetMap\":{}}"), Some(BTreeMap::new()));
        assert_eq!(parse("{\"queueOffsetMap\":{\"a\":x}}"), None);
    }
}
