//! What happened at a slave while the master was away: offsets that consumers committed, and messages that the slave
//! delivered.
//!
//! Upstream leaves that to the consumers, which commit to the master when it is back; a group whose members changed
//! meanwhile begins at the master's old offset. A slave here tells the master itself, and so
//! with what it delivered: Apache's masters ask for it before they register.

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

/// Messages of which the master is told together.
const PART: usize = 4_096;

/// Tells the master what this slave delivered in its place. An Apache broker takes no notice.
pub(super) async fn delivered(broker: &Broker, master: &Master) -> Result<(), String> {
    // What is under way is delivered first, and is noted; and nothing is told twice at the same time.
    let _turn = broker.acting.turn().await;
    loop {
        let part = broker.ledger.untold(PART);
        if part.is_empty() {
            return Ok(());
        }
        let noted_to = master.settled(&broker.advertised, &part).await?;
        if noted_to.is_none() {
            tracing::warn!(
                messages = part.len(),
                "the master does not take notice of what this slave delivered in its place: those messages may come twice"
            );
        }
        broker.ledger.told(part.len(), noted_to.unwrap_or_default());
    }
}
