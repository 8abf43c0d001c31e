//! `LITE_SUBSCRIPTION_CTL`: a client tells which lite topics it reads (upstream `LiteSubscriptionCtlProcessor`).

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use apogee_message::light;
use apogee_net::Conn;
use apogee_store::Boundary;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, LiteSubscriptionAction, LiteSubscriptionCtlRequestBody, LiteSubscriptionDto, OffsetOption, OffsetOptionType,
};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{NotifyUnsubscribeLiteRequestHeader, RpcFields};

use super::super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::lite::subscriptions::{Change, Full, Limits, Member, wild};
use crate::lite::{self, parts};

/// Values of `POLICY`: at the first message, or behind the last; 0 is where the group is.
const FIRST: i64 = 1;
const BEHIND_LAST: i64 = 2;
/// Bytes of a client's id.
const MOST_CLIENT: usize = 255;

/// See the module.
pub(crate) fn subscribe(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let refused = |remark: &'static str| BrokerError::new(response::ILLEGAL_OPERATION, remark);
    if request.body.is_empty() {
        return Err(refused("Request body is null."));
    }
    let body = LiteSubscriptionCtlRequestBody::decode(&request.body)?;
    if body.subscription_set.is_empty() {
        return Err(refused("LiteSubscriptionCtlRequestBody is empty."));
    }
    for change in &body.subscription_set {
        change_one(broker, conn, change)?;
    }
    answer::done(request)
}

fn change_one(broker: &Broker, conn: &Arc<Conn>, change: &LiteSubscriptionDto) -> Result<(), BrokerError> {
    let invalid = |remark: String| BrokerError::new(response::INVALID_PARAMETER, remark);
    let given = |value: &Option<String>, name: &str| {
        let value = value.clone().filter(|value| !value.trim().is_empty() && value.len() <= MOST_CLIENT);
        value.ok_or_else(|| invalid(format!("a lite subscription needs {name}, of up to {MOST_CLIENT} bytes")))
    };
    let client = given(&change.client_id, "clientId")?;
    let group = given(&change.group, "group")?;
    let parent = given(&change.topic, "topic")?;
    let member = Member { group: group.as_str().into(), client: client.into() };
    let mut queues = BTreeSet::new();
    for name in change.lite_topic_set.iter().flatten() {
        lite::check_name(name)?;
        queues.insert(Arc::from(lite::queue(&parent, name)));
    }
    let option = change.offset_option.as_ref();
    if let Some(OffsetOption { value, .. }) = option.filter(|option| option.value < 0) {
        return Err(invalid(format!("the offset option {value} is below 0")));
    }
    let action = change.action.ok_or_else(|| invalid("a lite subscription needs an action".to_owned()))?;
    let is_complete = match action {
        LiteSubscriptionAction::PartialAdd => None,
        LiteSubscriptionAction::CompleteAdd => Some(change.version),
        // Whatever became of topic and group since.
        LiteSubscriptionAction::PartialRemove => {
            let removed = broker.lite.with(|all| all.remove(&member, |queue| queues.contains(queue)));
            if broker.groups.get(&group).is_some_and(|group| lite::is_set(&group, lite::RESET_UNSUBSCRIBE)) {
                removed.iter().for_each(|queue| begin_anew(broker, &group, queue));
            }
            return Ok(());
        }
        LiteSubscriptionAction::CompleteRemove => {
            broker.lite.with(|all| all.forget(&member));
            return Ok(());
        }
    };
    let (topic, config) = broker.lite(&group, &parent)?;
    let refused = |remark: &str| BrokerError::new(response::ILLEGAL_OPERATION, format!("{remark} [{group}]"));
    if !config.consume_enable {
        return Err(refused("Consumer group is not allowed to consume."));
    }
    let is_wild = lite::is_wild(&config);
    if is_wild {
        if is_complete.is_none() {
            return Err(refused("subscribe lite operation is not supported for this group, whose clients read all"));
        }
        queues = BTreeSet::from([wild(&parent, &group)]);
    }
    let settings = broker.settings.load();
    let limits = Limits {
        each: lite::quota(&config),
        all: settings.max_lite_subscription_count,
        ready: lite::most_events(&config, &settings),
    };
    let asked = Change {
        member: member.clone(),
        parent: Arc::clone(&topic.name),
        queues,
        is_complete,
        is_exclusive: lite::is_exclusive(&config) && !is_wild,
        channel: Arc::downgrade(conn),
        now_ms: broker.now(),
    };
    let (added, channels) = broker
        .lite
        .with(|all| -> Result<_, Full> {
            let added = all.add(asked, limits)?;
            let channel = |member: &Member| all.get(member).map(|reader| reader.channel.clone());
            let channels: Vec<Option<Weak<Conn>>> = added.displaced.iter().map(|(member, _)| channel(member)).collect();
            Ok((added, channels))
        })
        .map_err(|full| refusal(&member, full))?;
    for ((displaced, queue), channel) in added.displaced.iter().zip(channels) {
        if let Some(conn) = channel.and_then(|channel| channel.upgrade()) {
            tell(&conn, displaced, queue);
        }
    }
    added.lost.iter().for_each(|queue| tell(conn, &member, queue));
    if lite::is_set(&config, lite::RESET_EXCLUSIVE) {
        added.displaced.iter().for_each(|(_, queue)| begin_anew(broker, &group, queue));
    }
    if let Some(option) = option {
        added.new.iter().for_each(|queue| begin_at(broker, &group, queue, option));
    }
    // There may be messages already.
    if is_wild && !added.new.is_empty() {
        broker.look_for(&member);
    }
    broker.wake_member(&member);
    Ok(())
}

