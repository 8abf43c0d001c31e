//! Static topics: what the tools of upstream send and ask for, and what clients then find.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, LogicQueueMappingItem, TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping,
    TopicQueueMappingDetail, TopicRouteData,
};
use apogee_wire::codes::{request, response};
use common::{Peer, Pull, Server};

fn ask(peer: &mut Peer, code: i32, fields: &[(&str, &str)], body: Vec<u8>, expected: i32) -> Command {
    let mut command = Command::request(code).with_body(body);
    fields.iter().for_each(|(name, value)| command.fields.set_str(name, value));
    let answer = peer.call(command);
    assert_eq!(answer.code, expected, "{code} {fields:?} {:?}", answer.remark);
    answer
}

/// Of four queues the second and the fourth are here.
fn mapping(epoch: i64) -> TopicQueueMappingDetail {
    let stay = |queue_id| LogicQueueMappingItem { bname: Some("broker-a".into()), queue_id, ..Default::default() };
    TopicQueueMappingDetail {
        bname: Some("broker-a".into()),
        epoch,
        hosted_queues: [(1, vec![stay(0)]), (3, vec![stay(1)])].into(),
        topic: Some("T".into()),
        total_queues: 4,
        ..Default::default()
    }
}

fn create(peer: &mut Peer, mapping: &TopicQueueMappingDetail, expected: i32) {
    let fields = [
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("force", "false"),
    ];
    ask(peer, request::UPDATE_AND_CREATE_STATIC_TOPIC, &fields, mapping.encode(), expected);
}

fn route(server: &Server, expected: i32) -> TopicRouteData {
    let topic = [("topic", "T"), ("acceptStandardJsonOnly", "true")];
    let mut peer = server.connect_namesrv();
    let answer = ask(&mut peer, request::GET_ROUTEINFO_BY_TOPIC, &topic, Vec::new(), expected);
    TopicRouteData::decode(&answer.body).unwrap_or_default()
}

#[test]
fn a_static_topic_is_seen_everywhere_and_served_by_its_global_queues() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    create(
        &mut peer,
        &TopicQueueMappingDetail { bname: Some("other".into()), ..mapping(7) },
        response::INVALID_PARAMETER,
    );
    ask(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "T")], Vec::new(), response::TOPIC_NOT_EXIST);
    create(&mut peer, &mapping(7), response::SUCCESS);
    create(&mut peer, &mapping(6), response::INVALID_PARAMETER);
    create(&mut peer, &mapping(8), response::SUCCESS);

    let told = route(&server, response::SUCCESS).topic_queue_mapping_by_broker.expect("a mapping");
    let told = &told["broker-a"];
    assert_eq!((told.epoch, told.total_queues, &told.curr_id_map), (8, 4, &[(1, 0), (3, 1)].into()));

    let sent = peer.send("T", 3, b"x", "");
    assert_eq!(sent.code, response::SUCCESS, "{:?}", sent.remark);
    assert_eq!(peer.pull(Pull::of("T", 3, 0)).0.code, response::SUCCESS);
    assert_eq!(peer.pull(Pull::of("T", 1, 0)).0.code, response::PULL_NOT_FOUND, "it is in the other queue");
    let max = |peer: &mut Peer, queue, logical, expected| {
        let fields = [("topic", "T"), ("queueId", queue), ("lo", logical)];
        ask(peer, request::GET_MAX_OFFSET, &fields, Vec::new(), expected).fields.get("offset").map(str::to_owned)
    };
    assert_eq!(max(&mut peer, "3", "true", response::SUCCESS).as_deref(), Some("1"));
    assert_eq!(max(&mut peer, "1", "false", response::SUCCESS).as_deref(), Some("1"), "the queue 1 of this broker");
    max(&mut peer, "2", "true", response::NOT_LEADER_FOR_QUEUE);
    assert_eq!(peer.send("T", 2, b"x", "").code, response::NOT_LEADER_FOR_QUEUE);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let told = ask(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "T")], Vec::new(), response::SUCCESS);
    let told = TopicConfigAndQueueMapping::decode(&told.body).expect("a topic");
    assert_eq!(told.mapping_detail.as_ref().map(|detail| &detail.hosted_queues), Some(&mapping(8).hosted_queues));
    let told = ask(&mut peer, request::GET_ALL_TOPIC_CONFIG, &[], Vec::new(), response::SUCCESS);
    let told = TopicConfigAndMappingSerializeWrapper::decode(&told.body).expect("topics");
    assert_eq!(told.topic_queue_mapping_detail_map.into_keys().collect::<Vec<_>>(), ["T"]);
    assert!(route(&server, response::SUCCESS).topic_queue_mapping_by_broker.is_some());
    assert_eq!(peer.pull(Pull::of("T", 3, 0)).0.code, response::SUCCESS);

    ask(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], Vec::new(), response::SUCCESS);
    let mut namesrv = server.connect_namesrv();
    ask(&mut namesrv, request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "T")], Vec::new(), response::SUCCESS);
    route(&server, response::TOPIC_NOT_EXIST);
    assert_eq!(peer.send("T", 2, b"x", "").code, response::SUCCESS, "a usual topic of that name");
    assert!(route(&server, response::SUCCESS).topic_queue_mapping_by_broker.is_none());
}
