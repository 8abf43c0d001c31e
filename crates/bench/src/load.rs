//! Connections that create topics, send messages and read them, many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use apogee_net::{Conn, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CreateTopicRequestHeader, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, PullMessageRequestHeader,
    PullMessageResponseHeader, RpcFields, SendMessageRequestHeader,
};
use bytes::Bytes;

use crate::latency::Latencies;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bit of a pull's system flag: the subscription comes with it.
const WITH_SUBSCRIPTION: i32 = 1 << 2;
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
            message(&topic, (place % queues as u64) as i32, queues, &body)
        })
        .await
    }

    /// Sends so many messages a second to a topic's queues in turn, for a time. Returns how long each took
    /// to be answered, from the moment when it should have been sent: a server that holds up one holds up
    /// those behind it.
    pub async fn paced(
        &self,
        topic: &str,
        queues: i32,
        rate: u32,
        time: Duration,
        size: usize,
    ) -> Result<Latencies, String> {
        let body = Bytes::from(vec![b'x'; size]);
        let (count, next) = ((f64::from(rate) * time.as_secs_f64()) as u64, Arc::new(AtomicU64::new(0)));
        let began = tokio::time::Instant::now();
        let mut tasks = Vec::new();
        for conn in self.conns.iter().flat_map(|conn| std::iter::repeat_n(conn, self.in_flight)) {
            let (conn, next, body, topic) = (Arc::clone(conn), Arc::clone(&next), body.clone(), topic.to_owned());
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, String>(latencies);
                    }
                    let intended = began + Duration::from_secs_f64(number as f64 / f64::from(rate));
                    tokio::time::sleep_until(intended).await;
                    let queue = (number % queues as u64) as i32;
                    answered(&conn, &|| message(&topic, queue, queues, &body)).await?;
                    latencies.push(intended.elapsed());
                }
            }));
        }
        let mut all = Vec::new();
        for task in tasks {
            all.append(&mut task.await.map_err(|error| error.to_string())??);
        }
        Ok(Latencies::new(all))
    }

    /// Reads a topic's queues from their beginnings, on the first connections, until all is read or
    /// `stop` is set. Returns the bytes read.
    pub async fn read(&self, topic: &str, queues: i32, stop: &Arc<AtomicBool>) -> Result<u64, String> {
        let mut tasks = Vec::new();
        for (queue, conn) in (0..queues).zip(self.conns.iter().cycle()) {
            let (conn, stop, topic) = (Arc::clone(conn), Arc::clone(stop), topic.to_owned());
            tasks.push(tokio::spawn(async move {
                let (mut offset, mut bytes) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let answer = conn.call(pull(&topic, queue, offset), PATIENCE).await;
                    let answer = answer.map_err(|error| error.to_string())?;
                    let header: PullMessageResponseHeader = answer.header().map_err(|error| error.to_string())?;
                    if header.next_begin_offset <= offset {
                        break;
                    }
                    offset = header.next_begin_offset;
                    bytes += answer.body.len() as u64;
                }
                Ok::<_, String>(bytes)
            }));
        }
        let mut bytes = 0;
        for task in tasks {
            bytes += task.await.map_err(|error| error.to_string())??;
        }
        Ok(bytes)
    }

    /// Messages that a topic's queues have had.
    pub async fn messages(&self, topic: &str, queues: i32) -> Result<u64, String> {
        let conn = self.conns.first().ok_or("there is no connection")?;
        let mut sum = 0;
        for queue_id in 0..queues {
            let header = GetMaxOffsetRequestHeader { topic, queue_id, committed: None, rpc: RpcFields::default() };
            let question = Command::request(request::GET_MAX_OFFSET).with_header(&header);
            let answer = conn.call(question, PATIENCE).await.map_err(|error| error.to_string())?;
            let header: GetMaxOffsetResponseHeader = answer.header().map_err(|error| error.to_string())?;
            sum += header.offset.max(0) as u64;
        }
        Ok(sum)
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
                        return Ok::<(), String>(());
                    }
                    answered(&conn, &|| question(number)).await?;
                }
            }));
        }
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(began.elapsed())
    }
}

/// Asks until the answer is a good one: a server that is too busy is asked again.
async fn answered(conn: &Arc<Conn>, question: &(impl Fn() -> Command + Sync)) -> Result<(), String> {
    loop {
        let answer = conn.call(question(), PATIENCE).await.map_err(|error| error.to_string())?;
        match answer.code {
            response::SUCCESS => return Ok(()),
            response::SYSTEM_BUSY => tokio::time::sleep(Duration::from_millis(10)).await,
            code => return Err(format!("code {code}: {}", answer.remark.unwrap_or_default())),
        }
    }
}

fn message(topic: &str, queue_id: i32, queues: i32, body: &Bytes) -> Command {
    let mut command = Command::request(request::SEND_MESSAGE_V2).with_body(body.clone());
    let header = SendMessageRequestHeader {
        producer_group: "bench",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: queues,
        queue_id,
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
}

fn pull(topic: &str, queue_id: i32, queue_offset: i64) -> Command {
    Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
        consumer_group: "bench",
        topic,
        lite_topic: None,
        queue_id,
        queue_offset,
        max_msg_nums: 32,
        sys_flag: WITH_SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
        rpc: RpcFields::default(),
    })
}
