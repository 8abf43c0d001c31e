//! Taking over what the master has.

use std::sync::Arc;

use apogee_base::disk;
use apogee_message::{light, names};
use apogee_wire::bodies::{
    ConsumerOffsetSerializeWrapper, MessageRequestModeSerializeWrapper, SubscriptionGroupWrapper,
    TopicConfigAndMappingSerializeWrapper,
};

use super::ask::Waiting;
use crate::broker::Broker;
use crate::schedule;
use crate::settled::is_kept;
use crate::transactions;

/// Tables of names.
pub(super) fn tables(
    broker: &Broker,
    topics: Option<TopicConfigAndMappingSerializeWrapper>,
    groups: Option<SubscriptionGroupWrapper>,
    modes: MessageRequestModeSerializeWrapper,
) -> Result<(), String> {
    if let Some(theirs) = topics {
        let count = theirs.topic_config_table.len();
        broker.statics.take_over(theirs.topic_queue_mapping_detail_map, theirs.mapping_data_version).map_err(text)?;
        let gone = broker.topics.take_over(theirs.topic_config_table, theirs.data_version);
        broker.topics.save().map_err(text)?;
        tracing::info!(topics = count, gone, "took over the master's topics");
        broker.topics_changed();
    }
    if let Some(theirs) = groups {
        tracing::info!(groups = theirs.subscription_group_table.len(), "took over the master's groups");
        broker.groups.take_over(theirs);
        broker.groups.save().map_err(text)?;
    }
    broker
        .request_modes
        .change(|modes_here| {
            *modes_here = modes;
            Ok(())
        })
        .map_err(text)
}

/// Topics that have queues here and are not in the table.
pub(super) fn strangers(broker: &Broker) -> Vec<Arc<str>> {
    let topics = broker.store.topics().into_iter().map(|(topic, _)| topic);
    let stays =
        |topic: &str| light::is_light(topic) || broker.topics.get(topic).is_some() || names::is_system_topic(topic);
    topics.filter(|topic| !stays(topic)).collect()
}

/// Removes the queues of topics that the master has removed.
pub(super) fn remove_queues(broker: &Broker, topics: &[Arc<str>]) -> Result<(), String> {
    for topic in topics {
        tracing::info!(%topic, "a topic that the master has removed is removed here");
        broker.store.delete_topic(topic).map_err(text)?;
    }
    // What a recovery reads from the log begins here: it would bring back the topics' queues.
    broker.store.checkpoint_step().map_err(text)
}

/// Offsets of groups; those of transactions come with [`progress`].
pub(super) fn offsets(broker: &Broker, theirs: ConsumerOffsetSerializeWrapper) -> Result<(), String> {
    broker.offsets.take_over(theirs, transactions::GROUP);
    broker.offsets.save(broker.now()).map_err(text)
}

/// Offsets that are ahead of those here, on a master: its slave served consumers meanwhile.
pub(super) fn offsets_ahead(broker: &Broker, theirs: &ConsumerOffsetSerializeWrapper) -> Result<(), String> {
    let of_topics = theirs.offset_table.iter();
    let of_topics =
        of_topics.flat_map(|(name, queues)| queues.iter().map(move |(queue, offset)| (name, *queue, *offset)));
    let of_light = theirs.lmq_offset_table.iter().flatten().map(|(name, offset)| (name, light::QUEUE, *offset));
    for (name, queue_id, offset) in of_topics.chain(of_light) {
        let Some((topic, group)) = name.split_once('@') else { continue };
        if group == transactions::GROUP || broker.groups.get(group).is_none() {
            continue;
        }
        if broker.offsets.query(group, topic, queue_id).is_none_or(|known| known < offset) {
            broker.offsets.commit(group, topic, queue_id, offset);
        }
    }
    broker.offsets.save(broker.now()).map_err(text)
}

/// How far the master had come with what waits when its log was so long.
pub(super) struct Progress {
    waiting: Waiting,
    /// Of the half queue and of the op queue.
    transactions: [Option<i64>; 2],
    /// Offsets of groups, where they rest on what is in the log.
    pub offsets: Option<ConsumerOffsetSerializeWrapper>,
    log_end: i64,
}

impl Progress {
    /// `log_end`: end of the master's log after the rest was told.
    pub fn new(waiting: Waiting, offsets: &ConsumerOffsetSerializeWrapper, log_end: i64) -> Self {
        let transactions = [names::TRANS_HALF_TOPIC, names::TRANS_OP_HALF_TOPIC].map(|topic| {
            let queues = offsets.offset_table.get(&format!("{topic}@{}", transactions::GROUP))?;
            queues.get(&0).copied()
        });
        Self { waiting, transactions, offsets: None, log_end }
    }

    /// Whether all that it speaks of is here, and stays.
    pub fn is_covered(&self, broker: &Broker) -> bool {
        broker.store.confirmed_offset() >= self.log_end
    }
}

/// Progress that the log covers.
pub(super) fn progress(broker: &Broker, progress: Progress) -> Result<(), String> {
    let Progress { waiting, transactions: [half, op], offsets: of_groups, log_end } = progress;
    let (store, settled) = (&broker.store, &broker.settled);
    if !is_kept(store, log_end) {
        return Err("what was copied of the log is not on disk yet".into());
    }
    if let Some(of_groups) = of_groups {
        offsets(broker, of_groups)?;
    }
    let half = half.unwrap_or(0);
    let first_half = || store.unit(names::TRANS_HALF_TOPIC, 0, half).map(|unit| unit.physical_offset);
    let (schedule_mark, transactions_mark) = match waiting.marks {
        Some(marks) => (marks.schedule, marks.transactions),
        // Apache's deliveries don't tell what they were made of; its commits do, behind their half messages.
        None => (log_end, first_half().unwrap_or(log_end)),
    };
    let marks = [(schedule::FOLLOWER, schedule_mark), (transactions::FOLLOWER, transactions_mark)];
    // A crash in between finds marks that are too low rather than too high.
    settled.lower(&marks);
    settled.save().map_err(text)?;
    broker.schedule.take_over(&waiting.delays).map_err(text)?;
    let both = [(names::TRANS_HALF_TOPIC, 0, half), (names::TRANS_OP_HALF_TOPIC, 0, op.unwrap_or(0))];
    if both
        .iter()
        .any(|(topic, queue, offset)| broker.offsets.query(transactions::GROUP, topic, *queue).unwrap_or(0) != *offset)
    {
        broker.offsets.commit_together(transactions::GROUP, &both);
        broker.offsets.save(broker.now()).map_err(text)?;
    }
    if let Some(checkpoint) = waiting.timer {
        let path = store.root().join("config").join("timercheck");
        if disk::read_replaced(&*broker.disk, &path).map_err(text)?.as_deref() != Some(&*checkpoint) {
            disk::replace(&*broker.disk, &path, &checkpoint).map_err(text)?;
        }
    }
    settled.place(&marks);
    settled.save().map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
