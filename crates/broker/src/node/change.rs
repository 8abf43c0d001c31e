//! A change of role: one broker ends, and another starts on the same store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;

use crate::broker::RunningBroker;
use crate::replication::Placement;
use crate::settings::BrokerSettings;

/// How long what others still have of a broker that ended may keep its store locked.
const LETTING_GO: Duration = Duration::from_secs(10);
/// What stays in the store's folder when a log is set aside: it is not of the log.
const STAYS: [&str; 5] = ["config", "lock", "brokerIdentity", "brokerIdentity-temp", ASIDE];
/// Folder of logs that were set aside, in the store's folder.
const ASIDE: &str = "set-aside";

/// What each broker of a node is started with.
#[derive(Clone)]
pub(super) struct Ground {
    pub settings: BrokerSettings,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub memory: u64,
}

/// What is to be done in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// Nothing.
    Kept,
    /// The log is set aside: the next broker begins with an empty one.
    SetAside,
}

impl Ground {
    /// Ends a broker, if there is one, and starts another, if there is to be one.
    pub async fn change(
        self,
        from: Option<RunningBroker>,
        log: Log,
        to: Option<Placement>,
    ) -> Result<Option<RunningBroker>, String> {
        if let Some(broker) = from {
            let began = Instant::now();
            let gone = broker.step_down().await.map_err(|error| error.to_string())?;
            let ended_ms = began.elapsed().as_millis();
            let let_go = async {
                while gone.strong_count() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // If it takes longer, the start says that the store is in use.
            let _ = tokio::time::timeout(LETTING_GO, let_go).await;
            let let_go_ms = began.elapsed().as_millis() - ended_ms;
            tracing::debug!(ended_ms, let_go_ms, "the role before has ended");
        }
        let work = tokio::task::spawn_blocking(move || {
            if log == Log::SetAside {
                self.set_aside()?;
            }
            let start = |to| RunningBroker::start_as(self.settings, to, self.clock, self.disk, self.memory);
            to.map(start).transpose().map_err(|error| error.to_string())
        });
        work.await.unwrap_or_else(|error| Err(format!("starting the broker failed by a bug: {error}")))
    }

    /// Moves everything of the log into a folder of its own. Nothing is removed: an operator may want it back.
    fn set_aside(&self) -> Result<(), String> {
        let root = Path::new(&self.settings.store_path_root_dir);
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error| format!("cannot set the log in {path} aside: {error}")
        };
        let aside = root.join(ASIDE);
        self.disk.create_folder(&aside).map_err(failed(root))?;
        let taken = self.disk.list(&aside).map_err(failed(&aside))?;
        let number = taken.iter().filter_map(|name| name.parse::<u32>().ok()).max().map_or(1, |last| last + 1);
        let folder = aside.join(number.to_string());
        self.disk.create_folder(&folder).map_err(failed(root))?;
        let log = &self.settings.store_path_commit_log;
        if !log.is_empty() && self.disk.exists(Path::new(log)) {
            let kept = format!("{log}.set-aside-{number}");
            self.disk.rename(Path::new(log), Path::new(&kept)).map_err(failed(Path::new(log)))?;
        }
        for name in self.disk.list(root).map_err(failed(root))? {
            if !STAYS.contains(&&*name) {
                self.disk.rename(&root.join(&name), &folder.join(&name)).map_err(failed(root))?;
            }
        }
        self.disk.sync_folder(&folder).and_then(|()| self.disk.sync_folder(root)).map_err(failed(root))?;
        tracing::warn!(folder = %folder.display(), "the log was set aside; remove that folder once this broker has copied its master's");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use apogee_base::clock::SystemClock;
    use apogee_base::disk::RealDisk;

    use super::*;

    #[test]
    fn a_log_set_aside_leaves_configuration_and_identity_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let store_path_root_dir = root.to_string_lossy().into_owned();
        let ground = Ground {
            settings: BrokerSettings { store_path_root_dir, ..BrokerSettings::default() },
            clock: Arc::new(SystemClock),
            disk: Arc::new(RealDisk),
            memory: 1 << 30,
        };
        for round in ["1", "2"] {
            for folder in ["commitlog", "config"] {
                std::fs::create_dir_all(root.join(folder)).unwrap();
            }
            for file in ["commitlog/0", "config/topics.json", "brokerIdentity", "epochFileCheckpoint"] {
                std::fs::write(root.join(file), round).unwrap();
            }
            ground.set_aside().unwrap();
            for gone in ["commitlog", "epochFileCheckpoint"] {
                assert!(!root.join(gone).exists(), "{gone}");
            }
            for stays in ["config/topics.json", "brokerIdentity"] {
                assert!(root.join(stays).exists(), "{stays}");
            }
            let aside = root.join("set-aside").join(round).join("commitlog/0");
            assert_eq!(std::fs::read_to_string(aside).unwrap(), round);
        }
    }
}
