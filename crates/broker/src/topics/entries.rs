//! The topics themselves, and which of them changed.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use apogee_base::hash::QuickMap;
use apogee_wire::bodies::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};

use super::Topic;
use crate::deduplication::Window;
use crate::table_file::Change;

/// Changes that are remembered for those who have an older version of the table.
const MOST_RECENT: usize = 10_000;

/// What a table holds, behind its lock.
pub(super) struct Entries {
    pub topics: QuickMap<Arc<str>, Arc<Topic>>,
    pub version: DataVersion,
    /// Epoch of the master whose table it is; 0 without a controller. Versions of a later one are above those of all
    /// before (upstream's `stateVersion`).
    pub epoch: i64,
    /// Names of what changed since it was saved.
    pub unsaved: HashSet<Arc<str>>,
    /// Names of what changed last, each with the version's counter after it, without gaps.
    pub recent: VecDeque<(i64, Arc<str>)>,
    /// Keys that a topic's window may hold.
    pub most_keys: usize,
}

impl Entries {
    /// A topic was changed or removed, and the version is that after it.
    pub fn changed(&mut self, name: &Arc<str>) {
        self.unsaved.insert(Arc::clone(name));
        self.recent.push_back((self.version.counter, Arc::clone(name)));
        if self.recent.len() > MOST_RECENT {
            // All of a version or none.
            let (oldest, _) = self.recent[self.recent.len() - MOST_RECENT - 1];
            let kept = self.recent.partition_point(|(counter, _)| *counter <= oldest);
            self.recent.drain(..kept);
        }
    }

    /// Some topics as they are now.
    pub fn part<'n>(&self, names: impl IntoIterator<Item = &'n Arc<str>>) -> Change<TopicConfigSerializeWrapper> {
        let (mut removed, mut put) = (BTreeSet::new(), BTreeMap::new());
        for name in names {
            match self.topics.get(name) {
                Some(topic) => drop(put.insert(name.to_string(), topic.config.clone())),
                None => drop(removed.insert(name.to_string())),
            }
        }
        let put = TopicConfigSerializeWrapper { data_version: Some(self.version), topic_config_table: put };
        Change { removed: removed.into_iter().collect(), put }
    }

    /// Puts topics by their names, which their configurations need not tell.
    pub fn put_all(&mut self, topics: BTreeMap<String, TopicConfig>) {
        for (topic_name, config) in topics {
            self.put(TopicConfig { topic_name, ..config });
        }
    }

    /// Puts a topic in the place of the one that has its name.
    pub fn put(&mut self, config: TopicConfig) -> Arc<Topic> {
        let name: Arc<str> = match self.topics.get_key_value(&*config.topic_name) {
            Some((name, _)) => Arc::clone(name),
            None => config.topic_name.as_str().into(),
        };
        let current = self.topics.get(&name).and_then(|topic| topic.window.as_ref());
        let window = Window::of(&config.attributes, current, self.most_keys);
        let topic = Arc::new(Topic { name: Arc::clone(&name), config, window });
        self.topics.insert(name, Arc::clone(&topic));
        topic
    }
}
