//! The subscription groups of the broker (upstream `SubscriptionGroupManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_base::hash::QuickMap;
use apogee_message::{light, names};
use apogee_wire::bodies::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::persist::PersistError;
use crate::table_file::{Change, TableFile};

/// Bit of a forbidden mask that forbids reading (upstream `PermName.INDEX_PERM_READ`).
const FORBID_READ: i32 = 1 << 2;

/// Groups that a broker has from its first start, as upstream's has.
const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// All groups, and the file `subscriptionGroup.json`.
pub struct GroupTable {
    file: TableFile,
    /// Whether there are groups of light queues, which are in no file.
    has_light: bool,
    inner: RwLock<Inner>,
}

struct Inner {
    groups: QuickMap<String, Arc<SubscriptionGroupConfig>>,
    /// Forbidden bits by group and topic.
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
    version: DataVersion,
    /// Names of what changed since it was saved.
    unsaved: BTreeSet<String>,
}

impl GroupTable {
    /// Reads the file and adds the groups that every broker has.
    pub fn open(file: TableFile, now_ms: i64) -> Result<Self, PersistError> {
        let loaded = file.load_or_begin::<SubscriptionGroupWrapper>("groups come back with default settings")?;
        let kept = loaded.table.unwrap_or_default();
        let mut inner = Inner {
            groups: SYSTEM_GROUPS
                .into_iter()
                .map(|group| (String::from(group), SubscriptionGroupConfig::new(group).into()))
                .collect(),
            forbidden: BTreeMap::new(),
            version: kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms)),
            unsaved: BTreeSet::new(),
        };
        inner.put_all(kept);
        for Change { removed, put } in loaded.changes {
            for group in &removed {
                inner.groups.remove(group);
                inner.forbidden.remove(group);
            }
            inner.put_all(put);
        }
        Ok(Self { file, has_light: false, inner: RwLock::new(inner) })
    }

    /// The same with groups of light queues.
    pub(crate) fn with_light(self, has_light: bool) -> Self {
        Self { has_light, ..self }
    }

    /// A group. Every name of a group of light queues is one, with default settings.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let known = self.read().groups.get(group).cloned();
        known.or_else(|| self.is_light(group).then(|| SubscriptionGroupConfig::new(group).into()))
    }

    /// Whether a group is one of light queues.
    pub fn is_light(&self, group: &str) -> bool {
        self.has_light && light::is_name(group)
    }

    /// A group, created with defaults when it isn't there and that is allowed.
    pub fn get_or_create(
        &self,
        group: &str,
        create: bool,
        now_ms: i64,
    ) -> Result<Arc<SubscriptionGroupConfig>, BrokerError> {
        if let Some(config) = self.get(group) {
            return Ok(config);
        }
        let config = self.get_or_default(group, create)?;
        tracing::info!(group, "created a subscription group because a consumer came");
        let mut inner = self.write();
        let config = Arc::clone(inner.groups.entry(group.to_owned()).or_insert(config));
        inner.changed([group.to_owned()], now_ms);
        Ok(config)
    }

    /// The same on a slave, whose table is its master's: a group that isn't there has the defaults, and nobody is
    /// told of it.
    pub fn get_or_default(&self, group: &str, create: bool) -> Result<Arc<SubscriptionGroupConfig>, BrokerError> {
        if let Some(config) = self.get(group) {
            return Ok(config);
        }
        names::check_group(group)?;
        if !create && !names::is_system_group(group) {
            let remark = format!(
                "subscription group [{group}] does not exist: create it, or set autoCreateSubscriptionGroup=true on the broker"
            );
            return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        Ok(Arc::new(SubscriptionGroupConfig::new(group)))
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.read().groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All groups, by name.
    pub fn all(&self) -> Vec<Arc<SubscriptionGroupConfig>> {
        let mut groups: Vec<_> = self.read().groups.values().cloned().collect();
        groups.sort_unstable_by(|one, other| one.group_name.cmp(&other.group_name));
        groups
    }

    /// The table's version: it changes with every change.
    pub fn version(&self) -> DataVersion {
        self.read().version
    }

    /// Creates groups or changes them.
    pub fn update(&self, configs: impl IntoIterator<Item = SubscriptionGroupConfig>, now_ms: i64) {
        let mut inner = self.write();
        let mut names = Vec::new();
        for config in configs {
            names.push(config.group_name.clone());
            inner.groups.insert(config.group_name.clone(), Arc::new(config));
        }
        inner.changed(names, now_ms);
    }

    /// Becomes the table of a master: groups that it does not have go, but for the system's own.
    pub(crate) fn take_over(&self, theirs: SubscriptionGroupWrapper) {
        let mut inner = self.write();
        let goes =
            |group: &&String| !theirs.subscription_group_table.contains_key(*group) && !names::is_system_group(group);
        let gone: Vec<_> = inner.groups.keys().filter(goes).cloned().collect();
        for group in &gone {
            inner.groups.remove(group);
        }
        let mut changed: BTreeSet<_> = gone.into_iter().collect();
        for (group_name, config) in theirs.subscription_group_table {
            let config = SubscriptionGroupConfig { group_name, ..config };
            if inner.groups.get(&config.group_name).is_none_or(|group| **group != config) {
                changed.insert(config.group_name.clone());
                inner.groups.insert(config.group_name.clone(), Arc::new(config));
            }
        }
        let forbidden = std::mem::replace(&mut inner.forbidden, theirs.forbidden_table);
        let touched = forbidden.keys().chain(inner.forbidden.keys());
        changed.extend(touched.filter(|group| forbidden.get(*group) != inner.forbidden.get(*group)).cloned());
        inner.unsaved.extend(changed);
        inner.version = theirs.data_version.unwrap_or(inner.version);
    }

    /// Removes a group; says whether it was there.
    pub fn remove(&self, group: &str, now_ms: i64) -> bool {
        let mut inner = self.write();
        let removed = inner.groups.remove(group).is_some();
        if removed {
            inner.forbidden.remove(group);
            inner.changed([group.to_owned()], now_ms);
        }
        removed
    }

    /// Whether a group may read a topic.
    pub fn may_read(&self, group: &str, topic: &str) -> bool {
        let inner = self.read();
        let bits = inner.forbidden.get(group).and_then(|topics| topics.get(topic));
        bits.is_none_or(|bits| bits & FORBID_READ == 0)
    }

    /// Allows or forbids a group to read a topic.
    pub fn set_may_read(&self, group: &str, topic: &str, may: bool, now_ms: i64) {
        let mut inner = self.write();
        let bits = inner.forbidden.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default();
        *bits = if may { *bits & !FORBID_READ } else { *bits | FORBID_READ };
        inner.changed([group.to_owned()], now_ms);
    }

    /// The table as peers and the file have it.
    pub fn snapshot(&self) -> SubscriptionGroupWrapper {
        let inner = self.read();
        let groups = inner.groups.iter().map(|(name, config)| (name.clone(), (**config).clone()));
        SubscriptionGroupWrapper {
            data_version: Some(inner.version),
            forbidden_table: inner.forbidden.clone(),
            subscription_group_table: groups.collect(),
        }
    }

    /// Makes all that changed before the call durable; costs what changed.
    pub fn save(&self) -> Result<(), PersistError> {
        self.file.save(|| self.take_unsaved(), || self.snapshot())
    }

    /// Writes the file as upstream's broker reads it.
    pub fn close(&self) -> Result<(), PersistError> {
        self.file.close(|| self.take_unsaved(), || self.snapshot())
    }

    fn take_unsaved(&self) -> Option<Change<SubscriptionGroupWrapper>> {
        let mut inner = self.write();
        let unsaved = std::mem::take(&mut inner.unsaved);
        (!unsaved.is_empty()).then(|| inner.part(unsaved))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn changed(&mut self, groups: impl IntoIterator<Item = String>, now_ms: i64) {
        self.version = self.version.next(0, now_ms);
        self.unsaved.extend(groups);
    }

    /// Some groups as they are now.
    fn part(&self, groups: BTreeSet<String>) -> Change<SubscriptionGroupWrapper> {
        let mut change = Change::<SubscriptionGroupWrapper>::default();
        change.put.data_version = Some(self.version);
        for group in groups {
            if let Some(forbidden) = self.forbidden.get(&group) {
                change.put.forbidden_table.insert(group.clone(), forbidden.clone());
            }
            match self.groups.get(&group) {
                Some(config) => drop(change.put.subscription_group_table.insert(group, (**config).clone())),
                None => change.removed.push(group),
            }
        }
        change
    }

    fn put_all(&mut self, some: SubscriptionGroupWrapper) {
        self.forbidden.extend(some.forbidden_table);
        for (group_name, config) in some.subscription_group_table {
            self.groups.insert(group_name.clone(), Arc::new(SubscriptionGroupConfig { group_name, ..config }));
        }
        self.version = some.data_version.unwrap_or(self.version);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    fn open(disk: &SimDisk) -> GroupTable {
        disk.create_folder(Path::new("/c")).unwrap();
        GroupTable::open(TableFile::new(Arc::new(disk.clone()), "/c/g.json".into()), 1).unwrap()
    }

    #[test]
    fn groups_are_created_where_that_is_allowed() {
        let table = open(&SimDisk::new(1));
        let error = table.get_or_create("G", false, 2).unwrap_err();
        assert_eq!(error.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
        assert_eq!(table.get_or_create("G", true, 2).unwrap().retry_max_times, 16);
        assert!(table.get_or_create("G", false, 2).is_ok());
        assert!(table.get_or_create("a b", true, 2).is_err());
        assert!(table.remove("G", 3) && table.get("G").is_none());
    }

    #[test]
    fn what_is_forbidden_stays_forbidden() {
        let disk = SimDisk::new(1);
        let table = open(&disk);
        assert!(table.may_read("G", "T"));
        table.set_may_read("G", "T", false, 2);
        table.save().unwrap();
        let table = open(&disk);
        assert!(!table.may_read("G", "T") && table.may_read("G", "U"));
        table.set_may_read("G", "T", true, 2);
        assert!(table.may_read("G", "T"));
    }

    #[test]
    fn the_file_of_upstream_is_read() {
        let disk = SimDisk::new(1);
        disk.create_folder(Path::new("/c")).unwrap();
        let text = include_bytes!("../../../tests/golden/config/subscriptionGroup.json");
        apogee_base::disk::replace(&disk, Path::new("/c/g.json"), text).unwrap();
        let table = open(&disk);
        assert_eq!(table.get("G_list2").unwrap().retry_max_times, 3);
        assert!(!table.get("C_adm").unwrap().consume_broadcast_enable);
    }
}
