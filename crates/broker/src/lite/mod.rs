//! Lite topics (upstream `broker/lite`): any number of them below a parent, a topic of the type `LITE`. Each is a light
//! queue, `%LMQ%$parent$name`, which is there from its first message until it has not been used for a time. Groups are
//! bound to a parent; each of their clients says which lite topics it reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use apogee_message::names::LMQ_PREFIX;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::SubscriptionGroupConfig;
use apogee_wire::codes::response;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::message_type;
use crate::settings::BrokerSettings;
use crate::topics::Topic;

mod dispatch;
mod expiry;
mod ready;
pub(crate) mod subscriptions;

use subscriptions::Subscriptions;

/// The type of parents.
pub(crate) const TYPE: &str = "LITE";
/// Attribute of a parent: minutes without a message after which a lite topic goes; -1: never.
pub(crate) const EXPIRATION: &str = "lite.topic.expiration";
/// Attribute of a group: its parent.
pub(crate) const BIND: &str = "lite.bind.topic";
/// Attribute of a group: whether a lite topic is read by one client at a time.
pub(crate) const MODEL: &str = "lite.sub.model";
/// Values of it.
pub(crate) const MODELS: [&str; 2] = ["Shared", "Exclusive"];
/// Attribute of a group: lite topics that one client may read; -1: any number.
pub(crate) const QUOTA: &str = "lite.sub.client.quota";
/// How many if it says nothing.
const USUAL_QUOTA: usize = 2_000;
/// Attribute of a group: its clients read all lite topics of the parent.
pub(crate) const WILDCARD: &str = "lite.sub.wildcard";
/// Attribute of a group: it begins anew in a lite topic that one client takes over from another.
pub(crate) const RESET_EXCLUSIVE: &str = "lite.sub.reset.offset.exclusive";
/// Attribute of a group: it begins anew in a lite topic that a client reads no more.
pub(crate) const RESET_UNSUBSCRIBE: &str = "lite.sub.reset.offset.unsubscribe";
/// Attribute of a group: lite topics that may wait to be looked into for one client.
pub(crate) const MOST_EVENTS: &str = "lite.sub.client.max.event.cnt";
/// Bytes of a lite topic's name.
const MAX_NAME: usize = 64;
/// Between the parts of a light queue's name.
const SEPARATOR: char = '$';

/// What is known of who reads lite topics.
#[derive(Default)]
pub(crate) struct Lite {
    subscriptions: Mutex<Subscriptions<Weak<Conn>>>,
    /// Lets the many messages that nobody subscribed to pass without the lock.
    count: AtomicUsize,
}

impl Lite {
    /// Calls what reads or changes the subscriptions.
    pub fn with<R>(&self, call: impl FnOnce(&mut Subscriptions<Weak<Conn>>) -> R) -> R {
        let mut all = self.lock();
        let result = call(&mut all);
        self.count.store(all.len(), Ordering::Release);
        result
    }

    /// Whether nobody reads anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions<Weak<Conn>>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The light queue of a lite topic.
pub(crate) fn queue(parent: &str, name: &str) -> String {
    format!("{LMQ_PREFIX}{SEPARATOR}{parent}{SEPARATOR}{name}")
}

/// Parent and name of the lite topic that a light queue is.
pub(crate) fn parts(queue: &str) -> Option<(&str, &str)> {
    queue.strip_prefix(LMQ_PREFIX)?.strip_prefix(SEPARATOR)?.split_once(SEPARATOR)
}

/// Checks a lite topic's name.
pub(crate) fn check_name(name: &str) -> Result<(), BrokerError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "%|_-".contains(character);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        let remark = format!("the lite topic name `{name}` is not 1 to {MAX_NAME} letters, digits and %|_-");
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

/// A pull of a lite topic is one of its light queue.
pub(crate) fn pull_of(request: &Command, parent: &str, name: &str) -> Result<Command, BrokerError> {
    check_name(name)?;
    let mut of_queue = request.clone();
    of_queue.fields.set_str("topic", &queue(parent, name));
    of_queue.fields.remove("liteTopic");
    Ok(of_queue)
}

impl Topic {
    /// Whether it is a parent of lite topics.
    pub(crate) fn is_parent(&self) -> bool {
        self.config.attributes.get(message_type::ATTRIBUTE).is_some_and(|kind| kind == TYPE)
    }

