//! One pull, and where to begin: what a reader and a consumer have in common.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_message::record;
use apogee_message::tag::java_hash;
use apogee_wire::Command;
use apogee_wire::bodies::SubscriptionData;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    Boundary, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, PullMessageRequestHeader, PullMessageResponseHeader, RpcFields,
    SearchOffsetRequestHeader, SearchOffsetResponseHeader,
};

use crate::peers::refused;
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Error, Queue, Received};

/// Bits of a pull's system flag (upstream `PullSysFlag`): it may wait for messages; it brings its subscription.
const MAY_WAIT: i32 = 1 << 1;
const WITH_SUBSCRIPTION: i32 = 1 << 2;

/// Messages of one pull, at most.
pub(crate) const BATCH: i32 = 32;
/// How long a broker may wait for messages.
const WAIT: Duration = Duration::from_secs(15);
/// How much longer than that its answer may take.
const GRACE: Duration = Duration::from_secs(15);

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the oldest message that is there.
    First,
    /// With the next one that comes.
    Last,
    /// With this offset of each queue.
    Offset(i64),
    /// With the first one stored at or after a time.
    Time(SystemTime),
}

/// What is wanted of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// `TAG` or `SQL92`.
    pub kind: &'static str,
    pub expression: String,
}

impl Filter {
    pub fn tags(expression: impl Into<String>) -> Self {
        Self { kind: "TAG", expression: expression.into() }
    }

    pub fn sql(expression: impl Into<String>) -> Self {
        Self { kind: "SQL92", expression: expression.into() }
    }

    pub fn all() -> Self {
        Self::tags("*")
    }

    /// The tags that are wanted; none: all messages are, or those that an expression matches.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        let is_choice = self.kind == "TAG" && !matches!(self.expression.trim(), "" | "*");
        let tags = if is_choice { &*self.expression } else { "" };
        tags.split("||").map(str::trim).filter(|tag| !tag.is_empty())
    }

    /// What a broker is told of it for a topic; it keeps the highest version.
    pub fn subscription(&self, topic: &str, version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            sub_string: Some(self.expression.clone()),
            expression_type: Some(self.kind.to_owned()),
            tags_set: self.wanted().map(str::to_owned).collect(),
            code_set: self.wanted().map(java_hash).collect(),
            sub_version: version,
            ..SubscriptionData::default()
        }
    }

    /// Brokers compare hashes of tags: others may have the same.
    pub fn wants(&self, message: &Received) -> bool {
        let mut wanted = self.wanted().peekable();
        wanted.peek().is_none() || wanted.any(|tag| Some(tag) == message.tag())
    }
}

/// Pulls in the name of a group.
#[derive(Clone)]
pub(crate) struct Puller {
    pub shared: Arc<Shared>,
    pub group: Arc<str>,
    pub filter: Filter,
}

/// What a pull brought.
pub(crate) struct Pulled {
    pub messages: Vec<PulledMessage>,
    pub next: i64,
    /// The offset was not there, or the group's was reset: there is nothing between it and the next.
    pub is_moved: bool,
    /// From whom to pull the next time.
    pub broker_id: i64,
    /// The queue's bounds.
    pub min: i64,
    pub max: i64,
}

/// Whether a broker that has no messages is to wait for some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Yes,
    No,
}

pub(crate) struct PulledMessage {
    pub message: Received,
    /// Why its body is not what the sender gave, but what was stored.
    pub unreadable: Option<Error>,
}

