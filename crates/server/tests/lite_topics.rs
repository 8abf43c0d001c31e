//! Lite topics over the wire: parts of a topic, read by the clients that say so.

mod common;

use std::collections::BTreeSet;

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteSubscriptionAction as Action,
    LiteSubscriptionCtlRequestBody, LiteSubscriptionDto, OffsetOption, OffsetOptionType, SubscriptionGroupConfig,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AckMessageRequestHeader, CreateTopicRequestHeader, NotifyUnsubscribeLiteRequestHeader, PopLiteMessageRequestHeader,
    PopLiteMessageResponseHeader, RpcFields,
};
use common::{Peer, Server};

const LIGHT: &[&str] = &["enableLmq=true", "enableMultiDispatch=true"];

fn make_topic(peer: &mut Peer, attributes: &str) -> Command {
    peer.call(Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&CreateTopicRequestHeader {
        topic: "P",
        default_topic: "TBW102",
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(attributes),
        force: None,
        rpc: RpcFields::default(),
    }))
}

fn make(peer: &mut Peer, more: &[(&str, &str)]) {
    assert_eq!(make_topic(peer, "+message.type=LITE").code, response::SUCCESS);
    let mut group = SubscriptionGroupConfig::new("G");
    for (key, value) in [&[("+lite.bind.topic", "P")], more].concat() {
        group.attributes.insert(key.to_owned(), value.to_owned());
    }
    let command = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group.encode());
    assert_eq!(peer.call(command).code, response::SUCCESS);
}

fn server(more: &[(&str, &str)]) -> (Server, Peer) {
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    make(&mut peer, more);
    (server, peer)
}

fn send(peer: &mut Peer, lite: &str, body: &str) {
    peer.send_ok("P", 0, body.as_bytes(), &format!("__LITE_TOPIC\x01{lite}\x02"));
}

fn change(client: &str, action: Action, names: &[&str]) -> LiteSubscriptionDto {
    LiteSubscriptionDto {
        action,
        client_id: Some(client.to_owned()),
        group: Some("G".to_owned()),
        lite_topic_set: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        topic: Some("P".to_owned()),
        version: 1,
        ..LiteSubscriptionDto::default()
    }
}

fn tell(peer: &mut Peer, change: LiteSubscriptionDto) -> i32 {
    let body = LiteSubscriptionCtlRequestBody { subscription_set: vec![change] }.encode();
    peer.call(Command::request(request::LITE_SUBSCRIPTION_CTL).with_body(body)).code
}

fn subscribe(peer: &mut Peer, client: &str, names: &[&str]) {
    assert_eq!(tell(peer, change(client, Action::PartialAdd, names)), response::SUCCESS);
}

fn pop_command(client: &str, invisible_time: i64, poll_time: i64) -> Command {
    Command::request(request::POP_LITE_MESSAGE).with_header(&PopLiteMessageRequestHeader {
        client_id: client,
        consumer_group: "G",
        topic: "P",
        max_msg_num: 8,
        invisible_time,
        poll_time,
        born_time: 0,
        attempt_id: None,
        rpc: RpcFields::default(),
    })
}

#[derive(Debug)]
struct Popped {
    body: String,
    lite: String,
    offset: i64,
    count: i32,
    handle: String,
}

fn read(answer: &Command) -> Vec<Popped> {
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
        return Vec::new();
    }
    let head: PopLiteMessageResponseHeader<'_> = answer.header().expect("a header");
    assert_eq!(head.revive_qid, 999);
    let counts = head.order_count_info.expect("counts").split(';').map(|count| count.parse().expect("a number"));
    let popped = |(record, count): (Record<'_>, i32)| {
        let offset: i64 = record.property("INNER_MULTI_QUEUE_OFFSET").expect("its offset").parse().expect("a number");
        let (pop_time, invisible) = (head.pop_time, head.invisible_time);
        Popped {
            body: String::from_utf8_lossy(record.body).into_owned(),
            lite: record.property("__LITE_TOPIC").expect("its lite topic").to_owned(),
            offset,
            count,
            handle: format!("{offset} {pop_time} {invisible} 999 0 broker-a 0 {offset}"),
        }
    };
    let records = record::iter(&answer.body).map(|record| record.expect("a record"));
    let popped: Vec<_> = records.zip(counts).map(popped).collect();
    assert_eq!(popped.len(), record::iter(&answer.body).count());
    popped
}

fn pop(peer: &mut Peer, client: &str, invisible_time: i64) -> Vec<Popped> {
    read(&peer.call(pop_command(client, invisible_time, 0)))
}

fn bodies(popped: &[Popped]) -> BTreeSet<&str> {
    popped.iter().map(|popped| &*popped.body).collect()
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = peer.call(Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "G",
        topic: "P",
        queue_id: 0,
        extra_info: &popped.handle,
        offset: popped.offset,
        lite_topic: Some(&popped.lite),
        rpc: RpcFields::default(),
    }));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?} {popped:?}");
}

