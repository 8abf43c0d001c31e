//! Why a request is refused: a response code and a text for people.

use std::borrow::Cow;

use apogee_message::names::NameError;
use apogee_message::record::DraftError;
use apogee_store::{AppendError, StoreError};
use apogee_wire::Command;
use apogee_wire::bodies::BodyError;
use apogee_wire::codes::response;
use apogee_wire::headers::HeaderError;

use crate::clients::Unusable;
use crate::persist::PersistError;

/// A refusal, as the peer gets it. The one place where errors become response codes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{remark} (code {code})")]
pub struct BrokerError {
    /// See [`response`].
    pub code: i32,
    /// What happened and what to do.
    pub remark: Cow<'static, str>,
}

impl BrokerError {
    /// A refusal.
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        Self { code, remark: remark.into() }
    }

    /// The topic is not there.
    pub fn no_topic(topic: &str) -> Self {
        Self::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist, apply first please!"))
    }

    /// A subscription that cannot be filtered by: where its expression has an error, with a code and a
    /// text before it.
    pub fn unusable(error: &Unusable, syntax_code: i32, preface: &str) -> Self {
        match error {
            Unusable::Type(_) => Self::new(response::SYSTEM_ERROR, error.to_string()),
            Unusable::Syntax(syntax) => Self::new(syntax_code, format!("{preface}{syntax}")),
        }
    }

    /// The response that says so.
    pub fn response_to(&self, request: &Command) -> Command {
        Command::response_to(request, self.code).with_remark(&*self.remark)
    }
}

impl From<HeaderError> for BrokerError {
    fn from(error: HeaderError) -> Self {
        Self::new(response::INVALID_PARAMETER, error.to_string())
    }
}

impl From<BodyError> for BrokerError {
    fn from(error: BodyError) -> Self {
        Self::new(response::INVALID_PARAMETER, format!("the request's body cannot be read: {error}"))
    }
}

impl From<NameError> for BrokerError {
    fn from(error: NameError) -> Self {
        Self::new(response::INVALID_PARAMETER, error.to_string())
    }
}

impl From<DraftError> for BrokerError {
    fn from(error: DraftError) -> Self {
        Self::new(response::MESSAGE_ILLEGAL, format!("the message cannot be stored: {error}"))
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<PersistError> for BrokerError {
    fn from(error: PersistError) -> Self {
        Self::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<&AppendError> for BrokerError {
    fn from(error: &AppendError) -> Self {
        let code = match error {
            // Clients try another broker for these.
            AppendError::Busy { .. } | AppendError::Slow { .. } => response::SYSTEM_BUSY,
            AppendError::DiskFull
            | AppendError::ShortOfRoom { .. }
            | AppendError::Failed(_)
            | AppendError::Closed
            | AppendError::Queue { .. } => response::SERVICE_NOT_AVAILABLE,
            AppendError::TooFewCopies { .. } | AppendError::Follows => response::SYSTEM_ERROR,
            AppendError::TooLarge { .. } => response::MESSAGE_ILLEGAL,
        };
        Self::new(code, error.to_string())
    }
}
