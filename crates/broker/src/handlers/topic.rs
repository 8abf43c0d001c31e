//! Topics: creating, changing, listing, removing (upstream `AdminBrokerProcessor`).

use std::collections::HashSet;
use std::sync::Arc;

use apogee_message::{light, names};
use apogee_net::Conn;
use apogee_store::StoreError;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CreateTopicListRequestBody, MessageQueue, TopicConfig, TopicConfigAndMappingSerializeWrapper,
    TopicConfigAndQueueMapping, TopicFilterType, TopicList, TopicOffset, TopicQueueMappingDetail, TopicStatsTable,
};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigResponseHeader, GetTopicConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
};

use super::answer::{self, Answer};
use super::attributes;
use crate::broker::Broker;
use crate::compaction;
use crate::error::BrokerError;
use crate::lite;
use crate::message_type;
use crate::settings::BrokerSettings;
use crate::stats::Kind;
use crate::topics::{ByName, MOST_QUEUES, QUEUE_TYPE, Snapshot, TopicTable, keeps_batches, perm};

/// `UPDATE_AND_CREATE_TOPIC`: one topic, by header.
pub(crate) fn update(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    put(broker, conn, request, vec![config_of(&request.header()?)])
}

/// `UPDATE_AND_CREATE_STATIC_TOPIC`: one whose queues are numbered over all brokers, with those that are here.
pub(crate) fn update_static(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: CreateTopicRequestHeader<'_> = request.header()?;
    let mapping = TopicQueueMappingDetail::decode(&request.body)?;
    let config = check(&broker.topics, &broker.settings.load(), config_of(&header))?;
    let (topic, epoch, total, force) = (header.topic, mapping.epoch, mapping.total_queues, header.force == Some(true));
    broker.statics.put(topic, config.read_queue_nums.min(config.write_queue_nums), mapping, force, broker.now())?;
    tracing::info!(peer = %conn.peer(), ?config, epoch, total, force, "a static topic is created or changed by remote request");
    // Also where it is as it was: name servers are told the mapping with it.
    broker.topics.update([config], broker.now());
    broker.topics.save()?;
    broker.register_topics();
    answer::done(request)
}

/// The topic that a header describes.
fn config_of(header: &CreateTopicRequestHeader<'_>) -> TopicConfig {
    let filter = TopicFilterType::from_name(header.topic_filter_type).unwrap_or_default();
    TopicConfig {
        attributes: attributes::parse(header.attributes.unwrap_or_default()),
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: filter,
        topic_name: header.topic.to_owned(),
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    }
}

/// `UPDATE_AND_CREATE_TOPIC_LIST`: several topics, all or none.
pub(crate) fn update_list(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let list = CreateTopicListRequestBody::decode(&request.body)?.topic_config_list;
    if list.is_empty() {
        return Err(BrokerError::new(response::INVALID_PARAMETER, "the list of topics is empty"));
    }
    put(broker, conn, request, list)
}

fn put(broker: &Broker, conn: &Conn, request: &Command, configs: Vec<TopicConfig>) -> Answer {
    let settings = broker.settings.load();
    let checked = configs.into_iter().map(|config| check(&broker.topics, &settings, config));
    let mut changed = checked.collect::<Result<Vec<_>, _>>()?;
    // A light queue is what it is.
    changed.retain(|config| !broker.topics.is_light(&config.topic_name));
    changed.retain(|config| broker.topics.get(&config.topic_name).is_none_or(|topic| topic.config != *config));
    if !changed.is_empty() {
        for config in &changed {
            tracing::info!(peer = %conn.peer(), ?config, "a topic is created or changed by remote request");
        }
        broker.topics.update(changed, broker.now());
        broker.topics.save()?;
        broker.register_topics();
    }
    answer::done(request)
}

