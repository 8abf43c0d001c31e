//! How far a group is, as brokers keep it.

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};

use crate::shared::Shared;
use crate::{Error, Queue};

/// The offset that a group has committed in a queue, if it ever did.
pub(crate) async fn committed(shared: &Shared, group: &str, queue: &Queue) -> Result<Option<i64>, Error> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.id,
        set_zero_if_not_found: Some(false),
        rpc: RpcFields::default(),
    };
    match shared.ask_master(queue, Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header)).await {
        Ok((address, answer)) => {
            let header: QueryConsumerOffsetResponseHeader =
                answer.header().map_err(|error| Error::header(&address, &error))?;
            Ok(Some(header.offset))
        }
        Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Commits that a group goes on with this offset of a queue.
pub(crate) async fn commit(shared: &Shared, group: &str, queue: &Queue, commit_offset: i64) -> Result<(), Error> {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.id,
        commit_offset,
        rpc: RpcFields::default(),
    };
    shared.ask_master(queue, Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header)).await?;
    Ok(())
}