fn refusal(member: &Member, full: Full) -> BrokerError {
    let remark = match full {
        Full::Client(limit) => {
            format!("client {} may read {limit} lite topics at most ({})", member.client, lite::QUOTA)
        }
        Full::Broker(limit) => {
            format!("clients read {limit} lite topics of this broker, and no more may (maxLiteSubscriptionCount)")
        }
    };
    BrokerError::new(response::LITE_SUBSCRIPTION_QUOTA_EXCEEDED, remark)
}

/// Tells a client that another one reads a lite topic in its place.
fn tell(conn: &Conn, member: &Member, queue: &str) {
    let Some((_, name)) = parts(queue) else { return };
    let header = NotifyUnsubscribeLiteRequestHeader {
        lite_topic: name,
        consumer_group: &member.group,
        client_id: &member.client,
        rpc: RpcFields::default(),
    };
    conn.send_oneway(Command::request(code::NOTIFY_UNSUBSCRIBE_LITE).with_header(&header));
}

/// Puts a group to where a client wants to begin.
fn begin_at(broker: &Broker, group: &str, queue: &str, option: &OffsetOption) {
    let (min, max) = broker.store.queue_range(queue, 0).unwrap_or_default();
    let OffsetOption { kind, value } = *option;
    let offset = match kind {
        OffsetOptionType::Policy => match value {
            FIRST => min,
            BEHIND_LAST => max,
            // Where it is.
            _ => return,
        },
        OffsetOptionType::Offset => value,
        OffsetOptionType::TailN => max.saturating_sub(value),
        OffsetOptionType::Timestamp => broker.store.offset_by_time(queue, 0, value, Boundary::Lower).unwrap_or(min),
    };
    let offset = offset.clamp(min, max);
    if broker.offsets.query(group, queue, light::QUEUE) != Some(offset) {
        move_to(broker, group, queue, offset);
    }
}

/// Puts a group to the first message, with what its clients have of it.
fn begin_anew(broker: &Broker, group: &str, queue: &str) {
    if let Some((min, _)) = broker.store.queue_range(queue, light::QUEUE) {
        move_to(broker, group, queue, min);
    }
}

/// Nobody of the group has anything of the lite topic any more, and it goes on at an offset.
fn move_to(broker: &Broker, group: &str, queue: &str, offset: i64) {
    {
        let mut orders = broker.pop.orders.lock();
        orders.forget(|of, topic| of == group && topic == queue);
        broker.offsets.commit(group, queue, light::QUEUE, offset);
    }
    broker.wake_lite(queue, Some(group));
}