/// The topic as it will be, with the attributes it keeps.
fn check(topics: &TopicTable, settings: &BrokerSettings, config: TopicConfig) -> Result<TopicConfig, BrokerError> {
    let topic = &*config.topic_name;
    let refused = |remark: String| Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    names::check_topic(topic)?;
    refuse_system(settings, topic)?;
    if !(0..=(perm::READ | perm::WRITE | perm::INHERIT)).contains(&config.perm) {
        return refused(format!("topic[{topic}]: perm {} is none; 2 is write, 4 read, 6 both", config.perm));
    }
    for (kind, queues) in [("read", config.read_queue_nums), ("write", config.write_queue_nums)] {
        if !(1..=MOST_QUEUES).contains(&queues) {
            return refused(format!("topic[{topic}]: {queues} {kind} queues; accepted are 1 to {MOST_QUEUES}"));
        }
    }
    let known = topics.get(topic);
    let current = known.as_ref().map(|topic| topic.config.attributes.clone()).unwrap_or_default();
    let attributes = attributes::alter(attributes::OF_TOPICS, &current, &config.attributes)?;
    if known.is_some() && keeps_batches(&current) != keeps_batches(&attributes) {
        return refused(format!("topic[{topic}]: {QUEUE_TYPE} cannot be changed: delete the topic and create it anew"));
    }
    let is_compacted = compaction::is_compacted(&attributes);
    if known.is_some() && compaction::is_compacted(&current) != is_compacted {
        let attribute = compaction::ATTRIBUTE;
        return refused(format!("topic[{topic}]: {attribute} cannot be changed: delete the topic and create it anew"));
    }
    if is_compacted && keeps_batches(&attributes) {
        return refused(format!("topic[{topic}]: a topic that keeps batches as they are cannot be compacted by keys"));
    }
    let is_mixed = attributes.get(message_type::ATTRIBUTE).is_some_and(|kind| kind == message_type::MIXED);
    if is_mixed && !settings.enable_mixed_message_type {
        return refused(format!("topic[{topic}]: MIXED message type is not supported (enableMixedMessageType)"));
    }
    let is_parent = attributes.get(message_type::ATTRIBUTE).is_some_and(|kind| kind == lite::TYPE);
    if is_parent && !(settings.enable_lmq && settings.enable_multi_dispatch) {
        return refused(format!("topic[{topic}]: lite topics need enableLmq=true and enableMultiDispatch=true"));
    }
    Ok(TopicConfig { attributes, ..config })
}

