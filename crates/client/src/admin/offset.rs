//! How far groups are, and moving them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    ConsumeStats, ConsumeStatsList, ConsumerOffsetSerializeWrapper, QueryConsumeTimeSpanBody, ResetOffsetBody,
    TopicList,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CloneGroupOffsetRequestHeader, GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader,
    QueryConsumeTimeSpanRequestHeader, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    QueryTopicsByConsumerRequestHeader, ResetOffsetRequestHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};

use super::{Admin, body, milliseconds, queue_of, time};
use crate::peers::{accepted, refused};
use crate::pull::{Filter, Puller};
use crate::route::MASTER;
use crate::{Error, From, Queue};

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

/// An offset in a queue.
///
/// ```no_run
/// use apogee_client::From;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for moved in admin.reset("billing", "Orders", From::First).await? {
///     println!("{} goes on with {}", moved.queue, moved.offset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueOffset {
    /// The queue.
    pub queue: Queue,
    /// The offset.
    pub offset: i64,
}

/// An offset that a broker has of a group.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for committed in admin.all_offsets().await? {
///     println!("{} {} {}", committed.group, committed.topic, committed.offset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The broker, as `host:port`.
    pub address: String,
    /// The queue's number there.
    pub queue_id: i32,
    /// The offset.
    pub offset: i64,
}

impl GroupProgress {
    /// Messages that it has not consumed yet, all queues together.
    pub fn lag(&self) -> i64 {
        self.queues.iter().map(QueueProgress::lag).sum()
    }

