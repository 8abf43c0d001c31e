//! A broker on a simulated disk, and connections to it: for tests of handlers.

use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::SystemClock;
use apogee_base::disk::SimDisk;
use apogee_net::{Conn, Limits, Tcp, Unasked, connect};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PullMessageRequestHeader, RpcFields, SendMessageRequestHeader, SendMessageResponseHeader};
use bytes::Bytes;

use crate::broker::{Broker, RunningBroker};
use crate::replication::Placement;
use crate::settings::BrokerSettings;

/// How long anything may take before a test counts it as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that runs with a port of its own.
pub(crate) struct Running {
    pub broker: Arc<Broker>,
    running: RunningBroker,
}

impl Running {
    /// Starts with little memory or much, which decides what is cold.
    pub async fn start(memory: u64, settings: impl FnOnce(&mut BrokerSettings)) -> Self {
        Self::start_on(SimDisk::new(1), memory, settings)
    }

    /// Starts on what a disk has.
    pub fn start_on(disk: SimDisk, memory: u64, settings: impl FnOnce(&mut BrokerSettings)) -> Self {
        Self::start_as(disk, Placement::default(), memory, settings)
    }

    /// Starts on what a disk has, as a controller decided.
    pub fn start_as(
        disk: SimDisk,
        placement: Placement,
        memory: u64,
        settings: impl FnOnce(&mut BrokerSettings),
    ) -> Self {
        let mut wanted = BrokerSettings {
            listen_port: 0,
            bind_address: "127.0.0.1".into(),
            broker_ip1: "127.0.0.1".into(),
            store_path_root_dir: "/store".into(),
            mapped_file_size_commit_log: 1 << 20,
            max_hash_slot_num: 100,
            max_index_num: 400,
            ..BrokerSettings::default()
        };
        settings(&mut wanted);
        let running =
            RunningBroker::start_as(wanted, placement, Arc::new(SystemClock), Arc::new(disk), memory).unwrap();
        Self { broker: running.broker(), running }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.running.local_addr().to_string()
    }

    pub async fn connect(&self) -> Arc<Conn> {
        let address = self.running.local_addr().to_string();
        connect(&Tcp, &address, Arc::new(Unasked), Limits::default(), PATIENCE).await.unwrap()
    }

    pub async fn stop(self) {
        self.running.stop(PATIENCE).await.unwrap();
    }
}

/// The answer to a request.
pub(crate) async fn call(conn: &Conn, request: Command) -> Command {
    conn.call(request, PATIENCE).await.unwrap()
}

/// A request to send a message.
pub(crate) fn send_request(topic: &str, body: &[u8], properties: &str) -> Command {
    let mut request = Command::request(request::SEND_MESSAGE_V2).with_body(Bytes::copy_from_slice(body));
    let header = SendMessageRequestHeader {
        producer_group: "P",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: Some(properties),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: None,
        broker_name: None,
        rpc: RpcFields::default(),
    };
    header.encode_v2(&mut request.fields);
    request
}

/// A pull that is answered at once.
pub(crate) fn pull_header(topic: &str, offset: i64) -> PullMessageRequestHeader<'_> {
    PullMessageRequestHeader {
        consumer_group: "G",
        topic,
        lite_topic: None,
        queue_id: 0,
        queue_offset: offset,
        max_msg_nums: 32,
        // It brings its subscription.
        sys_flag: 4,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
        rpc: RpcFields::default(),
    }
}

/// Sends a message; returns its queue offset.
pub(crate) async fn send(conn: &Conn, topic: &str, body: &[u8], properties: &str) -> i64 {
    let answer = call(conn, send_request(topic, body, properties)).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.header::<SendMessageResponseHeader>().unwrap().queue_offset
}
