//! The number that a broker has in its group for good, in a file beside its store, as upstream writes it
//! (`BrokerMetadata`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Disk};

use super::agent::Identity;
use crate::persist::PersistError;

/// The file `brokerIdentity`, and the one beside it that stands for an application under way.
pub(super) struct IdentityFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    cluster: String,
    group: String,
}

impl IdentityFile {
    /// The files at `path`, of a broker of this cluster and group.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, cluster: &str, group: &str) -> Self {
        let mut temporary = path.clone().into_os_string();
        temporary.push("-temp");
        Self { disk, path, temporary: temporary.into(), cluster: cluster.to_owned(), group: group.to_owned() }
    }

    /// What was kept. The text of an error says what to do: the files may be those of another broker.
    pub fn load(&self) -> Result<Identity, String> {
        if let Some(text) = self.read(&self.path)? {
            return match self.fields(&text, &self.path)?[..] {
                [id] => Ok(Identity::Known(self.number(id, &self.path)?)),
                _ => Err(self.unreadable(&self.path)),
            };
        }
        let Some(text) = self.read(&self.temporary)? else { return Ok(Identity::Unknown) };
        // Half an application is none.
        let Ok(fields) = self.fields(&text, &self.temporary) else { return Ok(Identity::Unknown) };
        match fields[..] {
            [id, code] => Ok(Identity::Applied { id: self.number(id, &self.temporary)?, code: code.to_owned() }),
            _ => Ok(Identity::Unknown),
        }
    }

    /// Makes it durable.
    pub fn keep(&self, identity: &Identity) -> Result<(), PersistError> {
        let (path, text) = match identity {
            Identity::Unknown => return self.remove_temporary(),
            Identity::Applied { id, code } => (&self.temporary, format!("{}#{}#{id}#{code}", self.cluster, self.group)),
            Identity::Known(id) => (&self.path, format!("{}#{}#{id}", self.cluster, self.group)),
        };
        disk::replace(&*self.disk, path, text.as_bytes()).map_err(|source| PersistError::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;
        if matches!(identity, Identity::Known(_)) { self.remove_temporary() } else { Ok(()) }
    }

    fn remove_temporary(&self) -> Result<(), PersistError> {
        if !self.disk.exists(&self.temporary) {
            return Ok(());
        }
        let error = |source| PersistError::Io { action: "remove", path: self.temporary.clone(), source };
        let folder = self.temporary.parent().unwrap_or(Path::new("."));
        self.disk.remove(&self.temporary).and_then(|()| self.disk.sync_folder(folder)).map_err(error)
    }

    fn read(&self, path: &Path) -> Result<Option<String>, String> {
        let content = disk::read_replaced(&*self.disk, path);
        let content = content.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(content.map(|content| String::from_utf8_lossy(&content).trim().to_owned()))
    }

    /// What follows cluster and group.
    fn fields<'t>(&self, text: &'t str, path: &Path) -> Result<Vec<&'t str>, String> {
        let own = format!("{}#{}#", self.cluster, self.group);
        match text.strip_prefix(&own) {
            Some(rest) => Ok(rest.split('#').collect()),
            None if text.matches('#').count() < 2 => Err(self.unreadable(path)),
            None => Err(format!(
                "{} is of another broker ({text}), and this one is of the group {} in the cluster {}: these are not its \
                 files; give it a folder of its own, or set brokerName and brokerClusterName back",
                path.display(),
                self.group,
                self.cluster
            )),
        }
    }

    fn number(&self, text: &str, path: &Path) -> Result<i64, String> {
        text.parse().ok().filter(|id| *id > 0).ok_or_else(|| self.unreadable(path))
    }

    fn unreadable(&self, path: &Path) -> String {
        format!(
            "{} does not say which broker this is (cluster#group#number): put it back from a copy, or remove it to let \
             this broker join its group as a new one",
            path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::SimDisk;

    use super::*;

    fn file(disk: &SimDisk, group: &str) -> IdentityFile {
        IdentityFile::new(Arc::new(disk.clone()), "/s/brokerIdentity".into(), "CtlCluster", group)
    }

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/s")).unwrap();
        disk
    }

    #[test]
    fn a_number_outlives_crashes_in_upstreams_format() {
        let disk = disk();
        let file = file(&disk, "broker-c");
        assert_eq!(file.load(), Ok(Identity::Unknown));
        let applied = Identity::Applied { id: 1, code: "127.0.0.1:32911;1795230761162".to_owned() };
        file.keep(&applied).unwrap();
        disk.crash();
        assert_eq!(file.load(), Ok(applied));
        file.keep(&Identity::Known(1)).unwrap();
        disk.crash();
        assert_eq!(file.load(), Ok(Identity::Known(1)));
        assert_eq!(disk::read(&disk, Path::new("/s/brokerIdentity")).unwrap(), b"CtlCluster#broker-c#1");
        assert!(!disk.exists(Path::new("/s/brokerIdentity-temp")));
    }

    #[test]
    fn the_files_of_another_broker_are_refused() {
        let disk = disk();
        file(&disk, "broker-c").keep(&Identity::Known(1)).unwrap();
        let error = file(&disk, "broker-d").load().unwrap_err();
        assert!(error.contains("CtlCluster#broker-c#1") && error.contains("broker-d"), "{error}");
        for damaged in [&b""[..], b"CtlCluster#broker-c#", b"CtlCluster#broker-c#x", b"CtlCluster#broker-c#0", b"\xff"]
        {
            disk::replace(&disk, Path::new("/s/brokerIdentity"), damaged).unwrap();
            let error = file(&disk, "broker-c").load().unwrap_err();
            assert!(error.contains("does not say which broker"), "{error}");
        }
    }
}
