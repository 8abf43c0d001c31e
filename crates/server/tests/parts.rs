//! What tools ask of parts that other brokers have: slaves, RocksDB, lite topics; and modes of groups.

mod common;

use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, GetBrokerLiteInfoResponseBody, MessageRequestMode, MessageRequestModeSerializeWrapper,
    SetMessageRequestModeRequestBody, SubscriptionGroupConfig,
};
use apogee_wire::codes::{request, response};
use common::{PATIENCE, Peer, Server};

fn call(peer: &mut Peer, code: i32, fields: &[(&str, &str)], body: Vec<u8>, expected: i32) -> Command {
    let mut command = Command::request(code).with_body(body);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    let answer = peer.call(command);
    assert_eq!(answer.code, expected, "{code} {fields:?} {:?}", answer.remark);
    answer
}

#[test]
fn what_is_not_here_is_answered_as_upstream_answers_it() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    // What is created after the first file was written is in its journal only.
    let file = server.data.join("store/config/topics.json");
    let file = || std::fs::read_to_string(&file).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    while file().is_empty() {
        assert!(Instant::now() < deadline, "no file of topics");
        std::thread::sleep(Duration::from_millis(10));
    }
    peer.send_ok("T", 0, b"x", "");
    let group = SubscriptionGroupConfig::new("G").encode();
    call(&mut peer, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group, response::SUCCESS);
    let mut ask = |code, fields: &[(&str, &str)], expected| call(&mut peer, code, fields, Vec::new(), expected);

    let head = ask(request::EXCHANGE_BROKER_HA_INFO, &[], response::SUCCESS).fields;
    assert_eq!(head.get("masterAddress"), Some(&*server.broker.to_string()));
    assert_eq!(head.get("masterFlushOffset"), Some("0"), "the log's end at the start, not now");
    ask(request::RESET_MASTER_FLUSH_OFFSET, &[("masterFlushOffset", "0")], response::SUCCESS);
    ask(request::RESET_MASTER_FLUSH_OFFSET, &[("masterFlushOffset", "x")], response::INVALID_PARAMETER);
    let answer = ask(request::GET_BROKER_EPOCH_CACHE, &[], response::SYSTEM_ERROR);
    assert_eq!(answer.remark.as_deref(), Some("this request only for controllerMode "));

    let fields = [("topic", "T"), ("checkStoreTime", "0")];
    let answer = ask(request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, &fields, response::SUCCESS);
    assert_eq!(&answer.body[..], br#"{"checkStatus":2}"#);
    assert!(!file().contains("\"T\""), "{}", file());
    let answer = ask(request::EXPORT_ROCKSDB_CONFIG_TO_JSON, &[("configType", "topics;")], response::SUCCESS);
    assert_eq!(answer.remark.as_deref(), Some("export done."));
    assert!(file().contains("\"T\""), "{}", file());
    ask(request::EXPORT_ROCKSDB_CONFIG_TO_JSON, &[("configType", "dreams")], response::INVALID_PARAMETER);
    ask(request::SWITCH_TIMER_ENGINE, &[("E_T", "F")], response::SUCCESS);
    ask(request::SWITCH_TIMER_ENGINE, &[("E_T", "R")], response::SYSTEM_ERROR);
    ask(request::SWITCH_TIMER_ENGINE, &[], response::SYSTEM_ERROR);
    ask(request::POP_ROLLBACK, &[], response::SUCCESS);

    let answer = ask(request::GET_BROKER_LITE_INFO, &[], response::SUCCESS);
    let info = GetBrokerLiteInfoResponseBody::decode(&answer.body).expect("figures");
    assert_eq!((info.cq_table_size, info.current_lmq_num, info.store_type.as_deref()), (1, 0, Some("default")));
    ask(request::GET_PARENT_TOPIC_INFO, &[("topic", "T")], response::INVALID_PARAMETER);
    ask(request::GET_PARENT_TOPIC_INFO, &[("topic", "U")], response::TOPIC_NOT_EXIST);
    ask(request::GET_LITE_TOPIC_INFO, &[("parentTopic", "T"), ("liteTopic", "l")], response::INVALID_PARAMETER);
    ask(request::GET_LITE_CLIENT_INFO, &[("parentTopic", "T"), ("group", "G")], response::INVALID_PARAMETER);
    let answer = ask(request::GET_LITE_GROUP_INFO, &[("group", "G")], response::INVALID_PARAMETER);
    assert_eq!(answer.remark.as_deref(), Some("Group [G] is not a LITE group."));
    ask(request::TRIGGER_LITE_DISPATCH, &[("group", "H")], response::SUBSCRIPTION_GROUP_NOT_EXIST);
}

#[test]
fn a_mode_is_kept_for_those_who_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"x", "");
    let mode = |topic: &str, group: &str| {
        let (topic, consumer_group) = (Some(topic.to_owned()), Some(group.to_owned()));
        SetMessageRequestModeRequestBody {
            consumer_group,
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 3,
            topic,
        }
        .encode()
    };
    let set = request::SET_MESSAGE_REQUEST_MODE;
    call(&mut peer, set, &[], mode("T", "G"), response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let group = SubscriptionGroupConfig::new("G").encode();
    call(&mut peer, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group, response::SUCCESS);
    call(&mut peer, set, &[], mode("U", "G"), response::TOPIC_NOT_EXIST);
    call(&mut peer, set, &[], mode("%RETRY%G", "G"), response::NO_PERMISSION);
    call(&mut peer, set, &[], b"{".to_vec(), response::INVALID_PARAMETER);
    call(&mut peer, set, &[], mode("T", "G"), response::SUCCESS);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let kept = call(&mut server.connect(), request::GET_ALL_MESSAGE_REQUEST_MODE, &[], Vec::new(), response::SUCCESS);
    let kept = MessageRequestModeSerializeWrapper::decode(&kept.body).expect("modes").message_request_mode_map;
    assert_eq!((kept["T"]["G"].mode, kept["T"]["G"].pop_share_queue_num), (MessageRequestMode::Pop, 3));
}
