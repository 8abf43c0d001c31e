//! Messages that failed, over a connection to a running broker.

use std::time::Duration;

use apogee_message::names::property;
use apogee_wire::bodies::{
    Body, ConsumeStats, ExponentialRetryPolicy, GroupRetryPolicy, GroupRetryPolicyType, LockBatchRequestBody,
    MessageQueue, SubscriptionGroupConfig,
};
use apogee_wire::codes::request;
use apogee_wire::headers::{GetConsumeStatsRequestHeader, RpcFields, SendMessageResponseHeader};
use bytes::Bytes;

use super::*;
use crate::broker::Broker;
use crate::testing::{PATIENCE, Running, call, send};

const MEMORY: u64 = 1 << 30;

async fn with_group(config: SubscriptionGroupConfig) -> (Running, Arc<Conn>) {
    let running = Running::start(MEMORY, |_| {}).await;
    let conn = running.connect().await;
    let update = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(config.encode());
    assert_eq!(call(&conn, update).await.code, response::SUCCESS);
    (running, conn)
}

/// The record at an offset of a queue, once it is there.
async fn record_of(broker: &Broker, topic: &str, offset: i64) -> Bytes {
    let begun = std::time::Instant::now();
    loop {
        if let Some(unit) = broker.store.unit(topic, 0, offset) {
            return broker.store.record_at(unit.physical_offset).unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "no message {offset} in {topic}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn give_back(conn: &Conn, record: &Record<'_>, level: i32, most: i32) -> Command {
    let back = Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&ConsumerSendMsgBackRequestHeader {
        offset: record.physical_offset,
        group: "G",
        delay_level: level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: Some(most),
        rpc: RpcFields::default(),
    });
    call(conn, back).await
}

/// Sends to the group's retry topic, as a client does that could not give a message back.
async fn send_retry(conn: &Conn, times: i32, most: i32) {
    let mut request = Command::request(request::SEND_MESSAGE_V2).with_body(Bytes::from_static(b"m"));
    let header = SendMessageRequestHeader {
        producer_group: "CLIENT_INNER_PRODUCER",
        topic: "%RETRY%G",
        default_topic: "TBW102",
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some("DELAY\u{1}3\u{2}KEYS\u{1}k\u{2}"),
        reconsume_times: Some(times),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: Some(most),
        broker_name: None,
        rpc: RpcFields::default(),
    };
    header.encode_v2(&mut request.fields);
    let answer = call(conn, request).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert!(answer.header::<SendMessageResponseHeader>().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_with_a_policy_gets_its_message_again_after_that_policys_delay() {
    let growth = ExponentialRetryPolicy { initial: 100, max: 300, multiplier: 2 };
    let policy = GroupRetryPolicy {
        kind: GroupRetryPolicyType::Exponential,
        exponential_retry_policy: Some(growth),
        ..Default::default()
    };
    let (running, conn) =
        with_group(SubscriptionGroupConfig { group_retry_policy: policy, ..SubscriptionGroupConfig::new("G") }).await;
    let broker = &running.broker;
    send(&conn, "T", b"m", "KEYS\u{1}k\u{2}").await;
    let (mut topic, mut offset) = ("T", 0);
    for (attempt, delay) in [100, 200, 300, 300].into_iter().enumerate() {
        let bytes = record_of(broker, topic, offset).await;
        let record = Record::read(&bytes).unwrap();
        let given = broker.now();
        assert_eq!(give_back(&conn, &record, 0, 4).await.code, response::SUCCESS);
        (topic, offset) = ("%RETRY%G", attempt as i64);
        let bytes = record_of(broker, topic, offset).await;
        let record = Record::read(&bytes).unwrap();
        let waited = record.store_timestamp - given;
        assert!((delay..delay + 400).contains(&waited), "{waited} ms instead of {delay}");
        assert_eq!(record.reconsume_times, attempt as i32 + 1);
        let named = [property::RETRY_TOPIC, "KEYS", property::DELAY, property::REAL_TOPIC];
        assert_eq!(named.map(|name| record.property(name)), [Some("T"), Some("k"), None, None]);
    }
    let bytes = record_of(broker, topic, offset).await;
    assert_eq!(give_back(&conn, &Record::read(&bytes).unwrap(), 0, 4).await.code, response::SUCCESS);
    let bytes = record_of(broker, "%DLQ%G", 0).await;
    let dead = Record::read(&bytes).unwrap();
    let named = [property::DLQ_ORIGIN_TOPIC, property::DELAY, "KEYS"];
    assert_eq!(named.map(|name| dead.property(name)), [Some("T"), None, Some("k")]);
    assert!(broker.topics.get("%DLQ%G").is_some_and(|topic| topic.allows(perm::READ) && topic.allows(perm::WRITE)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_names_a_level_or_gives_up_is_obeyed() {
    let (running, conn) = with_group(SubscriptionGroupConfig::new("G")).await;
    let broker = &running.broker;
    send(&conn, "T", b"m", "").await;
    let bytes = record_of(broker, "T", 0).await;
    let record = Record::read(&bytes).unwrap();
    assert_eq!(give_back(&conn, &record, 1, 16).await.code, response::SUCCESS);
    let level = broker.store.unit(names::SCHEDULE_TOPIC, 0, 0);
    assert!(level.is_some(), "it waits in the queue of level 1");
    assert_eq!(give_back(&conn, &record, -1, 16).await.code, response::SUCCESS);
    record_of(broker, "%DLQ%G", 0).await;
    assert_eq!(give_back(&conn, &record, 0, 0).await.code, response::SUCCESS);
    record_of(broker, "%DLQ%G", 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_wait_for_no_delay() {
    let (running, conn) = with_group(SubscriptionGroupConfig::new("G")).await;
    send_retry(&conn, 3, 2).await;
    let bytes = record_of(&running.broker, "%DLQ%G", 0).await;
    let dead = Record::read(&bytes).unwrap();
    assert_eq!((dead.property(property::DELAY), dead.property("KEYS")), (None, Some("k")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_orderly_consumer_gives_up_is_a_dead_letter() {
    let (running, conn) = with_group(SubscriptionGroupConfig::new("G")).await;
    send_retry(&conn, 2, 2).await;
    assert!(running.broker.topics.get("%DLQ%G").is_none(), "nobody of the group consumes in order: it is tried again");
    let queue = MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id: 0 };
    let lock = LockBatchRequestBody {
        consumer_group: Some("G".into()),
        client_id: Some("C".into()),
        mq_set: vec![queue].into_iter().collect(),
        ..Default::default()
    };
    assert_eq!(call(&conn, Command::request(request::LOCK_BATCH_MQ).with_body(lock.encode())).await.code, 0);
    send_retry(&conn, 2, 2).await;
    record_of(&running.broker, "%DLQ%G", 0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_makes_no_sense_is_refused() {
    let (running, conn) = with_group(SubscriptionGroupConfig::new("G")).await;
    let growth = ExponentialRetryPolicy { initial: 100, max: 3, multiplier: 2 };
    let policy = GroupRetryPolicy { exponential_retry_policy: Some(growth), ..Default::default() };
    let config = SubscriptionGroupConfig { group_retry_policy: policy, ..SubscriptionGroupConfig::new("G") };
    let update = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(config.encode());
    let answer = call(&conn, update).await;
    assert_eq!(answer.code, response::INVALID_PARAMETER);
    assert!(answer.remark.is_some_and(|remark| remark.contains("group[G]") && remark.contains("max of at least")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_retry_topic_counts_as_lag() {
    let (running, conn) = with_group(SubscriptionGroupConfig::new("G")).await;
    send_retry(&conn, 0, 2).await;
    send(&conn, "%RETRY%G", b"m", "").await;
    record_of(&running.broker, "%RETRY%G", 0).await;
    let stats = Command::request(request::GET_CONSUME_STATS).with_header(&GetConsumeStatsRequestHeader {
        consumer_group: "G",
        topic: None,
        topic_list: None,
        rpc: RpcFields::default(),
    });
    let stats = ConsumeStats::decode(&call(&conn, stats).await.body).unwrap();
    let lags = stats.offset_table.iter();
    let lags = lags.map(|(queue, offsets)| (&*queue.topic, offsets.broker_offset - offsets.consumer_offset));
    assert_eq!(lags.collect::<Vec<_>>(), [("%RETRY%G", 1)]);
    running.stop().await;
}
