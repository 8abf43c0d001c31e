//! The broker's settings and what was changed by remote request, kept beside the broker's tables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_base::disk::{self, Disk};
use apogee_base::settings::remote::{Asked, moment};
use apogee_base::settings::{Change, ChangeError, Current, KeptSettings, Settings, properties};
use apogee_wire::bodies::DataVersion;

use crate::persist::PersistError;
use crate::settings::BrokerSettings;

/// The settings, and their version.
pub(crate) struct Config {
    kept: KeptSettings<BrokerSettings>,
    version: Mutex<DataVersion>,
}

impl Config {
    /// Begins with the settings of the start, see [`read_kept`].
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, settings: BrokerSettings, now_ms: i64) -> Self {
        let kept = KeptSettings::new(disk, path, settings);
        Self { kept, version: Mutex::new(DataVersion::new(now_ms)) }
    }

    /// The settings of now. To be kept for no longer than a request.
    pub fn load(&self) -> Current<BrokerSettings> {
        self.kept.load()
    }

    /// Applies `key=value` lines, all or none, and keeps them. Returns what changed.
    pub fn update(&self, lines: &[u8], now_ms: i64) -> Result<Asked<BrokerSettings>, ChangeError> {
        self.kept.update(lines).inspect(|asked| self.changed(asked, now_ms))
    }

    /// The same for a client, which is logged.
    pub fn update_for(
        &self,
        peer: SocketAddr,
        client: &str,
        lines: &[u8],
        now_ms: i64,
    ) -> Result<Asked<BrokerSettings>, ChangeError> {
        self.kept.update_for(peer, Some(client), lines).inspect(|asked| self.changed(asked, now_ms))
    }

    /// The settings' version: it changes with every change.
    pub fn version(&self) -> DataVersion {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, asked: &Asked<BrokerSettings>, now_ms: i64) {
        if !asked.changed.is_empty() {
            let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
            *version = version.next(0, now_ms);
        }
    }
}

/// Reads what was changed by remote request before into the settings of the start: it has the last word over the
/// configuration file.
pub(crate) fn read_kept(disk: &dyn Disk, path: &Path, settings: &mut BrokerSettings) -> Result<(), PersistError> {
    let failed = |source| PersistError::Io { action: "read", path: path.to_owned(), source };
    let content = disk::read_replaced(disk, path).map_err(failed)?.unwrap_or_default();
    for entry in properties::parse(&String::from_utf8_lossy(&content)) {
        let set = match moment::<BrokerSettings>(&entry.key) {
            Some(Change::Live) => settings.set(&entry.key, &entry.value).map_err(|error| error.to_string()),
            _ => Err("it is not one that is changed by remote request".to_owned()),
        };
        match set {
            Ok(_) => tracing::info!(key = entry.key, value = entry.value, file = %path.display(), "kept setting"),
            Err(reason) => {
                tracing::warn!(key = entry.key, reason, file = %path.display(), "a kept setting is passed over");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::SimDisk;

    use super::*;

    const PATH: &str = "/c/broker.properties";

    fn open(disk: &SimDisk) -> Config {
        let mut settings = BrokerSettings::default();
        disk.create_folder(Path::new("/c")).unwrap();
        read_kept(disk, Path::new(PATH), &mut settings).unwrap();
        Config::new(Arc::new(disk.clone()), PATH.into(), settings, 1)
    }

    #[test]
    fn a_change_takes_effect_and_outlives_a_crash() {
        let disk = SimDisk::new(1);
        let config = open(&disk);
        let version = config.version();
        let asked = config.update(b"autoCreateTopicEnable=false\ndestroyMapedFileIntervalForcibly=1\n", 2).unwrap();
        let [changed] = &asked.changed[..] else { panic!("{asked:?}") };
        assert_eq!([&*changed.key, &*changed.before, &*changed.after], ["autoCreateTopicEnable", "true", "false"]);
        assert_eq!(asked.without_effect, ["destroyMapedFileIntervalForcibly"]);
        assert!(!config.load().auto_create_topic_enable && config.version() > version);
        config.update(b"maxMessageSize=1000", 3).unwrap();
        disk.crash();
        let config = open(&disk);
        assert!(!config.load().auto_create_topic_enable);
        assert_eq!(config.load().max_message_size, 1000);
    }

    #[test]
    fn what_cannot_change_now_is_refused_as_a_whole() {
        let disk = SimDisk::new(1);
        let config = open(&disk);
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
            let error = config.update(body, 2).expect_err("refused").to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(config.load().auto_create_topic_enable);
        assert!(!disk.exists(Path::new(PATH)));
    }
}
