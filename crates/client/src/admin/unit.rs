//! What queues have of messages.

use apogee_wire::Command;
use apogee_wire::bodies::QueryConsumeQueueResponseBody;
use apogee_wire::codes::request;
use apogee_wire::headers::{QueryConsumeQueueRequestHeader, RpcFields};

use super::{Admin, Scope, Subscription, body, count};
use crate::peers::accepted;
use crate::route::MASTER;
use crate::{Error, Queue};

/// A part of a queue's units.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let stats = admin.topic_stats("Orders").await?;
/// let units = admin.queue_units(&stats.queues[0].queue, stats.queues[0].first, 10, None).await?;
/// for unit in &units.units {
///     println!("{} bytes at {} of the log", unit.size, unit.log_offset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUnits {
    /// Offset of the queue's first unit.
    pub first: i64,
    /// Offset after its last one.
    pub end: i64,
    /// What the group subscribes to that was asked for.
    pub subscription: Option<Subscription>,
    /// What the group filters by, in the broker's words, where that is more than tags.
    pub filter: Option<String>,
    /// The units from the offset on that was asked for.
    pub units: Vec<QueueUnit>,
}

/// What a queue has of a message; see [`QueueUnits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUnit {
    /// Where the message is in the log, in bytes.
    pub log_offset: i64,
    /// Its size there, in bytes.
    pub size: i32,
    /// Hash of its tag.
    pub tag_code: i64,
    /// The group that was asked for takes it.
    pub is_wanted: bool,
    /// What is wrong with it, or the message, in the broker's words.
    pub message: Option<String>,
    /// What is kept beside the unit, in the broker's words.
    pub extended: Option<String>,
    /// Which of the groups with expressions in SQL92 take it, as bits, in the broker's words.
    pub bit_map: Option<String>,
}

impl Admin {
    /// Units of a queue from an offset on, and whether a group takes them. Asks the master of the queue's broker; with
    /// [`Admin::broker`], that broker.
    ///
    /// # Errors
    /// When the broker refuses or doesn't answer.
    pub async fn queue_units(
        &self,
        queue: &Queue,
        from: i64,
        most: u32,
        group: Option<&str>,
    ) -> Result<QueueUnits, Error> {
        let header = QueryConsumeQueueRequestHeader {
            topic: Some(&queue.topic),
            queue_id: Some(queue.id),
            index: Some(from),
            count: Some(count(most)),
            consumer_group: group,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::QUERY_CONSUME_QUEUE).with_header(&header);
        let (address, answer) = match &self.scope {
            Scope::Broker(address) => (address.clone(), self.ask(address, &question).await?),
            _ => self.shared.ask_reader(queue, MASTER, question, self.timeout).await?,
        };
        let said: QueryConsumeQueueResponseBody = body(&address, &accepted(&address, answer)?)?;
        let units = said.queue_data.unwrap_or_default().into_iter().map(|unit| QueueUnit {
            log_offset: unit.physic_offset,
            size: unit.physic_size,
            tag_code: unit.tags_code,
            is_wanted: unit.eval,
            message: unit.msg,
            extended: unit.extend_data_json,
            bit_map: unit.bit_map,
        });
        Ok(QueueUnits {
            first: said.min_queue_index,
            end: said.max_queue_index,
            subscription: said.subscription_data.map(Subscription::of),
            filter: said.filter_data,
            units: units.collect(),
        })
    }
}
