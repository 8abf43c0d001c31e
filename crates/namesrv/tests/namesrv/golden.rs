//! Requests recorded from clients and brokers, with the answers Apache RocketMQ 5.5.0 gave them:
//! ours must be equal, but for texts that say more here.

use std::collections::BTreeSet;
use std::path::Path;

use apogee_wire::bodies::{Body, ClusterInfo, GetBrokerMemberGroupResponseBody, KVTable, TopicList, TopicRouteData};
use apogee_wire::codes::{request as code, response};
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{settings, start};

#[derive(Deserialize)]
struct Recording {
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    scenario: String,
    request: Frame,
    response: Option<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    frame_hex: String,
}

impl Frame {
    fn command(&self) -> Command {
        let digits: Vec<u8> =
            self.frame_hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        decode(&mut digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()).expect("a whole frame")
    }
}

fn decode(buffer: &mut BytesMut) -> Option<Command> {
    let mut command = Command::default();
    frame::decode(buffer, &mut command, frame::MAX_FRAME).expect("a frame").then_some(command)
}

const FILES: [&str; 19] = [
    "-31073-UNKNOWN",
    "100-PUT_KV_CONFIG",
    "101-GET_KV_CONFIG",
    "102-DELETE_KV_CONFIG",
    "103-REGISTER_BROKER",
    "105-GET_ROUTEINFO_BY_TOPIC",
    "106-GET_BROKER_CLUSTER_INFO",
    "216-DELETE_TOPIC_IN_NAMESRV",
    "217-REGISTER_TOPIC_IN_NAMESRV",
    "219-GET_KVLIST_BY_NAMESPACE",
    "224-GET_TOPICS_BY_CLUSTER",
    "304-GET_SYSTEM_TOPIC_LIST_FROM_NS",
    "311-GET_UNIT_TOPIC_LIST",
    "312-GET_HAS_UNIT_SUB_TOPIC_LIST",
    "313-GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST",
    "318-UPDATE_NAMESRV_CONFIG",
    "319-GET_NAMESRV_CONFIG",
    "322-QUERY_DATA_VERSION",
    "901-GET_BROKER_MEMBER_GROUP",
];

/// The recorded exchanges whose scenario the filter wants, in the order they took place.
fn recorded(wanted: impl Fn(&str) -> bool) -> Vec<(String, Command, Command)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rpc");
    let mut found = Vec::new();
    for file in FILES {
        let path = folder.join(format!("{file}.json"));
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let recording: Recording = serde_json::from_slice(&text).expect("a recording");
        for exchange in recording.exchanges {
            if let Some(response) = exchange.response.filter(|_| wanted(&exchange.scenario)) {
                found.push((exchange.scenario, exchange.request.command(), response.command()));
            }
        }
    }
    found.sort_by_key(|(_, request, _)| request.opaque);
    found
}

struct Peer(TcpStream);

impl Peer {
    async fn call(&mut self, request: &Command) -> Command {
        self.0.write_all(&frame::to_bytes(request)).await.expect("sent");
        let mut buffer = BytesMut::new();
        loop {
            if let Some(response) = decode(&mut buffer) {
                return response;
            }
            assert_ne!(self.0.read_buf(&mut buffer).await.expect("received"), 0, "closed");
        }
    }
}

/// The recorded registration of the slave of `broker-w`, with nearly all topics of those days, and
/// the one of its master, made from it.
fn registrations() -> (Command, Command, Command) {
    let (_, slave, answer) = recorded(|scenario| scenario == "raw550:searchOffset.future").remove(0);
    let mut master = slave.clone();
    for (name, value) in [("brokerId", "0"), ("brokerAddr", "127.0.0.1:30911"), ("haServerAddr", "192.0.2.2:30912")] {
        master.fields.set_str(name, value);
    }
    (master, slave, answer)
}

fn assert_same(scenario: &str, request: &Command, ours: &Command, theirs: &Command) {
    let context = format!("{scenario}: {request:?}");
    assert_eq!(ours.code, theirs.code, "{context}: {:?}", ours.remark);
    assert_eq!((ours.opaque, ours.flag), (theirs.opaque, theirs.flag), "{context}");
    assert_eq!(ours.fields, theirs.fields, "{context}");
    match (request.code, ours.code) {
        (code::GET_ROUTEINFO_BY_TOPIC, response::TOPIC_NOT_EXIST) => {
            let first =
                |command: &Command| command.remark.as_deref().unwrap_or_default().lines().next().map(str::to_owned);
            assert_eq!(first(ours), first(theirs), "{context}");
        }
        // Upstream says there that it set no response code.
        (code::GET_BROKER_MEMBER_GROUP, _) => assert_eq!(ours.remark, None),
        _ => assert_eq!(ours.remark, theirs.remark, "{context}"),
    }
    macro_rules! same {
        ($body:ty) => {{
            let decoded = [ours, theirs].map(|command| <$body>::decode(&command.body).expect("a body"));
            assert_eq!(decoded[0], decoded[1], "{context}");
        }};
    }
    match request.code {
        _ if theirs.body.is_empty() => assert!(ours.body.is_empty(), "{context}"),
        code::GET_ROUTEINFO_BY_TOPIC => same!(TopicRouteData),
        code::GET_BROKER_CLUSTER_INFO => same!(ClusterInfo),
        code::GET_BROKER_MEMBER_GROUP => same!(GetBrokerMemberGroupResponseBody),
        code::GET_KVLIST_BY_NAMESPACE | code::REGISTER_BROKER => same!(KVTable),
        code::GET_TOPICS_BY_CLUSTER => {
            // Some topics came after the registration used here.
            let [ours, theirs] = [ours, theirs].map(topics);
            assert!(ours.is_subset(&theirs) && ours.len() >= 58, "{context}");
        }
        // This broker's version went on after the registration used here.
        code::QUERY_DATA_VERSION => assert!(!ours.body.is_empty()),
        _ => {
            assert_eq!(topics(ours), topics(theirs), "{context}");
            let addr = |command: &Command| TopicList::decode(&command.body).expect("a list").broker_addr;
            assert_eq!(addr(ours), addr(theirs), "{context}");
        }
    }
}

