//! Settings changed by remote request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_base::disk::{self, Disk};
use apogee_base::settings::remote::{Asked, ChangeRefused};
use apogee_base::settings::{Current, Live, properties};

use crate::settings::ControllerSettings;

/// Why settings cannot be changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error(transparent)]
    ChangeRefused(#[from] ChangeRefused),
    #[error("{file} cannot be written: {source}; nothing changed")]
    File { file: String, source: io::Error },
}

/// The settings of now, and the file that changes are kept in.
pub struct Config {
    disk: Arc<dyn Disk>,
    current: Live<ControllerSettings>,
    /// Held while a change is made.
    changing: Mutex<()>,
}

impl Config {
    /// Begins with the settings of the start.
    pub fn new(disk: Arc<dyn Disk>, settings: ControllerSettings) -> Self {
        Self { disk, current: Live::new(settings), changing: Mutex::default() }
    }

    /// The settings of this moment.
    pub fn get(&self) -> Current<ControllerSettings> {
        self.current.load()
    }

    /// Applies `key=value` lines, all or none, and keeps them for later starts. May wait for the disk.
    pub fn update(&self, lines: &[u8]) -> Result<Asked<ControllerSettings>, ConfigError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.get();
        let asked = Asked::read(&**current, &current.config_black_list, lines)?;
        if !asked.changed.is_empty() {
            let path = PathBuf::from(&current.config_store_path);
            self.keep(&path, &asked)
                .map_err(|source| ConfigError::File { file: path.display().to_string(), source })?;
            self.current.store(asked.settings.clone());
        }
        Ok(asked)
    }

    /// Puts the changed keys at the end of the file and leaves its other lines as they are.
    fn keep(&self, path: &Path, asked: &Asked<ControllerSettings>) -> io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            self.disk.create_folder(folder)?;
        }
        let before = disk::read_replaced(&*self.disk, path)?.unwrap_or_default();
        let text = properties::merge(&String::from_utf8_lossy(&before), &asked.lines());
        disk::replace(&*self.disk, path, text.as_bytes())
    }
}
