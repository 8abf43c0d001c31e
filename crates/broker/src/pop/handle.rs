//! What names one delivery of a message to its consumer (upstream `ExtraInfoUtil`).

use std::fmt;

use apogee_message::names::{RETRY_PREFIX, retry_topic};

/// The queue number in handles of messages that are popped in order.
pub(crate) const IN_ORDER: i32 = 999;

/// Of which of the topics that belong to a topic and a group a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The topic itself.
    Own,
    /// The retry topic, by its older name.
    Retry,
    /// The retry topic, by its newer name.
    RetryV2,
}

impl Source {
    /// By the number that it has in handles.
    pub fn of(flag: i32) -> Option<Self> {
        [Self::Own, Self::Retry, Self::RetryV2].into_iter().find(|source| source.flag() == flag)
    }

    /// The number that it has in handles.
    pub fn flag(self) -> i32 {
        match self {
            Self::Own => 0,
            Self::Retry => 1,
            Self::RetryV2 => 2,
        }
    }

    /// The topic that the messages are stored in.
    pub fn topic(self, group: &str, topic: &str) -> String {
        match self {
            Self::Own => topic.to_owned(),
            // A retry topic is its own.
            _ if topic.starts_with(RETRY_PREFIX) => topic.to_owned(),
            Self::Retry => format!("{}_{topic}", retry_topic(group)),
            Self::RetryV2 => format!("{}+{topic}", retry_topic(group)),
        }
    }
}

/// The topic whose popped messages come again to a group by such a retry topic.
pub(crate) fn origin<'t>(group: &str, retry: &'t str) -> Option<&'t str> {
    retry.strip_prefix(RETRY_PREFIX)?.strip_prefix(group)?.strip_prefix(['_', '+'])
}

/// A handle. Its text is `startOffset popTime invisibleTime reviveQueue retryFlag broker queue [offset]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle<'t> {
    /// The first offset that the same pop brought of the queue.
    pub start: i64,
    /// When it was given out, in milliseconds since 1970.
    pub pop_time: i64,
    /// For how long nobody else gets it, in milliseconds.
    pub invisible: i64,
    /// Which queue of the revive topic would have its note.
    pub revive_queue: i32,
    pub source: Source,
    pub broker: &'t str,
    pub queue: i32,
    /// The message's offset, where the handle is of one message.
    pub offset: Option<i64>,
}

impl<'t> Handle<'t> {
    /// Reads the text; what is wrong with it otherwise.
    pub fn read(text: &'t str) -> Result<Self, &'static str> {
        let mut parts = text.split(' ');
        let mut number = |what| parts.next().and_then(|part| part.parse::<i64>().ok()).ok_or(what);
        let start = number("its first offset")?;
        let pop_time = number("its pop time")?;
        let invisible = number("its invisible time")?;
        let revive_queue = number("its revive queue")?;
        let flag = number("its retry flag")?;
        let broker = parts.next().filter(|broker| !broker.is_empty()).ok_or("its broker")?;
        let queue = parts.next().and_then(|part| part.parse().ok()).ok_or("its queue")?;
        let offset = match parts.next() {
            Some(part) => Some(part.parse().map_err(|_| "its offset")?),
            None => None,
        };
        let source = i32::try_from(flag).ok().and_then(Source::of).ok_or("its retry flag")?;
        let revive_queue = i32::try_from(revive_queue).map_err(|_| "its revive queue")?;
        if start < 0 || pop_time < 0 || invisible < 0 || revive_queue < 0 {
            return Err("a number that cannot be");
        }
        Ok(Self { start, pop_time, invisible, revive_queue, source, broker, queue, offset })
    }

    /// When its time is up, in milliseconds since 1970.
    pub fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible)
    }
}

impl fmt::Display for Handle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, pop_time, invisible, revive_queue, source, broker, queue, offset } = self;
        write!(f, "{start} {pop_time} {invisible} {revive_queue} {} {broker} {queue}", source.flag())?;
        offset.map_or(Ok(()), |offset| write!(f, " {offset}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_written_as_it_is_read() {
        for text in ["0 1795230126910 20000 3 0 broker-w 1 0", "4 1795230126910 20000 999 2 b 7"] {
            assert_eq!(Handle::read(text).map(|handle| handle.to_string()).as_deref(), Ok(text));
        }
        let wrong = [
            ("", "its first offset"),
            ("0 x 1 1 0 b 0 0", "its pop time"),
            ("0 1 1 1 3 b 0 0", "its retry flag"),
            ("0 1 1 1 0  0 0", "its broker"),
            ("0 1 1 1 0 b 0 z", "its offset"),
            ("-1 1 1 1 0 b 0 0", "a number that cannot be"),
            ("0 1 -1 1 0 b 0 0", "a number that cannot be"),
        ];
        for (text, what) in wrong {
            assert_eq!(Handle::read(text), Err(what), "{text:?}");
        }
    }

    #[test]
    fn retry_topics_have_the_names_of_upstream() {
        assert_eq!(Source::Retry.topic("G", "T"), "%RETRY%G_T");
        assert_eq!(Source::RetryV2.topic("G", "T"), "%RETRY%G+T");
        assert_eq!(Source::RetryV2.topic("G", "%RETRY%G_T"), "%RETRY%G_T");
        assert_eq!((origin("G", "%RETRY%G_T"), origin("G", "%RETRY%G+T_1")), (Some("T"), Some("T_1")));
        assert_eq!((origin("G", "%RETRY%G"), origin("G", "%RETRY%GG_T"), origin("G", "T")), (None, None, None));
    }
}
