//! Reserved names, and the rules for names of topics and groups
//! (upstream `MessageConst`, `TopicValidator`, `MixAll`).

/// Names of properties that the system gives a meaning.
pub mod property {
    /// Keys by which the message can be found, separated by blanks.
    pub const KEYS: &str = "KEYS";
    /// The tag.
    pub const TAGS: &str = "TAGS";
    /// Id that the client gave the message.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Messages of a record in a queue that keeps batches as one record.
    pub const INNER_NUM: &str = "INNER_NUM";
    /// Offset of the first of them.
    pub const INNER_BASE: &str = "INNER_BASE";
    /// `false`: the producer doesn't wait for flush and replication.
    pub const WAIT: &str = "WAIT";
    /// Messages with the same key are consumed in their order.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// How soon the message is to be consumed, from 0 on.
    pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
    /// Check sum of the whole record: always the last property.
    pub const CRC32: &str = "__CRC32#";
    /// Delay level.
    pub const DELAY: &str = "DELAY";
    /// Topic of a message that is consumed again.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Group that a message popped again belongs to.
    pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
    /// Id of the message that a retried one began as.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Times a message was consumed before, as clients send it.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// Most times a message is consumed again, as clients send it.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// Where a delayed or half message is going.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue of [`REAL_TOPIC`].
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    /// `true`: a half message.
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    /// Group of the producer of a half message.
    pub const PRODUCER_GROUP: &str = "PGROUP";
    /// Id of the transaction that a message belongs to: its [`UNIQ_KEY`].
    pub const TRANSACTION_ID: &str = "__transactionId__";
    /// Times the producer of a half message was asked for its decision.
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    /// Where a half message that was written again first was in the half queue.
    pub const TRANSACTION_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
    /// Seconds after which the producer of a half message is asked for the first time.
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Id of the client that waits for the reply to a request.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// What kind of message it is: `reply` (see [`REPLY`]).
    ///
    /// [`REPLY`]: super::REPLY
    pub const MESSAGE_TYPE: &str = "MSG_TYPE";
    /// Id by which the reply to a request finds who waits for it.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// How long a reply is waited for, in milliseconds.
    pub const REPLY_TTL: &str = "TTL";
    /// When a reply was passed to the client that waits for it, in milliseconds.
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    /// Region of the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// Whether the broker wants traces.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// Cluster of the broker.
    pub const CLUSTER: &str = "CLUSTER";
    /// When a message that comes again was first popped, in milliseconds.
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    /// Receipt of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// Topic of a dead letter before it died.
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    /// Id of a dead letter before it died.
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    /// Seconds until delivery.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Milliseconds until delivery.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Time of delivery, in milliseconds.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// Time of delivery of a message that goes or went through the timer, in milliseconds.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// When upstream's timer took a message out of its wheel, in milliseconds: to deliver it, or to write it anew.
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    /// Times that the timer has written a message anew, its time being far away.
    pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
    /// Key of a message that is not to be delivered at the time of this one.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// Light queues that a message goes to beside its topic's: see [`crate::light`].
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    /// Lite topic of the message: a part of its topic.
    pub const LITE_TOPIC: &str = "__LITE_TOPIC";
    /// Its offsets there.
    pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
    /// Delay level of a message that went through the timer.
    pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
}

/// Type of a message that is a reply.
pub const REPLY: &str = "reply";

/// Template for topics that are created by the first message sent to them.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where messages wait for the end of their delay level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Where messages wait for a time of their own.
pub const WHEEL_TOPIC: &str = "rmq_sys_wheel_timer";
/// Where clients send their traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Where half messages wait.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where decisions on half messages are noted.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Where half messages end that nobody decided on.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Topic of upstream's self tests.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Topic of upstream's benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Where upstream notes that a consumer's offset had to be moved.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";

const SYSTEM_TOPICS: [&str; 12] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    TRACE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    BENCHMARK_TOPIC,
    OFFSET_MOVED_EVENT,
    "CHECKPOINT_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
];

const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Beginning of a retry topic's name.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Beginning of a light queue's name.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Beginning of a dead-letter topic's name.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// Whether a topic belongs to the system.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_TOPIC_PREFIX)
}

/// Whether clients must not send to a topic.
pub fn is_closed_to_senders(topic: &str) -> bool {
    topic == WHEEL_TOPIC
        || SYSTEM_TOPICS.contains(&topic)
            && ![AUTO_CREATE_TOPIC, TRACE_TOPIC, BENCHMARK_TOPIC, "CHECKPOINT_TOPIC"].contains(&topic)
}

