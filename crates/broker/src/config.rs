//! Settings changed by remote request, kept beside the broker's tables.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use apogee_base::disk::{self, Disk};
use apogee_base::settings::remote::{Asked, ChangeRefused, moment};
use apogee_base::settings::{Change, Live, Settings, properties};
use apogee_wire::bodies::DataVersion;

use crate::persist::PersistError;
use crate::settings::BrokerSettings;

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    ChangeRefused(#[from] ChangeRefused),
    #[error(transparent)]
    File(#[from] PersistError),
}

/// The file of what was changed by remote request. It is read after the configuration file, and so
/// has the last word.
pub(crate) struct KeptSettings {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Version of the settings; held by the one who changes them.
    version: Mutex<DataVersion>,
}

impl KeptSettings {
    /// Reads the file into the settings of the start.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        settings: &mut BrokerSettings,
        now_ms: i64,
    ) -> Result<Self, PersistError> {
        let kept = Self { disk, path, version: Mutex::new(DataVersion::new(now_ms)) };
        for entry in properties::parse(&kept.read()?) {
            let set = match moment::<BrokerSettings>(&entry.key) {
                Some(Change::Live) => settings.set(&entry.key, &entry.value).map_err(|error| error.to_string()),
                _ => Err("it is not one that is changed by remote request".to_owned()),
            };
            match set {
                Ok(_) => {
                    tracing::info!(key = entry.key, value = entry.value, file = %kept.path.display(), "kept setting")
                }
                Err(reason) => {
                    tracing::warn!(key = entry.key, reason, file = %kept.path.display(), "a kept setting is passed over");
                }
            }
        }
        Ok(kept)
    }

    /// Applies `key=value` lines, all or none, and keeps them. Returns what changed.
    pub fn update(
        &self,
        live: &Live<BrokerSettings>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Asked<BrokerSettings>, ConfigError> {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let current = live.load();
        let asked = Asked::read(&**current, &current.config_black_list, body)?;
        if !asked.changed.is_empty() {
            let text = properties::merge(&self.read()?, &asked.lines());
            let error = |source| PersistError::Io { action: "write", path: self.path.clone(), source };
            disk::replace(&*self.disk, &self.path, text.as_bytes()).map_err(error)?;
            live.store(asked.settings.clone());
            *version = version.next(0, now_ms);
        }
        Ok(asked)
    }

    /// The settings' version: it changes with every change.
    pub fn version(&self) -> DataVersion {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<String, PersistError> {
        let error = |source| PersistError::Io { action: "read", path: self.path.clone(), source };
        let content = disk::read_replaced(&*self.disk, &self.path).map_err(error)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::SimDisk;

    use super::*;

    const PATH: &str = "/c/broker.properties";

    fn open(disk: &SimDisk, settings: &mut BrokerSettings) -> KeptSettings {
        disk.create_folder(Path::new("/c")).unwrap();
        KeptSettings::open(Arc::new(disk.clone()), PATH.into(), settings, 1).unwrap()
    }

    #[test]
    fn a_change_takes_effect_and_outlives_a_crash() {
        let (disk, mut settings) = (SimDisk::new(1), BrokerSettings::default());
        let kept = open(&disk, &mut settings);
        let live = Live::new(settings);
        let version = kept.version();
        let asked =
            kept.update(&live, b"autoCreateTopicEnable=false\ndestroyMapedFileIntervalForcibly=1\n", 2).unwrap();
        let [changed] = &asked.changed[..] else { panic!("{asked:?}") };
        assert_eq!([&*changed.key, &*changed.before, &*changed.after], ["autoCreateTopicEnable", "true", "false"]);
        assert_eq!(asked.without_effect, ["destroyMapedFileIntervalForcibly"]);
        assert!(!live.load().auto_create_topic_enable && kept.version() > version);
        kept.update(&live, b"maxMessageSize=1000", 3).unwrap();
        disk.crash();
        let mut settings = BrokerSettings::default();
        open(&disk, &mut settings);
        assert!(!settings.auto_create_topic_enable);
        assert_eq!(settings.max_message_size, 1000);
    }

    #[test]
    fn what_cannot_change_now_is_refused_as_a_whole() {
        let (disk, mut settings) = (SimDisk::new(1), BrokerSettings::default());
        let kept = open(&disk, &mut settings);
        let live = Live::new(settings);
        for (body, text) in [
            (&b"autoCreateTopicEnable=false\nbrokerName=x"[..], "`brokerName` takes effect at the start only"),
            (b"storePathRootDir=/etc", "in black list"),
            (b"brokerConfigPath=x", "in black list"),
            (b"rocketmqHome=/", "in black list"),
            (b"configBlackList=", "in black list"),
            (b"autoCreateTopicEnable=maybe", "`autoCreateTopicEnable=maybe`"),
            (b"autoCreateTopicEnabled=true", "did you mean `autoCreateTopicEnable`"),
            (b"brokerRole=SLAVE", "`brokerRole` takes effect at the start only"),
            (b"enableControllerMode=true", "`enableControllerMode` takes effect at the start only"),
            (b"\xff", "no text"),
        ] {
            let error = kept.update(&live, body, 2).expect_err("refused").to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(live.load().auto_create_topic_enable);
        assert!(!disk.exists(Path::new(PATH)));
    }
}
