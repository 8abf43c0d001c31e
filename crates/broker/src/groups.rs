//! The subscription groups of the broker (upstream `SubscriptionGroupManager`).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_message::names;
use apogee_wire::bodies::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::persist::{JsonFile, PersistError};

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
    file: JsonFile,
    inner: RwLock<Inner>,
    unsaved: AtomicBool,
    /// Held by the one who writes the file.
    saving: Mutex<()>,
}

struct Inner {
    groups: HashMap<String, Arc<SubscriptionGroupConfig>>,
    /// Forbidden bits by group and topic.
    forbidden: BTreeMap<String, BTreeMap<String, i32>>,
    version: DataVersion,
}

impl GroupTable {
    /// Reads the file and adds the groups that every broker has.
    pub fn open(file: JsonFile, now_ms: i64) -> Result<Self, PersistError> {
        let kept: Option<SubscriptionGroupWrapper> = file.load()?;
        let kept = kept.unwrap_or_default();
        let system = SYSTEM_GROUPS.map(|group| (group.to_owned(), SubscriptionGroupConfig::new(group)));
        let all = system.into_iter().chain(kept.subscription_group_table);
        let groups =
            all.map(|(name, config)| (name.clone(), Arc::new(SubscriptionGroupConfig { group_name: name, ..config })));
        let version = kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms));
        let inner = Inner { groups: groups.collect(), forbidden: kept.forbidden_table, version };
        Ok(Self { file, inner: RwLock::new(inner), unsaved: AtomicBool::new(false), saving: Mutex::default() })
    }

    /// A group.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.read().groups.get(group).cloned()
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
        names::check_group(group)?;
        if !create && !names::is_system_group(group) {
            let remark = format!(
                "subscription group [{group}] does not exist: create it, or set autoCreateSubscriptionGroup=true on the broker"
            );
            return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        tracing::info!(group, "created a subscription group because a consumer came");
        let config = Arc::new(SubscriptionGroupConfig::new(group));
        let mut inner = self.write();
        let config = Arc::clone(inner.groups.entry(group.to_owned()).or_insert(config));
        self.changed(&mut inner, now_ms);
        Ok(config)
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
        for config in configs {
            inner.groups.insert(config.group_name.clone(), Arc::new(config));
        }
        self.changed(&mut inner, now_ms);
    }

    /// Removes a group; says whether it was there.
    pub fn remove(&self, group: &str, now_ms: i64) -> bool {
        let mut inner = self.write();
        let removed = inner.groups.remove(group).is_some();
        if removed {
            inner.forbidden.remove(group);
            self.changed(&mut inner, now_ms);
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
        self.changed(&mut inner, now_ms);
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

    /// Writes the file if something changed since it was written.
    pub fn save(&self) -> Result<(), PersistError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if self.unsaved.swap(false, Ordering::AcqRel) {
            self.file.save(&self.snapshot()).inspect_err(|_| self.unsaved.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    fn changed(&self, inner: &mut Inner, now_ms: i64) {
        inner.version = inner.version.next(0, now_ms);
        self.unsaved.store(true, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apogee_base::disk::{Disk, SimDisk};

    use super::*;

    fn open(disk: &SimDisk) -> GroupTable {
        disk.create_folder(Path::new("/c")).unwrap();
        GroupTable::open(JsonFile::new(Arc::new(disk.clone()), "/c/g.json".into()), 1).unwrap()
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