#[test]
fn a_client_gets_what_it_subscribed_to_and_each_lite_topic_in_order() {
    let (server, mut peer) = server(&[]);
    for (lite, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")] {
        send(&mut peer, lite, body);
    }
    subscribe(&mut peer, "one", &["a", "b"]);
    let popped = pop(&mut peer, "one", 60_000);
    assert_eq!(bodies(&popped), BTreeSet::from(["a1", "a2", "b1"]));
    // As long as they are out, nothing behind them comes, to nobody of the group.
    send(&mut peer, "a", "a3");
    subscribe(&mut peer, "two", &["a"]);
    assert!(pop(&mut peer, "one", 60_000).is_empty() && pop(&mut peer, "two", 60_000).is_empty());
    let mut waits = server.connect();
    let waiting = waits.park(pop_command("two", 60_000, 20_000));
    popped.iter().for_each(|popped| ack(&mut peer, popped));
    let answer = waits.read();
    assert_eq!((answer.opaque, bodies(&read(&answer))), (waiting, BTreeSet::from(["a3"])));
    // A message wakes who waits for its lite topic, and nobody else.
    let waiting = waits.park(pop_command("one", 60_000, 20_000));
    send(&mut peer, "c", "c2");
    send(&mut peer, "b", "b2");
    let answer = waits.read();
    assert_eq!((answer.opaque, bodies(&read(&answer))), (waiting, BTreeSet::from(["b2"])));
}

#[test]
fn what_is_not_acknowledged_comes_again_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    make(&mut peer, &[]);
    (1..=3).for_each(|at| send(&mut peer, "a", &at.to_string()));
    subscribe(&mut peer, "one", &["a"]);
    let popped = pop(&mut peer, "one", 300);
    ack(&mut peer, &popped[0]);
    let again = read(&peer.call(pop_command("one", 300, 20_000)));
    assert_eq!(again.iter().map(|one| (&*one.body, one.count)).collect::<Vec<_>>(), [("2", 1), ("3", 1)]);
    server.kill();

    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    subscribe(&mut peer, "one", &["a"]);
    let again = read(&peer.call(pop_command("one", 60_000, 20_000)));
    assert!(bodies(&again).is_superset(&BTreeSet::from(["2", "3"])), "{again:?}");
    again.iter().for_each(|popped| ack(&mut peer, popped));
    assert!(pop(&mut peer, "one", 60_000).is_empty());
}

#[test]
fn a_lite_topic_may_be_read_by_one_client_at_a_time() {
    let (server, mut peer) = server(&[("+lite.sub.model", "Exclusive"), ("+lite.sub.client.quota", "2")]);
    let mut first = server.connect();
    subscribe(&mut first, "one", &["a", "b"]);
    assert_eq!(tell(&mut first, change("one", Action::PartialAdd, &["c"])), response::LITE_SUBSCRIPTION_QUOTA_EXCEEDED);
    subscribe(&mut peer, "two", &["a"]);
    let told = first.read();
    assert_eq!(told.code, request::NOTIFY_UNSUBSCRIBE_LITE);
    let head: NotifyUnsubscribeLiteRequestHeader<'_> = told.header().expect("a header");
    assert_eq!((head.lite_topic, head.consumer_group, head.client_id), ("a", "G", "one"));
    send(&mut peer, "a", "x");
    assert!(pop(&mut peer, "one", 60_000).is_empty());
    assert_eq!(bodies(&pop(&mut peer, "two", 60_000)), BTreeSet::from(["x"]));
}

#[test]
fn a_client_reads_what_it_said_last_from_where_it_says() {
    let (_server, mut peer) = server(&[]);
    (1..=4).for_each(|at| send(&mut peer, "a", &format!("a{at}")));
    send(&mut peer, "b", "b1");
    let option = OffsetOption { kind: OffsetOptionType::TailN, value: 1 };
    let tail = LiteSubscriptionDto { offset_option: Some(option), ..change("one", Action::PartialAdd, &["a"]) };
    assert_eq!(tell(&mut peer, tail), response::SUCCESS);
    let popped = pop(&mut peer, "one", 60_000);
    assert_eq!(bodies(&popped), BTreeSet::from(["a4"]));
    ack(&mut peer, &popped[0]);
    assert_eq!(tell(&mut peer, change("one", Action::CompleteAdd, &["b"])), response::SUCCESS);
    send(&mut peer, "a", "a5");
    assert_eq!(bodies(&pop(&mut peer, "one", 60_000)), BTreeSet::from(["b1"]));
    assert_eq!(tell(&mut peer, change("one", Action::CompleteRemove, &[])), response::SUCCESS);
    send(&mut peer, "b", "b2");
    assert!(pop(&mut peer, "one", 60_000).is_empty());
    // From the first message, which was a bug of upstream's where that is 0.
    let option = OffsetOption { kind: OffsetOptionType::Offset, value: 0 };
    let first = LiteSubscriptionDto { offset_option: Some(option), ..change("one", Action::PartialAdd, &["a"]) };
    assert_eq!(tell(&mut peer, first), response::SUCCESS);
    assert_eq!(pop(&mut peer, "one", 60_000).len(), 5);
}

