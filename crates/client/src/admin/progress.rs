//! How far groups are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{COUNT_MATCHING, ConsumeStats, ConsumeStatsList, QueryConsumeTimeSpanBody, TopicList};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader, QueryConsumeTimeSpanRequestHeader,
    QueryTopicsByConsumerRequestHeader, RpcFields,
};

use super::{Admin, milliseconds, queue_of, time};
use crate::{Error, Queue};

/// How far a group is.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let progress = admin.progress("billing", Some("Orders")).await?;
/// for queue in &progress.queues {
///     println!("{}: {} of {}", queue.queue, queue.committed, queue.end);
/// }
/// println!("{} behind, {:.1} a second", progress.lag(), progress.per_second);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupProgress {
    /// The queues, in order.
    pub queues: Vec<QueueProgress>,
    /// Messages that it got in the last minute, by second.
    pub per_second: f64,
}

/// How far a group is in a queue; see [`GroupProgress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueProgress {
    /// The queue.
    pub queue: Queue,
    /// Offset of the first message that it has not consumed.
    pub committed: i64,
    /// Offset of the first message that it has not fetched, as far as the broker knows.
    pub fetched: i64,
    /// Offset that the next message of the queue will get.
    pub end: i64,
    /// How many of the messages that it has not consumed match its subscription: at least and at most. `None` unless
    /// that was asked for ([`Admin::matching_progress`]), and when the broker does not know it.
    pub matching: Option<(u64, u64)>,
    /// When the message was stored that it consumed last; `None` when it has consumed none that is still there.
    pub last_stored: Option<SystemTime>,
}

/// Times of messages of a queue, as a group sees them.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for times in admin.times("billing", "Orders").await? {
///     println!("{}: {} s behind", times.queue, times.behind.as_secs());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTimes {
    /// The queue.
    pub queue: Queue,
    /// When its oldest message was stored.
    pub oldest: Option<SystemTime>,
    /// When its newest message was stored.
    pub newest: Option<SystemTime>,
    /// When the message was stored that the group consumed last.
    pub consumed: Option<SystemTime>,
    /// For how long the next message has been waiting for the group.
    pub behind: Duration,
}

impl GroupProgress {
    /// Messages that it has not consumed yet, all queues together.
    pub fn lag(&self) -> i64 {
        self.queues.iter().map(QueueProgress::lag).sum()
    }

    /// Messages that it has not consumed yet and that match its subscription, all queues together: at least and at
    /// most. `None` when that is not known of one of them.
    pub fn matching(&self) -> Option<(u64, u64)> {
        let queues = self.queues.iter().filter(|queue| queue.lag() > 0);
        queues.map(|queue| queue.matching).try_fold((0, 0), |(least, most), queue| {
            let queue = queue?;
            Some((least + queue.0, most + queue.1))
        })
    }

    fn add(&mut self, stats: ConsumeStats) {
        self.per_second += stats.consume_tps;
        self.queues.extend(stats.offset_table.into_iter().map(|(queue, offsets)| QueueProgress {
            queue: queue_of(queue),
            committed: offsets.consumer_offset,
            fetched: offsets.pull_offset,
            end: offsets.broker_offset,
            matching: offsets.matching_least.zip(offsets.matching_most),
            last_stored: time(offsets.last_timestamp),
        }));
        self.queues.sort_by(|one, other| one.queue.cmp(&other.queue));
    }
}

impl QueueProgress {
    /// Messages that the group has not consumed yet.
    pub fn lag(&self) -> i64 {
        self.end - self.committed
    }
}

/// Apache's brokers take the time of a message that is not there for that of one of 1970.
fn behind(delay: i64, now: i64) -> Duration {
    /// Brokers with a clock that is wrong by less are understood.
    const YEAR: i64 = 365 * 86_400_000;
    Duration::from_millis(if delay > now - YEAR { 0 } else { delay.max(0) as u64 })
}

impl Admin {
    /// How far a group is, in one topic or in all that it has offsets in, its retry topic included.
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn progress(&self, group: &str, topic: Option<&str>) -> Result<GroupProgress, Error> {
        self.progress_with(group, topic, false).await
    }

