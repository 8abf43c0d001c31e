//! Static topics: queues that are numbered over all brokers of a cluster, and where each of them is (upstream
//! `TopicQueueMappingManager`).
//!
//! Of each such topic a broker keeps the global queues that it has or had (`topicQueueMapping.json`). Clients name
//! global queues, and the broker finds its own by them. A queue that was moved here from another broker would go
//! on at other offsets than the log's: such a mapping is refused, and one that moves a queue away is taken.

mod check;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use apogee_wire::Command;
use apogee_wire::bodies::{
    DataVersion, TopicQueueMappingDetail, TopicQueueMappingInfo, TopicQueueMappingSerializeWrapper,
};
use apogee_wire::codes::{request as code, response};

use crate::durable::DurableTable;
use crate::error::BrokerError;
use crate::persist::{JsonFile, PersistError};

/// See the module.
pub(crate) struct StaticTopics {
    table: DurableTable<TopicQueueMappingSerializeWrapper>,
    /// Whether there are any: most brokers have none, and look no further.
    any: AtomicBool,
    /// This broker's name.
    broker: String,
    /// The version of a table that never changed.
    begun: DataVersion,
}

impl StaticTopics {
    /// Reads the file.
    pub fn open(file: JsonFile, broker: &str, now_ms: i64) -> Result<Self, PersistError> {
        let table = DurableTable::<TopicQueueMappingSerializeWrapper>::open(
            file,
            "static topics are usual ones until they are created again",
        )?;
        let any = AtomicBool::new(!table.get().topic_queue_mapping_info_map.is_empty());
        Ok(Self { table, any, broker: broker.to_owned(), begun: DataVersion::new(now_ms) })
    }

    /// The mapping of a topic, if it is a static one.
    pub fn get(&self, topic: &str) -> Option<TopicQueueMappingDetail> {
        let table = self.any.load(Ordering::Acquire).then(|| self.table.get())?;
        table.topic_queue_mapping_info_map.get(topic).cloned()
    }

    /// The mappings of some topics.
    pub fn some<'n>(&self, topics: impl Iterator<Item = &'n str>) -> BTreeMap<String, TopicQueueMappingDetail> {
        if !self.any.load(Ordering::Acquire) {
            return BTreeMap::new();
        }
        let table = self.table.get();
        let known = topics.filter_map(|topic| table.topic_queue_mapping_info_map.get_key_value(topic));
        known.map(|(topic, mapping)| (topic.clone(), mapping.clone())).collect()
    }

    /// What name servers are told of some topics: which of their global queues are here now.
    pub fn infos<'n>(&self, topics: impl Iterator<Item = &'n str>) -> BTreeMap<String, TopicQueueMappingInfo> {
        let info = |(topic, mapping): (String, TopicQueueMappingDetail)| {
            let here = mapping.hosted_queues.iter().filter_map(|(global, stays)| {
                let last = stays.last().filter(|last| last.bname == mapping.bname)?;
                Some((*global, last.queue_id))
            });
            let curr_id_map = here.collect();
            let TopicQueueMappingDetail { bname, epoch, scope, total_queues, .. } = mapping;
            let info = TopicQueueMappingInfo {
                bname,
                curr_id_map,
                dirty: false,
                epoch,
                scope,
                topic: Some(topic.clone()),
                total_queues,
            };
            (topic, info)
        };
        self.some(topics).into_iter().map(info).collect()
    }

    /// The table's version: it changes with every change.
    pub fn version(&self) -> DataVersion {
        self.table.get().data_version.unwrap_or(self.begun)
    }

    /// Takes a mapping of a topic with so many queues. `force`: whatever was there before.
    pub fn put(
        &self,
        topic: &str,
        queues: i32,
        mapping: TopicQueueMappingDetail,
        force: bool,
        now_ms: i64,
    ) -> Result<(), BrokerError> {
        check::mapping(&self.broker, topic, queues, &mapping)?;
        self.change(now_ms, |table| {
            let old = table.get(topic);
            let mapping = old.map_or(Ok(mapping.clone()), |old| check::succeeds(old, mapping, force))?;
            table.insert(topic.to_owned(), mapping);
            Ok(())
        })
    }

    /// Forgets a topic that is removed.
    pub fn remove(&self, topic: &str, now_ms: i64) -> Result<(), BrokerError> {
        if self.get(topic).is_none() {
            return Ok(());
        }
        self.change(now_ms, |table| {
            table.remove(topic);
            Ok(())
        })
    }

    /// Becomes the table of a master.
    pub fn take_over(
        &self,
        theirs: BTreeMap<String, TopicQueueMappingDetail>,
        version: Option<DataVersion>,
    ) -> Result<(), BrokerError> {
        let any = !theirs.is_empty();
        self.table.change(|table| {
            table.topic_queue_mapping_info_map = theirs;
            table.data_version = version.or(table.data_version);
            Ok(())
        })?;
        self.any.store(any, Ordering::Release);
        Ok(())
    }

    fn change(
        &self,
        now_ms: i64,
        change: impl FnOnce(&mut BTreeMap<String, TopicQueueMappingDetail>) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let any = self.table.change(|table| {
            change(&mut table.topic_queue_mapping_info_map)?;
            table.data_version = Some(table.data_version.unwrap_or(self.begun).next(0, now_ms));
            Ok(!table.topic_queue_mapping_info_map.is_empty())
        })?;
        self.any.store(any, Ordering::Release);
        Ok(())
    }

    /// The same request with this broker's own queue in place of the global one. `None`: it stays as it is.
    pub fn with_own_queue(&self, request: &Command) -> Option<Result<Command, BrokerError>> {
        if !self.any.load(Ordering::Acquire) || !names_a_queue(request.code) {
            return None;
        }
        let fields = &request.fields;
        // Of the header with names of one letter, and of the others.
        let (topic, queue) = match fields.get("topic") {
            Some(topic) => (topic, "queueId"),
            None => (fields.get("b")?, "e"),
        };
        // Who knows the queue here says so.
        if fields.get("lo").is_some_and(|logical| logical.eq_ignore_ascii_case("false")) {
            return None;
        }
        let table = self.table.get();
        let mapping = table.topic_queue_mapping_info_map.get(topic)?;
        // Without a number, or with one that is none, as any other request.
        let global = fields.get(queue)?.trim().parse::<i32>().ok().filter(|global| *global >= 0)?;
        let last = mapping.hosted_queues.get(&global).and_then(|stays| stays.last());
        let Some(here) = last.filter(|last| last.bname.as_deref() == Some(&*self.broker)) else {
            let broker = &self.broker;
            let remark = format!("{topic}-{global} does not exit in request process of current broker {broker}");
            return Some(Err(BrokerError::new(response::NOT_LEADER_FOR_QUEUE, remark)));
        };
        let mut own = request.clone();
        own.fields.set_number(queue, i64::from(here.queue_id));
        Some(Ok(own))
    }
}

/// Whether a request is about one queue, which clients name by its global number.
fn names_a_queue(code: i32) -> bool {
    matches!(
        code,
        code::SEND_MESSAGE
            | code::SEND_MESSAGE_V2
            | code::SEND_BATCH_MESSAGE
            | code::PULL_MESSAGE
            | code::LITE_PULL_MESSAGE
            | code::GET_MAX_OFFSET
            | code::GET_MIN_OFFSET
            | code::SEARCH_OFFSET_BY_TIMESTAMP
            | code::GET_EARLIEST_MSG_STORETIME
            | code::QUERY_CONSUMER_OFFSET
            | code::UPDATE_CONSUMER_OFFSET
    )
}

#[cfg(test)]
mod tests;
