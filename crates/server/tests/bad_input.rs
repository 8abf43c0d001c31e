//! What a peer gets that sends what it shouldn't: a code and a remark, or a closed connection;
//! and everybody else is served as before.

mod common;

use std::time::{Duration, Instant};

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CreateTopicRequestHeader, GetMaxOffsetRequestHeader, RegisterBrokerRequestHeader, RpcFields,
};
use apogee_wire::{Command, frame};
use bytes::Bytes;
use common::{Peer, Pull, Server, send_request};

/// Sends bytes and expects the connection to be closed without an answer.
fn assert_closes(server: &Server, bytes: &[u8]) {
    for mut peer in [server.connect(), server.connect_namesrv()] {
        peer.write(bytes);
        assert_eq!(peer.try_read(), None, "{bytes:?}");
    }
    server.assert_serving();
}

#[test]
fn a_frame_over_the_limit_closes_the_connection() {
    assert_closes(&Server::start(&[]), &(frame::MAX_FRAME as u32 + 1).to_be_bytes());
}

#[test]
fn a_frame_shorter_than_its_header_closes_the_connection() {
    assert_closes(&Server::start(&[]), &[0, 0, 0, 8, 0, 0, 0, 9, b'{', b'}', b' ', b' ']);
}

#[test]
fn an_unknown_serialisation_closes_the_connection() {
    assert_closes(&Server::start(&[]), &[0, 0, 0, 6, 2, 0, 0, 2, b'{', b'}']);
}

#[test]
fn a_malformed_header_closes_the_connection() {
    let server = Server::start(&[]);
    assert_closes(&server, &[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'{']);
    assert_closes(&server, &[0, 0, 0, 7, 1, 0, 0, 3, 0, 0, 0]);
    assert_closes(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn a_connection_cut_in_a_frame_harms_nobody() {
    let server = Server::start(&[]);
    let whole = frame::to_bytes(&send_request("T", 0, &[7; 5000], ""));
    for cut in [1, 5, 100, whole.len() - 1] {
        let mut peer = server.connect();
        peer.write(&whole[..cut]);
        drop(peer);
    }
    server.assert_serving();
    // Nothing of the cut message was taken.
    let mut peer = server.connect();
    assert_eq!(peer.send_ok("T", 0, b"x", ""), 0);
}

#[test]
fn a_peer_that_drips_bytes_is_closed() {
    let server = Server::start(&["serverChannelMaxIdleTimeSeconds=1"]);
    let mut peer = server.connect();
    let started = Instant::now();
    let frame = frame::to_bytes(&send_request("T", 0, &[7; 5000], ""));
    let closed = frame.iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(100));
        assert!(started.elapsed() < Duration::from_secs(10), "the connection was never closed");
        !peer.try_write(&[*byte])
    });
    assert!(closed);
    server.assert_serving();
}

#[test]
fn unknown_codes_are_answered() {
    let server = Server::start(&[]);
    for mut peer in [server.connect(), server.connect_namesrv()] {
        for code in [99_999, -1, request::SUSPEND_CONSUMER] {
            let answer = peer.call(Command::request(code));
            assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
            assert_eq!(answer.remark, Some(format!(" request type {code} not supported")));
        }
    }
}

#[test]
fn absent_and_unparsable_header_fields_are_named() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let mut assert_names = |command: Command, field: &str| {
        let answer = peer.call(command);
        assert_ne!(answer.code, response::SUCCESS);
        let remark = answer.remark.expect("a remark");
        assert!(remark.contains(field), "{remark}");
    };
    let mut no_topic = send_request("T", 0, b"x", "");
    no_topic.fields.remove("b");
    assert_names(no_topic, "`b`");
    let mut bad_queue = send_request("T", 0, b"x", "");
    bad_queue.fields.set_str("e", "one");
    assert_names(bad_queue, "`e` is `one`");
    assert_names(Command::request(request::PULL_MESSAGE), "`consumerGroup`");
    let mut no_number = Pull::of("T", 0, 0).command();
    no_number.fields.set_str("queueOffset", "99999999999999999999");
    assert_names(no_number, "queueOffset");
    assert_names(Command::request(request::GET_MAX_OFFSET), "`topic`");
    server.assert_serving();
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for code in [request::HEART_BEAT, request::LOCK_BATCH_MQ, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP] {
        for body in [&b""[..], b"{", b"\xff\xfe", b"[1,2,3]", &b"[".repeat(100_000)] {
            let answer = peer.call(Command::request(code).with_body(Bytes::copy_from_slice(body)));
            assert_ne!(answer.code, response::SUCCESS, "{code} {body:?}");
            assert!(answer.remark.is_some(), "{code}");
        }
    }
    // Small on the wire, large in memory.
    let many = format!("{{\"clientID\":\"c\",\"consumerDataSet\":[{}]}}", vec!["{}"; 3_000_000].join(","));
    let answer = peer.call(Command::request(request::HEART_BEAT).with_body(many));
    assert_eq!(answer.code, response::INVALID_PARAMETER);
    assert!(server.resident() < 100 << 20, "{} MB", server.resident() >> 20);
    server.assert_serving();
}

/// Sends one message and expects a refusal whose remark contains a text.
fn assert_refused(peer: &mut Peer, command: Command, code: i32, text: &str) {
    let answer = peer.call(command);
    let remark = answer.remark.clone().unwrap_or_default();
    assert_eq!(answer.code, code, "{remark}");
    assert!(remark.contains(text), "{text:?} is not in {remark:?}");
}

