//! Traces: what becomes of messages is told to the topic where tools look for it.

mod common;

use std::time::Duration;

use apogee_client::{Client, Message, Reader};
use common::{PATIENCE, Server};

const TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

/// The records that are there, each by its fields; and the keys of their messages.
async fn records(reader: &mut Reader, least: usize) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut records, mut keys) = (Vec::new(), Vec::new());
    while records.len() < least {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await;
        let message = message.unwrap_or_else(|_| panic!("only {records:?}")).expect("open").expect("read");
        let text = String::from_utf8(message.body.to_vec()).expect("text");
        let lines = text.split_terminator('\u{2}');
        records.extend(lines.map(|line| line.split('\u{1}').map(str::to_owned).collect()));
        keys.extend(message.keys().map(str::to_owned));
    }
    (records, keys)
}

#[tokio::test]
async fn what_is_sent_and_consumed_is_traced_from_end_to_end() {
    let server = Server::start(&["traceTopicEnable=true"]);
    let address = server.namesrv.to_string();
    let client = Client::builder(&*address).namespace("ns").trace().build().expect("a client");
    let looking = Client::new(&*address).expect("a client");
    let mut reader = looking.reader(TOPIC).from_first().open().await.expect("open");
    let producer = client.producer("P").expect("a producer");
    let one = producer.send(Message::new("T", "hello").tag("a").key("k1").key("k2")).await.expect("sent");
    let batch = vec![Message::new("T", "two"), Message::new("T", "three")];
    let batch = producer.send_batch(batch).await.expect("sent");
    let late = producer.send(Message::new("T", "late").delay_level(1)).await.expect("sent");
    let half = producer.begin(Message::new("T", "half")).await.expect("begun");
    let half_id = half.id().to_owned();
    half.rollback().await.expect("rolled back");
    // Of these, nothing is told.
    producer.send_one_way(Message::new("Other", "one way")).await.expect("sent");
    let (sent, keys) = records(&mut reader, 5).await;
    assert_eq!(sent.len(), 5, "{sent:?}");
    let of = |id: &str| sent.iter().find(|record| record[5] == id).unwrap_or_else(|| panic!("no {id} in {sent:?}"));
    let first = of(&one.message_id);
    let broker = server.broker.to_string();
    let expected = ["Pub", &first[1], "DefaultRegion", "P", "T", &one.message_id, "a", "k1 k2", &broker, "5"];
    assert_eq!(first[..10], expected);
    assert_eq!(first[11..], ["0".to_owned(), one.offset_id.clone(), "true".to_owned()]);
    let places: Vec<_> = batch.message_id.split(',').map(|id| of(id)[12].clone()).collect();
    assert_eq!(places.join(","), batch.offset_id);
    assert_eq!((&*of(&late.message_id)[11], &*of(&half_id)[11]), ("3", "1"));
    for key in ["k1", "k2", &one.message_id, &late.message_id] {
        assert!(keys.iter().any(|found| found == key), "no {key} in {keys:?}");
    }

    let mut consumer = client.consumer("G").subscribe_tags("T", "a").from_first().join().await.expect("joined");
    for times in 0..2 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
        assert_eq!(delivery.reconsume_times, times);
        tokio::time::sleep(Duration::from_millis(20)).await;
        match times {
            0 => delivery.retry_at_level(1),
            _ => delivery.ack(),
        }
    }
    consumer.close(PATIENCE).await.expect("left");
    // What was not sent yet is sent now.
    client.close().await;
    let (consumed, keys) = records(&mut reader, 4).await;
    assert_eq!(consumed.len(), 4, "{consumed:?}");
    assert!(keys.contains(&one.message_id), "{keys:?}");
    for (times, is_done) in [(0, "false"), (1, "true")] {
        let before = &consumed[2 * times];
        let expected = ["SubBefore", &before[1], "DefaultRegion", "G", &before[4], &one.message_id];
        assert_eq!(before[..6], expected);
        assert_eq!(before[6..], [times.to_string(), "k1 k2".to_owned()]);
        let after = &consumed[2 * times + 1];
        let code = if times == 0 { "4" } else { "0" };
        assert_eq!(after[..3], ["SubAfter", &before[4], &one.message_id]);
        assert!(after[3].parse::<u64>().expect("milliseconds") >= 20, "{after:?}");
        assert_eq!((&after[4..7], &*after[8]), (&[is_done, "k1 k2", code].map(str::to_owned)[..], "G"));
    }
}

#[tokio::test]
async fn traces_that_cannot_be_sent_hold_nothing_up() {
    let server = Server::start(&["autoCreateTopicEnable=true"]);
    let address = server.namesrv.to_string();
    let timeout = Duration::from_millis(500);
    let client = Client::builder(&*address).timeout(timeout).trace_to("MyTraces").build().expect("a client");
    let producer = client.producer("P").expect("a producer");
    for number in 0..500 {
        producer.send(Message::new("T", number.to_string())).await.expect("sent");
    }
    server.kill();
    tokio::time::timeout(PATIENCE, client.close()).await.expect("no hang");
}
