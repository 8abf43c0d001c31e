//! Requests and replies: what a replier is told, and what reaches the client that asked.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, HeartbeatData, ProducerData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{DecodeHeader, ReplyMessageRequestHeader, SendMessageResponseHeader};
use bytes::Bytes;
use common::{Peer, Pull, Server, send_header};

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

/// A connected producer that waits for replies.
fn requester(server: &Server, client_id: &str) -> Peer {
    let mut peer = server.connect();
    let producer_data_set = [ProducerData { group_name: "Asking".into() }].into_iter().collect();
    let heartbeat = HeartbeatData { client_id: client_id.into(), producer_data_set, ..Default::default() };
    assert_eq!(peer.call(Command::request(request::HEART_BEAT).with_body(heartbeat.encode())).code, response::SUCCESS);
    peer
}

fn reply(topic: &str, queue: i32, body: &[u8], properties: &str) -> Command {
    let mut command = Command::request(request::SEND_REPLY_MESSAGE_V2).with_body(Bytes::copy_from_slice(body));
    send_header(topic, queue, properties).encode_v2(&mut command.fields);
    command
}

fn to(client_id: &str) -> String {
    format!("MSG_TYPE\u{1}reply\u{2}CORRELATION_ID\u{1}7\u{2}REPLY_TO_CLIENT\u{1}{client_id}\u{2}TTL\u{1}3000\u{2}")
}

#[test]
fn a_reply_reaches_who_asked_and_is_stored() {
    let server = Server::start(&[]);
    let (mut asking, mut answering) = (requester(&server, "a@1"), server.connect());
    answering.request(reply(TOPIC, 0, b"answer", &to("a@1")));
    let pushed = asking.read();
    assert_eq!((pushed.code, &pushed.body[..]), (request::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"answer"[..]));
    let header = ReplyMessageRequestHeader::decode(&pushed.fields).expect("a header");
    assert_eq!((header.topic, header.producer_group), (TOPIC, "P"));
    assert!(header.properties.expect("properties").contains("CORRELATION_ID\u{1}7\u{2}"));
    asking.write(&apogee_wire::frame::to_bytes(&Command::response_to(&pushed, response::SUCCESS)));
    let answer = answering.read();
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(answer.header::<SendMessageResponseHeader>().expect("a header").queue_offset, 0);
    let (stored, _) = answering.pull(Pull::of(TOPIC, 0, 0));
    assert!(stored.body.windows(6).any(|part| part == b"answer"), "{stored:?}");
}

#[test]
fn who_replies_is_told_why_it_did_not_arrive() {
    let server = Server::start(&["maxMessageSize=1000", "storeReplyMessageEnable=false"]);
    let mut answering = server.connect();
    let mut refused = |command: Command, code: i32, remark: &str| {
        let answer = answering.call(command);
        assert_eq!(answer.code, code, "{answer:?}");
        let said = answer.remark.clone().unwrap_or_default();
        assert!(said.contains(remark), "{said}");
    };
    let failed = response::SYSTEM_ERROR;
    refused(reply(TOPIC, 0, b"x", &to("nobody")), failed, "channel of <nobody> not found");
    refused(reply(TOPIC, 0, b"x", ""), failed, "properties[REPLY_TO_CLIENT] is null");
    refused(reply(TOPIC, 9, b"x", &to("nobody")), response::INVALID_PARAMETER, "has 1 queues");
    refused(reply(TOPIC, 0, &[0; 1001], &to("nobody")), response::MESSAGE_ILLEGAL, "maxMessageSize");
    refused(reply("TBW102", 0, b"x", &to("nobody")), response::INVALID_PARAMETER, TOPIC);
    // One who is gone, one who refuses, and one who does not take it.
    drop(requester(&server, "gone"));
    let mut refusing = requester(&server, "refusing");
    let gone = to("gone");
    while answering_finds(&mut server.connect(), &gone) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    refused(reply(TOPIC, 0, b"x", &gone), failed, "<gone>");
    let _silent = requester(&server, "silent");
    refused(reply(TOPIC, 0, b"x", &to("silent")), failed, "no answer within");
    let number = answering.request(reply(TOPIC, 0, b"x", &to("refusing")));
    let pushed = refusing.read();
    let no = Command::response_to(&pushed, response::SYSTEM_ERROR).with_remark("unwanted");
    refusing.write(&apogee_wire::frame::to_bytes(&no));
    let answer = answering.read();
    assert_eq!((answer.opaque, answer.code), (number, failed));
    assert!(answer.remark.expect("a remark").contains("unwanted"));
    // Nothing of all this was stored.
    let (nothing, _) = answering.pull(Pull::of(TOPIC, 0, 0));
    assert!(nothing.body.is_empty(), "{nothing:?}");
    server.assert_serving();
}

/// Whether the broker still has the connection.
fn answering_finds(peer: &mut Peer, properties: &str) -> bool {
    let remark = peer.call(reply(TOPIC, 0, b"x", properties)).remark.unwrap_or_default();
    !remark.contains("not found")
}
