//! What clients, brokers and operators see of a name server, over a real socket.

use std::sync::Arc;

use apogee_namesrv::NamesrvSettings;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, DataVersion, KVTable, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::*;

use crate::{Client, PATIENCE, eventually, settings, start, start_on};

fn register(id: i64, addr: &'static str, body: impl Into<bytes::Bytes>) -> Command {
    let header = RegisterBrokerRequestHeader {
        broker_name: "a",
        broker_addr: addr,
        cluster_name: "C",
        ha_server_addr: "ha:1",
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(true),
        compressed: Some(false),
        body_crc32: None,
    };
    Command::request(request::REGISTER_BROKER).with_header(&header).with_body(body.into())
}

/// A registration's body with topics `t0`, `t1`, ...
fn topics(count: usize, counter: i64) -> String {
    let topic =
        |i| format!(r#""t{i}":{{"perm":6,"readQueueNums":4,"topicName":"t{i}","topicSysFlag":0,"writeQueueNums":4}}"#);
    let table: Vec<_> = (0..count).map(topic).collect();
    format!(
        r#"{{"filterServerList":[],"topicConfigSerializeWrapper":{{"dataVersion":{{"counter":{counter},"stateVersion":0,"timestamp":1}},"topicConfigTable":{{{}}}}}}}"#,
        table.join(",")
    )
}

fn route(topic: &str) -> Command {
    let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: None, rpc: RpcFields::default() };
    Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header)
}

