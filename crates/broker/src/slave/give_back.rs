//! Offsets that consumers committed at a slave while they did not reach the master.
//!
//! Upstream leaves that to the consumers, which commit to the master when it is back; a group whose members changed
//! meanwhile begins at the master's old offset. A slave here tells the master itself.

use apogee_wire::bodies::ConsumerOffsetSerializeWrapper;

use super::ask::Master;
use crate::broker::Broker;

/// Tells the master what was committed here and is ahead of it, and notes in `theirs` what it took.
pub(super) async fn give_back(
    broker: &Broker,
    master: &Master,
    theirs: &mut ConsumerOffsetSerializeWrapper,
) -> Result<(), String> {
    for ahead in broker.offsets.ahead_of(theirs) {
        let (group, topic, queue_id, offset) = (&*ahead.group, &*ahead.topic, ahead.queue_id, ahead.offset);
        if master.commit(group, topic, queue_id, offset).await? {
            tracing::info!(
                group,
                topic,
                queue_id,
                offset,
                "a group's offset that was committed at this slave is given to the master"
            );
            theirs.offset_table.entry(format!("{topic}@{group}")).or_default().insert(queue_id, offset);
        } else {
            tracing::warn!(
                group,
                topic,
                queue_id,
                offset,
                "the master does not take an offset that was committed at this slave: it has no such group or topic"
            );
            broker.offsets.forget_own(group, topic, queue_id);
        }
    }
    Ok(())
}
