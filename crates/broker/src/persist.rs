//! Tables kept in JSON files of upstream's names and shapes (upstream `ConfigManager`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::Disk;
use apogee_wire::bodies::{Body, BodyError};

use crate::copied::Copied;

/// Why a file of the broker's state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The disk refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not the JSON it should be.
    #[error("{} cannot be understood: {source}; put it right, or move it away to begin without it", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BodyError,
    },
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub enum Kept<B> {
    /// Its content.
    Content(B),
    /// There is none.
    Never,
    /// There was one, and it is damaged.
    Lost,
}

/// One such file.
#[derive(Clone)]
pub struct JsonFile {
    file: Copied,
}

impl JsonFile {
    /// The file at a path; its folder is there.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { file: Copied { disk, path } }
    }

    /// Reads it, or a copy when it is missing or damaged. When none can be understood they are told and set
    /// aside, and `instead` tells what that means.
    pub fn load<B: Body>(&self, instead: &str) -> Result<Kept<B>, PersistError> {
        Ok(match self.file.read() {
            Ok(Some(content)) => Kept::Content(content.value),
            Ok(None) => Kept::Never,
            Err(error) => {
                self.file.set_aside(error, instead)?;
                Kept::Lost
            }
        })
    }

    /// Replaces it, durably.
    pub fn save<B: Body>(&self, content: &B) -> Result<(), PersistError> {
        self.file.write(content).map_err(|source| self.file.error("write", source))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::SimDisk;
    use apogee_wire::bodies::GroupList;

    use super::*;

    fn list(group: &str) -> GroupList {
        GroupList { group_list: [group.to_owned()].into() }
    }

    #[test]
    fn a_damaged_file_gives_way_to_the_copy_of_before() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        let file = JsonFile::new(Arc::new(disk.clone()), "/c/f.json".into());
        let load = || file.load::<GroupList>("it begins anew").unwrap();
        assert_eq!(load(), Kept::Never);
        file.save(&list("a")).unwrap();
        let damage = |path: &str| disk.open(Path::new(path), false).unwrap().set_len(3).unwrap();
        damage("/c/f.json");
        assert_eq!(load(), Kept::Content(list("a")), "even if it was written but once");
        file.save(&list("b")).unwrap();
        assert_eq!(load(), Kept::Content(list("b")));
        damage("/c/f.json");
        damage("/c/f.json.copy");
        assert_eq!(load(), Kept::Content(list("a")));
        damage("/c/f.json");
        damage("/c/f.json.bak");
        assert_eq!(load(), Kept::Lost);
        assert_eq!(load(), Kept::Never);
        assert!(disk.exists(Path::new("/c/f.json.damaged")), "it is kept for whoever wants to look at it");
    }

    #[test]
    fn a_flipped_bit_changes_nothing_wherever_it_is() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        let file = JsonFile::new(Arc::new(disk.clone()), "/c/f.json".into());
        file.save(&list("a-group")).unwrap();
        for path in ["/c/f.json", "/c/f.json.copy"] {
            let length = disk.open(Path::new(path), false).unwrap().length().unwrap();
            for bit in 0..length * 8 {
                let on_disk = disk.open(Path::new(path), false).unwrap();
                let mut byte = [0];
                on_disk.read_at(&mut byte, bit / 8).unwrap();
                on_disk.write_at(&mut [std::io::IoSlice::new(&[byte[0] ^ 1 << (bit % 8)])], bit / 8).unwrap();
                assert_eq!(file.load("").unwrap(), Kept::Content(list("a-group")), "bit {bit} of {path}");
                file.save(&list("a-group")).unwrap();
            }
        }
    }
}
