//! How long the files of a queue's compacted log are, and where they are.

use std::io;
use std::path::{Path, PathBuf};

use apogee_base::disk::Disk;
use apogee_message::record::BLANK_LENGTH;

use crate::queue::BatchUnit;

/// How long the files of a queue are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of a file of records: a multiple of the other, as upstream needs it.
    pub log: u64,
    /// Bytes of a file of units: a multiple of a unit.
    pub units: u64,
}

impl Sizes {
    /// Of what is set, as upstream rounds it.
    pub fn of(log: u64, units: u64) -> Self {
        let unit = BatchUnit::SIZE as u64;
        let units = (units / unit).max(2) * unit;
        let (times, rest) = (log / units, log % units);
        let times = if times >= 5 && (rest == 0 || rest >= units / 2) { times + 1 } else { times.max(5) };
        Self { log: times * units, units }
    }

    /// The shorter ones.
    pub fn min(self, other: Self) -> Self {
        Self { log: self.log.min(other.log), units: self.units.min(other.units) }
    }

    /// Units that one file takes: behind them stands the end.
    fn most_units(self) -> i64 {
        (self.units / BatchUnit::SIZE as u64) as i64 - 1
    }

    /// Whether so many records of so many bytes fit into one file.
    pub fn fit(self, units: i64, bytes: u64) -> bool {
        units <= self.most_units() && bytes + BLANK_LENGTH as u64 <= self.log
    }

    /// Bytes of a file for one record that may be too large for an ordinary one.
    pub fn log_for(self, bytes: u64) -> u64 {
        (bytes + BLANK_LENGTH as u64).div_ceil(self.log).max(1) * self.log
    }
}

/// The two folders of a queue's files.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    pub log: PathBuf,
    pub units: PathBuf,
}

impl Folders {
    pub fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create_folder(&self.log)?;
        disk.create_folder(&self.units)
    }

    /// Makes the folders' own names durable, up to that of the folder of all compacted logs.
    pub fn sync_names(&self, disk: &dyn Disk) -> io::Result<()> {
        let above = |folder: &Path| folder.ancestors().skip(1).take(4).map(Path::to_owned).collect::<Vec<_>>();
        above(&self.log).iter().chain(&above(&self.units)).try_for_each(|folder| disk.sync_folder(folder))
    }

    /// Makes what was created, renamed and removed in them durable.
    pub fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync_folder(&self.log)?;
        disk.sync_folder(&self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_upstream_does() {
        let sizes = |log, units| (Sizes::of(log, units).log, Sizes::of(log, units).units);
        assert_eq!(sizes(104_857_600, 10_485_760), (104_857_460, 10_485_746));
        assert_eq!(sizes(2_300, 460), (2_760, 460));
        assert_eq!(sizes(100, 460), (2_300, 460));
        assert_eq!(sizes(2_529, 460), (2_300, 460));
        assert_eq!(sizes(2_530, 460), (2_760, 460));
    }
}
