//! The file of epochs, as upstream's broker reads and writes it (`CheckpointFile`): a line with their count, one with
//! a check sum over the rest, then a line `number-start` for each.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Disk};

use crate::epochs::{Epoch, Epochs};

/// Its name, in the store's folder.
const NAME: &str = "epochFileCheckpoint";

/// Why epochs cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum EpochFileError {
    /// The disk refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Neither the file nor its copy can be read.
    #[error(
        "{path} and {path}.bak are damaged ({reason}): nobody knows which master wrote what of this log; put one of them back, or move the store's folder away to copy the log anew",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads and writes it.
pub struct EpochFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl EpochFile {
    /// That of a store.
    pub fn of(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self { disk, path: root.join(NAME) }
    }

    /// What is there; no epochs when there is no file. The copy counts where the file is damaged.
    pub fn read(&self) -> Result<Epochs, EpochFileError> {
        let mut damage = None;
        let copy = self.path.with_extension("bak");
        for path in [&self.path, &copy].into_iter().filter(|path| self.disk.exists(path)) {
            let bytes = disk::read(&*self.disk, path);
            let bytes = bytes.map_err(|source| EpochFileError::Io { action: "read", path: path.to_owned(), source })?;
            match parse(&String::from_utf8_lossy(&bytes)) {
                Ok(epochs) => return Ok(epochs),
                Err(reason) => {
                    tracing::warn!(file = %path.display(), reason, "the file of epochs is damaged; its copy counts if it is whole");
                    damage.get_or_insert(reason);
                }
            }
        }
        damage.map_or(Ok(Epochs::default()), |reason| Err(EpochFileError::Damaged { path: self.path.clone(), reason }))
    }

    /// Replaces what is there, durably.
    pub fn write(&self, epochs: &Epochs) -> Result<(), EpochFileError> {
        disk::replace(&*self.disk, &self.path, text(epochs).as_bytes()).map_err(|source| EpochFileError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

fn text(epochs: &Epochs) -> String {
    let mut lines = String::new();
    for Epoch { number, start } in epochs.entries() {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{number}-{start}");
    }
    format!("{}\n{}\n{lines}", epochs.entries().len(), sum(&lines))
}

fn sum(lines: &str) -> u32 {
    crc32fast::hash(lines.as_bytes()) & 0x7FFF_FFFF
}

fn parse(text: &str) -> Result<Epochs, String> {
    let mut parts = text.splitn(3, '\n');
    let mut number = |what: &str| {
        let line = parts.next().unwrap_or_default().trim();
        line.parse::<u32>().map_err(|_| format!("its line with {what} is {line:?}"))
    };
    let (count, expected) = (number("the count")?, number("the check sum")?);
    let lines = parts.next().unwrap_or_default();
    // Upstream's way of not checking.
    if expected != 0 && expected != sum(lines) {
        return Err(format!("its check sum is {} and not {expected}", sum(lines)));
    }
    let entry = |line: &str| {
        let (number, start) = line.trim().split_once('-')?;
        Some(Epoch { number: number.parse().ok()?, start: start.parse().ok()? })
    };
    let entries = lines.lines().map(|line| entry(line).ok_or_else(|| format!("no epoch is {line:?}")));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    if entries.len() != count as usize {
        return Err(format!("it has {} epochs and not {count}", entries.len()));
    }
    Epochs::of(entries).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    #[test]
    fn it_is_upstreams_file() {
        let recorded = "1\n1725254278\n1-0\n";
        let epochs = parse(recorded).unwrap();
        assert_eq!(epochs.entries(), [Epoch { number: 1, start: 0 }]);
        assert_eq!(text(&epochs), recorded);
        assert_eq!(parse("2\n0\n1-0\n2-77\n").unwrap().last(), Some(Epoch { number: 2, start: 77 }), "unchecked");
    }

    #[test]
    fn a_damaged_file_gives_way_to_its_copy_and_two_of_them_are_told() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(7));
        disk.create_folder(Path::new("store")).unwrap();
        let file = EpochFile::of(Arc::clone(&disk), Path::new("store"));
        assert_eq!(file.read().unwrap(), Epochs::default());
        let one = Epochs::of([Epoch { number: 1, start: 0 }]).unwrap();
        let mut two = one.clone();
        two.push(Epoch { number: 4, start: 900 }).unwrap();
        file.write(&one).unwrap();
        file.write(&two).unwrap();
        assert_eq!(file.read().unwrap(), two);
        let damage = |name: &str| {
            let file = disk.open(&Path::new("store").join(name), true).unwrap();
            file.write_at(&mut [io::IoSlice::new(b"9")], 0).unwrap();
        };
        damage(NAME);
        assert_eq!(file.read().unwrap(), one);
        damage("epochFileCheckpoint.bak");
        let told = file.read().unwrap_err().to_string();
        assert!(told.contains("epochFileCheckpoint") && told.contains("put one of them back"), "{told}");
    }
}