impl Puller {
    /// Where reading of a queue begins.
    pub async fn first_offset(&self, queue: &Queue, from: From) -> Result<i64, Error> {
        let (topic, queue_id, rpc) = (&*queue.topic, queue.id, RpcFields::default());
        let question = match from {
            From::Offset(offset) => return Ok(offset),
            From::First => Command::request(request::GET_MIN_OFFSET).with_header(&GetMinOffsetRequestHeader {
                topic,
                queue_id,
                rpc,
            }),
            From::Last => Command::request(request::GET_MAX_OFFSET).with_header(&GetMaxOffsetRequestHeader {
                topic,
                queue_id,
                committed: None,
                rpc,
            }),
            From::Time(time) => {
                let timestamp = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
                let boundary_type = Some(Boundary::Lower);
                let header =
                    SearchOffsetRequestHeader { topic, lite_topic: None, queue_id, timestamp, boundary_type, rpc };
                Command::request(request::SEARCH_OFFSET_BY_TIMESTAMP).with_header(&header)
            }
        };
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.shared.settings.timeout).await?;
        if answer.code != response::SUCCESS {
            return Err(refused(&address, answer.code, answer));
        }
        let offset = match from {
            From::First => answer.header().map(|header: GetMinOffsetResponseHeader| header.offset),
            From::Last => answer.header().map(|header: GetMaxOffsetResponseHeader| header.offset),
            _ => answer.header().map(|header: SearchOffsetResponseHeader| header.offset),
        };
        offset.map_err(|error| Error::header(&address, &error))
    }

    /// Pulls once, from a broker with that id if it is there. Waits for messages as long as the broker does.
    pub async fn pull(&self, queue: &Queue, offset: i64, broker_id: i64) -> Result<Pulled, Error> {
        self.pull_upto(queue, offset, broker_id, BATCH, Wait::Yes).await
    }

    /// The same for as many messages, with or without waiting.
    pub async fn pull_upto(
        &self,
        queue: &Queue,
        offset: i64,
        broker_id: i64,
        max_msg_nums: i32,
        wait: Wait,
    ) -> Result<Pulled, Error> {
        let (may_wait, timeout) = match wait {
            Wait::Yes => (MAY_WAIT, WAIT + GRACE),
            Wait::No => (0, self.shared.settings.timeout),
        };
        let header = PullMessageRequestHeader {
            consumer_group: &self.group,
            topic: &queue.topic,
            lite_topic: None,
            queue_id: queue.id,
            queue_offset: offset,
            max_msg_nums,
            sys_flag: may_wait | WITH_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: WAIT.as_millis() as i64,
            subscription: Some(&self.filter.expression),
            sub_version: 0,
            expression_type: Some(self.filter.kind),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            rpc: RpcFields { broker_name: Some(&queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::PULL_MESSAGE).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, broker_id, question, timeout).await?;
        if !matches!(
            answer.code,
            response::SUCCESS
                | response::PULL_NOT_FOUND
                | response::PULL_RETRY_IMMEDIATELY
                | response::PULL_OFFSET_MOVED
        ) {
            return Err(refused(&address, answer.code, answer));
        }
        let header: PullMessageResponseHeader = answer.header().map_err(|error| Error::header(&address, &error))?;
        let next = header.next_begin_offset;
        let is_moved = answer.code == response::PULL_OFFSET_MOVED;
        if is_moved {
            tracing::warn!(%queue, offset, next, "the offset is not there: reading goes on elsewhere");
        }
        let mut messages = Vec::new();
        for read in record::iter(&answer.body) {
            let read = read.map_err(|error| Error::record(&address, error))?;
            let (mut message, unreadable) = self.shared.received(&read, &answer.body, queue);
            message.queue_end = header.max_offset;
            if self.filter.wants(&message) {
                messages.push(PulledMessage { message, unreadable });
            }
        }
        Ok(Pulled {
            messages,
            next,
            is_moved,
            broker_id: header.suggest_which_broker_id,
            min: header.min_offset,
            max: header.max_offset,
        })
    }

    /// Whether another attempt may help after an error; rests before it, and looks where the queue is now.
    pub async fn recovers(&self, queue: &Queue, error: &Error, what: &str) -> bool {
        /// Rest after a failure.
        const REST: Duration = Duration::from_millis(500);
        if !error.may_pass() || self.shared.is_closed() {
            return false;
        }
        tracing::warn!(%queue, %error, "{what} failed, and is tried again");
        tokio::time::sleep(REST).await;
        if let Ok(route) = self.shared.route(&queue.topic).await {
            self.shared.refresh(&queue.topic, &route).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_of_tags_names_those_that_are_wanted() {
        let wanted = |filter: Filter| filter.wanted().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(wanted(Filter::tags("a || b||c ")), ["a", "b", "c"]);
        for all in [Filter::all(), Filter::tags(" "), Filter::sql("a || b")] {
            assert!(wanted(all).is_empty());
        }
    }
}
