//! The key-value configuration: all that a name server keeps over a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use apogee_base::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::persist::{FileError, KeptFile};

/// Namespace of the order configuration of topics.
pub const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";

/// Most bytes of all keys and values; operators put in some kilobytes.
const MAX_BYTES: usize = 16 << 20;

/// Values by key, by namespace.
type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The file's form (upstream `KVConfigSerializeWrapper`).
#[derive(Debug, Serialize, Deserialize)]
struct KvFile<T> {
    #[serde(rename = "configTable")]
    config_table: T,
}

/// Why the configuration cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum KvError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is damaged, and so is its backup: {reason}; repair it, or move it away to start without it")]
    Damaged { path: String, reason: serde_json::Error },
    #[error("the key-value configuration cannot be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    #[error("the key-value configuration is full: {MAX_BYTES} bytes at most; delete keys that are not used")]
    Full,
}

/// Reads the configuration; as many as wanted share it with the one [`KvConfig`] that changes it.
#[derive(Debug, Clone, Default)]
pub struct KvReader {
    current: Arc<RwLock<Arc<Namespaces>>>,
}

impl KvReader {
    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.snapshot().get(namespace)?.get(key).cloned()
    }

    /// All of a namespace, `None` when it never had a key.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.snapshot().get(namespace).cloned()
    }

    fn snapshot(&self) -> Arc<Namespaces> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Changes the configuration and keeps it in a file. What readers see is on disk already.
pub struct KvConfig {
    file: KeptFile,
    reader: KvReader,
}

impl KvConfig {
    /// Reads the file; there need not be one.
    pub fn open(disk: Arc<dyn Disk>, path: &str) -> Result<Self, KvError> {
        let file = KeptFile::new(disk, path);
        let namespaces = load(&file)?;
        Ok(Self { file, reader: KvReader { current: Arc::new(RwLock::new(Arc::new(namespaces))) } })
    }

    /// The reading side.
    pub fn reader(&self) -> KvReader {
        self.reader.clone()
    }

    /// Sets a value.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        self.change(|all| {
            all.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned()).as_deref()
                != Some(value)
        })
    }

    /// Removes a value; one that isn't there is no error.
    pub fn delete(&mut self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|all| all.get_mut(namespace).is_some_and(|keys| keys.remove(key).is_some()))
    }

    /// `change` says whether it changed anything. `&mut self`: one change at a time.
    fn change(&mut self, change: impl FnOnce(&mut Namespaces) -> bool) -> Result<(), KvError> {
        let mut next = Namespaces::clone(&self.reader.snapshot());
        if !change(&mut next) {
            return Ok(());
        }
        let size = |(key, value): (&String, &String)| key.len() + value.len();
        if next.values().flatten().map(size).sum::<usize>() > MAX_BYTES {
            return Err(KvError::Full);
        }
        let text = serde_json::to_string(&KvFile { config_table: &next }).map_err(KvError::Unwritable)?;
        self.file.replace(&text)?;
        *self.reader.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }
}

fn load(file: &KeptFile) -> Result<Namespaces, KvError> {
    let Some(content) = file.read()? else { return Ok(Namespaces::new()) };
    let parse = |content: &[u8]| serde_json::from_slice::<KvFile<Namespaces>>(content).map(|file| file.config_table);
    let reason = match parse(&content) {
        Ok(namespaces) => return Ok(namespaces),
        Err(reason) => reason,
    };
    let path = file.path().display();
    let older = file.read_backup()?.and_then(|content| parse(&content).ok());
    let namespaces = older.ok_or_else(|| KvError::Damaged { path: path.to_string(), reason })?;
    tracing::warn!(%path, "the key-value configuration is damaged; went on with its backup");
    Ok(namespaces)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::{self, SimDisk};

    use super::*;

    const PATH: &str = "conf/kvConfig.json";

    fn config() -> (Arc<SimDisk>, KvConfig) {
        let disk = Arc::new(SimDisk::new(1));
        let config = open(&disk).expect("nothing there is no error");
        (disk, config)
    }

    fn open(disk: &Arc<SimDisk>) -> Result<KvConfig, KvError> {
        KvConfig::open(Arc::clone(disk) as Arc<dyn Disk>, PATH)
    }

    fn overwrite(disk: &SimDisk, path: &str, content: &str) {
        let file = disk.open(Path::new(path), true).expect("opened");
        file.set_len(0)
            .and_then(|()| file.write_at(&mut [std::io::IoSlice::new(content.as_bytes())], 0))
            .expect("written");
    }

    #[test]
    fn what_was_put_survives_a_crash_in_upstreams_form() {
        let (disk, mut config) = config();
        config.put(ORDER_TOPICS, "T", "broker-a:4").expect("written");
        config.put("N", "k", "v").expect("written");
        config.delete("N", "k").expect("written");
        disk.crash();
        let text = disk::read(&*disk, Path::new(PATH)).expect("a file");
        assert_eq!(text, br#"{"configTable":{"N":{},"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#);

        let again = open(&disk).expect("readable").reader();
        assert_eq!(again.get(ORDER_TOPICS, "T").as_deref(), Some("broker-a:4"));
        assert_eq!(again.get("N", "k"), None);
        assert_eq!(again.namespace("N"), Some(BTreeMap::new()), "an emptied namespace stays");
        assert_eq!(again.namespace("M"), None);
    }

    #[test]
    fn a_damaged_file_gives_way_to_its_backup_or_stops_the_start() {
        let (disk, mut config) = config();
        config.put("N", "k", "1").expect("written");
        config.put("N", "k", "2").expect("written");
        overwrite(&disk, PATH, "{\"configTable\":{\"N\":");
        let reader = open(&disk).expect("the backup is whole").reader();
        assert_eq!(reader.get("N", "k").as_deref(), Some("1"));

        overwrite(&disk, "conf/kvConfig.json.bak", "x");
        let error = open(&disk).err().expect("nothing to start from").to_string();
        assert!(error.contains("kvConfig.json is damaged"), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_kept_is_not_shown() {
        let (disk, mut config) = config();
        disk.fail_writes(true);
        let error = config.put("N", "k", "v").expect_err("the disk fails").to_string();
        assert!(error.contains("conf/kvConfig.json cannot be written"), "{error}");
        assert_eq!(config.reader().get("N", "k"), None);
    }

    #[test]
    fn growth_is_bounded() {
        let (_disk, mut config) = config();
        let half = "x".repeat(MAX_BYTES / 2);
        config.put("N", "a", &half).expect("half fits");
        assert!(matches!(config.put("N", "b", &half), Err(KvError::Full)));
        assert_eq!(config.reader().get("N", "b"), None);
    }
}
