//! What a member of a group tells of itself, as upstream writes it (`ConsumerRunningInfo`).

use std::fmt::Write;
use std::time::SystemTime;

use apogee_client::admin::{MemberQueue, MemberState, PoppedQueue};
use serde_json::{Value, json};

use crate::cell::Cell;

/// All of it as text.
pub fn text(state: &MemberState) -> String {
    let mut text = String::from("#Consumer Properties#\n");
    // Writing to a text cannot fail.
    for (name, value) in &state.settings {
        let _ = writeln!(text, "{name:<40}: {value}");
    }
    text.push_str("\n\n#Consumer Subscription#\n");
    for (at, subscription) in state.subscriptions.iter().enumerate() {
        let (at, topic, expression) = (at + 1, &subscription.topic, &subscription.expression);
        let _ = writeln!(text, "{at:03} Topic: {topic:<40} ClassFilter: {:<8} SubExpression: {expression}", false);
    }
    let _ = write!(text, "\n\n#Consumer Offset#\n{}\n", heading("#Consumer Offset"));
    for queue in &state.queues {
        let (topic, broker, id) = (&queue.queue.topic, &queue.queue.broker, queue.queue.id);
        let _ = writeln!(text, "{topic:<32}  {broker:<32}  {id:<4}  {:<20}", queue.committed);
    }
    let _ = write!(text, "\n\n#Consumer MQ Detail#\n{}\n", heading("#ProcessQueueInfo"));
    for queue in &state.queues {
        let (topic, broker, id) = (&queue.queue.topic, &queue.queue.broker, queue.queue.id);
        let _ = writeln!(text, "{topic:<64}  {broker:<32}  {id:<4}  {}", queue_line(queue));
    }
    let _ = write!(text, "\n\n#Consumer Pop Detail#\n");
    let _ = writeln!(text, "{:<32}  {:<32}  {:<4}  {:<20}", "#Topic", "#Broker Name", "#QID", "#ProcessQueueInfo");
    for queue in &state.popped {
        let (topic, broker, id) = (&queue.queue.topic, &queue.queue.broker, queue.queue.id);
        let _ = writeln!(text, "{topic:<32}  {broker:<32}  {id:<4}  {}", popped_line(queue));
    }
    let _ = write!(text, "\n\n#Consumer RT&TPS#\n");
    let _ = writeln!(
        text,
        "{:<64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}",
        "#Topic",
        "#Pull RT",
        "#Pull TPS",
        "#Consume RT",
        "#ConsumeOK TPS",
        "#ConsumeFailed TPS",
        "#ConsumeFailedMsgsInHour"
    );
    for (topic, rates) in &state.rates {
        let _ = writeln!(
            text,
            "{topic:<32}  {:>14.2} {:>14.2} {:>14.2} {:>14.2} {:>18.2} {:>25}",
            rates.fetch_ms,
            rates.fetched_per_second,
            rates.consume_ms,
            rates.consumed_per_second,
            rates.failed_per_second,
            rates.failed
        );
    }
    text.push_str("\n\n#User Consume Info#\n");
    for (name, value) in &state.told {
        let _ = writeln!(text, "{name:<40}: {value}");
    }
    if let Some(stacks) = &state.stacks {
        let _ = write!(text, "\n\n#Consumer jstack#\n{stacks}");
    }
    text
}

fn heading(last: &str) -> String {
    format!("{:<64}  {:<32}  {:<4}  {last:<20}", "#Topic", "#Broker Name", "#QID")
}

fn queue_line(queue: &MemberQueue) -> String {
    let (transactions, first, last) = queue.transactions;
    format!(
        "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, cachedMsgCount={}, \
         cachedMsgSizeInMiB={}, transactionMsgMinOffset={first}, transactionMsgMaxOffset={last}, \
         transactionMsgCount={transactions}, locked={}, tryUnlockTimes={}, lastLockTimestamp={}, droped={}, \
         lastPullTimestamp={}, lastConsumeTimestamp={}]",
        queue.committed,
        queue.first_waiting,
        queue.last_waiting,
        queue.waiting,
        queue.waiting_mib,
        queue.locked,
        queue.unlock_attempts,
        digits(queue.last_locked),
        queue.dropped,
        digits(queue.last_fetch),
        digits(queue.last_consumed)
    )
}

fn popped_line(queue: &PoppedQueue) -> String {
    let (open, dropped, last) = (queue.open, queue.dropped, digits(queue.last_pop));
    format!("PopProcessQueueInfo [waitAckCount={open}, droped={dropped}, lastPopTimestamp={last}]")
}

/// A time as digits alone, as upstream writes it here.
fn digits(time: Option<SystemTime>) -> String {
    let text = Cell::time(Some(time.unwrap_or(SystemTime::UNIX_EPOCH))).to_string();
    text.chars().filter(char::is_ascii_digit).collect()
}

/// All of it for machines.
pub fn json(state: &MemberState) -> Value {
    let time = |time| Cell::time(time).to_json();
    let queues: Vec<_> = state
        .queues
        .iter()
        .map(|queue| {
            json!({
                "topic": &*queue.queue.topic, "broker": &*queue.queue.broker, "queue": queue.queue.id,
                "committed": queue.committed, "waiting": queue.waiting, "waitingMib": queue.waiting_mib,
                "firstWaiting": queue.first_waiting, "lastWaiting": queue.last_waiting, "locked": queue.locked,
                "lastLocked": time(queue.last_locked), "dropped": queue.dropped,
                "lastFetch": time(queue.last_fetch), "lastConsumed": time(queue.last_consumed),
            })
        })
        .collect();
    let popped: Vec<_> = state
        .popped
        .iter()
        .map(|queue| {
            json!({
                "topic": &*queue.queue.topic, "broker": &*queue.queue.broker, "queue": queue.queue.id,
                "open": queue.open, "dropped": queue.dropped, "lastPop": time(queue.last_pop),
            })
        })
        .collect();
    let subscriptions: Vec<_> = state
        .subscriptions
        .iter()
        .map(|one| json!({"topic": one.topic, "expression": one.expression, "kind": one.kind}))
        .collect();
    let rates: serde_json::Map<_, _> = state
        .rates
        .iter()
        .map(|(topic, rates)| {
            let json = json!({
                "fetchMs": rates.fetch_ms, "fetchedPerSecond": rates.fetched_per_second,
                "consumeMs": rates.consume_ms, "consumedPerSecond": rates.consumed_per_second,
                "failedPerSecond": rates.failed_per_second, "failedInHour": rates.failed,
            });
            (topic.clone(), json)
        })
        .collect();
    json!({
        "properties": state.settings, "subscriptions": subscriptions, "queues": queues, "popped": popped,
        "rates": rates, "user": state.told, "stacks": state.stacks,
    })
}
