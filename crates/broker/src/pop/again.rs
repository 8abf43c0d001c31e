//! A message that was popped and not acknowledged in time: what is written to the retry topic, and how it looks when it
//! is popped from there.

use std::collections::BTreeSet;
use std::sync::Arc;

use apogee_message::names::{self, property};
use apogee_message::record::{self, Draft, NewMessage, Record};
use apogee_message::{light, properties, sysflag};
use apogee_wire::bodies::TopicConfig;
use bytes::{Bytes, BytesMut};

use super::handle::{Handle, Source, origin};
use crate::broker::Broker;
use crate::retry;
use crate::topics::{Topic, perm};

/// Queues of a retry topic.
const QUEUES: i32 = 1;

/// Which message is given back, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back<'n> {
    pub group: &'n str,
    pub topic: &'n str,
    pub queue: i32,
    pub offset: i64,
    pub pop_time: i64,
    /// The delivery does not count as one that failed.
    pub suspend: bool,
}

/// A message that cannot be read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotYet;

impl Broker {
    /// The retry topic of messages that a group popped of a topic, made if need be.
    pub(crate) fn ensure_pop_retry_topic(&self, group: &str, topic: &str) -> Arc<Topic> {
        let settings = self.settings.load();
        let pulled = self.is_set_to_pull(group, topic);
        let source = if settings.enable_retry_topic_v2 && !pulled { Source::RetryV2 } else { Source::Retry };
        let topic = if pulled { origin(group, topic).unwrap_or(topic) } else { topic };
        // A retry topic is its own.
        let own = self.topics.get(topic).filter(|_| settings.use_separate_retry_queue && !is_retry(topic));
        let queues = own.map_or(QUEUES, |own| own.config.write_queue_nums);
        self.ensure_queues(&source.topic(group, topic), queues)
    }

    /// A topic with so many queues at least, made or changed if need be.
    pub(crate) fn ensure_queues(&self, name: &str, queues: i32) -> Arc<Topic> {
        let topic = self.ensure_topic(name, queues, perm::READ | perm::WRITE);
        if topic.config.read_queue_nums >= queues {
            return topic;
        }
        let config = TopicConfig { read_queue_nums: queues, write_queue_nums: queues, ..topic.config.clone() };
        self.topics.update([config], self.now());
        self.topics_changed();
        self.topics.get(name).unwrap_or(topic)
    }

    /// The retry topics of messages that a group popped of some topics, where there are any.
    pub(crate) fn pop_retry_topics(&self, group: &str, topics: &BTreeSet<String>) -> Vec<String> {
        let own = topics.iter().filter(|topic| !is_retry(topic));
        let names = own.flat_map(|topic| [Source::Retry, Source::RetryV2].map(|source| source.topic(group, topic)));
        names.filter(|name| self.topics.get(name).is_some()).collect()
    }

    /// What is written to the retry topic for a message. `None` when it is no longer in the log, or nobody wants it.
    ///
    /// # Errors
    ///
    /// It cannot be read yet.
    pub(crate) fn given_back(&self, back: Back<'_>, arena: &mut BytesMut) -> Result<Option<Draft>, NotYet> {
        let Back { group, topic, queue, offset, .. } = back;
        if self.topics.get(topic).is_none() {
            return Ok(None);
        }
        // A group that came shortly before a crash is not in the table, but has offsets.
        if self.groups.get(group).is_none()
            && self.settings.load().pop_revive_skip_if_group_absent
            && self.offsets.queues(group, topic).is_empty()
        {
            return Ok(None);
        }
        let unit = self.store.unit(topic, queue, offset).filter(|unit| !unit.is_blank());
        let bytes = unit.and_then(|unit| self.store.record_at(unit.physical_offset));
        let bytes = bytes.or_else(|| self.store.compacted_message(topic, queue, offset));
        let Some(bytes) = bytes else {
            let (_, end) = self.store.queue_range(topic, queue).unwrap_or_default();
            // A queue may be behind the log, and the log not confirmed.
            if offset >= end || unit.is_some_and(|unit| unit.physical_offset >= self.store.confirmed_offset()) {
                return Err(NotYet);
            }
            let what = "a popped message that is to come again is no longer in the log, or damaged";
            tracing::warn!(group, topic, queue, offset, "{what}");
            return Ok(None);
        };
        Ok(self.draft_of(back, &bytes, arena))
    }

    /// When a message may come again after so many failures, by the policy of its group, if that is later than now. In
    /// milliseconds since 1970.
    fn retried_at(&self, group: &str, pop_time: i64, failures: i32) -> Option<i64> {
        let settings = self.settings.load();
        let delay = retry::delay_ms(&self.groups.get(group)?.group_retry_policy, failures)?;
        let at = pop_time.saturating_add(delay.min(settings.timer_max_delay_ms()));
        (at > self.now() && settings.timer_wheel_enable).then_some(at)
    }

