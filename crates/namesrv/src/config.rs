//! Settings changed by remote request.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use apogee_base::disk::Disk;
use apogee_base::settings::properties;
use apogee_base::settings::remote::{Asked, ChangeRefused};

use crate::persist::{FileError, KeptFile};
use crate::settings::NamesrvSettings;

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error(transparent)]
    ChangeRefused(#[from] ChangeRefused),
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

    /// Applies `key=value` lines, all or none. Returns what changed.
    pub fn update(&mut self, body: &[u8]) -> Result<Asked<NamesrvSettings>, ConfigError> {
        let current = self.reader.get();
        let asked = Asked::read(&*current, &current.config_black_list, body)?;
        if !asked.changed.is_empty() {
            store(&self.file, &asked.lines())?;
            let next = Arc::new(asked.settings.clone());
            *self.reader.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
        Ok(asked)
    }
}

/// Puts the changed keys at the end of the file and leaves its other lines as they are.
fn store(file: &KeptFile, changed: &BTreeMap<String, String>) -> Result<(), FileError> {
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
        let asked = config.update(b"enableTopicList=false\norderMessageEnable=true\n").expect("accepted");
        let changed = asked.changed.iter().map(|changed| format!("{} {}", changed.key, changed.after));
        assert_eq!(changed.collect::<Vec<_>>(), ["enableTopicList false", "orderMessageEnable true"]);
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
            (b"rocketmqHome=/", "Can not update config in black list."),
            (b"scanNotActiveBrokerInterval=1000", "takes effect at the start only"),
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
    fn what_means_nothing_here_is_said() {
        let (disk, mut config) = config();
        let asked = config.update(b"serverWorkerThreads=4\nserverSelectorThreads=3").expect("accepted");
        assert_eq!(asked.without_effect, ["serverWorkerThreads"]);
        assert!(!disk.exists(Path::new(PATH)));
    }

    #[test]
    fn the_black_list_of_the_settings_counts() {
        let (disk, mut config) = config();
        let settings =
            NamesrvSettings { config_black_list: "enableTopicList; x".into(), ..(*config.reader().get()).clone() };
        config = Config::new(disk, settings);
        assert!(matches!(
            config.update(b"enableTopicList=false"),
            Err(ConfigError::ChangeRefused(ChangeRefused::Closed(_)))
        ));
    }
}
