//! What a member tells of itself (upstream `ConsumerRunningInfo`).

use std::collections::BTreeMap;

use apogee_wire::bodies::{ConsumerRunningInfo, ProcessQueueInfo};
use tokio::time::Instant;

use super::group::Group;
use super::held::Held;

impl Group {
    /// Its settings, subscriptions, queues and rates.
    pub(super) fn running_info(&self) -> ConsumerRunningInfo {
        let data = self.data();
        let bounds = self.settings.bounds;
        let properties = [
            ("PROP_NAMESERVER_ADDR", self.shared.names.join(";")),
            ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".to_owned()),
            ("PROP_CONSUMEORDERLY", self.settings.kind.is_orderly().to_string()),
            ("PROP_CLIENT_VERSION", concat!("apogee-client ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.version.to_string()),
            ("consumerGroup", self.name.to_string()),
            ("messageModel", data.message_model.map(|model| model.name().to_owned()).unwrap_or_default()),
            ("consumeFromWhere", data.consume_from_where.map(|from| from.name().to_owned()).unwrap_or_default()),
            ("allocateMessageQueueStrategy", format!("{:?}", self.settings.balance)),
            ("maxReconsumeTimes", self.max_reconsume_times().to_string()),
            ("suspendCurrentQueueTimeMillis", self.settings.suspend.as_millis().to_string()),
            ("persistConsumerOffsetInterval", self.settings.commit_every.as_millis().to_string()),
            ("pullThresholdForQueue", bounds.messages.to_string()),
            ("pullThresholdSizeForQueue", (bounds.bytes >> 20).to_string()),
            ("consumeConcurrentlyMaxSpan", bounds.span.to_string()),
        ];
        let now = (Instant::now(), self.shared.now_ms());
        ConsumerRunningInfo {
            properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
            subscription_set: data.subscription_data_set,
            mq_table: self.all_held().iter().map(|held| (held.queue.to_wire(), queue_info(held, now))).collect(),
            status_table: self.figures.rates(),
            mq_pop_table: BTreeMap::new(),
            user_consumer_info: BTreeMap::new(),
            jstack: None,
        }
    }
}

fn queue_info(held: &Held, (now, now_ms): (Instant, i64)) -> ProcessQueueInfo {
    let figures = held.figures();
    // Times of this process as those of the clock; 0: never.
    let ms = |then: Option<Instant>| then.map_or(0, |then| now_ms - now.duration_since(then).as_millis() as i64);
    let (first, last) = figures.range.unwrap_or_default();
    ProcessQueueInfo {
        commit_offset: figures.reached,
        cached_msg_count: figures.open as i32,
        cached_msg_min_offset: first,
        cached_msg_max_offset: last,
        cached_msg_size_in_mib: (figures.bytes >> 20) as i32,
        locked: figures.locked.is_some(),
        last_lock_timestamp: ms(figures.locked),
        last_pull_timestamp: ms(figures.last_pulled),
        last_consume_timestamp: ms(figures.last_taken),
        droped: figures.is_closed,
        ..ProcessQueueInfo::default()
    }
}
