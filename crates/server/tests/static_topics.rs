//! Static topics: what the tools of upstream send and ask for, and what clients then find.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ConsumerData, HeartbeatData, LogicQueueMappingItem, MessageModel, MessageRequestMode,
    QueryAssignmentRequestBody, QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
    TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping, TopicQueueMappingDetail, TopicRouteData,
};
use apogee_wire::codes::{request, response};
use common::pop::{Pop, has_messages};
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

/// The fourth queue has moved to another broker.
fn moved(epoch: i64) -> TopicQueueMappingDetail {
    let stay = |broker: &str, queue_id, generation, logic_offset| LogicQueueMappingItem {
        bname: Some(broker.into()),
        queue_id,
        generation,
        logic_offset,
        ..Default::default()
    };
    let mut mapping = mapping(epoch);
    mapping.hosted_queues.insert(3, vec![stay("broker-a", 1, 0, 0), stay("broker-b", 0, 1, 100)]);
    mapping
}

const T: Pop<'_> = Pop { most: 1, ..Pop::of("T") };

#[test]
fn it_is_popped_by_the_queues_of_the_broker_itself() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    create(&mut peer, &mapping(7), response::SUCCESS);
    for (queue, body) in [(3, "a"), (3, "b"), (1, "c")] {
        assert_eq!(peer.send("T", queue, body.as_bytes(), "").code, response::SUCCESS);
    }
    let mut pop = |queue: i32| {
        let deadline = Instant::now() + common::PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing in queue {queue}");
            if let Some(popped) = (Pop { queue, ..T }).by(&mut peer).pop() {
                return popped;
            }
        }
    };
    let (first, other) = (pop(1), pop(0));
    assert_eq!((&*first.body, first.queue, first.offset), ("a", 1, 0));
    assert_eq!((&*other.body, other.queue, other.offset), ("c", 0, 0));
    for queue in [2, 3] {
        assert_eq!(peer.call(Pop { queue, ..T }.command()).code, response::INVALID_PARAMETER, "a global queue");
        assert_eq!(peer.call(Pop { queue, ..T }.notification()).code, response::INVALID_PARAMETER);
    }
    let mut is_some_left = |queue| has_messages(&peer.call(Pop { queue, ..T }.notification()));
    assert!(is_some_left(1) && is_some_left(-1) && !is_some_left(0));
    assert_eq!(other.change(&mut peer, 0, false).code, response::SUCCESS);
    assert_eq!(first.ack(&mut peer).code, response::SUCCESS);

    // A queue that moves away leaves what it had.
    create(&mut peer, &moved(8), response::SUCCESS);
    assert_eq!(peer.send("T", 3, b"x", "").code, response::NOT_LEADER_FOR_QUEUE);
    let mut left = Vec::new();
    let deadline = Instant::now() + common::PATIENCE;
    while left.len() < 2 {
        assert!(Instant::now() < deadline, "only {left:?}");
        for popped in (Pop { poll: 500, ..T }).by(&mut peer) {
            assert_eq!(popped.ack(&mut peer).code, response::SUCCESS);
            left.push((popped.body, popped.times));
        }
    }
    left.sort_unstable();
    assert_eq!(left, [("b".to_owned(), 0), ("c".to_owned(), 1)]);
    assert!(T.by(&mut peer).is_empty());
}

#[test]
fn a_group_pops_it_where_its_queues_are() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    create(&mut peer, &mapping(7), response::SUCCESS);
    let group = ConsumerData { group_name: "G".into(), ..ConsumerData::default() };
    let beat = HeartbeatData { client_id: "c".into(), consumer_data_set: vec![group], ..HeartbeatData::default() };
    ask(&mut peer, request::HEART_BEAT, &[], beat.encode(), response::SUCCESS);
    let question = QueryAssignmentRequestBody {
        client_id: Some("c".into()),
        consumer_group: Some("G".into()),
        message_model: Some(MessageModel::Clustering),
        strategy_name: Some("AVG".into()),
        topic: Some("T".into()),
    };
    let mut assigned = |mode: MessageRequestMode| {
        let set = SetMessageRequestModeRequestBody {
            consumer_group: Some("G".into()),
            mode,
            pop_share_queue_num: 0,
            topic: Some("T".into()),
        };
        ask(&mut peer, request::SET_MESSAGE_REQUEST_MODE, &[], set.encode(), response::SUCCESS);
        let answer = ask(&mut peer, request::QUERY_ASSIGNMENT, &[], question.encode(), response::SUCCESS);
        let body = QueryAssignmentResponseBody::decode(&answer.body).expect("a body");
        let assigned = body.message_queue_assignments.into_iter().flatten().map(|one| {
            let queue = one.message_queue.expect("a queue");
            (queue.broker_name, queue.queue_id, one.mode == MessageRequestMode::Pop)
        });
        assigned.collect::<BTreeSet<_>>()
    };
    let deadline = Instant::now() + common::PATIENCE;
    while assigned(MessageRequestMode::Pop) != [("broker-a".to_owned(), -1, true)].into() {
        // The name server may not know the topic yet.
        assert!(Instant::now() < deadline, "{:?}", assigned(MessageRequestMode::Pop));
        std::thread::sleep(Duration::from_millis(50));
    }
    if !common::oracle::is_wanted() {
        let queues = (0..4).map(|id| ("__syslo__global__".to_owned(), id, false));
        assert_eq!(assigned(MessageRequestMode::Pull), queues.collect(), "by their global numbers");
    }
}
