//! Small tables that change when an administrator says so, each in a JSON file of its own.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use apogee_wire::bodies::Body;

use crate::error::BrokerError;
use crate::persist::{JsonFile, Kept, PersistError};

/// A table whose changes are on disk before anybody sees them. Readers never wait for the disk.
pub(crate) struct DurableTable<T> {
    file: JsonFile,
    /// Held by the one who changes it: an older state must not replace a newer one.
    writer: Mutex<()>,
    current: RwLock<Arc<T>>,
}

impl<T: Body + Clone + Default + PartialEq> DurableTable<T> {
    /// Reads the file. When it is damaged, and its copies are, it is set aside; `instead` tells what that means.
    pub fn open(file: JsonFile, instead: &str) -> Result<Self, PersistError> {
        let current = match file.load::<T>(instead)? {
            Kept::Content(table) => table,
            Kept::Never | Kept::Lost => T::default(),
        };
        Ok(Self { file, writer: Mutex::new(()), current: RwLock::new(Arc::new(current)) })
    }

    /// The table as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it, durably, or not at all. On threads that may wait for the disk.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> Result<R, BrokerError>) -> Result<R, BrokerError> {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.get();
        let mut next = T::clone(&before);
        let changed = change(&mut next)?;
        if next != *before {
            self.file.save(&next)?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    type Table = DurableTable<BTreeMap<String, i64>>;

    fn open(disk: &SimDisk) -> Table {
        disk.create_folder(Path::new("/c")).unwrap();
        Table::open(JsonFile::new(Arc::new(disk.clone()), "/c/t.json".into()), "").unwrap()
    }

    #[test]
    fn what_was_changed_outlives_a_crash_and_what_was_refused_is_not_seen() {
        let disk = SimDisk::new(1);
        let table = open(&disk);
        table.change(|table| Ok(table.insert("a".into(), 1))).unwrap();
        let refused = table.change(|table| {
            table.insert("b".into(), 2);
            Err::<(), _>(BrokerError::new(1, "no"))
        });
        assert!(refused.is_err() && table.get().len() == 1);
        disk.crash();
        assert_eq!(*open(&disk).get(), BTreeMap::from([("a".to_owned(), 1)]));
    }
}