/// Whether a group belongs to the system (upstream `MixAll.isSysConsumerGroup`).
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Where a group's messages go that are to be consumed again.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Where a group's messages go that could not be consumed.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The topic by which a name server is asked for the brokers of a name.
pub fn member_topic(broker: &str) -> String {
    format!("rmq_sys_SYNC_BROKER_MEMBER_{broker}")
}

/// Where the replies to requests go that came through a cluster.
pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}_REPLY_TOPIC")
}

/// A name in a namespace, which is written before it: `ns%T`, and in a retry or dead-letter topic before the group's
/// (upstream `NamespaceUtil`). Names of the system are in none.
pub fn in_namespace(namespace: &str, name: &str) -> String {
    let prefix = [RETRY_PREFIX, DLQ_PREFIX].into_iter().find(|prefix| name.starts_with(prefix)).unwrap_or_default();
    let own = &name[prefix.len()..];
    let is_in = own.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('%'));
    if namespace.is_empty() || name.is_empty() || is_in || is_system_topic(name) || is_system_group(name) {
        return name.to_owned();
    }
    format!("{prefix}{namespace}%{own}")
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("the {0} name is blank")]
    Blank(&'static str),
    /// Longer than allowed.
    #[error("the {kind} name is {length} bytes long, over the limit of {limit}")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// Bytes.
        length: usize,
        /// Bytes.
        limit: usize,
    },
    /// A character that names don't have.
    #[error("the {kind} name `{name}` contains {character:?}; allowed are letters, digits and %|_-")]
    Character {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
}

/// Longest topic name.
const MAX_TOPIC: usize = 127;
/// Longest name of a retry or dead-letter topic.
const MAX_RETRY_TOPIC: usize = 255;
/// Longest group name, such that the names of its retry and dead-letter topics fit.
const MAX_GROUP: usize = 120;

/// Checks a topic's name.
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    let of_group = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    check("topic", topic, if of_group { MAX_RETRY_TOPIC } else { MAX_TOPIC })
}

/// Checks a namespace.
pub fn check_namespace(namespace: &str) -> Result<(), NameError> {
    check("namespace", namespace, MAX_TOPIC)?;
    match namespace.contains('%') {
        false => Ok(()),
        true => Err(NameError::Character { kind: "namespace", name: namespace.to_owned(), character: '%' }),
    }
}

/// Checks a group's name.
pub fn check_group(group: &str) -> Result<(), NameError> {
    check("group", group, MAX_GROUP)
}

fn check(kind: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(kind));
    }
    if name.len() > limit {
        return Err(NameError::TooLong { kind, length: name.len(), limit });
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || "%|_-".contains(character);
    match name.chars().find(|&character| !allowed(character)) {
        Some(character) => Err(NameError::Character { kind, name: name.to_owned(), character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(check_topic("T_normal-5|%"), Ok(()));
        assert_eq!(check_topic(" "), Err(NameError::Blank("topic")));
        assert_eq!(check_topic(&"t".repeat(127)), Ok(()));
        assert!(check_topic(&"t".repeat(128)).is_err());
        assert_eq!(check_topic(&retry_topic(&"g".repeat(120))), Ok(()));
        let error = check_topic("a/b").unwrap_err().to_string();
        assert_eq!(error, "the topic name `a/b` contains '/'; allowed are letters, digits and %|_-");
        assert!(check_group(&"g".repeat(121)).is_err());
    }

    #[test]
    fn names_in_a_namespace_are_those_of_upstream() {
        // NamespaceUtil.wrapNamespace of 5.5.0.
        let cases = [
            ("T", "ns%T"),
            ("ns%T", "ns%T"),
            ("nsT", "ns%nsT"),
            ("%RETRY%G", "%RETRY%ns%G"),
            ("%DLQ%ns%G", "%DLQ%ns%G"),
            ("other%T", "ns%other%T"),
            ("RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRACE_TOPIC"),
            ("CID_RMQ_SYS_TRANS", "CID_RMQ_SYS_TRANS"),
            ("", ""),
        ];
        for (name, full) in cases {
            assert_eq!(in_namespace("ns", name), full);
            assert_eq!(in_namespace("", name), name);
        }
        assert!(
            check_namespace("a%b").is_err() && check_namespace("").is_err() && check_namespace("MQ_INST_1").is_ok()
        );
    }

    #[test]
    fn system_names_are_known() {
        assert!(is_system_topic("rmq_sys_wheel_timer") && is_system_topic("TBW102"));
        assert!(
            is_closed_to_senders(SCHEDULE_TOPIC)
                && is_closed_to_senders(WHEEL_TOPIC)
                && !is_closed_to_senders(TRACE_TOPIC)
        );
        assert!(!is_system_topic("RMQ_SYS"));
    }
}
