//! Sends on warm connections take no memory from the heap for each message: counted in this process, where the broker
//! runs as in production; the client beside it takes none.

#![allow(clippy::unwrap_used)] // A test.

use std::alloc::System;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::SystemClock;
use apogee_base::disk::RealDisk;
use apogee_base::settings::Settings;
use apogee_broker::RunningBroker;
use apogee_broker::settings::BrokerSettings;
use apogee_wire::codes::request;
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader};
use apogee_wire::{Command, Encoding, frame};
use bytes::BytesMut;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages of each count.
const MESSAGES: usize = 1_024;
/// Requests in flight where they are many.
const WINDOW: usize = 64;
/// Most allocations a message. One for each message would be 1; buffers and tables that serve many messages grow now and
/// then, and the broker does other things meanwhile.
const MOST: f64 = 0.5;

#[test]
fn sends_on_warm_connections_allocate_nothing_for_each_message() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let broker = runtime.block_on(async {
        let mut settings = BrokerSettings {
            listen_port: 0,
            bind_address: "127.0.0.1".into(),
            broker_ip1: "127.0.0.1".into(),
            store_path_root_dir: folder.path().to_string_lossy().into_owned(),
            mapped_file_size_commit_log: 64 << 20,
            max_hash_slot_num: 1_000,
            max_index_num: 100_000,
            ..BrokerSettings::default()
        };
        settings.set_pair("flushDiskType=ASYNC_FLUSH").unwrap();
        RunningBroker::start(settings, Arc::new(SystemClock), Arc::new(RealDisk), 1 << 30).unwrap()
    });
    let mut counted = Vec::new();
    for encoding in [Encoding::Json, Encoding::Binary] {
        for window in [1, WINDOW] {
            let mut client = Client::connect(broker.local_addr(), encoding);
            // The tables of the topic and the connection's buffers.
            client.send(window);
            client.send(window);
            let region = Region::new(HEAP);
            client.send(window);
            let heap = region.change();
            let a_message = (heap.allocations + heap.reallocations) as f64 / MESSAGES as f64;
            counted.push((encoding, window, a_message));
        }
    }
    runtime.block_on(broker.stop(Duration::from_secs(5))).unwrap();
    let too_many: Vec<_> = counted.iter().filter(|(_, _, a_message)| *a_message > MOST).collect();
    assert!(
        too_many.is_empty(),
        "allocations a message, by encoding and requests in flight: {too_many:?}; bench/count-send --profile FILE tells \
         where they are"
    );
}

/// A producer that was told beforehand all that it sends.
struct Client {
    reader: BufReader<TcpStream>,
    /// All requests of a count, and where each ends.
    requests: BytesMut,
    ends: Vec<usize>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr, encoding: Encoding) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (mut requests, mut ends) = (BytesMut::new(), vec![0]);
        for number in 0..MESSAGES {
            frame::encode(&send_request(number, encoding), &mut requests);
            ends.push(requests.len());
        }
        Self { reader: BufReader::new(stream), requests, ends, answer: vec![0; 4096] }
    }

    /// Sends all, so many at a time, and reads the answers.
    fn send(&mut self, window: usize) {
        for first in (0..MESSAGES).step_by(window) {
            let requests = &self.requests[self.ends[first]..self.ends[first + window]];
            self.reader.get_mut().write_all(requests).unwrap();
            for _ in 0..window {
                self.take_answer();
            }
        }
    }

    fn take_answer(&mut self) {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length).unwrap();
        let answer = &mut self.answer[..u32::from_be_bytes(length) as usize];
        self.reader.read_exact(answer).unwrap();
        let stored = match answer[0] {
            0 => answer.windows(8).any(|text| text == b"\"code\":0"),
            // Header length, then the code in two bytes.
            _ => answer[4..6] == [0, 0],
        };
        assert!(stored, "refused: {}", String::from_utf8_lossy(answer));
    }
}

fn send_request(number: usize, encoding: Encoding) -> Command {
    let properties = format!("UNIQ_KEY\u{1}7F00000100002A139F1C{number:012X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}a\u{2}");
    let header = SendMessageRequestHeader {
        producer_group: "producers",
        topic: "warm",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: (number % 4) as i32,
        sys_flag: 0,
        born_timestamp: 1_763_000_000_000,
        flag: 0,
        properties: Some(&properties),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: None,
        broker_name: Some("broker"),
        rpc: RpcFields::default(),
    };
    let mut command = Command::request(request::SEND_MESSAGE_V2).with_body(vec![b'x'; 1024]);
    header.encode_v2(&mut command.fields);
    (command.opaque, command.encoding) = (number as i32, encoding);
    command
}
