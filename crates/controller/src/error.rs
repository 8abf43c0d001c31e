//! Why a request failed, and the code it is answered with.

use apogee_base::settings::ChangeError;
use apogee_base::settings::remote::ChangeRefused;
use apogee_wire::bodies::BodyError;
use apogee_wire::codes::response;
use apogee_wire::headers::HeaderError;

use crate::raft::{NotForUs, Undecided};

/// Why a request failed. The text becomes the answer's remark.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ControllerError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the request lacks {0}")]
    Missing(&'static str),
    #[error("Heart beat with empty brokerId")]
    NoBrokerId,
    #[error(transparent)]
    Undecided(#[from] Undecided),
    #[error("Broker metadata is not existed")]
    NoSuchGroup,
    #[error("Please set the option <brokerControllerIdsToClean> according to the format, exception: `{0}` is no id")]
    IdsToClean(String),
    #[error(transparent)]
    NotForUs(#[from] NotForUs),
    #[error(transparent)]
    Settings(#[from] ChangeError),
    #[error("[OVERLOAD]system busy, start flow control for a while: too many requests are at work")]
    Busy,
    #[error("the request met a bug in the controller; its log has the details")]
    Bug,
    #[error(" request type {0} not supported")]
    UnknownCode(i32),
}

impl ControllerError {
    /// The response code.
    pub fn code(&self) -> i32 {
        match self {
            Self::Header(_) | Self::Body(_) | Self::Missing(_) | Self::NoBrokerId => {
                response::CONTROLLER_INVALID_REQUEST
            }
            Self::Undecided(Undecided::Refused(refused)) => refused.code(),
            Self::Undecided(Undecided::NotLeader(_) | Undecided::NoQuorum) => response::CONTROLLER_NOT_LEADER,
            Self::Undecided(Undecided::Stopped(_)) => response::CONTROLLER_JRAFT_INTERNAL_ERROR,
            Self::NoSuchGroup => response::CONTROLLER_BROKER_METADATA_NOT_EXIST,
            Self::IdsToClean(_) => response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
            Self::Settings(ChangeError::Refused(ChangeRefused::Closed(_))) => response::NO_PERMISSION,
            Self::Busy => response::SYSTEM_BUSY,
            Self::UnknownCode(_) => response::REQUEST_CODE_NOT_SUPPORTED,
            Self::NotForUs(_) | Self::Settings(_) | Self::Bug => response::SYSTEM_ERROR,
        }
    }
}