fn refuse_system(settings: &BrokerSettings, topic: &str) -> Result<(), BrokerError> {
    if settings.validate_system_topic_when_update_topic && is_system(settings, topic) {
        let remark = format!("The topic[{topic}] is conflict with system topic.");
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

fn is_system(settings: &BrokerSettings, topic: &str) -> bool {
    let cluster = &settings.broker_cluster_name;
    [cluster, &settings.broker_name, &names::reply_topic(cluster)].iter().any(|of_broker| *of_broker == topic)
        || names::is_system_topic(topic)
}

/// `GET_ALL_TOPIC_CONFIG`: all topics, in pages.
pub(crate) fn all(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let Snapshot { data_version: version, topic_config_table: ByName(topics) } = broker.topics.snapshot();
    let total = i32::try_from(topics.len()).unwrap_or(i32::MAX);
    let topics = answer::page(request, topics, "topicSeq", "maxTopicNum", &version.encode());
    let mappings = broker.statics.some(topics.iter().map(|topic| &*topic.name));
    let topics = topics.iter().map(|topic| (topic.name.to_string(), topic.config.clone()));
    let body = TopicConfigAndMappingSerializeWrapper {
        data_version: Some(version),
        mapping_data_version: Some(broker.statics.version()),
        topic_queue_mapping_detail_map: mappings,
        topic_config_table: topics.collect(),
        ..Default::default()
    };
    let head = GetAllTopicConfigResponseHeader { total_topic_num: Some(total) };
    Ok(Some(answer::success(request).with_header(&head).with_body(body.encode())))
}

/// `GET_TOPIC_CONFIG`: one topic.
pub(crate) fn get(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetTopicConfigRequestHeader<'_> = request.header()?;
    let Some(topic) = broker.topics.get(header.topic) else {
        let remark = format!("No topic in this broker. topic: {}", header.topic);
        return Err(BrokerError::new(response::TOPIC_NOT_EXIST, remark));
    };
    let config = topic.config.clone();
    let body = TopicConfigAndQueueMapping {
        attributes: config.attributes,
        mapping_detail: broker.statics.get(header.topic),
        order: config.order,
        perm: config.perm,
        read_queue_nums: config.read_queue_nums,
        topic_filter_type: config.topic_filter_type,
        topic_name: Some(config.topic_name),
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    };
    answer::body(request, &body)
}

/// `DELETE_TOPIC_IN_BROKER`: a topic with its queues, its offsets, and the retry topics that popping
/// made for it.
pub(crate) fn delete(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: DeleteTopicRequestHeader<'_> = request.header()?;
    if header.topic.trim().is_empty() {
        return Err(BrokerError::new(response::INVALID_PARAMETER, "The specified topic is blank."));
    }
    refuse_system(&broker.settings.load(), header.topic)?;
    for group in broker.offsets.groups_of(header.topic) {
        let retry = names::retry_topic(&group);
        for of_pop in [format!("{retry}_{}", header.topic), format!("{retry}+{}", header.topic)] {
            if broker.topics.get(&of_pop).is_some() {
                remove(broker, &of_pop)?;
            }
        }
    }
    let is_parent = broker.topics.get(header.topic).is_some_and(|topic| topic.is_parent());
    if is_parent {
        // Before, so that a kill amid leaves a parent to be removed again; and what came meanwhile.
        broker.remove_lite_of(header.topic);
    }
    remove(broker, header.topic)?;
    if is_parent {
        broker.remove_lite_of(header.topic);
    }
    tracing::info!(peer = %conn.peer(), topic = header.topic, "a topic is removed by remote request");
    broker.topics.save()?;
    broker.offsets.save(broker.now())?;
    // What a recovery reads from the log begins here: it would bring back the topic's queues.
    broker.store.checkpoint_step()?;
    broker.register_topics();
    answer::done(request)
}

fn remove(broker: &Broker, topic: &str) -> Result<(), BrokerError> {
    broker.topics.remove(topic, broker.now());
    broker.statics.remove(topic, broker.now())?;
    broker.offsets.remove_topic(topic);
    broker.pop.forget(|_, of| of == topic);
    broker.stats.forget(|name| name == topic);
    broker.counters.events.forget(|name| name == topic);
    Ok(broker.store.delete_topic(topic)?)
}

/// `GET_TOPIC_STATS_INFO`: the ranges of a topic's queues.
pub(crate) fn stats(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetTopicStatsInfoRequestHeader<'_> = request.header()?;
    let topic = broker.topics.get(header.topic).ok_or_else(|| BrokerError::no_topic(header.topic))?;
    let settings = broker.settings.load();
    let queues = topic.config.read_queue_nums.max(topic.config.write_queue_nums);
    let ranges = (0..queues).map(|queue_id| {
        let (min_offset, max_offset) = broker.store.queue_range(header.topic, queue_id).unwrap_or_default();
        let last = (max_offset > min_offset).then(|| broker.store.store_time(header.topic, queue_id, max_offset - 1));
        let range = TopicOffset { last_update_timestamp: last.flatten().unwrap_or(0), max_offset, min_offset };
        (MessageQueue::new(header.topic, &*settings.broker_name, queue_id), range)
    });
    let [minute, ..] = broker.stats.windows(Kind::TopicPutNums, header.topic);
    answer::body(request, &TopicStatsTable { offset_table: ranges.collect(), topic_put_tps: minute.per_second })
}

/// `GET_SYSTEM_TOPIC_LIST_FROM_BROKER`: topics of this broker that belong to the system.
pub(crate) fn system(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let settings = broker.settings.load();
    let topics = broker.topics.all().into_iter().filter(|topic| is_system(&settings, &topic.name));
    let topic_list = topics.map(|topic| topic.name.to_string()).collect();
    answer::body(request, &TopicList { broker_addr: None, topic_list })
}

impl Broker {
    /// Removes light queues whose messages are gone, with what groups had read of them.
    pub(crate) fn remove_expired_light(&self) -> Result<(), StoreError> {
        if !self.settings.load().enable_lmq {
            return Ok(());
        }
        let mut count = 0;
        self.store.remove_expired_light(&mut |queues| {
            self.forget_light(queues);
            count += queues.len();
        })?;
        if count > 0 {
            tracing::info!(count, "light queues are removed, as all of their messages had expired");
        }
        Ok(())
    }
}

impl Broker {
    /// Light queues were removed: the next ones of their names are others.
    pub(crate) fn forget_light(&self, queues: &HashSet<Arc<str>>) {
        let are_gone = |name: &str| queues.contains(name);
        self.offsets.forget_topics(are_gone);
        self.pop.forget(|_, of| are_gone(of));
        self.stats.forget(are_gone);
        self.counters.events.forget(are_gone);
    }
}

/// `CLEAN_UNUSED_TOPIC`: removes queues whose topic is gone.
pub(crate) fn clean_unused(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    for (topic, _) in broker.store.topics() {
        // Light queues are no topics where the setting is off, and their messages count still.
        if !light::is_light(&topic) && broker.topics.get(&topic).is_none() && !names::is_system_topic(&topic) {
            broker.store.delete_topic(&topic)?;
            tracing::info!(peer = %conn.peer(), %topic, "queues of a topic that is gone are removed by remote request");
        }
    }
    broker.store.checkpoint_step()?;
    answer::done(request)
}

/// `DELETE_EXPIRED_COMMITLOG`: expired log files go now, whatever the hour. Answered before they are gone.
pub(crate) fn delete_expired_log(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    tracing::info!(peer = %conn.peer(), "expired log files are removed by remote request");
    broker.retention.by_hand();
    answer::done(request)
}

/// `CLEAN_EXPIRED_CONSUMEQUEUE`: removes files of queues and index whose messages are gone. A queue
/// without messages keeps its last file, as its offsets must go on where they are, unless it is a light one.
pub(crate) fn clean_expired_queues(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let removed = broker.store.trim()?;
    broker.remove_expired_light()?;
    tracing::info!(peer = %conn.peer(), removed, "old files of queues and index are removed by remote request");
    answer::done(request)
}
