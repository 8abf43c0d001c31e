//! Requests of POP, made by hand, and what they bring.

use std::time::{SystemTime, UNIX_EPOCH};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, NotificationRequestHeader, NotificationResponseHeader,
    PopMessageRequestHeader, PopMessageResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, RpcFields,
};

use super::Peer;

/// What is popped; times in milliseconds.
#[derive(Clone, Copy)]
pub struct Pop<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    /// -1: any.
    pub queue: i32,
    pub most: i32,
    pub invisible: i64,
    pub poll: i64,
    pub tags: &'a str,
    pub in_order: bool,
    pub attempt: Option<&'a str>,
    /// The name of the broker.
    pub broker: &'a str,
}

impl<'a> Pop<'a> {
    /// By group `G`, for a minute, without waiting.
    pub const fn of(topic: &'a str) -> Self {
        Self {
            group: "G",
            topic,
            queue: -1,
            most: 32,
            invisible: 60_000,
            poll: 0,
            tags: "*",
            in_order: false,
            attempt: None,
            broker: "broker-a",
        }
    }

    pub fn command(self) -> Command {
        Command::request(request::POP_MESSAGE).with_header(&PopMessageRequestHeader {
            consumer_group: self.group,
            topic: self.topic,
            queue_id: self.queue,
            max_msg_nums: self.most,
            invisible_time: self.invisible,
            poll_time: self.poll,
            born_time: now(),
            init_mode: 0,
            exp_type: Some("TAG"),
            exp: Some(self.tags),
            order: Some(self.in_order),
            attempt_id: self.attempt,
            rpc: RpcFields::default(),
        })
    }

    /// What it brings; of a light queue the messages are named by that.
    pub fn by(self, peer: &mut Peer) -> Vec<Popped> {
        let mut popped = read_from(&peer.call(self.command()), self.broker);
        for popped in popped.iter_mut().filter(|_| self.topic.starts_with("%LMQ%")) {
            self.topic.clone_into(&mut popped.topic);
        }
        popped
    }

    /// Whether there are messages for it: `NOTIFICATION`, which waits as long as a pop.
    pub fn notification(self) -> Command {
        Command::request(request::NOTIFICATION).with_header(&NotificationRequestHeader {
            consumer_group: self.group,
            topic: self.topic,
            queue_id: self.queue,
            poll_time: self.poll,
            born_time: now(),
            order: Some(self.in_order),
            attempt_id: None,
            exp_type: None,
            exp: None,
            rpc: RpcFields::default(),
        })
    }
}

/// What a `NOTIFICATION` says.
pub fn has_messages(answer: &Command) -> bool {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.header::<NotificationResponseHeader>().expect("a header").has_msg
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A message as it was popped.
#[derive(Debug, Clone, PartialEq)]
pub struct Popped {
    pub body: String,
    pub times: i32,
    pub topic: String,
    pub queue: i32,
    pub offset: i64,
    pub handle: String,
    pub sys_flag: i32,
}

impl Popped {
    /// The topic that it is stored in.
    fn stored_in(&self, group: &str) -> String {
        match self.handle.split(' ').nth(4) {
            Some("1") => format!("%RETRY%{group}_{}", self.topic),
            Some("2") => format!("%RETRY%{group}+{}", self.topic),
            _ => self.topic.clone(),
        }
    }

    /// Acknowledges it for group `G`.
    pub fn ack(&self, peer: &mut Peer) -> Command {
        peer.call(Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
            consumer_group: "G",
            topic: &self.stored_in("G"),
            queue_id: self.queue,
            extra_info: &self.handle,
            offset: self.offset,
            lite_topic: None,
            rpc: RpcFields::default(),
        }))
    }

    /// Changes its invisible time for group `G`.
    pub fn change(&self, peer: &mut Peer, invisible_time: i64, suspend: bool) -> Command {
        let request = Command::request(request::CHANGE_MESSAGE_INVISIBLETIME);
        peer.call(request.with_header(&ChangeInvisibleTimeRequestHeader {
            consumer_group: "G",
            topic: &self.stored_in("G"),
            queue_id: self.queue,
            extra_info: &self.handle,
            offset: self.offset,
            invisible_time,
            lite_topic: None,
            suspend: Some(suspend),
            rpc: RpcFields::default(),
        }))
    }
}

/// What is committed for group `G` in the first queue of topic `T`.
pub fn committed(peer: &mut Peer) -> i64 {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        set_zero_if_not_found: None,
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header));
    answer.header::<QueryConsumerOffsetResponseHeader>().expect("a header").offset
}

/// What an answer of `broker-a` brings.
pub fn read(answer: &Command) -> Vec<Popped> {
    read_from(answer, "broker-a")
}

/// What an answer of a broker brings.
pub fn read_from(answer: &Command, broker: &str) -> Vec<Popped> {
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
        return Vec::new();
    }
    let header: PopMessageResponseHeader<'_> = answer.header().expect("a header");
    let starts = header.start_offset_info.expect("first offsets");
    let start_of = |queue: i32| -> i64 {
        let entry = starts.split(';').find_map(|entry| entry.strip_prefix(&format!("0 {queue} ")));
        entry.expect("its queue").parse().expect("a number")
    };
    let popped = |record: Record<'_>| {
        let (queue, offset) = place_of(&record, starts);
        let own = || {
            let PopMessageResponseHeader { pop_time, invisible_time, revive_qid, .. } = header;
            format!("{} {pop_time} {invisible_time} {revive_qid} 0 {broker} {queue} {offset}", start_of(queue))
        };
        Popped {
            body: String::from_utf8_lossy(record.body).into_owned(),
            times: record.reconsume_times,
            topic: record.topic.to_owned(),
            queue,
            offset,
            handle: record.property("POP_CK").map_or_else(own, str::to_owned),
            sys_flag: record.sys_flag,
        }
    };
    record::iter(&answer.body).map(|record| popped(record.expect("a record"))).collect()
}

/// Where a message is in the queue that it was popped of: in a light queue it has an offset of its own.
fn place_of(record: &Record<'_>, starts: &str) -> (i32, i64) {
    let own = (record.queue_id, record.queue_offset);
    let is_of_own = starts.split(';').any(|entry| entry.split(' ').nth(1) == Some(&*own.0.to_string()));
    match record.property("INNER_MULTI_QUEUE_OFFSET") {
        Some(light) if !is_of_own => (0, light.parse().expect("one light queue")),
        _ => own,
    }
}

/// Their bodies, sorted.
pub fn bodies(popped: &[Popped]) -> Vec<&str> {
    let mut bodies: Vec<&str> = popped.iter().map(|popped| &*popped.body).collect();
    bodies.sort_unstable();
    bodies
}
