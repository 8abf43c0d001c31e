//! What brokers ask of the Rust client's consumers, for administrators.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use apogee_client::{Client, Consumer, Message};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CMResult, ConsumeMessageDirectlyResult, ConsumerRunningInfo, GetConsumerStatusBody, MessageQueue,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader,
    ResetOffsetRequestHeader, RpcFields,
};
use common::{PATIENCE, Server};

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

/// Sends so many messages to the topic `T`; the ids of their places.
async fn send(client: &Client, count: usize) -> Vec<String> {
    let producer = client.producer_builder("P").timeout(PATIENCE).build().expect("a producer");
    let mut ids = Vec::new();
    for body in 0..count {
        ids.push(producer.send(Message::new("T", body.to_string())).await.expect("sent").offset_id);
    }
    ids
}

async fn take(consumer: &mut Consumer, count: usize) {
    for taken in 0..count {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await;
        delivery.unwrap_or_else(|_| panic!("only {taken} came")).expect("open").ack();
    }
}

/// Asks the broker, who asks the client.
async fn ask(server: &Server, question: Command) -> Command {
    let broker = server.broker;
    let ask = tokio::task::spawn_blocking(move || common::Peer::connect(broker).call(question));
    let answer = ask.await.expect("asked");
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer
}

/// A group that has consumed all, but one message that is worked on, is sent to the beginning.
async fn resets(setting: &str, is_orderly: bool) {
    let server = Server::start(&[setting]);
    let client = client(&server);
    send(&client, 20).await;
    let consumer = client.consumer("G").subscribe("T").from_first().commit_every(Duration::from_millis(50));
    let consumer = if is_orderly { consumer.orderly() } else { consumer };
    let mut consumer = consumer.join().await.expect("joined");
    take(&mut consumer, 19).await;
    let open = consumer.next().await.expect("open");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let header = ResetOffsetRequestHeader {
        group: "G",
        topic: "T",
        queue_id: None,
        offset: None,
        timestamp: 0,
        is_force: true,
        rpc: RpcFields::default(),
    };
    ask(&server, Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header)).await;
    // Where nobody tells the members, the next message of a queue does.
    send(&client, 4).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    open.ack();
    let mut seen = BTreeSet::new();
    while seen.len() < 24 {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {seen:?} with {setting}, orderly: {is_orderly}"));
        let next = next.expect("open");
        seen.insert((next.queue.clone(), next.offset));
        next.ack();
    }
    let left = tokio::time::timeout(PATIENCE, consumer.close(PATIENCE)).await;
    left.expect("nothing is worked on").expect("left");
}

#[tokio::test]
async fn a_group_goes_on_where_the_broker_tells_it() {
    for is_orderly in [false, true] {
        resets("useServerSideResetOffset=true", is_orderly).await;
        resets("useServerSideResetOffset=false", is_orderly).await;
    }
}

#[tokio::test]
async fn a_consumer_tells_of_itself() {
    let server = Server::start(&[]);
    let client = client(&server);
    send(&client, 20).await;
    let consumer = client.consumer("G").subscribe_tags("T", "*").from_first().orderly();
    let mut consumer = consumer.join().await.expect("joined");
    take(&mut consumer, 20).await;
    send(&client, 1).await;
    let open = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open");

    let header = GetConsumerRunningInfoRequestHeader {
        consumer_group: "G",
        client_id: client.id(),
        jstack_enable: Some(false),
        rpc: RpcFields::default(),
    };
    let answer = ask(&server, Command::request(request::GET_CONSUMER_RUNNING_INFO).with_header(&header)).await;
    let info = ConsumerRunningInfo::decode(&answer.body).expect("a body");
    assert_eq!(info.properties["PROP_CONSUMEORDERLY"], "true");
    assert_eq!(info.properties["PROP_NAMESERVER_ADDR"], server.namesrv.to_string());
    let topics: BTreeSet<_> = info.subscription_set.iter().map(|subscription| &*subscription.topic).collect();
    assert_eq!(topics, ["%RETRY%G", "T"].into());
    let of_topic: Vec<_> = info.mq_table.iter().filter(|(queue, _)| queue.topic == "T").collect();
    assert_eq!(of_topic.len(), 4);
    assert!(of_topic.iter().all(|(_, queue)| queue.locked && queue.last_pull_timestamp > 0));
    let open_queue = MessageQueue::new("T", &*open.queue.broker, open.queue.id);
    let queue = &info.mq_table[&open_queue];
    assert_eq!((queue.cached_msg_count, queue.commit_offset), (1, open.offset));
    assert!(info.status_table["T"].consume_ok_tps > 0.0, "{:?}", info.status_table);

    let header =
        GetConsumerStatusRequestHeader { topic: "T", group: "G", client_addr: None, rpc: RpcFields::default() };
    let question = Command::request(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS).with_header(&header);
    let status = GetConsumerStatusBody::decode(&ask(&server, question).await.body).expect("a body");
    let offsets = &status.consumer_table[client.id()];
    assert_eq!((offsets.len(), offsets.values().sum::<i64>(), offsets[&open_queue]), (4, 20, open.offset));
    open.ack();
}

#[tokio::test]
async fn a_consumer_is_given_a_message_that_somebody_wants_it_to_consume() {
    let server = Server::start(&[]);
    let client = client(&server);
    let ids = send(&client, 4).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    take(&mut consumer, 4).await;
    let handled = consumer.run(1, |message| async move {
        match &message.body[..] {
            b"1" => Err("not now"),
            b"2" => panic!("not now, either"),
            _ => Ok(()),
        }
    });
    let asked = async {
        for (id, expected) in ids.iter().zip([CMResult::Success, CMResult::Later, CMResult::ThrowException]) {
            let header = ConsumeMessageDirectlyResultRequestHeader {
                consumer_group: "G",
                client_id: Some(client.id()),
                msg_id: Some(id),
                broker_name: Some("broker-a"),
                topic: Some("T"),
                topic_sys_flag: None,
                group_sys_flag: None,
                rpc: RpcFields::default(),
            };
            let question = Command::request(request::CONSUME_MESSAGE_DIRECTLY).with_header(&header);
            let answer = ConsumeMessageDirectlyResult::decode(&ask(&server, question).await.body).expect("a body");
            assert_eq!((answer.consume_result, answer.order), (Some(expected), false));
        }
    };
    tokio::select! {
        () = handled => panic!("it ended"),
        () = asked => {}
    }
    // What failed was not the group's to consume: it does not come again.
    let more = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await;
    assert!(more.is_err(), "{more:?}");
}
