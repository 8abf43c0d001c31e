//! What is forgotten: lite topics that nobody uses, and clients that fell silent.

use std::collections::HashMap;
use std::sync::Arc;

use apogee_message::light;

use crate::broker::Broker;

use super::parts;

/// Lite topics that are removed together: a note on disk for all of them.
const AT_ONCE: usize = 256;

impl Broker {
    /// Forgets clients that said nothing for `liteSubscriptionCheckTimeoutMills`: what they read others may read.
    pub(crate) fn forget_silent_readers(&self) {
        let timeout = self.settings.load().lite_subscription_check_timeout_mills;
        let since = self.now().saturating_sub(timeout);
        let silent = self.lite.with(|all| {
            let silent = all.silent(since);
            silent.iter().for_each(|member| all.forget(member));
            silent
        });
        for member in silent {
            tracing::info!(group = %member.group, client = %member.client, "a client that read lite topics fell silent: it is forgotten");
        }
    }

    /// Removes lite topics that had no message for longer than their parent says, with what groups had read of them. Who
    /// reads them still gets what comes later.
    pub(crate) fn remove_expired_lite(&self) {
        self.remove_lite_expired_at(self.now());
    }

    fn remove_lite_expired_at(&self, now: i64) {
        let settings = self.settings.load();
        if !settings.enable_lmq || self.role.is_slave() {
            return;
        }
        let parents = self.topics.all().into_iter().filter(|topic| topic.is_parent());
        let ttl = parents.filter_map(|topic| {
            let minutes = topic.lite_minutes()?;
            Some((Arc::clone(&topic.name), minutes.saturating_mul(60_000).max(settings.min_lite_ttl)))
        });
        let ttl: HashMap<Arc<str>, i64> = ttl.collect();
        if ttl.is_empty() {
            return;
        }
        let mut expired = Vec::new();
        for (queue, _) in self.store.topics() {
            let Some(ttl) = parts(&queue).and_then(|(parent, _)| ttl.get(parent)) else { continue };
            let Some((min, max)) = self.store.queue_range(&queue, 0) else { continue };
            let last = if max > min { self.store.store_time(&queue, 0, max - 1) } else { None };
            if last.is_some_and(|last| now.saturating_sub(last) > *ttl) {
                expired.push((queue, max));
            }
        }
        let count = self.remove_lite(&expired);
        if count > 0 {
            tracing::info!(count, "lite topics are removed, as they were not used for so long");
        }
    }

    /// Removes lite topics whose parent is removed.
    pub(crate) fn remove_lite_of(&self, parent: &str) {
        let end = |queue: Arc<str>| Some((Arc::clone(&queue), self.store.queue_range(&queue, light::QUEUE)?.1));
        let queues: Vec<_> = self.lite_queues(parent).into_iter().filter_map(end).collect();
        if queues.is_empty() {
            return;
        }
        let count = self.remove_lite(&queues);
        tracing::info!(parent, count, of = queues.len(), "lite topics are removed with their parent");
    }

    /// Removes those that end where these say, with what groups had read of them. Returns how many.
    fn remove_lite(&self, queues: &[(Arc<str>, i64)]) -> usize {
        let mut count = 0;
        for some in queues.chunks(AT_ONCE) {
            match self.store.delete_light(some) {
                Ok(gone) => {
                    self.forget_light(&gone);
                    count += gone.len();
                }
                Err(error) => {
                    tracing::error!(%error, "lite topics cannot be removed; trying again: see whether the disk failed");
                }
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::TopicConfig;
    use apogee_wire::codes::response;

    use super::super::{EXPIRATION, TYPE};
    use crate::message_type;
    use crate::testing::{Running, call, send_request};

    #[tokio::test]
    async fn a_lite_topic_goes_when_it_was_not_used_for_so_long() {
        let running = Running::start(1 << 30, |settings| {
            (settings.enable_lmq, settings.enable_multi_dispatch, settings.min_lite_ttl) = (true, true, 1_000);
        })
        .await;
        let broker = &running.broker;
        for (topic, minutes) in [("P", "2"), ("Q", "-1")] {
            let mut config = TopicConfig::new(topic, 1);
            config.attributes.insert(message_type::ATTRIBUTE.to_owned(), TYPE.to_owned());
            config.attributes.insert(EXPIRATION.to_owned(), minutes.to_owned());
            broker.topics.update([config], broker.now());
        }
        let conn = running.connect().await;
        for topic in ["P", "Q"] {
            let sent = call(&conn, send_request(topic, b"x", "__LITE_TOPIC\u{1}a\u{2}")).await;
            assert_eq!(sent.code, response::SUCCESS, "{sent:?}");
        }
        broker.offsets.commit("G", "%LMQ%$P$a", 0, 1);
        let now = broker.now();
        broker.remove_lite_expired_at(now + 110_000);
        assert_eq!(broker.store.light_queues(), 2);
        broker.remove_lite_expired_at(now + 130_000);
        assert_eq!(broker.lite_queues("P").len() + broker.lite_queues("Q").len(), 1);
        assert_eq!((broker.store.light_queues(), broker.offsets.query("G", "%LMQ%$P$a", 0)), (1, None));
        call(&conn, send_request("P", b"y", "__LITE_TOPIC\u{1}a\u{2}")).await;
        // No offset is given twice: a reader who is behind passes over nothing.
        assert_eq!(broker.store.queue_range("%LMQ%$P$a", 0), Some((1, 2)));
        drop(conn);
        running.stop().await;
    }
}