    fn add(&mut self, stats: ConsumeStats) {
        self.per_second += stats.consume_tps;
        self.queues.extend(stats.offset_table.into_iter().map(|(queue, offsets)| QueueProgress {
            queue: queue_of(queue),
            committed: offsets.consumer_offset,
            fetched: offsets.pull_offset,
            end: offsets.broker_offset,
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

impl Admin {
    /// How far a group is, in one topic or in all that it has offsets in, its retry topic included.
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn progress(&self, group: &str, topic: Option<&str>) -> Result<GroupProgress, Error> {
        names::check_group(group)?;
        let header =
            GetConsumeStatsRequestHeader { consumer_group: group, topic, topic_list: None, rpc: RpcFields::default() };
        let question = Command::request(request::GET_CONSUME_STATS).with_header(&header);
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
        let header = GetConsumeStatsInBrokerHeader { is_order: false };
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
        let mut times = Vec::new();
        for address in self.readers_of(topic).await? {
            let spans: QueryConsumeTimeSpanBody = self.body(&address, &question).await?;
            times.extend(spans.consume_time_span_set.into_iter().filter_map(|span| {
                Some(QueueTimes {
                    queue: queue_of(span.message_queue?),
                    oldest: time(span.min_time_stamp),
                    newest: time(span.max_time_stamp),
                    consumed: time(span.consume_time_stamp),
                    behind: Duration::from_millis(span.delay_time.max(0) as u64),
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

    /// The offsets of all groups.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn all_offsets(&self) -> Result<Vec<CommittedOffset>, Error> {
        let question = Command::request(request::GET_ALL_CONSUMER_OFFSET);
        let mut all = Vec::new();
        for list in self.all_bodies::<ConsumerOffsetSerializeWrapper>(&question).await? {
            for (key, queues) in list.value.offset_table {
                let Some((topic, group)) = key.split_once('@') else { continue };
                all.extend(queues.into_iter().map(|(queue_id, offset)| CommittedOffset {
                    group: group.to_owned(),
                    topic: topic.to_owned(),
                    address: list.address.clone(),
                    queue_id,
                    offset,
                }));
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Where a group is in a queue; `None` when it has no offset there.
    ///
    /// # Errors
    /// When a name is none, or the broker refuses or doesn't answer.
    pub async fn offset(&self, group: &str, queue: &Queue) -> Result<Option<i64>, Error> {
        names::check_group(group)?;
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.id,
            set_zero_if_not_found: Some(false),
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.timeout).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        let answer = accepted(&address, answer)?;
        let head: QueryConsumerOffsetResponseHeader =
            answer.header().map_err(|error| Error::header(&address, &error))?;
        Ok(Some(head.offset))
    }

    /// Says where a group is in a queue. Members that are there go on where they are, and overwrite it with their
    /// next commit; a reset that no member has heard of yet comes first. [`Admin::reset`] moves a group whatever it does.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let queue = admin.topic_stats("Orders").await?.queues.remove(0).queue;
    /// if admin.offset("billing", &queue).await?.is_none() {
    ///     admin.set_offset("billing", &queue, 0).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or the broker refuses or doesn't answer.
    pub async fn set_offset(&self, group: &str, queue: &Queue, offset: i64) -> Result<(), Error> {
        names::check_group(group)?;
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.id,
            commit_offset: offset,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header);
        self.shared.ask_master(queue, question).await.map(drop)
    }

    /// The offset of a place in a queue.
    ///
    /// ```no_run
    /// use std::time::{Duration, SystemTime};
    /// use apogee_client::From;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let an_hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    /// for range in admin.topic_stats("Orders").await?.queues {
    ///     let first = admin.find_offset(&range.queue, From::Time(an_hour_ago)).await?;
    ///     println!("{}: {} messages in the last hour", range.queue, range.end - first);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the broker refuses or doesn't answer.
    pub async fn find_offset(&self, queue: &Queue, place: From) -> Result<i64, Error> {
        let puller = Puller { shared: self.shared.clone(), group: "".into(), filter: Filter::all() };
        puller.first_offset(queue, place).await
    }

    /// Moves a group in all queues of a topic, whether or not it has members. Returns where it goes on. Where it was
    /// is lost: what it has not consumed is skipped, or what it has consumed comes again.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the topic, and when a broker does not know the group, refuses or doesn't
    /// answer.
    pub async fn reset(&self, group: &str, topic: &str, to: From) -> Result<Vec<QueueOffset>, Error> {
        let mut moved = Vec::new();
        for range in self.topic_stats(topic).await?.queues {
            moved.push(self.reset_queue(group, &range.queue, to).await?);
        }
        Ok(moved)
    }

    /// Moves a group in one queue; see [`Admin::reset`].
    ///
    /// ```no_run
    /// use apogee_client::From;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let queue = admin.topic_stats("Orders").await?.queues.remove(0).queue;
    /// admin.reset_queue("billing", &queue, From::Last).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Admin::reset`]; an offset that the queue doesn't have is refused, too.
    pub async fn reset_queue(&self, group: &str, queue: &Queue, to: From) -> Result<QueueOffset, Error> {
        names::check_group(group)?;
        let offset = self.find_offset(queue, to).await?;
        let header = ResetOffsetRequestHeader {
            group,
            topic: &queue.topic,
            queue_id: Some(queue.id),
            offset: Some(offset),
            timestamp: if let From::Time(time) = to { milliseconds(time) } else { -1 },
            is_force: true,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.timeout).await?;
        match answer.code {
            response::SUCCESS => {
                let moved: ResetOffsetBody = body(&address, &answer)?;
                let told = moved.offset_table.into_iter().find(|(moved, _)| moved.queue_id == queue.id);
                Ok(QueueOffset { queue: queue.clone(), offset: told.map_or(offset, |(_, offset)| offset) })
            }
            // The broker would tell the members, and there are none.
            response::CONSUMER_NOT_ONLINE => {
                self.set_offset(group, queue, offset).await?;
                Ok(QueueOffset { queue: queue.clone(), offset })
            }
            code => Err(refused(&address, code, answer)),
        }
    }

    /// Lets a group begin where another is, in one topic or in all. Where the other one has members, only topics
    /// count that they subscribe to.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.copy_offsets("billing", "billing-2", Some("Orders")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn copy_offsets(&self, from: &str, to: &str, topic: Option<&str>) -> Result<(), Error> {
        names::check_group(from)?;
        names::check_group(to)?;
        let header = CloneGroupOffsetRequestHeader {
            src_group: from,
            dest_group: to,
            topic,
            offline: Some(false),
            rpc: RpcFields::default(),
        };
        self.call_all(&Command::request(request::CLONE_GROUP_OFFSET).with_header(&header)).await?;
        Ok(())
    }
}
