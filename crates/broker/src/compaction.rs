//! Topics with `cleanup.policy=COMPACTION`: of each key the newest message is kept for ever (upstream
//! `CompactionService`).
//!
//! What such a topic gets is copied to compacted logs every second, and is compacted there from time to time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_message::names::property;
use apogee_message::properties;
use apogee_store::{Compacted, CompactionOptions, CompactionRules, Store};
use apogee_wire::bodies::DataVersion;
use apogee_wire::codes::response;

use crate::bell::Bell;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::life::Stage;
use crate::settings::BrokerSettings;
use crate::topics::{Topic, TopicTable};

/// Attribute of a topic that decides what becomes of its old messages.
pub(crate) const ATTRIBUTE: &str = "cleanup.policy";
/// What the attribute may be: they go with the log, or the newest of each key stays.
pub(crate) const POLICIES: [&str; 2] = ["DELETE", COMPACTED];
/// Its value for topics that are compacted.
pub(crate) const COMPACTED: &str = "COMPACTION";

/// How often messages are copied.
const COPY: Duration = Duration::from_secs(1);

/// Whether a topic with such attributes is compacted.
pub(crate) fn is_compacted(attributes: &BTreeMap<String, String>) -> bool {
    attributes.get(ATTRIBUTE).is_some_and(|policy| policy == COMPACTED)
}

/// Refuses a message that has no key, where its topic is compacted.
pub(crate) fn check(topic: &Topic, text: &[u8]) -> Result<(), BrokerError> {
    let has_key = || properties::get(text, property::KEYS).is_some_and(|keys| !keys.trim().is_empty());
    if is_compacted(&topic.config.attributes) && !has_key() {
        let remark = format!("Required message key is missing: topic[{}] is compacted by KEYS", topic.name);
        return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
    }
    Ok(())
}

/// Files of compacted logs, if there may be any.
pub(crate) fn options(settings: &BrokerSettings) -> Option<CompactionOptions> {
    settings.enable_compaction.then_some(CompactionOptions {
        log_file_size: settings.compaction_mapped_file_size,
        units_file_size: settings.compaction_cq_mapped_file_size,
    })
}

/// The names of topics that are compacted.
fn names(topics: &TopicTable) -> Vec<Arc<str>> {
    let all = topics.all();
    let compacted = all.iter().filter(|topic| is_compacted(&topic.config.attributes));
    compacted.map(|topic| Arc::clone(&topic.name)).collect()
}

/// What goes on beside requests.
pub(crate) struct Compaction {
    /// Rung at the end.
    pub bell: Bell,
    state: Mutex<State>,
}

struct State {
    /// When queues are compacted next.
    next_ms: i64,
    topics: Names,
    /// It was told that messages cannot be copied.
    complained: bool,
}

/// The names of topics that are compacted, found anew when the table of topics has changed.
#[derive(Default)]
pub(crate) struct Names {
    known: Option<(DataVersion, Vec<Arc<str>>)>,
}

impl Names {
    /// As the table has them now.
    pub fn of(&mut self, table: &TopicTable) -> &[Arc<str>] {
        let version = table.version();
        if self.known.as_ref().is_none_or(|(known, _)| *known != version) {
            self.known = Some((version, names(table)));
        }
        self.known.as_ref().map_or(&[], |(_, names)| names)
    }
}

impl Compaction {
    pub fn new(settings: &BrokerSettings, now_ms: i64) -> Self {
        let state = State {
            next_ms: now_ms.saturating_add(settings.compaction_schedule_internal),
            topics: Names::default(),
            complained: false,
        };
        Self { bell: Bell::default(), state: Mutex::new(state) }
    }

