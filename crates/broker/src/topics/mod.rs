//! The topics of the broker (upstream `TopicConfigManager`).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_base::hash::QuickMap;
use apogee_message::{light, names};
use apogee_wire::bodies::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};
use apogee_wire::codes::response;
use serde::{Serialize, Serializer};

use crate::deduplication::Window;
use crate::error::BrokerError;
use crate::persist::PersistError;
use crate::settings::BrokerSettings;
use crate::table_file::{Change, TableFile};

mod entries;
mod system;
#[cfg(test)]
mod tests;

use entries::Entries;
use system::system_topics;

/// Bits of a topic's or a broker's permission.
pub mod perm {
    /// Messages can be read.
    pub const READ: i32 = 4;
    /// Messages can be sent.
    pub const WRITE: i32 = 2;
    /// Topics that are created take after it.
    pub const INHERIT: i32 = 1;
}

/// Attribute of a topic that decides what its queues are made of.
pub(crate) const QUEUE_TYPE: &str = "queue.type";
/// Its value for topics that keep a batch as one record.
pub(crate) const BATCHES: &str = "BatchCQ";

/// Whether a topic with such attributes keeps a batch as one record.
pub(crate) fn keeps_batches(attributes: &BTreeMap<String, String>) -> bool {
    attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == BATCHES)
}

/// Queues that a topic may have at most.
pub const MOST_QUEUES: i32 = 65_535;

/// A topic. Its name is shared by all that speak of it.
#[derive(Debug)]
pub struct Topic {
    /// The name.
    pub name: Arc<str>,
    /// What clients and administrators know of it.
    pub config: TopicConfig,
    /// Where messages sent again are known by their unique keys.
    pub(crate) window: Option<Arc<Window>>,
}

impl Topic {
    /// Whether all of some permission bits are set.
    pub fn allows(&self, bits: i32) -> bool {
        self.config.perm & bits == bits
    }

    /// Whether a batch is kept as one record.
    pub fn keeps_batches(&self) -> bool {
        keeps_batches(&self.config.attributes)
    }
}

/// All topics, and the file `topics.json`.
pub struct TopicTable {
    file: TableFile,
    /// Whether there are light queues, each of which is a topic that is in no file.
    has_light: bool,
    inner: RwLock<Entries>,
}

/// All topics as they were at some moment, written as a [`TopicConfigSerializeWrapper`] is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    pub data_version: DataVersion,
    pub topic_config_table: ByName,
}

/// Topics, in order of their names.
pub(crate) struct ByName(pub Vec<Arc<Topic>>);

impl Serialize for ByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|topic| (&*topic.name, &topic.config)))
    }
}

impl TopicTable {
    /// Reads the file and adds the topics that every broker has.
    pub fn open(file: TableFile, settings: &BrokerSettings, now_ms: i64) -> Result<Self, PersistError> {
        let loaded =
            file.load_or_begin::<TopicConfigSerializeWrapper>("topics with queues come back with default settings")?;
        let kept = loaded.table.unwrap_or_default();
        let mut inner = Entries {
            topics: QuickMap::default(),
            version: kept.data_version.unwrap_or_else(|| DataVersion::new(now_ms)),
            epoch: 0,
            unsaved: HashSet::new(),
            recent: VecDeque::new(),
            most_keys: settings.deduplication_max_keys,
        };
        inner.put_all(kept.topic_config_table);
        for Change { removed, put } in loaded.changes {
            removed.iter().for_each(|name| drop(inner.topics.remove(&**name)));
            inner.put_all(put.topic_config_table);
            inner.version = put.data_version.unwrap_or(inner.version);
        }
        for config in system_topics(settings) {
            if !inner.topics.contains_key(&*config.topic_name) {
                let topic = inner.put(config);
                inner.unsaved.insert(Arc::clone(&topic.name));
            }
        }
        Ok(Self { file, has_light: settings.enable_lmq, inner: RwLock::new(inner) })
    }

    /// A topic. Every light queue is one, whether it is there or not.
    pub fn get(&self, topic: &str) -> Option<Arc<Topic>> {
        let known = self.read().topics.get(topic).cloned();
        known.or_else(|| {
            let config = || TopicConfig::new(topic, 1);
            self.is_light(topic).then(|| Arc::new(Topic { name: topic.into(), config: config(), window: None }))
        })
    }

    /// Whether a topic is a light queue.
    pub fn is_light(&self, topic: &str) -> bool {
        self.has_light && light::is_name(topic)
    }

