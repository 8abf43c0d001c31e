//! What a slave lacks of compacted topics: messages whose part of the log its master has removed, and keeps compacted. They
//! are pulled from the master, as any consumer would (upstream `CompactionLog.pullMessageFromMaster`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{PullMessageRequestHeader, PullMessageResponseHeader, RpcFields};

use super::ask::Master;
use super::blocking;
use crate::broker::Broker;
use crate::compaction::Names;
use crate::topics::Topic;

/// Time between two looks for what is lacking.
const PERIOD: Duration = Duration::from_secs(3);
/// In whose name it is asked: a group of the system's, which brokers serve without knowing it.
const GROUP: &str = "CID_RMQ_SYS_COMPACTION";
/// The pull names its subscription itself.
const WITH_SUBSCRIPTION: i32 = 1 << 2;

/// Keeps taking over what is lacking, until the broker stops.
pub(crate) async fn take_history(broker: Arc<Broker>) {
    if !broker.store.compacts() {
        return;
    }
    let (mut complained, mut names) = (false, Names::default());
    // Queues of which the master has nothing either.
    let mut empty = HashSet::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let address = broker.replication.master().borrow().broker.clone();
        let Some(address) = address.filter(|_| broker.copy_progress().is_some()) else { continue };
        match take_from(&broker, &address, names.of(&broker.topics), &mut empty).await {
            Ok(()) => complained = false,
            Err(error) => {
                if !complained {
                    tracing::warn!(
                        master = address,
                        error,
                        "cannot take over older messages of compacted topics; trying again every few seconds: see whether the master is up"
                    );
                }
                complained = true;
            }
        }
    }
}

async fn take_from(
    broker: &Arc<Broker>,
    address: &str,
    names: &[Arc<str>],
    empty: &mut HashSet<(Arc<str>, i32)>,
) -> Result<(), String> {
    let mut master = None;
    let topics: Vec<_> = names.iter().filter_map(|name| broker.topics.get(name)).collect();
    let ids = |topic: &Topic| 0..topic.config.read_queue_nums.max(topic.config.write_queue_nums);
    let queues = topics.iter().flat_map(|topic| ids(topic).map(|id| (Arc::clone(&topic.name), id)));
    for (topic, queue) in queues {
        if empty.contains(&(Arc::clone(&topic), queue)) || !broker.store.kept(&topic, queue).lacks_history() {
            continue;
        }
        let master = match &mut master {
            Some(master) => master,
            None => master.insert(Master::connect(address).await?),
        };
        let taken = take_queue(broker, master, &topic, queue).await?;
        if taken == 0 {
            empty.insert((topic, queue));
        } else {
            tracing::info!(%topic, queue, to = taken, "older messages of a compacted topic are taken over from the master");
        }
    }
    Ok(())
}

/// Takes over a queue from its beginning on. Returns up to where.
async fn take_queue(broker: &Arc<Broker>, master: &Master, topic: &Arc<str>, queue: i32) -> Result<i64, String> {
    let text = |error: apogee_store::StoreError| error.to_string();
    let name = Arc::clone(topic);
    blocking(broker, move |broker| broker.store.begin_history(&name, queue).map_err(text)).await?;
    let mut next = 0;
    loop {
        let (answer, end) = master.pull(topic, queue, next).await?;
        let is_over = answer.code == response::PULL_NOT_FOUND;
        let begin = broker.store.kept(topic, queue).begin;
        // At the master's end nothing is lacking before the beginning here.
        next = if is_over { begin.unwrap_or(next).max(next) } else { end };
        let (name, records) = (Arc::clone(topic), answer.body.clone());
        blocking(broker, move |broker| broker.store.take_history(&name, queue, &records, next).map_err(text)).await?;
        if is_over || begin.is_some_and(|begin| begin <= next) {
            return Ok(next);
        }
    }
}

impl Master {
    /// Messages of a queue from an offset on, and where to go on.
    async fn pull(&self, topic: &str, queue_id: i32, offset: i64) -> Result<(Command, i64), String> {
        let header = PullMessageRequestHeader {
            consumer_group: GROUP,
            topic,
            lite_topic: None,
            queue_id,
            queue_offset: offset,
            max_msg_nums: 32,
            sys_flag: WITH_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            rpc: RpcFields::default(),
        };
        let answer = self.call(Command::request(code::PULL_MESSAGE).with_header(&header)).await?;
        let next = answer.header::<PullMessageResponseHeader>().map_or(offset, |header| header.next_begin_offset);
        match answer.code {
            response::PULL_NOT_FOUND => Ok((answer, next)),
            response::SUCCESS | response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED if next > offset => {
                Ok((answer, next))
            }
            code => Err(format!("it answered a pull with code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }
}