fn topics(command: &Command) -> BTreeSet<String> {
    TopicList::decode(&command.body).expect("a list").topic_list.into_iter().collect()
}

async fn replay(wanted: impl Fn(&str) -> bool, at_least: usize) {
    let running = start(settings());
    let mut peer = Peer(TcpStream::connect(running.server.local_addr()).await.expect("connected"));
    let (master, slave, answer) = registrations();
    assert_eq!(peer.call(&master).await.code, response::SUCCESS);
    let ours = peer.call(&slave).await;
    assert_eq!(ours.fields, answer.fields, "the slave learns its master");
    let exchanges = recorded(wanted);
    assert!(exchanges.len() >= at_least, "{} recorded", exchanges.len());
    for (scenario, request, theirs) in exchanges {
        // Not among the topics of the registration used here.
        if scenario == "raw550bin:maxOffset" || request.code == code::REGISTER_BROKER {
            continue;
        }
        let ours = peer.call(&request).await;
        assert_same(&scenario, &request, &ours, &theirs);
    }
}

#[tokio::test]
async fn hand_built_requests() {
    replay(|scenario| scenario.starts_with("raw550:"), 16).await;
}

#[tokio::test]
async fn hand_built_requests_in_binary_form() {
    replay(|scenario| scenario.starts_with("raw550bin:"), 16).await;
}

#[tokio::test]
async fn the_admin_tool_puts_and_deletes_values() {
    replay(
        |scenario| {
            scenario.starts_with("mqadmin550:update") && !scenario.contains("Namesrv") && !scenario.contains("Static")
        },
        4,
    )
    .await;
}

#[tokio::test]
async fn an_order_configuration_is_returned_once_there_was_one() {
    let running = start(settings());
    let mut peer = Peer(TcpStream::connect(running.server.local_addr()).await.expect("connected"));
    let (mut master, slave, answer) = registrations();
    assert!(peer.call(&master).await.body.is_empty());
    for (_, request, _) in recorded(|scenario| scenario.starts_with("mqadmin550:updateOrderConf")) {
        peer.call(&request).await;
    }
    master.opaque += 1;
    let ours = peer.call(&slave).await;
    assert_same("slave", &slave, &ours, &answer);
    assert_eq!(KVTable::decode(&peer.call(&master).await.body).expect("a table").table.len(), 0);
}

#[tokio::test]
async fn topics_that_clients_ask_for_before_they_exist() {
    let running = start(settings());
    let mut peer = Peer(TcpStream::connect(running.server.local_addr()).await.expect("connected"));
    let missing = recorded(|_| true).into_iter().filter(|(_, request, theirs)| {
        request.code == code::GET_ROUTEINFO_BY_TOPIC && theirs.code == response::TOPIC_NOT_EXIST
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.len() >= 8);
    for (scenario, request, theirs) in missing {
        assert_same(&scenario, &request, &peer.call(&request).await, &theirs);
    }
}

#[tokio::test]
async fn the_admin_tool_finds_its_settings() {
    let running = start(settings());
    let mut peer = Peer(TcpStream::connect(running.server.local_addr()).await.expect("connected"));
    for (scenario, request, theirs) in recorded(|scenario| scenario.contains("NamesrvConfig")) {
        let ours = peer.call(&request).await;
        assert_eq!(ours.code, theirs.code, "{scenario}");
        let begins = theirs.remark.as_deref().unwrap_or_default();
        assert!(ours.remark.as_deref().unwrap_or_default().starts_with(begins), "{scenario}: {:?}", ours.remark);
        let keys = |command: &Command| -> BTreeSet<String> {
            let text = String::from_utf8(command.body.to_vec()).expect("text");
            text.lines().map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect()
        };
        let (ours, theirs) = (keys(&ours), keys(&theirs));
        assert!(ours.is_superset(&theirs), "{scenario}: lacks {:?}", theirs.difference(&ours));
    }
}
