//! Tables kept in JSON files of upstream's names and shapes (upstream `ConfigManager`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::{self, Disk};
use apogee_wire::bodies::{Body, BodyError};

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

/// One such file.
#[derive(Clone)]
pub struct JsonFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl JsonFile {
    /// The file at a path; its folder is there.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Reads it, or the copy of what it was before when it is missing or damaged. `None` when there
    /// is neither.
    pub fn load<B: Body>(&self) -> Result<Option<B>, PersistError> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(".bak");
        let mut damage = None;
        for path in [self.path.clone(), backup.into()] {
            if !self.disk.exists(&path) {
                continue;
            }
            let text = disk::read(&*self.disk, &path);
            let text = text.map_err(|source| PersistError::Io { action: "read", path: path.clone(), source })?;
            match B::decode(&text) {
                Ok(content) => {
                    if damage.is_some() {
                        tracing::error!(file = %path.display(), "read the copy of before instead: the last changes are lost");
                    }
                    return Ok(Some(content));
                }
                Err(source) => {
                    let malformed = PersistError::Malformed { path, source };
                    tracing::error!(%malformed, "a file of the broker's state is damaged");
                    damage.get_or_insert(malformed);
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Replaces it, durably.
    pub fn save<B: Body>(&self, content: &B) -> Result<(), PersistError> {
        let error = |source| PersistError::Io { action: "write", path: self.path.clone(), source };
        disk::replace(&*self.disk, &self.path, &content.encode_pretty()).map_err(error)
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
        assert_eq!(file.load::<GroupList>().unwrap(), None);
        file.save(&list("a")).unwrap();
        file.save(&list("b")).unwrap();
        assert_eq!(file.load::<GroupList>().unwrap(), Some(list("b")));
        let damage = |path: &str| disk.open(Path::new(path), false).unwrap().set_len(3).unwrap();
        damage("/c/f.json");
        assert_eq!(file.load::<GroupList>().unwrap(), Some(list("a")));
        damage("/c/f.json.bak");
        let error = file.load::<GroupList>().unwrap_err().to_string();
        assert!(error.starts_with("/c/f.json cannot be understood"), "{error}");
    }
}