    /// Copies what came, and compacts what is due. Returns how long to sleep until there is more to do.
    pub fn step(&self, broker: &Broker) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = || !broker.life.is_at(Stage::Ended);
        state.copy(broker, &goes_on);
        let (now, interval) = (broker.now(), broker.settings.load().compaction_schedule_internal);
        // Not for longer, where the clock was put back.
        if now >= state.next_ms || state.next_ms - now > interval {
            compact(broker, &goes_on);
            state.next_ms = broker.now().saturating_add(interval);
        }
        COPY.min(Duration::from_millis((state.next_ms - broker.now()).max(0) as u64))
    }

    /// Copies the rest, at the end.
    pub fn close(&self, broker: &Broker) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if broker.store.flush_step().is_ok() {
            state.copy(broker, &|| true);
        }
    }

    /// The place of the log from which on it is needed for copies.
    pub fn held_from(&self, store: &Store, topics: &TopicTable) -> Option<i64> {
        if !store.compacts() {
            return None;
        }
        store.uncompacted_from(&names(topics))
    }
}

impl State {
    fn copy(&mut self, broker: &Broker, goes_on: &dyn Fn() -> bool) {
        let done = broker.store.copy_to_compact(self.topics.of(&broker.topics), goes_on);
        let complained = std::mem::replace(&mut self.complained, done.is_err());
        match done {
            Err(error) if !complained => {
                tracing::error!(%error, "messages cannot be copied to compacted logs; trying again each second, and old log files stay meanwhile: see whether the disk is full or failed");
            }
            Ok(()) if complained => tracing::info!("messages are copied to compacted logs again"),
            _ => {}
        }
    }
}

/// Compacts all queues, some at a time.
fn compact(broker: &Broker, goes_on: &(dyn Fn() -> bool + Sync)) {
    let settings = broker.settings.load();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = settings.compaction_thread_num.min(cores);
    let rules = CompactionRules {
        key_bytes: settings.max_offset_map_size / threads,
        // Who reads with less delay than messages are kept for otherwise sees every deletion.
        deletions_before_ms: broker.now().saturating_sub(settings.file_reserved_ms()),
    };
    let (queues, next) = (broker.store.compacted_queues(), AtomicUsize::new(0));
    let work = || {
        while let Some((topic, queue)) = queues.get(next.fetch_add(1, Ordering::Relaxed)) {
            while goes_on() && compact_queue(broker, topic, *queue, rules, goes_on) {}
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(queues.len()) {
            scope.spawn(work);
        }
        work();
    });
}

/// Compacts a queue. Says whether there is more to do at once.
fn compact_queue(broker: &Broker, topic: &str, queue: i32, rules: CompactionRules, goes_on: &dyn Fn() -> bool) -> bool {
    match broker.store.compact_queue(topic, queue, rules, goes_on) {
        Ok(None) => false,
        Ok(Some(Compacted { removed, files, is_partial })) => {
            tracing::info!(topic, queue, removed, files, is_partial, "a queue is compacted");
            is_partial
        }
        Err(error) => {
            tracing::error!(topic, queue, %error, "a queue cannot be compacted; trying again at the next interval: see whether the disk is full or failed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::TopicConfig;

    use super::*;

    #[test]
    fn only_compacted_topics_want_keys() {
        let topic = |policy: Option<&str>| {
            let mut config = TopicConfig::new("T", 1);
            config.attributes.extend(policy.map(|policy| (ATTRIBUTE.to_owned(), policy.to_owned())));
            Topic { name: "T".into(), config, window: None }
        };
        assert!(check(&topic(None), b"").is_ok() && check(&topic(Some("DELETE")), b"").is_ok());
        let compacted = topic(Some(COMPACTED));
        assert!(check(&compacted, b"TAGS\x01a\x02KEYS\x01k\x02").is_ok());
        for keyless in [&b""[..], b"TAGS\x01a\x02", b"KEYS\x01 \x02"] {
            let error = check(&compacted, keyless).unwrap_err();
            assert_eq!(error.code, response::MESSAGE_ILLEGAL);
            assert!(error.remark.starts_with("Required message key is missing"), "{}", error.remark);
        }
    }
}