    /// The same, and how many of the unread messages match what the group subscribes to. Apogee's brokers count that as
    /// long as a member is there, looking at a million messages at most and, for SQL92 expressions, into 20,000; what is
    /// beyond is the difference between least and most. Apache's brokers do not tell.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let progress = admin.matching_progress("billing", Some("Orders")).await?;
    /// if let Some((least, most)) = progress.matching() {
    ///     println!("{least} to {most} of {} unread messages are for billing", progress.lag());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn matching_progress(&self, group: &str, topic: Option<&str>) -> Result<GroupProgress, Error> {
        self.progress_with(group, topic, true).await
    }

    async fn progress_with(&self, group: &str, topic: Option<&str>, matching: bool) -> Result<GroupProgress, Error> {
        names::check_group(group)?;
        let header =
            GetConsumeStatsRequestHeader { consumer_group: group, topic, topic_list: None, rpc: RpcFields::default() };
        let mut question = Command::request(request::GET_CONSUME_STATS).with_header(&header);
        if matching {
            question.fields.set_str(COUNT_MATCHING, "true");
        }
        let mut progress = GroupProgress::default();
        for stats in self.all_bodies(&question).await? {
            progress.add(stats.value);
        }
        Ok(progress)
    }

    /// How far all groups are, by name.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for (group, progress) in admin.all_progress().await? {
    ///     println!("{group} is {} behind", progress.lag());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn all_progress(&self) -> Result<BTreeMap<String, GroupProgress>, Error> {
        self.progress_in_brokers(false).await
    }

    /// How far all groups are in topics that are declared to be in order, by name.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn all_ordered_progress(&self) -> Result<BTreeMap<String, GroupProgress>, Error> {
        self.progress_in_brokers(true).await
    }

    async fn progress_in_brokers(&self, is_order: bool) -> Result<BTreeMap<String, GroupProgress>, Error> {
        let header = GetConsumeStatsInBrokerHeader { is_order };
        let question = Command::request(request::GET_BROKER_CONSUME_STATS).with_header(&header);
        let mut all: BTreeMap<String, GroupProgress> = BTreeMap::new();
        for list in self.all_bodies::<ConsumeStatsList>(&question).await? {
            for (group, topics) in list.value.consume_stats_list.into_iter().flatten() {
                let progress = all.entry(group).or_default();
                topics.into_iter().for_each(|stats| progress.add(stats));
            }
        }
        Ok(all)
    }

    /// How old the messages of a topic are, as a group sees them.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when one refuses or doesn't answer.
    pub async fn times(&self, group: &str, topic: &str) -> Result<Vec<QueueTimes>, Error> {
        names::check_group(group)?;
        let header = QueryConsumeTimeSpanRequestHeader { topic, group, rpc: RpcFields::default() };
        let question = Command::request(request::QUERY_CONSUME_TIME_SPAN).with_header(&header);
        let (mut times, now) = (Vec::new(), milliseconds(SystemTime::now()));
        for address in self.readers_of(topic).await? {
            let spans: QueryConsumeTimeSpanBody = self.body(&address, &question).await?;
            times.extend(spans.consume_time_span_set.into_iter().filter_map(|span| {
                Some(QueueTimes {
                    queue: queue_of(span.message_queue?),
                    oldest: time(span.min_time_stamp),
                    newest: time(span.max_time_stamp),
                    consumed: time(span.consume_time_stamp),
                    behind: behind(span.delay_time, now),
                })
            }));
        }
        times.sort_by(|one, other| one.queue.cmp(&other.queue));
        Ok(times)
    }

    /// Topics that a group has offsets in.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for topic in admin.topics_of("billing").await? {
    ///     println!("{topic}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn topics_of(&self, group: &str) -> Result<BTreeSet<String>, Error> {
        names::check_group(group)?;
        let header = QueryTopicsByConsumerRequestHeader { group, rpc: RpcFields::default() };
        let question = Command::request(request::QUERY_TOPICS_BY_CONSUMER).with_header(&header);
        let lists = self.all_bodies::<TopicList>(&question).await?;
        Ok(lists.into_iter().flat_map(|list| list.value.topic_list).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_not_there_waits_for_nothing() {
        let now = 1_800_000_000_000;
        assert_eq!(
            (behind(now, now), behind(now + 1, now), behind(-3, now)),
            (Duration::ZERO, Duration::ZERO, Duration::ZERO)
        );
        assert_eq!(behind(7_000, now), Duration::from_secs(7));
    }
}
