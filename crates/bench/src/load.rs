//! Connections that create topics and send messages, many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apogee_net::{Conn, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{CreateTopicRequestHeader, RpcFields, SendMessageRequestHeader};
use bytes::Bytes;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Steps through the queues so that those next to each other in time are far apart.
const STRIDE: u64 = 7_368_787;

/// Connections to a broker.
pub struct Load {
    conns: Vec<Arc<Conn>>,
    in_flight: usize,
}

struct Silent;

impl Service for Silent {
    fn request(&self, _: &Arc<Conn>, _: &Command) {}
}

impl Load {
    /// Connects so many times, each connection for so many calls at a time.
    pub async fn connect(address: &str, connections: usize, in_flight: usize) -> Result<Self, String> {
        let mut conns = Vec::new();
        for _ in 0..connections {
            let conn = connect(address, Arc::new(Silent), Limits::default(), PATIENCE).await;
            conns.push(conn.map_err(|error| error.to_string())?);
        }
        Ok(Self { conns, in_flight })
    }

    /// Creates topics `<prefix>0`, `<prefix>1` and so on as administrators do; returns how long it took.
    pub async fn create(&self, prefix: &str, topics: u64, queues: i32) -> Result<Duration, String> {
        let prefix = prefix.to_owned();
        // One at a time on each connection: what clients of administrators do.
        self.all(topics, 1, move |number| {
            let topic = format!("{prefix}{number}");
            Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&CreateTopicRequestHeader {
                topic: &topic,
                default_topic: "TBW102",
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm: 6,
                topic_filter_type: "SINGLE_TAG",
                topic_sys_flag: Some(0),
                order: false,
                attributes: None,
                force: None,
                rpc: RpcFields::default(),
            })
        })
        .await
    }

    /// Sends messages to all queues of topics in turn; returns how long it took.
    pub async fn send(
        &self,
        prefix: &str,
        topics: u64,
        queues: i32,
        messages: u64,
        size: usize,
    ) -> Result<Duration, String> {
        let (prefix, body) = (prefix.to_owned(), Bytes::from(vec![b'x'; size]));
        let all = topics * queues as u64;
        self.all(messages, self.in_flight, move |number| {
            let place = number.wrapping_mul(STRIDE) % all;
            let topic = format!("{prefix}{}", place / queues as u64);
            let mut command = Command::request(request::SEND_MESSAGE_V2).with_body(body.clone());
            let header = SendMessageRequestHeader {
                producer_group: "bench",
                topic: &topic,
                default_topic: "TBW102",
                default_topic_queue_nums: queues,
                queue_id: (place % queues as u64) as i32,
                sys_flag: 0,
                born_timestamp: 1_700_000_000_000,
                flag: 0,
                properties: Some(""),
                reconsume_times: Some(0),
                unit_mode: Some(false),
                batch: Some(false),
                max_reconsume_times: None,
                broker_name: None,
                rpc: RpcFields::default(),
            };
            header.encode_v2(&mut command.fields);
            command
        })
        .await
    }

    /// Asks `count` questions, so many at a time on each connection, until each is answered well. One
    /// that the server is too busy for is asked again.
    async fn all(
        &self,
        count: u64,
        in_flight: usize,
        question: impl Fn(u64) -> Command + Send + Sync + 'static,
    ) -> Result<Duration, String> {
        let (next, question) = (Arc::new(AtomicU64::new(0)), Arc::new(question));
        let began = Instant::now();
        let mut tasks = Vec::new();
        for conn in self.conns.iter().flat_map(|conn| std::iter::repeat_n(conn, in_flight)) {
            let (conn, next, question) = (Arc::clone(conn), Arc::clone(&next), Arc::clone(&question));
            tasks.push(tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(());
                    }
                    loop {
                        let answer = conn.call(question(number), PATIENCE).await.map_err(|error| error.to_string())?;
                        match answer.code {
                            response::SUCCESS => break,
                            response::SYSTEM_BUSY => tokio::time::sleep(Duration::from_millis(10)).await,
                            code => return Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
                        }
                    }
                }
            }));
        }
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(began.elapsed())
    }
}
