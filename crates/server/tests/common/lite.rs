//! Lite topics over the wire: a parent `P`, a group `G` that is bound to it, and requests of its clients.

use std::collections::BTreeSet;

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, LiteSubscriptionAction as Action, LiteSubscriptionCtlRequestBody, LiteSubscriptionDto,
    SubscriptionGroupConfig,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AckMessageRequestHeader, CreateTopicRequestHeader, PopLiteMessageRequestHeader, PopLiteMessageResponseHeader,
    RpcFields,
};

use super::{Peer, Server};

pub const LIGHT: &[&str] = &["enableLmq=true", "enableMultiDispatch=true"];

pub fn make_topic(peer: &mut Peer, attributes: &str) -> Command {
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

pub fn make(peer: &mut Peer, more: &[(&str, &str)]) {
    assert_eq!(make_topic(peer, "+message.type=LITE").code, response::SUCCESS);
    let mut group = SubscriptionGroupConfig::new("G");
    for (key, value) in [&[("+lite.bind.topic", "P")], more].concat() {
        group.attributes.insert(key.to_owned(), value.to_owned());
    }
    let command = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group.encode());
    assert_eq!(peer.call(command).code, response::SUCCESS);
}

pub fn server(more: &[(&str, &str)]) -> (Server, Peer) {
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    make(&mut peer, more);
    (server, peer)
}

pub fn send(peer: &mut Peer, lite: &str, body: &str) {
    peer.send_ok("P", 0, body.as_bytes(), &format!("__LITE_TOPIC\x01{lite}\x02"));
}

pub fn change(client: &str, action: Action, names: &[&str]) -> LiteSubscriptionDto {
    LiteSubscriptionDto {
        action: Some(action),
        client_id: Some(client.to_owned()),
        group: Some("G".to_owned()),
        lite_topic_set: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        topic: Some("P".to_owned()),
        version: 1,
        ..LiteSubscriptionDto::default()
    }
}

pub fn tell(peer: &mut Peer, change: LiteSubscriptionDto) -> i32 {
    peer.call(tell_command(change)).code
}

pub fn tell_command(change: LiteSubscriptionDto) -> Command {
    let body = LiteSubscriptionCtlRequestBody { subscription_set: vec![change] }.encode();
    Command::request(request::LITE_SUBSCRIPTION_CTL).with_body(body)
}

pub fn subscribe(peer: &mut Peer, client: &str, names: &[&str]) {
    assert_eq!(tell(peer, change(client, Action::PartialAdd, names)), response::SUCCESS);
}

pub fn pop_command(client: &str, invisible_time: i64, poll_time: i64) -> Command {
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
pub struct Popped {
    pub body: String,
    pub lite: String,
    pub offset: i64,
    pub count: i32,
    pub handle: String,
}

pub fn read(answer: &Command) -> Vec<Popped> {
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
        return Vec::new();
    }
    let head: PopLiteMessageResponseHeader<'_> = answer.header().expect("a header");
    assert_eq!(head.revive_qid, 999);
    // Apache's says it in the words of other pops where a message comes again.
    let count = |text: &str| text.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    let counts = head.order_count_info.expect("counts").split(';').map(count);
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

pub fn pop(peer: &mut Peer, client: &str, invisible_time: i64) -> Vec<Popped> {
    read(&peer.call(pop_command(client, invisible_time, 0)))
}

pub fn bodies(popped: &[Popped]) -> BTreeSet<&str> {
    popped.iter().map(|popped| &*popped.body).collect()
}

pub fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = peer.call(ack_command(popped));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?} {popped:?}");
}

pub fn ack_command(popped: &Popped) -> Command {
    Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "G",
        topic: "P",
        queue_id: 0,
        extra_info: &popped.handle,
        offset: popped.offset,
        lite_topic: Some(&popped.lite),
        rpc: RpcFields::default(),
    })
}
