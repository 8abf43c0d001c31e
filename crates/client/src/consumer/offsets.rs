//! Where it is kept how far a group is: at the brokers, or in a file of each member.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_wire::bodies::{Body, MessageQueue, ResetOffsetBody};

use super::group::Group;
use super::held::Held;
use crate::{Error, Queue, offsets};

/// The file, and the one before it, as the Java client names them.
const FILE: &str = "offsets.json";
const BEFORE: &str = "offsets.json.bak";
/// Locked by who uses the folder.
const LOCK: &str = "offsets.lock";

pub(super) enum Offsets {
    AtBroker,
    InFile(Arc<LocalOffsets>),
}

/// Offsets in a folder of a member's own.
pub(super) struct LocalOffsets {
    folder: PathBuf,
    table: Mutex<BTreeMap<MessageQueue, i64>>,
    /// Holds the lock.
    _lock: File,
}

impl Offsets {
    /// Those in a folder, which is made if it is not there.
    pub async fn open(folder: PathBuf) -> Result<Self, Error> {
        let opened = tokio::task::spawn_blocking(move || LocalOffsets::open(folder)).await;
        Ok(Self::InFile(Arc::new(opened.map_err(|_| Error::Closed)??)))
    }

    /// The offset that was committed in a queue, if any was.
    pub async fn committed(&self, group: &Group, queue: &Queue) -> Result<Option<i64>, Error> {
        match self {
            Self::AtBroker => offsets::committed(&group.shared, &group.name, queue).await,
            Self::InFile(local) => Ok(local.lock().get(&queue.to_wire()).copied()),
        }
    }

    /// Has a group go on with an offset of a queue.
    pub async fn set(&self, group: &Group, queue: &Queue, offset: i64) -> Result<(), Error> {
        match self {
            Self::AtBroker => offsets::commit(&group.shared, &group.name, queue, offset).await,
            Self::InFile(local) => {
                local.lock().insert(queue.to_wire(), offset);
                local.saved().await
            }
        }
    }

    /// Commits how far a group is in some queues; the last error, if any.
    pub async fn commit(&self, group: &Group, reached: &[(Arc<Held>, i64)]) -> Result<(), Error> {
        let mut done = Ok(());
        match self {
            Self::AtBroker => {
                for (held, offset) in reached {
                    match offsets::commit(&group.shared, &group.name, &held.queue, *offset).await {
                        Ok(()) => held.committed(*offset),
                        Err(error) => done = Err(error),
                    }
                }
            }
            Self::InFile(_) if reached.is_empty() => {}
            Self::InFile(local) => {
                local.lock().extend(reached.iter().map(|(held, offset)| (held.queue.to_wire(), *offset)));
                done = local.saved().await;
                if done.is_ok() {
                    reached.iter().for_each(|(held, offset)| held.committed(*offset));
                }
            }
        }
        done
    }
}

impl LocalOffsets {
    fn open(folder: PathBuf) -> Result<Self, Error> {
        let failed =
            |what: &str, error: &io::Error| Error::Offsets { path: folder.clone(), reason: format!("{what}: {error}") };
        fs::create_dir_all(&folder).map_err(|error| failed("it cannot be made", &error))?;
        let lock = File::create(folder.join(LOCK)).map_err(|error| failed("it cannot be written", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another consumer uses them: give each a folder of its own".to_owned();
                return Err(Error::Offsets { path: folder, reason });
            }
            // A file system without locks.
            Err(TryLockError::Error(error)) => tracing::warn!(?folder, %error, "the folder of offsets is not locked"),
        }
        let table = match read(&folder.join(FILE)) {
            Ok(Some(table)) => table,
            // A crash while it was written leaves the one before.
            Ok(None) => read(&folder.join(BEFORE))?.unwrap_or_default(),
            Err(error) => match read(&folder.join(BEFORE)) {
                Ok(Some(table)) => {
                    tracing::warn!(%error, "offsets cannot be read: those before them are used");
                    table
                }
                _ => return Err(error),
            },
        };
        Ok(Self { folder, table: Mutex::new(table), _lock: lock })
    }

    async fn saved(self: &Arc<Self>) -> Result<(), Error> {
        let local = Arc::clone(self);
        tokio::task::spawn_blocking(move || local.save()).await.map_err(|_| Error::Closed).flatten()
    }

    /// Writes the file anew, and keeps the one before.
    fn save(&self) -> Result<(), Error> {
        let body = ResetOffsetBody { offset_table: self.lock().clone() }.encode();
        let (path, new) = (self.folder.join(FILE), self.folder.join("offsets.json.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&body)?;
            file.sync_all()?;
            if path.exists() {
                fs::rename(&path, self.folder.join(BEFORE))?;
            }
            fs::rename(&new, &path)
        };
        write()
            .map_err(|error| Error::Offsets { path: path.clone(), reason: format!("they cannot be written: {error}") })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<MessageQueue, i64>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file says; `None` when it is not there or empty.
fn read(path: &Path) -> Result<Option<BTreeMap<MessageQueue, i64>>, Error> {
    let failed = |reason: String| Error::Offsets { path: path.to_owned(), reason };
    let text = match fs::read(path) {
        Ok(text) if text.is_empty() => return Ok(None),
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("they cannot be read: {error}"))),
    };
    // A body of the protocol has the same form.
    let body = ResetOffsetBody::decode(&text).map_err(|error| failed(format!("they cannot be read: {error}")))?;
    Ok(Some(body.offset_table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_java_client_is_read_and_one_that_is_broken_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || LocalOffsets::open(folder.path().join("G"));
        let queue = MessageQueue::new("T", "broker-a", 3);
        let local = open().expect("new");
        let error = open().err().expect("used already").to_string();
        assert!(error.contains("another consumer uses them"), "{error}");
        drop(local);
        // As RocketMQ 5.5.0 writes it.
        let java = "{\n\t\"offsetTable\":{{\n\t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"queueId\":3,\n\t\t\t\"topic\":\"T\"\n\t\t}:42\n\t}\n}";
        fs::write(folder.path().join("G").join(FILE), java).expect("written");
        let local = open().expect("read");
        assert_eq!(local.lock().get(&queue), Some(&42));
        local.lock().insert(queue.clone(), 43);
        local.save().expect("saved");
        drop(local);
        assert_eq!(open().expect("read").lock().get(&queue), Some(&43));
        fs::write(folder.path().join("G").join(FILE), "{\"offsetTable\":{{").expect("written");
        assert_eq!(open().expect("the one before").lock().get(&queue), Some(&42));
        fs::write(folder.path().join("G").join(BEFORE), "").expect("written");
        assert!(matches!(open(), Err(Error::Offsets { .. })));
    }
}