    /// All topics, by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.snapshot().topic_config_table.0
    }

    /// Number of topics.
    pub fn len(&self) -> usize {
        self.read().topics.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table is that of the master of an epoch from now on: name servers, which may hear of both, tell him by it
    /// from those that were the master before.
    pub(crate) fn begin_epoch(&self, epoch: i32, now_ms: i64) {
        let mut inner = self.write();
        inner.epoch = epoch.into();
        inner.version = inner.version.next(inner.epoch, now_ms);
    }

    /// The table's version: it changes with every change.
    pub fn version(&self) -> DataVersion {
        self.read().version
    }

    /// The topic to send to, created after its template when it isn't there and that is allowed.
    /// `queues` is what the producer asks for.
    pub fn get_or_create(
        &self,
        topic: &str,
        template: &str,
        queues: i32,
        settings: &BrokerSettings,
        now_ms: i64,
    ) -> Result<Arc<Topic>, BrokerError> {
        if let Some(topic) = self.get(topic) {
            return Ok(topic);
        }
        names::check_topic(topic)?;
        let refused = |why: String| {
            let advice = "create it, or set autoCreateTopicEnable=true on the broker";
            BrokerError::new(
                response::TOPIC_NOT_EXIST,
                format!("topic[{topic}] not exist, apply first please! {why}: {advice}"),
            )
        };
        let Some(template) = self.get(template) else {
            return Err(refused(format!("it has no template `{template}` here")));
        };
        let off = &*template.name == names::AUTO_CREATE_TOPIC && !settings.auto_create_topic_enable;
        if off || !template.allows(perm::INHERIT) {
            return Err(refused("topics are not created by sending to them".to_owned()));
        }
        let queues = queues.min(template.config.write_queue_nums).max(1);
        let config = TopicConfig { perm: template.config.perm & !perm::INHERIT, ..TopicConfig::new(topic, queues) };
        tracing::info!(topic, queues, "created a topic because a message was sent to it");
        Ok(self.put_if_absent(config, now_ms))
    }

    /// A topic of the system's own making, such as a retry topic.
    pub fn ensure(&self, topic: &str, queues: i32, permission: i32, now_ms: i64) -> Arc<Topic> {
        let ensured = self.get(topic);
        ensured.unwrap_or_else(|| {
            self.put_if_absent(TopicConfig { perm: permission, ..TopicConfig::new(topic, queues) }, now_ms)
        })
    }

    /// The retry topic of a group.
    pub fn ensure_retry(&self, group: &str, queues: i32, now_ms: i64) -> Arc<Topic> {
        self.ensure(&names::retry_topic(group), queues.clamp(1, MOST_QUEUES), perm::READ | perm::WRITE, now_ms)
    }

    /// Creates topics or changes them.
    pub fn update(&self, configs: impl IntoIterator<Item = TopicConfig>, now_ms: i64) {
        let mut inner = self.write();
        inner.version = inner.version.next(inner.epoch, now_ms);
        for config in configs {
            let topic = inner.put(config);
            inner.changed(&topic.name);
        }
    }

    /// Becomes the table of a master: topics that it does not have go, but for the system's own. Says how many went.
    pub(crate) fn take_over(&self, theirs: BTreeMap<String, TopicConfig>, version: Option<DataVersion>) -> usize {
        let mut inner = self.write();
        let goes = |name: &&Arc<str>| !theirs.contains_key(&***name) && !names::is_system_topic(name);
        let gone: Vec<_> = inner.topics.keys().filter(goes).cloned().collect();
        for name in &gone {
            inner.topics.remove(name);
        }
        let count = gone.len();
        inner.unsaved.extend(gone);
        for (topic_name, config) in theirs {
            let config = TopicConfig { topic_name, ..config };
            if inner.topics.get(&*config.topic_name).is_none_or(|topic| topic.config != config) {
                let topic = inner.put(config);
                inner.unsaved.insert(Arc::clone(&topic.name));
            }
        }
        inner.version = version.unwrap_or(inner.version);
        // Versions of before are of another table.
        inner.recent.clear();
        count
    }

    /// Removes a topic; says whether it was there.
    pub fn remove(&self, topic: &str, now_ms: i64) -> bool {
        let mut inner = self.write();
        let removed = inner.topics.remove(topic);
        if let Some(topic) = &removed {
            inner.version = inner.version.next(inner.epoch, now_ms);
            inner.changed(&topic.name);
        }
        removed.is_some()
    }

    /// The table as it is now, without a copy of each topic: what changes later, changes elsewhere.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let inner = self.read();
        let (version, mut topics) = (inner.version, inner.topics.values().cloned().collect::<Vec<_>>());
        drop(inner);
        topics.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Snapshot { data_version: version, topic_config_table: ByName(topics) }
    }

    /// What changed since a version of the table, and the version now. `None` when that is too long ago
    /// to be remembered, or was in another table.
    pub(crate) fn changes_since(&self, version: DataVersion) -> Option<Change<TopicConfigSerializeWrapper>> {
        let inner = self.read();
        let known = inner.recent.front().map_or(inner.version.counter, |(counter, _)| counter - 1);
        let is_known = (known..=inner.version.counter).contains(&version.counter);
        let changed = inner.recent.iter().rev().take_while(|(counter, _)| *counter > version.counter);
        let is_of_this_table = version == inner.version || !inner.recent.is_empty() && version <= inner.version;
        (is_known && is_of_this_table).then(|| inner.part(changed.map(|(_, name)| name)))
    }

    /// Makes all that changed before the call durable; costs what changed.
    pub fn save(&self) -> Result<(), PersistError> {
        self.file.save(|| self.take_unsaved(), || self.snapshot())
    }

    /// Writes the file as upstream's broker reads it.
    pub fn close(&self) -> Result<(), PersistError> {
        self.file.close(|| self.take_unsaved(), || self.snapshot())
    }

    fn take_unsaved(&self) -> Option<Change<TopicConfigSerializeWrapper>> {
        let mut inner = self.write();
        let unsaved = std::mem::take(&mut inner.unsaved);
        (!unsaved.is_empty()).then(|| inner.part(&unsaved))
    }

    fn put_if_absent(&self, config: TopicConfig, now_ms: i64) -> Arc<Topic> {
        let mut inner = self.write();
        if let Some(topic) = inner.topics.get(&*config.topic_name) {
            return Arc::clone(topic);
        }
        inner.version = inner.version.next(inner.epoch, now_ms);
        let topic = inner.put(config);
        inner.changed(&topic.name);
        topic
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}