#[test]
fn messages_that_cannot_be_stored_are_refused() {
    let server = Server::start(&["maxMessageSize=10000"]);
    let mut peer = server.connect();
    let illegal = response::MESSAGE_ILLEGAL;
    assert_refused(&mut peer, send_request("T", 0, &[0; 10_001], ""), illegal, "10000");
    let long = format!("k\u{1}{}\u{2}", "v".repeat(33_000));
    assert_refused(&mut peer, send_request("T", 0, b"x", &long), illegal, "propert");
    for topic in ["", " ", "no blanks", "no/slash", "../../etc", &"t".repeat(128)] {
        let answer = peer.send(topic, 0, b"x", "");
        assert_ne!(answer.code, response::SUCCESS, "{topic:?}");
        assert!(answer.remark.is_some_and(|remark| remark.contains("topic")), "{topic:?}");
    }
    assert_refused(
        &mut peer,
        send_request("SCHEDULE_TOPIC_XXXX", 0, b"x", ""),
        response::NO_PERMISSION,
        "SCHEDULE_TOPIC_XXXX",
    );
    assert_eq!(peer.send_ok("T", 0, &[0; 10_000], ""), 0);
}

#[test]
fn illegal_group_names_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"x", "");
    for group in ["", " ", "no blanks", "no/slash", &"g".repeat(121)] {
        let mut pull = Pull::of("T", 0, 0).command();
        pull.fields.set_str("consumerGroup", group);
        assert_refused(&mut peer, pull, response::INVALID_PARAMETER, "group");
        let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
            .with_body(format!("{{\"groupName\":\"{group}\"}}"));
        let answer = peer.call(create);
        assert_ne!(answer.code, response::SUCCESS, "{group:?}");
        assert!(answer.remark.is_some_and(|remark| remark.contains("group")), "{group:?}");
    }
    server.assert_serving();
}

#[test]
fn queue_ids_out_of_range_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"x", "");
    assert_refused(&mut peer, send_request("T", 99, b"x", ""), response::INVALID_PARAMETER, "99");
    let (answer, _) = peer.pull(Pull::of("T", 99, 0));
    assert_eq!(answer.code, response::INVALID_PARAMETER);
    assert!(answer.remark.is_some_and(|remark| remark.contains("99")));
    let (answer, _) = peer.pull(Pull::of("T", -1, 0));
    assert_eq!(answer.code, response::INVALID_PARAMETER);
    // Below zero the broker chooses a queue.
    let answer = peer.send("T", -1, b"x", "");
    assert_eq!(answer.code, response::SUCCESS);
}

#[test]
fn missing_and_forbidden_topics_are_refused() {
    let server = Server::start(&["autoCreateTopicEnable=false"]);
    let mut peer = server.connect();
    assert_refused(&mut peer, send_request("Missing", 0, b"x", ""), response::TOPIC_NOT_EXIST, "Missing");
    let (answer, _) = peer.pull(Pull::of("Missing", 0, 0));
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    let create = |topic, perm| {
        Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&CreateTopicRequestHeader {
            topic,
            default_topic: "TBW102",
            read_queue_nums: 4,
            write_queue_nums: 4,
            perm,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: false,
            attributes: None,
            force: Some(false),
            rpc: RpcFields::default(),
        })
    };
    assert_eq!(peer.call(create("ReadOnly", 4)).code, response::SUCCESS);
    assert_eq!(peer.call(create("WriteOnly", 2)).code, response::SUCCESS);
    assert_refused(&mut peer, send_request("ReadOnly", 0, b"x", ""), response::NO_PERMISSION, "ReadOnly");
    let (answer, _) = peer.pull(Pull::of("WriteOnly", 0, 0));
    assert_eq!(answer.code, response::NO_PERMISSION);
    assert_ne!(peer.call(create("bad name", 6)).code, response::SUCCESS);
}

#[test]
fn a_batch_that_is_no_batch_is_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for body in [&b"x"[..], &[0xff; 100], &[0, 0, 0, 200, 0, 0, 0, 0], &[0; 64]] {
        let mut command = send_request("T", 0, body, "");
        command.code = request::SEND_BATCH_MESSAGE;
        command.fields.set("m", true);
        let answer = peer.call(command);
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{body:?}: {answer:?}");
    }
    assert_eq!(peer.send_ok("T", 0, b"x", ""), 0);
}

#[test]
fn a_registration_that_expands_without_end_is_refused() {
    let server = Server::start(&[]);
    // One gigabyte of zeros in a megabyte.
    let bomb = zlib_of_zeros(1 << 30);
    let mut peer = server.connect_namesrv();
    let answer = peer.call(Command::request(request::REGISTER_BROKER).with_body(bomb.clone()).with_header(
        &RegisterBrokerRequestHeader {
            broker_name: "bomb",
            broker_addr: "127.0.0.1:1",
            cluster_name: "C",
            ha_server_addr: "127.0.0.1:2",
            broker_id: 0,
            heartbeat_timeout_millis: None,
            enable_acting_master: None,
            compressed: Some(true),
            body_crc32: Some(apogee_message::crc31(&bomb) as i32),
        },
    ));
    assert_ne!(answer.code, response::SUCCESS);
    assert!(server.resident() < 200 << 20, "{} MB", server.resident() >> 20);
    server.assert_serving();
}

fn zlib_of_zeros(length: usize) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        encoder.write_all(&zeros).expect("written");
    }
    encoder.finish().expect("compressed").into()
}

#[test]
fn offsets_of_nothing_are_answered() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let max = |queue_id| {
        Command::request(request::GET_MAX_OFFSET).with_header(&GetMaxOffsetRequestHeader {
            topic: "Nothing",
            queue_id,
            committed: None,
            rpc: RpcFields::default(),
        })
    };
    for queue in [0, 7, -5, i32::MAX] {
        let answer = peer.call(max(queue));
        assert_eq!(answer.code, response::SUCCESS);
        assert_eq!(answer.fields.get("offset"), Some("0"));
    }
}
