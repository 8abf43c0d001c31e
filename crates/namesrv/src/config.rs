//! Settings changed by remote request.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use apogee_base::disk::Disk;
use apogee_base::settings::{Change, Known, SettingError, Settings, properties};

use crate::persist::{FileError, KeptFile};
use crate::settings::NamesrvSettings;

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("Can not update config in black list. `{0}` can only be changed in the configuration file, by a restart.")]
    BlackListed(String),
    #[error("the request's body is no text of key=value lines")]
    NoText,
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads the settings as they are now.
#[derive(Debug, Clone)]
pub struct SettingsReader {
    current: Arc<RwLock<Arc<NamesrvSettings>>>,
}

impl SettingsReader {
    /// The settings of this moment.
    pub fn get(&self) -> Arc<NamesrvSettings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Changes settings, and keeps the changes in the file that `configStorePath` names.
pub struct Config {
    file: KeptFile,
    reader: SettingsReader,
}

impl Config {
    /// Begins with the settings of the start.
    pub fn new(disk: Arc<dyn Disk>, settings: NamesrvSettings) -> Self {
        let file = KeptFile::new(disk, &settings.config_store_path);
        Self { file, reader: SettingsReader { current: Arc::new(RwLock::new(Arc::new(settings))) } }
    }

    /// The reading side.
    pub fn reader(&self) -> SettingsReader {
        self.reader.clone()
    }

    /// Applies `key=value` lines, all or none. Returns the keys that take effect at the next start.
    pub fn update(&mut self, body: &[u8]) -> Result<Vec<String>, ConfigError> {
        let text = std::str::from_utf8(body).map_err(|_| ConfigError::NoText)?;
        let entries = properties::parse(text);
        let mut next = NamesrvSettings::clone(&self.reader.get());
        for entry in &entries {
            if is_closed(&next.config_black_list, &entry.key) {
                return Err(ConfigError::BlackListed(entry.key.clone()));
            }
        }
        for entry in &entries {
            next.set(&entry.key, &entry.value)?;
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let changed = entries.iter().map(|entry| (&*entry.key, &*entry.value)).collect();
        store(&self.file, &changed)?;
        tracing::info!(?changed, file = %self.file.path().display(), "settings changed by remote request");
        *self.reader.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        let later = entries.into_iter().filter(|entry| changes_at(&entry.key) == Some(Change::Restart));
        Ok(later.map(|entry| entry.key).collect())
    }
}

/// When a change of a setting takes effect; `None` for a key without one.
fn changes_at(key: &str) -> Option<Change> {
    match NamesrvSettings::known(key)? {
        Known::Setting(setting) => Some(setting.change),
        Known::Inert | Known::Pinned(_) => None,
    }
}

/// Paths and addresses are closed whatever the black list says: a peer that could set them could
/// have files written where it likes.
fn is_closed(black_list: &str, key: &str) -> bool {
    changes_at(key) == Some(Change::Local) || black_list.split(';').any(|closed| closed.trim() == key)
}

/// Puts the changed keys at the end of the file and leaves its other lines as they are.
fn store(file: &KeptFile, changed: &BTreeMap<&str, &str>) -> Result<(), FileError> {
    let before = file.read()?.unwrap_or_default();
    file.replace(&properties::merge(&String::from_utf8_lossy(&before), changed))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::{self, SimDisk};

    use super::*;

    const PATH: &str = "conf/namesrv.properties";

    fn config() -> (Arc<SimDisk>, Config) {
        let disk = Arc::new(SimDisk::new(1));
        let settings = NamesrvSettings { config_store_path: PATH.into(), ..Default::default() };
        let config = Config::new(Arc::clone(&disk) as Arc<dyn Disk>, settings);
        (disk, config)
    }

    #[test]
    fn a_change_takes_effect_and_is_kept_beside_what_the_file_has() {
        let (disk, mut config) = config();
        config.file.replace("# mine\nenableTopicList=true\nlistenPort=9999\n").expect("written");
        let later = config.update(b"enableTopicList=false\norderMessageEnable=true\n").expect("accepted");
        assert!(later.is_empty());
        assert!(!config.reader().get().enable_topic_list);
        disk.crash();
        let text = disk::read(&*disk, Path::new(PATH)).expect("a file");
        assert_eq!(text, b"# mine\nlistenPort=9999\nenableTopicList=false\norderMessageEnable=true\n");
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let (disk, mut config) = config();
        for (body, text) in [
            (&b"configStorePath=/etc/passwd\n"[..], "Can not update config in black list."),
            (b"bindAddress=1.2.3.4", "Can not update config in black list."),
            (b"orderMessageEnable=true\nenableTopicList=maybe", "`enableTopicList=maybe`"),
            (b"orderMesageEnable=true", "did you mean `orderMessageEnable`"),
            (b"\xff\xfe", "no text"),
        ] {
            let error = config.update(body).expect_err("refused").to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(!config.reader().get().order_message_enable);
        assert!(!disk.exists(Path::new(PATH)));
    }

    #[test]
    fn what_takes_effect_later_is_said() {
        let (_disk, mut config) = config();
        let later = config.update(b"scanNotActiveBrokerInterval=1000\nserverWorkerThreads=4").expect("accepted");
        assert_eq!(later, ["scanNotActiveBrokerInterval"]);
    }

    #[test]
    fn the_black_list_of_the_settings_counts() {
        let (disk, mut config) = config();
        let settings =
            NamesrvSettings { config_black_list: "enableTopicList; x".into(), ..(*config.reader().get()).clone() };
        config = Config::new(disk, settings);
        assert!(matches!(config.update(b"enableTopicList=false"), Err(ConfigError::BlackListed(_))));
    }
}