#[test]
fn administrators_see_it() {
    let (_server, mut peer) = server(&[]);
    send(&mut peer, "a", "1");
    send(&mut peer, "a", "2");
    send(&mut peer, "b", "3");
    subscribe(&mut peer, "one", &["a"]);
    assert_eq!(pop(&mut peer, "one", 60_000).len(), 2);
    let mut ask = |code, fields: &[(&str, &str)]| {
        let mut command = Command::request(code);
        fields.iter().for_each(|(name, value)| command.fields.set_str(name, value));
        let answer = peer.call(command);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.body
    };
    let info = GetBrokerLiteInfoResponseBody::decode(&ask(request::GET_BROKER_LITE_INFO, &[])).expect("figures");
    assert_eq!((info.current_lmq_num, info.lite_subscription_count, info.topic_meta["P"]), (2, 1, -1));
    assert!(info.group_meta["P"].contains("G") && info.order_info_count == 1, "{info:?}");
    let info = ask(request::GET_PARENT_TOPIC_INFO, &[("topic", "P")]);
    let info = GetParentTopicInfoResponseBody::decode(&info).expect("figures");
    assert_eq!((info.lite_topic_count, info.lmq_num, info.ttl), (2, 2, -1));
    let info = ask(request::GET_LITE_TOPIC_INFO, &[("parentTopic", "P"), ("liteTopic", "a")]);
    let info = GetLiteTopicInfoResponseBody::decode(&info).expect("figures");
    assert_eq!(info.topic_offset.map(|range| range.max_offset), Some(2));
    assert_eq!(info.subscriber.expect("readers")[0].client_id.as_deref(), Some("one"));
    let fields = [("parentTopic", "P"), ("group", "G"), ("clientId", "one"), ("maxCount", "10")];
    let info = GetLiteClientInfoResponseBody::decode(&ask(request::GET_LITE_CLIENT_INFO, &fields)).expect("figures");
    assert_eq!(info.lite_topic_set, Some(BTreeSet::from(["%LMQ%$P$a".to_owned()])));
    assert!(info.last_access_time > 0 && info.last_consume_time > 0);
    let info = ask(request::GET_LITE_GROUP_INFO, &[("group", "G"), ("topK", "1")]);
    let info = GetLiteGroupInfoResponseBody::decode(&info).expect("figures");
    let first = &info.lag_count_top_k.expect("the first")[0];
    assert_eq!((info.total_lag_count, first.lag_count, first.lite_topic.as_deref()), (3, 2, Some("a")));
    ask(request::TRIGGER_LITE_DISPATCH, &[("group", "G")]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let plain = Server::start(&[]);
    assert_eq!(make_topic(&mut plain.connect(), "+message.type=LITE").code, response::INVALID_PARAMETER);
    let (_server, mut peer) = server(&[]);
    assert_eq!(peer.send("P", 0, b"x", "").code, response::MESSAGE_ILLEGAL);
    assert_eq!(peer.send("P", 0, b"x", "__LITE_TOPIC\x01../x\x02").code, response::INVALID_PARAMETER);
    peer.send_ok("T", 0, b"x", "");
    let other = |topic: Option<&str>, client: Option<&str>, names: &[&str]| LiteSubscriptionDto {
        topic: topic.map(str::to_owned),
        client_id: client.map(str::to_owned),
        ..change("one", Action::PartialAdd, names)
    };
    for (change, code) in [
        (other(Some("T"), Some("one"), &["a"]), response::INVALID_PARAMETER),
        (other(Some("U"), Some("one"), &["a"]), response::TOPIC_NOT_EXIST),
        (other(None, Some("one"), &["a"]), response::INVALID_PARAMETER),
        (other(Some("P"), None, &["a"]), response::INVALID_PARAMETER),
        (other(Some("P"), Some("one"), &["a/b"]), response::INVALID_PARAMETER),
    ] {
        assert_eq!(tell(&mut peer, change.clone()), code, "{change:?}");
    }
    let garbage = Command::request(request::LITE_SUBSCRIPTION_CTL).with_body(b"{".to_vec());
    assert_eq!(peer.call(garbage).code, response::INVALID_PARAMETER);
}