    fn draft_of(&self, back: Back<'_>, bytes: &Bytes, arena: &mut BytesMut) -> Option<Draft> {
        let Back { group, topic, queue, offset, pop_time, suspend } = back;
        let record = Record::read(bytes).ok()?;
        // A batch that is one record stays one in the retry topic, and waits for nothing before.
        let is_batch = record.sys_flag & sysflag::INNER_BATCH != 0;
        let at = if suspend || is_batch { None } else { self.retried_at(group, pop_time, record.reconsume_times) };
        // What was said of an earlier time is over, and what of another queue.
        let own = [
            property::ORIGIN_GROUP,
            property::INNER_NUM,
            property::INNER_BASE,
            property::TIMER_OUT_MS,
            property::TIMER_ROLL_TIMES,
            property::REAL_TOPIC,
            property::REAL_QUEUE_ID,
        ];
        let own = match at {
            Some(_) => &own[..],
            None if is_batch => &own[..1],
            None => &own[..3],
        };
        properties::copy_without(arena, record.properties, own);
        if record.property(property::FIRST_POP_TIME).is_none() {
            properties::push(arena, property::FIRST_POP_TIME, &pop_time.to_string());
        }
        properties::push(arena, property::ORIGIN_GROUP, group);
        let retry = self.ensure_pop_retry_topic(group, topic);
        let separate = self.settings.load().use_separate_retry_queue;
        let own = if separate { queue.min(retry.config.write_queue_nums - 1).max(0) } else { 0 };
        let target = match at {
            Some(time) => {
                properties::push(arena, property::REAL_TOPIC, &retry.name);
                properties::push(arena, property::REAL_QUEUE_ID, &own.to_string());
                properties::push(arena, property::TIMER_OUT_MS, &time.to_string());
                &self.wheel_topic
            }
            None => &retry.name,
        };
        let message = NewMessage {
            topic: Arc::clone(target),
            queue_id: if at.is_some() { 0 } else { own },
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_host: self.store_host,
            reconsume_times: record.reconsume_times + i32::from(!suspend),
            prepared_transaction_offset: 0,
            body: bytes.slice_ref(record.body),
            properties: arena.split().freeze(),
        };
        let draft = Draft::new(&message, arena);
        draft
            .inspect_err(
                |error| tracing::error!(group, topic, queue, offset, %error, "a popped message cannot come again"),
            )
            .ok()
    }
}

/// A record of a retry topic as its consumer gets it: with the topic that it is of, and its handle.
pub(crate) fn as_of(topic: &Arc<str>, bytes: &Bytes, handle: Handle<'_>, arena: &mut BytesMut) -> Option<Bytes> {
    let record = Record::read(bytes).ok()?;
    let handle = Handle { offset: Some(record.queue_offset), ..handle };
    properties::copy_without(arena, record.properties, &[property::POP_CK]);
    properties::push(arena, property::POP_CK, &handle.to_string());
    let message = NewMessage {
        topic: Arc::clone(topic),
        queue_id: record.queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: record.prepared_transaction_offset,
        body: bytes.slice_ref(record.body),
        properties: arena.split().freeze(),
    };
    let mut draft = Draft::new(&message, arena).ok()?;
    draft.leave_out_sum();
    draft.assign(record.queue_offset, record.physical_offset, record.store_timestamp);
    Some(draft.to_vec().into())
}

/// Cuts slices of records into records.
pub(crate) fn records(slices: &[Bytes]) -> impl Iterator<Item = Bytes> + '_ {
    slices.iter().flat_map(|slice| {
        let mut rest = slice.clone();
        std::iter::from_fn(move || Some(rest.split_to(size_of_first(&rest)?)))
    })
}

/// The queue offsets of the records in slices.
pub(crate) fn offsets(slices: &[Bytes]) -> impl Iterator<Item = i64> + '_ {
    const AT: usize = 20;
    slices.iter().flat_map(|slice| {
        let mut rest = &slice[..];
        std::iter::from_fn(move || {
            let (record, behind) = rest.split_at(size_of_first(rest)?);
            rest = behind;
            Some(i64::from_be_bytes(record.get(AT..AT + 8)?.try_into().ok()?))
        })
    })
}

/// The same in a light queue.
pub(crate) fn light_offsets<'s>(slices: &'s [Bytes], queue: &'s str) -> impl Iterator<Item = i64> + 's {
    let all = slices.iter().flat_map(|slice| record::iter(slice)).map_while(Result::ok);
    all.filter_map(move |record| light::offset_in(&record, queue))
}

fn size_of_first(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (size > 0 && size <= bytes.len()).then_some(size)
}

/// Whether a topic is one of those that popped messages come again by.
pub(crate) fn is_retry(topic: &str) -> bool {
    topic.starts_with(names::RETRY_PREFIX)
}
