//! What administrators look up by the Rust client: lists of topics, indexes, traces, units of queues.

mod common;

use std::time::Duration;

use apogee_client::admin::{Query, TopicConfig, TraceKind};
use apogee_client::{Client, Error, Message};
use common::{PATIENCE, Server};

const TRACES: &str = "RMQ_SYS_TRACE_TOPIC";

#[tokio::test]
async fn topics_of_a_list_are_created_together_or_not_at_all() {
    let server = Server::start(&[]);
    let admin = Client::new(server.namesrv.to_string()).expect("an address").admin();
    let topics = [TopicConfig::new("A", 2).attribute("message.type", "FIFO"), TopicConfig::new("B", 3)];
    for _ in 0..2 {
        admin.put_topics(&topics).await.expect("created, or there already");
    }
    for topic in &topics {
        assert_eq!(admin.topic_configs(&topic.name).await.expect("asked")[0].value, *topic);
    }
    let bad = [TopicConfig::new("C", 1), TopicConfig::new("D", 1).attribute("message.type", "NONE")];
    assert!(matches!(admin.put_topics(&bad).await, Err(Error::Refused { .. })));
    assert!(admin.topic_configs("C").await.expect("asked").is_empty());
    assert!(matches!(admin.put_topics(&[]).await, Err(Error::Argument(_))));
}

#[tokio::test]
async fn messages_are_found_by_tag_and_page_by_page() {
    let server = Server::start(&[]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let admin = client.admin();
    admin.put_topic(&TopicConfig::new("T", 1)).await.expect("created");
    let producer = client.producer("P").expect("a producer");
    for number in 0..4 {
        let message = Message::new("T", number.to_string()).key("k").tag(if number == 3 { "other" } else { "tag" });
        producer.send(message).await.expect("sent");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let query = Query::tag("T", "tag");
    let found = loop {
        let found = admin.find(&query).await.expect("asked");
        if found.len() == 3 {
            break found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let key = query.index_key(&found[0]);
    let expected = format!("@T@T@tag@{}@{}", found[0].message_id(), found[0].log_offset());
    assert!(key.ends_with(&expected), "{key}");
    let rest = admin.find(&query.after(key)).await.expect("asked");
    assert_eq!(rest, found[1..]);
    // A topic that is looked for where another is.
    admin.route_by("T", "Elsewhere");
    assert!(matches!(admin.topic_stats("T").await, Err(Error::NoTopic(topic)) if topic == "Elsewhere"));
    admin.route_by("T", "DefaultCluster");
    let queue = admin.topic_stats("T").await.expect("there").queues.remove(0).queue;
    assert_eq!(admin.message_at(&queue, 3).await.expect("asked").expect("there").tag(), Some("other"));
    let units = admin.broker(server.broker.to_string()).queue_units(&queue, 0, 4, None).await.expect("asked");
    let size = |offset: usize| units.units[offset].size;
    assert_eq!(
        found.iter().map(|message| message.stored_size() as i32).collect::<Vec<_>>(),
        [size(0), size(1), size(2)]
    );
}

#[tokio::test]
async fn what_happened_to_a_message_is_told() {
    let server = Server::start(&["traceTopicEnable=true"]);
    let client = Client::builder(server.namesrv.to_string()).trace().build().expect("a client");
    let admin = client.admin();
    admin.put_topic(&TopicConfig::new("T", 1)).await.expect("created");
    let sent = client.producer("P").expect("a producer").send(Message::new("T", "hello")).await.expect("sent");
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open");
    delivery.ack();
    consumer.close(PATIENCE).await.expect("left");
    // A topic that is to be traced has its traces sent when the client ends.
    let looking = Client::new(server.namesrv.to_string()).expect("an address").admin();
    client.close().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let events = loop {
        let events = looking.trace(&Query::key(TRACES, &*sent.message_id)).await.expect("asked");
        if events.len() == 3 {
            break events;
        }
        assert!(tokio::time::Instant::now() < deadline, "{events:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let kinds: Vec<_> = events.iter().map(|event| (event.kind, &*event.group, event.is_success)).collect();
    let expected =
        [(TraceKind::Published, "P", true), (TraceKind::Consuming, "G", true), (TraceKind::Consumed, "G", true)];
    assert_eq!(kinds, expected);
    assert!(events.iter().all(|event| event.at.is_some() && event.client.starts_with("127.0.0.1:")), "{events:?}");
    assert!(looking.trace(&Query::key(TRACES, "OTHER")).await.expect("asked").is_empty());
}