    /// Minutes without a message after which its lite topics go; `None`: they stay.
    pub(crate) fn lite_minutes(&self) -> Option<i64> {
        let minutes = self.config.attributes.get(EXPIRATION)?.parse().ok()?;
        (minutes > 0).then_some(minutes)
    }
}

/// The parent that a group is bound to.
pub(crate) fn parent_of(group: &SubscriptionGroupConfig) -> Option<&str> {
    group.attributes.get(BIND).map(String::as_str)
}

/// How many lite topics a client of a group may read.
pub(crate) fn quota(group: &SubscriptionGroupConfig) -> usize {
    match group.attributes.get(QUOTA).and_then(|quota| quota.parse::<i64>().ok()) {
        Some(quota) => usize::try_from(quota).unwrap_or(usize::MAX),
        None => USUAL_QUOTA,
    }
}

/// Whether a lite topic is read by one client of a group at a time.
pub(crate) fn is_exclusive(group: &SubscriptionGroupConfig) -> bool {
    group.attributes.get(MODEL).is_some_and(|model| model == MODELS[1])
}

/// Whether the clients of a group read all lite topics of the parent.
pub(crate) fn is_wild(group: &SubscriptionGroupConfig) -> bool {
    group.attributes.get(WILDCARD).is_some_and(|value| value != "false")
}

/// Whether an attribute of a group that is yes or no is yes.
pub(crate) fn is_set(group: &SubscriptionGroupConfig, attribute: &str) -> bool {
    group.attributes.get(attribute).is_some_and(|value| value == "true")
}

/// How many lite topics may wait to be looked into for one client of a group.
pub(crate) fn most_events(group: &SubscriptionGroupConfig, settings: &BrokerSettings) -> usize {
    let most = group.attributes.get(MOST_EVENTS).and_then(|most| most.parse().ok());
    most.filter(|most| *most > 0).unwrap_or(settings.max_client_event_count)
}

impl Broker {
    /// The parent of lite topics, and the group that is bound to it.
    pub(crate) fn lite(
        &self,
        group: &str,
        parent: &str,
    ) -> Result<(Arc<Topic>, Arc<SubscriptionGroupConfig>), BrokerError> {
        let topic = self.parent(parent)?;
        let config = self.lite_group(group)?;
        if parent_of(&config) != Some(parent) {
            let bound = parent_of(&config).unwrap_or_default();
            let remark = format!("group [{group}] reads lite topics of [{bound}], not of [{parent}] ({BIND})");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        Ok((topic, config))
    }

    /// A parent of lite topics.
    pub(crate) fn parent(&self, topic: &str) -> Result<Arc<Topic>, BrokerError> {
        let missing = || BrokerError::new(response::TOPIC_NOT_EXIST, format!("Topic [{topic}] not exist."));
        let known = self.topics.get(topic).ok_or_else(missing)?;
        if !known.is_parent() {
            let remark = format!("Topic [{topic}] type not match.");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        Ok(known)
    }

    /// A group that reads lite topics.
    pub(crate) fn lite_group(&self, group: &str) -> Result<Arc<SubscriptionGroupConfig>, BrokerError> {
        let missing =
            || BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group [{group}] not exist."));
        let config = self.groups.get(group).ok_or_else(missing)?;
        if parent_of(&config).is_none() {
            let remark = format!("Group [{group}] is not a LITE group.");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        Ok(config)
    }

    /// Light queues of a parent's lite topics.
    pub(crate) fn lite_queues(&self, parent: &str) -> Vec<Arc<str>> {
        let names = self.store.topics().into_iter().map(|(name, _)| name);
        names.filter(|name| parts(name).is_some_and(|(of, _)| of == parent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lite_topic_is_a_light_queue() {
        assert_eq!(queue("T_lite2", "lt1"), "%LMQ%$T_lite2$lt1");
        assert_eq!(parts("%LMQ%$T_lite2$lt1"), Some(("T_lite2", "lt1")));
        assert_eq!((parts("%LMQ%a$b"), parts("T$a"), parts("%LMQ%$a")), (None, None, None));
        assert!(check_name("session-1").is_ok());
        assert!(["", "a/b", "a$b", &"x".repeat(65)].iter().all(|name| check_name(name).is_err()));
    }

    #[test]
    fn a_client_may_read_so_many() {
        let group = |quota: &str| {
            let mut group = SubscriptionGroupConfig::new("G");
            group.attributes.insert(QUOTA.to_owned(), quota.to_owned());
            group
        };
        assert_eq!(quota(&SubscriptionGroupConfig::new("G")), 2_000);
        assert_eq!((quota(&group("7")), quota(&group("-1"))), (7, usize::MAX));
    }
}
