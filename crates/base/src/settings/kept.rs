//! Settings that peers may change while a server runs, and the file that changes are kept in.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::remote::{Asked, ChangeRefused, Changed};
use super::{Current, Live, Settings, properties};
use crate::disk::{self, Disk};

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The change is not one that may be made.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// The change would be lost at the next start.
    #[error("{path} cannot be changed: {source}; nothing changed", path = .path.display())]
    File {
        /// The file of changes.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The settings of now, and the file that changes are kept in.
pub struct KeptSettings<S> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    live: Live<S>,
    /// Held while a change is made.
    changing: Mutex<()>,
}

impl<S: Settings> KeptSettings<S> {
    /// Begins with the settings of the start. The file is written at the first change.
    pub fn new(disk: Arc<dyn Disk>, path: impl Into<PathBuf>, settings: S) -> Self {
        Self { disk, path: path.into(), live: Live::new(settings), changing: Mutex::default() }
    }

    /// The settings of now, see [`Live::load`].
    pub fn load(&self) -> Current<S> {
        self.live.load()
    }

    /// Applies `key=value` lines, all or none, but for those that the setting `configBlackList` names, and keeps them
    /// for later starts. May wait for the disk.
    ///
    /// # Errors
    /// When a line is refused, or the file cannot be written; nothing has changed then.
    pub fn update(&self, lines: &[u8]) -> Result<Asked<S>, ChangeError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.load();
        let asked = Asked::read(&**current, &current.get("configBlackList").unwrap_or_default(), lines)?;
        if !asked.changed.is_empty() {
            self.keep(&asked).map_err(|source| ChangeError::File { path: self.path.clone(), source })?;
            self.live.store(asked.settings.clone());
        }
        Ok(asked)
    }

    /// The same for a peer, and by the id that its client gave, where it did: what comes of it is logged.
    ///
    /// # Errors
    /// As [`KeptSettings::update`].
    pub fn update_for(&self, peer: SocketAddr, client: Option<&str>, lines: &[u8]) -> Result<Asked<S>, ChangeError> {
        let asked = self.update(lines).inspect_err(|error| {
            tracing::warn!(%peer, client, %error, "a remote change of settings is refused; nothing changed");
        })?;
        for Changed { key, before, after } in &asked.changed {
            tracing::info!(%peer, client, key, before, after, "a setting is changed by remote request");
        }
        if let Some(remark) = asked.remark() {
            tracing::warn!(%peer, client, "a remote change of settings is in part {remark}");
        }
        Ok(asked)
    }

    /// Puts the changed keys at the end of the file and leaves its other lines as they are.
    fn keep(&self, asked: &Asked<S>) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| *folder != Path::new("")) {
            self.disk.create_folder(folder)?;
        }
        let before = disk::read_replaced(&*self.disk, &self.path)?.unwrap_or_default();
        let text = properties::merge(&String::from_utf8_lossy(&before), &asked.lines());
        disk::replace(&*self.disk, &self.path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::SimDisk;

    use super::*;

    crate::settings! {
        /// A table to test with.
        pub struct Sample {
            /// A switch.
            list: bool = "enableTopicList", true, Live;
            /// Another one.
            order: bool = "orderMessageEnable", false, Live;
            /// What counts at the start.
            interval: u64 = "scanInterval", 5_000, Restart;
            /// An address.
            bind: String = "bindAddress", "0.0.0.0".into(), Local;
            /// What no peer may change.
            black_list: String = "configBlackList", "configBlackList;configStorePath".into(), Local;
        }
        pinned {}
        inert: &[("serverWorkerThreads", "8"), ("serverSelectorThreads", "3"), ("rocketmqHome", "")];
        local: &["rocketmqHome"]
    }

    const PATH: &str = "conf/sample.properties";

    fn kept(settings: Sample) -> (Arc<SimDisk>, KeptSettings<Sample>) {
        let disk = Arc::new(SimDisk::new(1));
        (Arc::clone(&disk), KeptSettings::new(disk, PATH, settings))
    }

    #[test]
    fn a_change_takes_effect_and_is_kept_beside_what_the_file_has() {
        let (disk, kept) = kept(Sample::default());
        disk.create_folder(Path::new("conf")).expect("created");
        disk::replace(&*disk, Path::new(PATH), b"# mine\nenableTopicList=true\nscanInterval=9\n").expect("written");
        let asked = kept.update(b"enableTopicList=false\norderMessageEnable=true\n").expect("accepted");
        let changed = asked.changed.iter().map(|changed| format!("{} {}", changed.key, changed.after));
        assert_eq!(changed.collect::<Vec<_>>(), ["enableTopicList false", "orderMessageEnable true"]);
        assert!(!kept.load().list && kept.load().order);
        disk.crash();
        let text = disk::read(&*disk, Path::new(PATH)).expect("a file");
        assert_eq!(text, b"# mine\nscanInterval=9\nenableTopicList=false\norderMessageEnable=true\n");
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let (disk, kept) = kept(Sample::default());
        for (lines, text) in [
            (&b"configStorePath=/etc/passwd\n"[..], "Can not update config in black list."),
            (b"bindAddress=1.2.3.4", "Can not update config in black list."),
            (b"rocketmqHome=/", "Can not update config in black list."),
            (b"scanInterval=1000", "takes effect at the start only"),
            (b"orderMessageEnable=true\nenableTopicList=maybe", "`enableTopicList=maybe`"),
            (b"orderMesageEnable=true", "did you mean `orderMessageEnable`"),
            (b"\xff\xfe", "no text"),
        ] {
            let error = kept.update(lines).expect_err("refused").to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(!kept.load().order);
        assert!(!disk.exists(Path::new(PATH)));
    }

    #[test]
    fn what_cannot_be_kept_does_not_take_effect() {
        let (disk, kept) = kept(Sample::default());
        disk.fail_writes(true);
        let error = kept.update(b"orderMessageEnable=true").expect_err("refused").to_string();
        assert!(error.starts_with("conf/sample.properties cannot be changed"), "{error}");
        assert!(!kept.load().order);
    }

    #[test]
    fn what_means_nothing_here_is_said() {
        let (disk, kept) = kept(Sample::default());
        let asked = kept.update(b"serverWorkerThreads=4\nserverSelectorThreads=3").expect("accepted");
        assert_eq!(asked.without_effect, ["serverWorkerThreads"]);
        assert!(!disk.exists(Path::new(PATH)));
    }

    #[test]
    fn the_black_list_of_the_settings_counts() {
        let (_, kept) = kept(Sample { black_list: "enableTopicList; x".into(), ..Default::default() });
        let refused = kept.update(b"enableTopicList=false");
        assert!(matches!(refused, Err(ChangeError::Refused(ChangeRefused::Closed(_)))));
    }
}
