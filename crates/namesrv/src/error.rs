//! Why a request failed, and the code it is answered with.

use apogee_base::settings::ChangeError;
use apogee_base::settings::remote::ChangeRefused;
use apogee_wire::bodies::BodyError;
use apogee_wire::codes::response;
use apogee_wire::headers::HeaderError;

use crate::kv::KvError;
use crate::routes::{NoRoute, Refused};

/// Why a request failed. The text becomes the answer's remark.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NamesrvError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(
        "crc32 not match: the registration's body is {computed}, its header says {given}; it was damaged on its way"
    )]
    Checksum { computed: i32, given: i32 },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoValue { namespace: String, key: String },
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Settings(#[from] ChangeError),
    #[error("disable: this list is switched off here ({0}=false)")]
    ListDisabled(&'static str),
    #[error("name server not ready: it waits {0} s after its start for brokers to register (needWaitForService)")]
    NotReady(u64),
    #[error("[OVERLOAD]system busy, start flow control for a while: {0} bytes of requests wait already")]
    Busy(usize),
    #[error("the request met a bug in the name server; its log has the details")]
    Bug,
    #[error(" request type {0} not supported")]
    UnknownCode(i32),
}

impl NamesrvError {
    /// The response code.
    pub fn code(&self) -> i32 {
        match self {
            Self::NoRoute(_) => response::TOPIC_NOT_EXIST,
            Self::NoValue { .. } | Self::NoNamespace(_) => response::QUERY_NOT_FOUND,
            Self::Settings(ChangeError::Refused(ChangeRefused::Closed(_))) => response::NO_PERMISSION,
            Self::Busy(_) => response::SYSTEM_BUSY,
            Self::UnknownCode(_) => response::REQUEST_CODE_NOT_SUPPORTED,
            _ => response::SYSTEM_ERROR,
        }
    }
}
