//! Requests for messages.

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PullMessageRequestHeader, RpcFields};

/// Bits of a pull's system flag (upstream `PullSysFlag`).
mod flag {
    pub const COMMIT: i32 = 1;
    pub const SUSPEND: i32 = 1 << 1;
    pub const SUBSCRIPTION: i32 = 1 << 2;
}

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter<'a> {
    /// Those with one of these tags; `*` is all.
    Tags(&'a str),
    /// Those that an expression of SQL92 is true of.
    Sql(&'a str),
}

/// A pull of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue: u32,
    pub filter: Filter<'a>,
    /// Messages at most.
    pub count: u32,
    /// Milliseconds that the broker waits for a message when there is none; 0 is not at all.
    pub wait_millis: u32,
    /// What was read up to there is done with.
    pub commit: Option<i64>,
}

impl Pull<'_> {
    /// The request, from an offset on.
    pub(crate) fn request(&self, offset: i64) -> Command {
        let (expression_type, subscription) = match self.filter {
            Filter::Tags(tags) => ("TAG", tags),
            Filter::Sql(expression) => ("SQL92", expression),
        };
        let suspend = if self.wait_millis > 0 { flag::SUSPEND } else { 0 };
        let commit = if self.commit.is_some() { flag::COMMIT } else { 0 };
        Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
            consumer_group: self.group,
            topic: self.topic,
            lite_topic: None,
            queue_id: self.queue as i32,
            queue_offset: offset,
            max_msg_nums: self.count as i32,
            // The subscription comes along: no heartbeat has to come before it.
            sys_flag: flag::SUBSCRIPTION | suspend | commit,
            commit_offset: self.commit.unwrap_or(0),
            suspend_timeout_millis: i64::from(self.wait_millis),
            subscription: Some(subscription),
            sub_version: 0,
            expression_type: Some(expression_type),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            rpc: RpcFields::default(),
        })
    }
}

/// Whether a code says how a pull ended, not that it failed.
pub(crate) fn is_usual(code: i32) -> bool {
    use response::{PULL_NOT_FOUND, PULL_OFFSET_MOVED, PULL_RETRY_IMMEDIATELY, SUCCESS};
    [SUCCESS, PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY, PULL_OFFSET_MOVED].contains(&code)
}
