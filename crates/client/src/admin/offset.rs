//! Offsets of groups, and moving them.

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{ConsumerOffsetSerializeWrapper, ResetOffsetBody};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CloneGroupOffsetRequestHeader, QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader,
    ResetOffsetRequestHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};

use super::{Admin, body, milliseconds, queue_of};
use crate::peers::{accepted, refused};
use crate::pull::{Filter, Puller};
use crate::route::MASTER;
use crate::{Error, From, Queue};

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

impl Admin {
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
        names::check_group(group)?;
        let timestamp = match to {
            From::First => 0,
            // As brokers understand it.
            From::Last => -1,
            From::Time(time) => milliseconds(time),
            From::Offset(_) => {
                let mut moved = Vec::new();
                for range in self.topic_stats(topic).await?.queues {
                    moved.push(self.reset_queue(group, &range.queue, to).await?);
                }
                return Ok(moved);
            }
        };
        let header = ResetOffsetRequestHeader {
            group,
            topic,
            queue_id: Some(-1),
            offset: None,
            timestamp,
            is_force: true,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header);
        let mut moved = Vec::new();
        for address in self.readers_of(topic).await? {
            let answer = self.ask(&address, &question).await?;
            match answer.code {
                response::SUCCESS => {
                    let told: ResetOffsetBody = body(&address, &answer)?;
                    let told = told.offset_table.into_iter();
                    moved.extend(told.map(|(queue, offset)| QueueOffset { queue: queue_of(queue), offset }));
                }
                // The broker would tell the members, and there are none.
                response::CONSUMER_NOT_ONLINE => {
                    for range in self.broker(&*address).topic_stats(topic).await?.queues {
                        let offset = self.find_offset(&range.queue, to).await?;
                        self.set_offset(group, &range.queue, offset).await?;
                        moved.push(QueueOffset { queue: range.queue, offset });
                    }
                }
                code => return Err(refused(&address, code, answer)),
            }
        }
        moved.sort_unstable();
        Ok(moved)
    }

    /// Moves a group back in the queues of a topic, and leaves it where it is in those where it would have to go
    /// forward: nothing is skipped. Returns where it goes on. See [`Admin::reset`].
    ///
    /// # Errors
    /// See [`Admin::reset_queue`].
    pub async fn reset_back(&self, group: &str, topic: &str, to: From) -> Result<Vec<QueueOffset>, Error> {
        let mut moved = Vec::new();
        for range in self.topic_stats(topic).await?.queues {
            // Brokers that move groups themselves do not look at who wants to go back only.
            let offset = self.find_offset(&range.queue, to).await?;
            moved.push(match self.offset(group, &range.queue).await? {
                Some(now) if now <= offset => QueueOffset { queue: range.queue, offset: now },
                _ => self.reset_queue(group, &range.queue, From::Offset(offset)).await?,
            });
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
    /// See [`Admin::reset`]; an offset that the queue doesn't have is refused, too. A broker that leaves moving to the
    /// members (`useServerSideResetOffset=false`) may be unable to move a single queue while there are any.
    pub async fn reset_queue(&self, group: &str, queue: &Queue, to: From) -> Result<QueueOffset, Error> {
        names::check_group(group)?;
        let offset = self.find_offset(queue, to).await?;
        let header = ResetOffsetRequestHeader {
            group,
            topic: &queue.topic,
            queue_id: Some(queue.id),
            offset: Some(offset),
            // Apache's broker, when it leaves it to the members, looks at the time only, and moves all queues: to the
            // end, but never forward, changes nothing.
            timestamp: self.shared.now_ms(),
            is_force: false,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.timeout).await?;
        match answer.code {
            response::SUCCESS => {
                let moved: ResetOffsetBody = body(&address, &answer)?;
                let told = moved.offset_table.into_iter().find(|(moved, _)| moved.queue_id == queue.id);
                if told.is_some_and(|(_, told)| told != offset) {
                    return Err(Error::Argument(format!(
                        "broker {address} leaves moving group {group} to its members, which cannot move queue {queue} to \
                         {offset}: move the whole topic to a time, or stop them first"
                    )));
                }
                Ok(QueueOffset { queue: queue.clone(), offset })
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
    /// count that they subscribe to, unless `even_unsubscribed`.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.copy_offsets("billing", "billing-2", Some("Orders"), false).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn copy_offsets(
        &self,
        from: &str,
        to: &str,
        topic: Option<&str>,
        even_unsubscribed: bool,
    ) -> Result<(), Error> {
        names::check_group(from)?;
        names::check_group(to)?;
        let header = CloneGroupOffsetRequestHeader {
            src_group: from,
            dest_group: to,
            topic,
            offline: Some(even_unsubscribed),
            rpc: RpcFields::default(),
        };
        self.call_all(&Command::request(request::CLONE_GROUP_OFFSET).with_header(&header)).await?;
        Ok(())
    }
}
