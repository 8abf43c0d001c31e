//! One connection, with requests in flight.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader, GetMinOffsetResponseHeader,
    PullMessageRequestHeader, PullMessageResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, QueryMessageRequestHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};
use apogee_wire::{Command, frame};
use bytes::{Bytes, BytesMut};

/// How long an answer may take before it counts as none.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// The group that reads and commits.
pub const GROUP: &str = "FaultsConsumer";
/// Bit of a pull's system flag: the subscription comes with it.
const WITH_SUBSCRIPTION: i32 = 1 << 2;

/// A wait for bytes is interrupted so often, to note that none had come.
const LOOK: Duration = Duration::from_millis(5);

/// A connection.
pub struct Peer {
    stream: TcpStream,
    input: BytesMut,
    opaque: i32,
    /// When no byte was waiting to be read.
    empty_at: Instant,
    /// The same, as of the last bytes that were read.
    not_before: Instant,
}

/// What a pull brought.
pub struct Pulled {
    /// The answer's code.
    pub code: i32,
    /// Records, as stored.
    pub body: Bytes,
    /// Where to go on.
    pub next: i64,
}

impl Peer {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(LOOK))?;
        let now = Instant::now();
        Ok(Self { stream, input: BytesMut::new(), opaque: 0, empty_at: now, not_before: now })
    }

    /// Sends a request; returns the number of its answer.
    pub fn send(&mut self, mut command: Command) -> io::Result<i32> {
        self.opaque += 1;
        command.opaque = self.opaque;
        self.stream.write_all(&frame::to_bytes(&command))?;
        Ok(self.opaque)
    }

    /// The next answer; `None` when none comes in time.
    pub fn receive(&mut self, patience: Duration) -> io::Result<Option<Command>> {
        let deadline = Instant::now() + patience;
        let mut command = Command::default();
        loop {
            let whole = frame::decode(&mut self.input, &mut command, frame::MAX_FRAME);
            if whole.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                if command.is_response() {
                    return Ok(Some(command));
                }
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut chunk = [0; 65_536];
            let looked = Instant::now();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.input.extend_from_slice(&chunk[..read]);
                    self.not_before = self.empty_at;
                    if read < chunk.len() {
                        self.empty_at = looked;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.empty_at = looked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A moment before which the last answer received had not come, however late it was read.
    pub fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, command: Command) -> io::Result<Command> {
        let opaque = self.send(command)?;
        loop {
            match self.receive(PATIENCE)? {
                Some(answer) if answer.opaque == opaque => return Ok(answer),
                Some(_) => {}
                None => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
            }
        }
    }

    /// Reads a queue from an offset.
    pub fn pull(&mut self, topic: &str, queue_id: i32, offset: i64) -> io::Result<Pulled> {
        let answer = self.call(Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
            consumer_group: GROUP,
            topic,
            lite_topic: None,
            queue_id,
            queue_offset: offset,
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
        }))?;
        let next = answer.header::<PullMessageResponseHeader>().map_or(offset, |header| header.next_begin_offset);
        let body = if answer.code == response::SUCCESS { answer.body } else { Bytes::new() };
        Ok(Pulled { code: answer.code, body, next })
    }

    /// The end of a queue: the next message's offset.
    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> io::Result<i64> {
        let header = GetMaxOffsetRequestHeader { topic, queue_id, committed: None, rpc: RpcFields::default() };
        let answer = self.call(Command::request(request::GET_MAX_OFFSET).with_header(&header))?;
        Ok(answer.header::<GetMaxOffsetResponseHeader>().map_or(0, |header| header.offset))
    }

    /// The first offset of a queue.
    pub fn min_offset(&mut self, topic: &str, queue_id: i32) -> io::Result<i64> {
        let header = GetMinOffsetRequestHeader { topic, queue_id, rpc: RpcFields::default() };
        let answer = self.call(Command::request(request::GET_MIN_OFFSET).with_header(&header))?;
        Ok(answer.header::<GetMinOffsetResponseHeader>().map_or(0, |header| header.offset))
    }

    /// Where the group is in a queue; `None` when it has read nothing.
    pub fn committed(&mut self, topic: &str, queue_id: i32) -> io::Result<Option<i64>> {
        let header = QueryConsumerOffsetRequestHeader {
            consumer_group: GROUP,
            topic,
            queue_id,
            set_zero_if_not_found: Some(false),
            rpc: RpcFields::default(),
        };
        let answer = self.call(Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header))?;
        Ok(answer.header::<QueryConsumerOffsetResponseHeader>().ok().map(|header| header.offset))
    }

    /// Notes where the group is in a queue; says whether that was acknowledged.
    pub fn commit(&mut self, topic: &str, queue_id: i32, offset: i64) -> io::Result<bool> {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: GROUP,
            topic,
            queue_id,
            commit_offset: offset,
            rpc: RpcFields::default(),
        };
        let answer = self.call(Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header))?;
        Ok(answer.code == response::SUCCESS)
    }

    /// The records that the index has for a unique key.
    pub fn query(&mut self, topic: &str, key: &str) -> io::Result<Bytes> {
        let header = QueryMessageRequestHeader {
            topic,
            key,
            max_num: 32,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            index_type: None,
            last_key: None,
            rpc: RpcFields::default(),
        };
        let mut question = Command::request(request::QUERY_MESSAGE).with_header(&header);
        question.fields.set("_UNIQUE_KEY_QUERY", true);
        Ok(self.call(question)?.body)
    }
}
