//! What a mapping must be like, alone and after the one before.

use std::collections::HashSet;

use apogee_wire::bodies::{LogicQueueMappingItem, TopicQueueMappingDetail};
use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::topics::MOST_QUEUES;

fn refused(topic: &str, why: impl std::fmt::Display) -> BrokerError {
    BrokerError::new(response::INVALID_PARAMETER, format!("static topic[{topic}]: {why}"))
}

/// Whether a mapping makes sense, for a broker that has so many queues of the topic.
pub(super) fn mapping(
    broker: &str,
    topic: &str,
    queues: i32,
    mapping: &TopicQueueMappingDetail,
) -> Result<(), BrokerError> {
    let refused = |why: String| Err(refused(topic, why));
    if mapping.topic.as_deref() != Some(topic) {
        return refused(format!("the mapping is that of topic {:?}", mapping.topic));
    }
    if mapping.bname.as_deref() != Some(broker) {
        return refused(format!("the mapping is that of broker {:?}, and this is {broker}", mapping.bname));
    }
    if !(1..=MOST_QUEUES).contains(&mapping.total_queues) {
        return refused(format!("{} queues; accepted are 1 to {MOST_QUEUES}", mapping.total_queues));
    }
    let mut own = HashSet::new();
    for (global, stays) in &mapping.hosted_queues {
        if !(0..mapping.total_queues).contains(global) {
            return refused(format!("queue {global} is none of the {} that there are", mapping.total_queues));
        }
        if let Err(why) = order(stays) {
            return refused(format!("queue {global}: {why}"));
        }
        let Some(last) = stays.last().filter(|last| last.bname.as_deref() == Some(broker)) else { continue };
        if last.queue_id >= queues {
            return refused(format!("queue {global} is said to be queue {} here, of {queues}", last.queue_id));
        }
        if !own.insert(last.queue_id) {
            return refused(format!("queue {} here is given to two queues of the topic", last.queue_id));
        }
        if stays.len() > 1 || last.start_offset > 0 || last.logic_offset > 0 {
            return refused(format!(
                "queue {global} is moved here from another broker, which is not supported: leave it where it is"
            ));
        }
    }
    Ok(())
}

/// Whether the stays of a queue follow each other.
fn order(stays: &[LogicQueueMappingItem]) -> Result<(), &'static str> {
    if stays.is_empty() {
        return Err("it is nowhere");
    }
    if stays.iter().any(|stay| stay.start_offset < 0 || stay.generation < 0 || stay.queue_id < 0) {
        return Err("a number is negative that cannot be");
    }
    if stays.iter().any(|stay| stay.end_offset != -1 && stay.end_offset < stay.start_offset) {
        return Err("it ends before it begins");
    }
    for pair in stays.windows(2) {
        let [before, after] = pair else { continue };
        if before.logic_offset < 0 {
            return Err("where an earlier stay begins is not known");
        }
        if before.generation >= after.generation {
            return Err("the generations do not grow");
        }
        if after.logic_offset != -1 && end(before) >= after.logic_offset && before.logic_offset >= after.logic_offset {
            return Err("the offsets do not grow");
        }
    }
    Ok(())
}

/// Where a stay ends, in the queue's offsets, as far as that is known.
fn end(stay: &LogicQueueMappingItem) -> i64 {
    let length = if stay.end_offset >= stay.start_offset { stay.end_offset - stay.start_offset } else { 0 };
    stay.logic_offset.saturating_add(length)
}

/// The mapping that follows another: with the queues that only the old one names.
pub(super) fn succeeds(
    old: &TopicQueueMappingDetail,
    mut new: TopicQueueMappingDetail,
    force: bool,
) -> Result<TopicQueueMappingDetail, BrokerError> {
    let topic = new.topic.clone().unwrap_or_default();
    if !force {
        if new.epoch < old.epoch {
            let why = format!("Can't accept data with small epoch {} < {}", new.epoch, old.epoch);
            return Err(refused(&topic, why));
        }
        if new.scope != old.scope {
            let why = format!("Can't accept data with unmatched scope {} != {}", new.scope, old.scope);
            return Err(refused(&topic, why));
        }
        for (global, stays) in &old.hosted_queues {
            let same_epoch = new.epoch == old.epoch;
            match new.hosted_queues.get(global) {
                None if same_epoch => return Err(refused(&topic, "Cannot accept equal epoch with null data")),
                None => {}
                Some(next) => follow(stays, next, same_epoch)
                    .map_err(|why| refused(&topic, format_args!("queue {global}: {why}")))?,
            }
        }
    }
    for (global, stays) in &old.hosted_queues {
        new.hosted_queues.entry(*global).or_insert_with(|| stays.clone());
    }
    Ok(new)
}

/// Whether what is known of a queue's stays is not changed afterwards.
fn follow(old: &[LogicQueueMappingItem], new: &[LogicQueueMappingItem], same_epoch: bool) -> Result<(), &'static str> {
    for stay in old {
        // The earliest may be forgotten by now.
        let Some(same) = new.iter().find(|same| same.generation == stay.generation) else { continue };
        let moved = stay.logic_offset != -1 && stay.logic_offset != same.logic_offset;
        if same.bname != stay.bname || same.queue_id != stay.queue_id || same.start_offset != stay.start_offset || moved
        {
            return Err("a stay is not what it was");
        }
    }
    let place = |stays: &[LogicQueueMappingItem]| {
        stays.last().map(|last| (last.generation, last.bname.clone(), last.queue_id, last.start_offset))
    };
    if same_epoch && place(old) != place(new) {
        return Err("The new leader is different but epoch equal");
    }
    Ok(())
}
