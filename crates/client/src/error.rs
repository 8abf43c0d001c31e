//! Why something could not be done.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apogee_message::compression::CompressionError;
use apogee_message::names::NameError;
use apogee_message::record::RecordError;
use apogee_net::{CallError, ConnectError};
use apogee_wire::bodies::BodyError;
use apogee_wire::codes::response;
use apogee_wire::headers::HeaderError;

use crate::{CodecError, Received};

/// Why something could not be done: what happened, with whom, and where there is a remedy, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address of a name server was given.
    #[error("no name server is named: give one address or several, as host:port, separated by semicolons")]
    NoNameServer,
    /// None of the name servers answered; each with its reason.
    #[error("no name server answered: {0}")]
    NameServers(String),
    /// No name server knows the topic, nor may it be created by sending to it.
    #[error("topic {0} does not exist: create it, or let the broker create topics (autoCreateTopicEnable)")]
    NoTopic(String),
    /// The topic has no queue that can be used this way now.
    #[error("topic {topic} has no queue to {action} on any broker that is there")]
    NoQueue {
        /// The topic.
        topic: String,
        /// `write to` or `read from`.
        action: &'static str,
    },
    /// The broker of a queue has no master, or is not there at all.
    #[error("broker {0} has no master now")]
    NoMaster(String),
    /// Connections cannot be secured.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] apogee_net::TlsError),
    /// A peer could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A peer gave no answer. What was asked may have been done all the same.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A peer refused.
    #[error("{peer} refused with {}: {remark}", name_of(*code))]
    Refused {
        /// Who.
        peer: String,
        /// Its response code, see [`apogee_wire::codes::response`].
        code: i32,
        /// Its words.
        remark: String,
    },
    /// It took too long, all attempts together.
    #[error("no success within {0:?}; the last attempt: {1}")]
    Timeout(Duration, String),
    /// The batch was not sent that a message travelled with, see [`crate::ProducerBuilder::collect`]; all its messages
    /// get the same error.
    #[error("the batch that it was in was not sent: {0}")]
    Batch(#[source] Arc<Self>),
    /// A request was sent, and nobody replied in time.
    #[error("no reply within {timeout:?} to request {message_id}, which was sent to topic {topic}")]
    NoReply {
        /// The topic.
        topic: String,
        /// The id of the request.
        message_id: String,
        /// How long the reply was waited for.
        timeout: Duration,
    },
    /// A handle that no broker made.
    #[error("{0:?} is no handle by which a message can be recalled: give the one that its sending returned")]
    RecallHandle(String),
    /// A name of a topic or group that none can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The message cannot be sent as it is.
    #[error("the message for topic {topic} cannot be sent: {reason}")]
    Message {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer cannot be read.
    #[error("an answer of {peer} cannot be read: {reason}")]
    Malformed {
        /// Who answered.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A message's body is not what its flags say.
    #[error("message {id} of topic {topic} cannot be read: {source}")]
    Body {
        /// Its id.
        id: String,
        /// Its topic.
        topic: String,
        /// What is wrong with it.
        source: CompressionError,
    },
    /// A message's body cannot be decoded. It stays as it was sent, see [`crate::Received::property`] `CODECS`.
    #[error("message {id} of topic {topic} cannot be decoded: {source}")]
    Codec {
        /// Its id.
        id: String,
        /// Its topic.
        topic: String,
        /// What is wrong or missing.
        source: CodecError,
    },
    /// An interceptor refused a message, see [`crate::Interceptor`].
    #[error("an interceptor refused a message of topic {topic}: {source}")]
    Intercepted {
        /// The topic.
        topic: String,
        /// Its reason.
        source: crate::Refusal,
    },
    /// A consumer without a subscription.
    #[error("the consumer of group {0} subscribes to nothing")]
    NoSubscription(String),
    /// A client has one consumer of a group: brokers tell members apart by the client.
    #[error("this client has a consumer of group {0} already: use another client for a second one")]
    Joined(String),
    /// The offsets that a broadcasting consumer keeps itself cannot be used.
    #[error("the offsets in {path}: {reason}")]
    Offsets {
        /// Where they are.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The brokers have not heard of this member yet.
    #[error("the brokers do not know this client as a member of group {0} yet")]
    NotMember(String),
    /// A broker that hands out no single messages.
    #[error("broker {0} does not offer POP: use a consumer that shares queues")]
    NoPop(String),
    /// A queue that this consumer does not have.
    #[error("queue {0} is not assigned to this consumer: assign it first")]
    NotAssigned(String),
    /// An administrator names a cluster that no name server knows.
    #[error("there is no cluster {cluster}; there are: {known}")]
    NoCluster {
        /// The name.
        cluster: String,
        /// Those that are there.
        known: String,
    },
    /// An administrator asks for what cannot be asked for.
    #[error("{0}")]
    Argument(String),
    /// The threads of a client for programs without asynchronous code cannot be started.
    #[error("the threads of the client cannot be started: {0}")]
    Threads(#[source] std::io::Error),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    pub(crate) fn header(peer: &str, error: &HeaderError) -> Self {
        Self::Malformed { peer: peer.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn json(peer: &str, error: &BodyError) -> Self {
        Self::Malformed { peer: peer.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn record(peer: &str, error: RecordError) -> Self {
        Self::Malformed { peer: peer.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn codec(message: &Received, source: CodecError) -> Self {
        Self::Codec { id: message.message_id().into_owned(), topic: message.topic().to_owned(), source }
    }

    pub(crate) fn message(topic: &str, reason: impl Into<String>) -> Self {
        Self::Message { topic: topic.to_owned(), reason: reason.into() }
    }

    /// Whether another broker may do what this one did not: the codes are those that the Java client tries
    /// again after.
    pub(crate) fn is_of_one_broker(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Call(_) | Self::NoMaster(_) => true,
            Self::Refused { code, .. } => matches!(
                *code,
                response::SYSTEM_ERROR
                    | response::SYSTEM_BUSY
                    | response::SERVICE_NOT_AVAILABLE
                    | response::NO_PERMISSION
                    | response::TOPIC_NOT_EXIST
                    | response::NO_BUYER_ID
                    | response::NOT_IN_CURRENT_UNIT
                    | response::GO_AWAY
            ),
            Self::Batch(error) => error.is_of_one_broker(),
            _ => false,
        }
    }

    /// Whether the same may succeed later without anybody doing something about it.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Call(_) | Self::NoMaster(_) | Self::NameServers(_) => true,
            Self::Refused { code, .. } => {
                matches!(*code, response::SYSTEM_BUSY | response::SERVICE_NOT_AVAILABLE | response::GO_AWAY)
            }
            Self::Batch(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// A response code as people look for it.
fn name_of(code: i32) -> String {
    response::name(code).map_or_else(|| format!("code {code}"), |name| format!("{name} ({code})"))
}