fn remark(answer: &Command) -> &str {
    answer.remark.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_route_lives_as_long_as_its_brokers_connection() {
    let running = start(settings());
    let (broker, client) = (Client::connect(&running).await, Client::connect(&running).await);
    let missing = client.call(route("t0")).await;
    assert_eq!(missing.code, response::TOPIC_NOT_EXIST);
    assert!(remark(&missing).starts_with("No topic route info in name server for the topic: t0\nNo broker is"));

    assert_eq!(broker.call(register(0, "m:1", topics(2, 1))).await.code, response::SUCCESS);
    let found = client.call(route("t0")).await;
    let found = TopicRouteData::decode(&found.body).expect("a route");
    assert_eq!(found.broker_datas[0].broker_addrs.get(&0).map(String::as_str), Some("m:1"));

    broker.conn.close("the broker dies");
    eventually("the broker is gone", || running.server.routes().topic_count() == 0).await;
    running.server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_silent_broker_is_dropped_and_its_connection_closed() {
    let running = start(settings());
    let broker = Client::connect(&running).await;
    broker.call(register(0, "m:1", topics(2, 1))).await;
    running.clock.advance(119_000);
    broker.call(register(0, "m:1", topics(2, 1))).await;
    running.clock.advance(119_000);
    let heartbeat = BrokerHeartbeatRequestHeader {
        cluster_name: "C",
        broker_addr: "m:1",
        broker_name: "a",
        broker_id: None,
        epoch: None,
        max_offset: None,
        confirm_offset: None,
        heartbeat_timeout_mills: None,
        election_priority: None,
    };
    broker.call(Command::request(request::BROKER_HEARTBEAT).with_header(&heartbeat)).await;
    running.clock.advance(119_000);
    let client = Client::connect(&running).await;
    assert_eq!(client.call(route("t1")).await.code, response::SUCCESS, "two signs of life kept it");
    running.clock.advance(2_000);
    eventually("the connection is closed", || !broker.conn.is_open()).await;
    assert_eq!(client.call(route("t1")).await.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn clients_are_sent_on_and_brokers_stay() {
    let running = start(settings());
    let (broker, client) = (Client::connect(&running).await, Client::connect(&running).await);
    broker.call(register(0, "m:1", topics(2, 1))).await;
    assert_eq!(client.call(route("t0")).await.code, response::SUCCESS);
    assert_eq!(running.server.send_on("somebody else knows more"), 1);
    eventually("the client's connection is closed", || !client.conn.is_open()).await;
    // Who knows nobody else comes back, and finds what was there.
    let again = Client::connect(&running).await;
    assert_eq!(again.call(route("t0")).await.code, response::SUCCESS);
    assert!(broker.conn.is_open());
}

#[tokio::test]
async fn a_registration_of_megabytes_goes_in_and_costs_nothing_again() {
    let running = start(settings());
    let (broker, client) = (Client::connect(&running).await, Client::connect(&running).await);
    let body = topics(50_000, 1);
    assert!(body.len() > 4 << 20);
    assert_eq!(broker.call(register(0, "m:1", body.clone())).await.code, response::SUCCESS);
    assert_eq!(running.server.routes().topic_count(), 50_000);
    assert_eq!(client.call(route("t49999")).await.code, response::SUCCESS);
    // The same version and size again, this time without a readable topic in it: not looked at.
    let mut unread = body.into_bytes();
    let tail = unread.len() - 1_000_000;
    unread[tail..].fill(b'#');
    assert_eq!(broker.call(register(0, "m:1", unread.clone())).await.code, response::SUCCESS);
    unread.push(b'#');
    assert_eq!(broker.call(register(0, "m:1", unread)).await.code, response::SYSTEM_ERROR);
    assert_eq!(running.server.routes().topic_count(), 50_000);
}

#[tokio::test]
async fn a_compressed_registration_and_its_checksum() {
    let running = start(settings());
    let broker = Client::connect(&running).await;
    let golden = "78da636060b0a8564ace2fcd2b492d52b232d7512a2e492c490d4b2d2acecccf53b232d0512ac9cc4d050ae6162859199a1b20\
                  402d03030313108b85182a9800a19942b0a79fbb8f6b7c88a3bb423548563bc448c148c11828872ca30434ae38313d55afa4b2\
                  2055c94ac9cdd3cd5f096c58742c906400003fab24e1";
    let body: Vec<u8> = hex(golden);
    let with = |crc: i32, body: &[u8]| {
        let mut request = register(0, "m:1", body.to_vec());
        request.fields.set("compressed", true);
        request.fields.set("bodyCrc32", crc);
        request
    };
    let crc = apogee_message::crc31(&body) as i32;
    let refused = broker.call(with(crc + 1, &body)).await;
    assert_eq!(refused.code, response::SYSTEM_ERROR);
    assert!(remark(&refused).starts_with("crc32 not match"), "{}", remark(&refused));
    let cut = broker.call(with(apogee_message::crc31(&body[..50]) as i32, &body[..50])).await;
    assert_eq!(cut.code, response::SYSTEM_ERROR);

    assert_eq!(broker.call(with(crc, &body)).await.code, response::SUCCESS);
    let found = TopicRouteData::decode(&broker.call(route("T2")).await.body).expect("a route");
    let queues = &found.queue_datas[0];
    assert_eq!((queues.read_queue_nums, queues.write_queue_nums, queues.perm), (2, 3, 4));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

#[tokio::test]
async fn brokers_are_told_of_the_lowest_id() {
    let running = start(NamesrvSettings { notify_min_broker_id_changed: true, ..settings() });
    let (master, mut slave) = (Client::connect(&running).await, Client::connect(&running).await);
    slave.call(register(1, "s:1", topics(2, 1))).await;
    master.call(register(0, "m:1", topics(2, 1))).await;
    let told = slave.requests.recv().await.expect("a notice");
    assert_eq!(told.code, request::NOTIFY_MIN_BROKER_ID_CHANGE);
    assert!(told.is_oneway());
    let fields: Vec<_> = told.fields.iter().collect();
    assert_eq!(fields, [("minBrokerId", "0"), ("minBrokerAddr", "m:1"), ("haBrokerAddr", "ha:1")]);
    master.conn.close("the master dies");
    let told = slave.requests.recv().await.expect("a notice");
    let fields: Vec<_> = told.fields.iter().collect();
    assert_eq!(fields, [("minBrokerId", "1"), ("minBrokerAddr", "s:1"), ("offlineBrokerAddr", "m:1")]);
}

#[tokio::test]
async fn the_key_value_configuration_survives_a_restart() {
    let running = start(NamesrvSettings { order_message_enable: true, ..settings() });
    let client = Client::connect(&running).await;
    let put = PutKVConfigRequestHeader { namespace: "ORDER_TOPIC_CONFIG", key: "t0", value: "a:4" };
    assert_eq!(client.call(Command::request(request::PUT_KV_CONFIG).with_header(&put)).await.code, 0);
    let registered = client.call(register(0, "m:1", topics(2, 1))).await;
    let table = KVTable::decode(&registered.body).expect("the order configuration").table;
    assert_eq!(table.get("t0").map(String::as_str), Some("a:4"));
    let found = TopicRouteData::decode(&client.call(route("t0")).await.body).expect("a route");
    assert_eq!(found.order_topic_conf.as_deref(), Some("a:4"));
    running.server.stop(PATIENCE).await;

    running.disk.crash();
    let again = start_on(running.disk, settings());
    let client = Client::connect(&again).await;
    let get = GetKVConfigRequestHeader { namespace: "ORDER_TOPIC_CONFIG", key: "t0" };
    let found = client.call(Command::request(request::GET_KV_CONFIG).with_header(&get)).await;
    assert_eq!(found.fields.get("value"), Some("a:4"));
}

#[tokio::test]
async fn settings_change_by_request() {
    let running = start(settings());
    let client = Client::connect(&running).await;
    let all = || Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    assert_eq!(client.call(all()).await.code, response::SUCCESS);
    let update = |text: &'static str| Command::request(request::UPDATE_NAMESRV_CONFIG).with_body(text);
    assert_eq!(client.call(update("enableAllTopicList=false\n")).await.code, response::SUCCESS);
    let disabled = client.call(all()).await;
    assert_eq!(disabled.code, response::SYSTEM_ERROR);
    assert!(remark(&disabled).contains("enableAllTopicList=false"));
    let closed = client.call(update("kvConfigPath=/x\n")).await;
    assert_eq!(closed.code, response::NO_PERMISSION);
    let text = client.call(Command::request(request::GET_NAMESRV_CONFIG)).await.body;
    let text = std::str::from_utf8(&text).expect("text");
    assert!(
        text.contains("enableAllTopicList=false\n") && text.contains("kvConfigPath=conf/kvConfig.json\n"),
        "{text}"
    );
}

#[tokio::test]
async fn routes_wait_for_brokers_where_that_is_wanted() {
    let running = start(NamesrvSettings { need_wait_for_service: true, wait_seconds_for_service: 45, ..settings() });
    let client = Client::connect(&running).await;
    client.call(register(0, "m:1", topics(2, 1))).await;
    let early = client.call(route("t0")).await;
    assert_eq!(early.code, response::SYSTEM_ERROR);
    assert!(remark(&early).starts_with("name server not ready"));
    running.clock.advance(45_000);
    assert_eq!(client.call(route("t0")).await.code, response::SUCCESS);
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_route() {
    for waits in [false, true] {
        let running = start(NamesrvSettings { need_wait_for_service: waits, ..settings() });
        let client = Client::connect(&running).await;
        client.call(register(0, "m:1", topics(2, 1))).await;
        running.clock.advance(-3_600_000);
        assert_eq!(client.call(route("t0")).await.code, response::SUCCESS);
    }
}

#[tokio::test]
async fn a_data_version_is_compared_and_is_a_sign_of_life() {
    let running = start(settings());
    let broker = Client::connect(&running).await;
    broker.call(register(0, "m:1", topics(2, 7))).await;
    let header =
        QueryDataVersionRequestHeader { broker_name: "a", broker_addr: "m:1", cluster_name: "C", broker_id: 0 };
    let query = |counter| {
        let version = DataVersion { counter, state_version: 0, timestamp: 1 };
        Command::request(request::QUERY_DATA_VERSION).with_header(&header).with_body(version.encode())
    };
    running.clock.advance(119_000);
    assert_eq!(broker.call(query(7)).await.fields.get("changed"), Some("false"));
    running.clock.advance(119_000);
    let changed = broker.call(query(8)).await;
    assert_eq!(changed.fields.get("changed"), Some("true"));
    assert_eq!(DataVersion::decode(&changed.body).expect("the version known").counter, 7);
}

#[tokio::test]
async fn bad_requests_get_an_answer_that_says_what_is_wrong() {
    let running = start(settings());
    let client = Client::connect(&running).await;
    for (bad, code, text) in [
        (Command::request(99_999), response::REQUEST_CODE_NOT_SUPPORTED, " request type 99999 not supported"),
        (Command::request(request::GET_ROUTEINFO_BY_TOPIC), response::SYSTEM_ERROR, "lacks the field `topic`"),
        (Command::request(request::PUT_KV_CONFIG), response::SYSTEM_ERROR, "lacks the field `namespace`"),
        (register(0, "m:1", "{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":[7"), response::SYSTEM_ERROR, ""),
        (register(0, "", topics(2, 1)), response::SYSTEM_ERROR, "the broker's address is empty"),
        (
            Command::request(request::UPDATE_NAMESRV_CONFIG).with_body("enableTopicLst=true"),
            response::SYSTEM_ERROR,
            "did you mean",
        ),
    ] {
        let answer = client.call(bad.clone()).await;
        assert_eq!(answer.code, code, "{bad:?}");
        assert!(remark(&answer).contains(text) && !remark(&answer).is_empty(), "{}", remark(&answer));
    }
    assert_eq!(running.server.routes().topic_count(), 0);
    assert!(Arc::strong_count(&client.conn) > 0 && client.conn.is_open(), "the connection goes on");
}
