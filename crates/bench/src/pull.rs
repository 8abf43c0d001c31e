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

/// The version of all subscriptions of the load generator: it never changes one.
pub(crate) const VERSION: i64 = 1;

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All.
    All,
    /// Those with one of these tags, which are separated by `||`.
    Tags(String),
    /// Those that an expression of SQL92 is true of.
    Sql(String),
}

impl Filter {
    /// As options say.
    pub(crate) fn new(tag: Option<&String>, sql: Option<&String>) -> Self {
        match (tag, sql) {
            (_, Some(expression)) => Self::Sql(expression.clone()),
            (Some(tags), None) => Self::Tags(tags.clone()),
            (None, None) => Self::All,
        }
    }

    /// The kind's name on the wire.
    pub(crate) fn kind(&self) -> &'static str {
        if matches!(self, Self::Sql(_)) { "SQL92" } else { "TAG" }
    }

    /// The expression's text.
    pub(crate) fn expression(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Tags(text) | Self::Sql(text) => text,
        }
    }

    /// The tags, each for itself.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        let text = if let Self::Tags(text) = self { text.as_str() } else { "" };
        text.split("||").map(str::trim).filter(|tag| !tag.is_empty())
    }
}

/// A pull of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue: u32,
    pub filter: &'a Filter,
    /// The group told what it wants by heartbeats; else the pull says it itself.
    pub subscribed: bool,
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
        let subscription = if self.subscribed { 0 } else { flag::SUBSCRIPTION };
        let suspend = if self.wait_millis > 0 { flag::SUSPEND } else { 0 };
        let commit = if self.commit.is_some() { flag::COMMIT } else { 0 };
        Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
            consumer_group: self.group,
            topic: self.topic,
            lite_topic: None,
            queue_id: self.queue as i32,
            queue_offset: offset,
            max_msg_nums: self.count as i32,
            sys_flag: subscription | suspend | commit,
            commit_offset: self.commit.unwrap_or(0),
            suspend_timeout_millis: i64::from(self.wait_millis),
            subscription: (!self.subscribed).then(|| self.filter.expression()),
            sub_version: VERSION,
            expression_type: Some(self.filter.kind()),
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
