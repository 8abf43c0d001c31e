//! One request after the other, outside of what is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CreateTopicRequestHeader, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader, PullMessageResponseHeader, RpcFields,
};
use apogee_wire::{Command, frame};
use bytes::{Bytes, BytesMut};

use crate::engine::connect;
use crate::error::BenchError;
use crate::locate;
use crate::options::Common;
use crate::pull::{self, Pull};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that waits for each answer.
pub(crate) struct Caller {
    stream: TcpStream,
    peer: String,
    input: BytesMut,
    opaque: i32,
}

impl Caller {
    /// Connects to the broker.
    pub(crate) fn connect(options: &Common) -> Result<Self, BenchError> {
        Self::to("broker", &options.broker)
    }

    /// Connects to a peer of this kind at HOST:PORT.
    pub(crate) fn to(kind: &str, peer: &str) -> Result<Self, BenchError> {
        let peer_name = format!("the {kind} at {peer}");
        let mut streams = connect(&peer_name, locate::address(peer)?, 1)?;
        let stream = streams.pop().ok_or_else(|| BenchError::new("no connection was made"))?;
        Self::over(stream, peer_name)
    }

    /// Uses a connection that is there; `peer` says for people whose it is.
    pub(crate) fn over(stream: TcpStream, peer: String) -> Result<Self, BenchError> {
        let set = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.map_err(|error| BenchError::system("cannot prepare a connection", error))?;
        Ok(Self { stream, peer, input: BytesMut::new(), opaque: 0 })
    }

    /// The connection, and what was read of a frame that is not complete yet.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input.to_vec())
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&mut self, mut request: Command) -> Result<Command, BenchError> {
        self.opaque += 1;
        request.opaque = self.opaque;
        let written = self.stream.write_all(&frame::to_bytes(&request));
        written.map_err(|error| self.failed(&error))?;
        let mut answer = Command::default();
        let mut chunk = vec![0; 65_536];
        loop {
            let whole = frame::decode(&mut self.input, &mut answer, frame::MAX_FRAME);
            if whole.map_err(|error| BenchError::system(&self.peer, error))? {
                if answer.is_response() && answer.opaque == self.opaque {
                    return Ok(answer);
                }
                continue;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(BenchError::new(format!("{} closed the connection", self.peer))),
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Creates a topic, as administrators do.
    pub(crate) fn create(&mut self, topic: &str, queues: u32) -> Result<(), BenchError> {
        let answer = self.call(create(topic, queues))?;
        good(&format!("the broker does not create the topic {topic}"), answer).map(drop)
    }

    /// First and next offset of a queue.
    pub(crate) fn offsets(&mut self, topic: &str, queue: u32) -> Result<(i64, i64), BenchError> {
        let queue_id = queue as i32;
        let what = format!("the broker does not tell the offsets of queue {queue} of {topic}");
        let header = GetMinOffsetRequestHeader { topic, queue_id, rpc: RpcFields::default() };
        let answer = good(&what, self.call(Command::request(request::GET_MIN_OFFSET).with_header(&header))?)?;
        let first = answer.header::<GetMinOffsetResponseHeader>().map_err(|error| BenchError::system(&what, error))?;
        let header = GetMaxOffsetRequestHeader { topic, queue_id, committed: None, rpc: RpcFields::default() };
        let answer = good(&what, self.call(Command::request(request::GET_MAX_OFFSET).with_header(&header))?)?;
        let next = answer.header::<GetMaxOffsetResponseHeader>().map_err(|error| BenchError::system(&what, error))?;
        Ok((first.offset, next.offset))
    }

    /// The broker's name, as its configuration has it.
    pub(crate) fn broker_name(&mut self) -> Result<String, BenchError> {
        let what = "the broker does not tell its name";
        let answer = good(what, self.call(Command::request(request::GET_BROKER_CONFIG))?)?;
        let settings = String::from_utf8_lossy(&answer.body);
        let name = settings.lines().find_map(|line| line.strip_prefix("brokerName="));
        name.map(|name| name.trim().to_owned()).ok_or_else(|| BenchError::new(what))
    }

    /// Records of a queue from an offset on, and the offset to go on from.
    pub(crate) fn pull(&mut self, pull: &Pull<'_>, offset: i64) -> Result<(Bytes, i64), BenchError> {
        let answer = self.call(pull.request(offset))?;
        if !pull::is_usual(answer.code) {
            return Err(refused(&format!("the broker does not give messages of {}", pull.topic), &answer));
        }
        let header = answer.header::<PullMessageResponseHeader>();
        let next = header.map_err(|error| BenchError::system("an answer to a pull", error))?.next_begin_offset;
        Ok((if answer.code == response::SUCCESS { answer.body } else { Bytes::new() }, next))
    }

    fn failed(&self, error: &std::io::Error) -> BenchError {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer for {} s", PATIENCE.as_secs()),
            _ => error.to_string(),
        };
        BenchError::new(format!("{}: {why}", self.peer))
    }
}

/// The request to create a topic.
pub(crate) fn create(topic: &str, queues: u32) -> Command {
    Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&CreateTopicRequestHeader {
        topic,
        default_topic: "TBW102",
        read_queue_nums: queues as i32,
        write_queue_nums: queues as i32,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: None,
        rpc: RpcFields::default(),
    })
}

/// An answer that says that it was done.
fn good(what: &str, answer: Command) -> Result<Command, BenchError> {
    if answer.code == response::SUCCESS { Ok(answer) } else { Err(refused(what, &answer)) }
}

fn refused(what: &str, answer: &Command) -> BenchError {
    BenchError::new(format!("{what}: {}", code_and_remark(answer)))
}

/// An answer's code and text, for people.
pub(crate) fn code_and_remark(answer: &Command) -> String {
    format!("code {}: {}", answer.code, answer.remark.as_deref().unwrap_or_default().trim())
}
