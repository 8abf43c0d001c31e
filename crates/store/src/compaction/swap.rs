//! Files of a queue replaced by others, all or none, wherever a crash comes.
//!
//! The new files are made in a folder of their own. Once they are durable a list of what is to be done is put beside
//! them: from then on it will be done, by this process or by the next. Before, the folder means nothing.
//!
//! ```text
//! compaction/rewritten/<topic>/<queue>/log/<name>  units/<name>  list
//! list: "put <name>" or "remove <name>" in a line each, and last "end <number of lines>"
//! ```

use std::io::{self, IoSlice};
use std::path::PathBuf;

use apogee_base::disk::{self, Disk};

use super::layout::Folders;
use crate::log::{file_name, offset_of};

/// What is to be done to the files of a queue.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Swap {
    /// New files, in the place of those of their names if there are any.
    pub put: Vec<i64>,
    /// Files that go.
    pub remove: Vec<i64>,
}

/// The folder in which a queue's new files are made.
#[derive(Debug, Clone)]
pub(super) struct Workshop {
    root: PathBuf,
    /// The folders of the new files.
    pub new: Folders,
}

impl Workshop {
    pub fn at(root: PathBuf) -> Self {
        let new = Folders { log: root.join("log"), units: root.join("units") };
        Self { root, new }
    }

    fn list(&self) -> PathBuf {
        self.root.join("list")
    }

    /// Whether anything was left here.
    pub fn exists(&self, disk: &dyn Disk) -> bool {
        disk.exists(&self.root)
    }

    /// An empty one.
    pub fn begin(&self, disk: &dyn Disk) -> io::Result<()> {
        self.clear(disk)?;
        self.new.create(disk)
    }

    /// The new files are there and durable: from now on this will be done.
    pub fn decide(&self, disk: &dyn Disk, swap: &Swap) -> io::Result<()> {
        self.new.sync(disk)?;
        let next = self.root.join("list.tmp");
        let file = disk::create(disk, &next)?;
        file.write_at(&mut [IoSlice::new(print(swap).as_bytes())], 0)?;
        file.sync()?;
        disk.sync_folder(&self.root)?;
        disk.rename(&next, &self.list())?;
        disk.sync_folder(&self.root)
    }

    /// Does what was decided, or the rest of it; nothing if nothing was.
    pub fn finish(&self, disk: &dyn Disk, folders: &Folders) -> io::Result<()> {
        if disk.exists(&self.list()) {
            let text = disk::read(disk, &self.list())?;
            let swap = parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
                let reason = format!("{} is damaged: what was compacted cannot be taken over", self.list().display());
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?;
            for (new, old) in [(&self.new.log, &folders.log), (&self.new.units, &folders.units)] {
                for name in swap.put.iter().map(|base| file_name(*base)) {
                    let made = new.join(&name);
                    if disk.exists(&made) {
                        disk.rename(&made, &old.join(name))?;
                    }
                }
                for name in swap.remove.iter().map(|base| file_name(*base)) {
                    let path = old.join(name);
                    if disk.exists(&path) {
                        disk.remove(&path)?;
                    }
                }
            }
            folders.sync(disk)?;
            // Before the files beside it: without it they mean nothing.
            disk.remove(&self.list())?;
            disk.sync_folder(&self.root)?;
        }
        self.clear(disk)
    }

    /// Forgets what was made and not decided on.
    pub fn clear(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.remove_folder(&self.root)
    }

    /// Whether a swap was decided on and is not finished.
    pub fn is_decided(&self, disk: &dyn Disk) -> bool {
        disk.exists(&self.list())
    }
}

fn print(swap: &Swap) -> String {
    let put = swap.put.iter().map(|base| format!("put {}\n", file_name(*base)));
    let remove = swap.remove.iter().map(|base| format!("remove {}\n", file_name(*base)));
    let lines: String = put.chain(remove).collect();
    format!("{lines}end {}\n", swap.put.len() + swap.remove.len())
}

fn parse(text: &str) -> Option<Swap> {
    let mut swap = Swap::default();
    let mut lines = text.lines();
    let end = lines.next_back()?.strip_prefix("end ")?.parse().ok()?;
    for line in lines {
        let (what, name) = line.split_once(' ')?;
        let base = offset_of(name)?;
        match what {
            "put" => swap.put.push(base),
            "remove" => swap.remove.push(base),
            _ => return None,
        }
    }
    (swap.put.len() + swap.remove.len() == end).then_some(swap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let swap = Swap { put: vec![0, 4_600], remove: vec![9_200] };
        let text = print(&swap);
        assert_eq!(parse(&text), Some(swap));
        for length in 0..text.len() - 1 {
            assert_eq!(parse(&text[..length]), None, "{length} bytes");
        }
    }
}
