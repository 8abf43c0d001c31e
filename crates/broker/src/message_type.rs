//! Types of messages, and topics that take one type only (upstream `TopicMessageType`).

use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::topics::Topic;

/// Attribute of a topic that says what it is for.
pub(crate) const ATTRIBUTE: &str = "message.type";
/// Value of the attribute for a topic that takes all types.
pub(crate) const MIXED: &str = "MIXED";
/// Value of the attribute for a topic whose queues are priorities.
pub(crate) const PRIORITY: &str = "PRIORITY";

/// What a message is, by its properties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MessageType {
    /// None of the others.
    #[default]
    Normal,
    /// One of a sequence: it has a sharding key.
    Fifo,
    /// Delivered later.
    Delay,
    /// Half of a transaction.
    Transaction,
    /// It has a priority.
    Priority,
    /// Of a lite topic.
    Lite,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Normal, Self::Fifo, Self::Delay, Self::Transaction, Self::Priority, Self::Lite];

    /// As labels of metrics have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fifo => "fifo",
            Self::Delay => "delay",
            Self::Transaction => "transaction",
            Self::Priority => "priority",
            Self::Lite => "lite",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Fifo => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
            Self::Priority => PRIORITY,
            Self::Lite => "LITE",
        }
    }

    /// Refuses a message whose type is not the one that its topic is for. A topic that doesn't say
    /// takes all.
    pub(crate) fn check(self, topic: &Topic) -> Result<(), BrokerError> {
        let expected = topic.config.attributes.get(ATTRIBUTE).map_or(MIXED, String::as_str);
        if [MIXED, "UNSPECIFIED", self.name()].contains(&expected) {
            return Ok(());
        }
        let remark = format!(
            "TopicMessageType validate failed, the expected type is {expected}, but actual type is {}: topic[{}] \
             takes no other ({ATTRIBUTE})",
            self.name(),
            topic.name
        );
        Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark))
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::TopicConfig;

    use super::*;

    #[test]
    fn a_topic_takes_its_type_only() {
        let topic = |attribute: Option<&str>| {
            let mut config = TopicConfig::new("T", 1);
            config.attributes.extend(attribute.map(|value| (ATTRIBUTE.to_owned(), value.to_owned())));
            Topic { name: "T".into(), config, window: None }
        };
        for any in [None, Some("MIXED"), Some("UNSPECIFIED"), Some("DELAY")] {
            assert!(MessageType::Delay.check(&topic(any)).is_ok(), "{any:?}");
        }
        let error = MessageType::Delay.check(&topic(Some("FIFO"))).unwrap_err();
        assert_eq!(error.code, response::MESSAGE_ILLEGAL);
        assert!(error.remark.contains("expected type is FIFO, but actual type is DELAY: topic[T]"), "{error}");
    }
}
