//! One function per request: from the request to its answer.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};

use crate::error::ControllerError;
use crate::raft::{Undecided, is_message};
use crate::server::Shared;

mod brokers;
mod config;
mod election;

type Answer = Result<Command, ControllerError>;

/// Answers what needs no waiting; `None` for everything else.
pub(crate) fn serve_at_once(shared: &Shared, conn: &Conn, request: &Command) -> Option<Answer> {
    match request.code {
        code::BROKER_HEARTBEAT => Some(brokers::heartbeat(shared, conn, request)),
        code::CONTROLLER_GET_METADATA_INFO => Some(brokers::controllers(shared, request)),
        code::GET_CONTROLLER_CONFIG => Some(config::get(shared, request)),
        _ => None,
    }
}

/// Answers everything else.
pub(crate) async fn serve(shared: &Arc<Shared>, conn: &Conn, request: &Command) -> Answer {
    match request.code {
        message if is_message(message) => {
            let group = shared.settings.load().controller_d_leger_group.clone();
            Ok(shared.consensus.receive(&group, request).await?)
        }
        code::CONTROLLER_ALTER_SYNC_STATE_SET => election::alter(shared, request).await,
        code::CONTROLLER_ELECT_MASTER => election::elect(shared, conn, request).await,
        code::CONTROLLER_REGISTER_BROKER => brokers::register(shared, conn, request).await,
        code::CONTROLLER_GET_REPLICA_INFO => brokers::replica_info(shared, request).await,
        code::CONTROLLER_GET_SYNC_STATE_DATA => brokers::in_sync(shared, request).await,
        code::UPDATE_CONTROLLER_CONFIG => config::update(shared, conn.peer(), request).await,
        code::CLEAN_BROKER_DATA => election::clean(shared, request).await,
        code::CONTROLLER_GET_NEXT_BROKER_ID => brokers::next_id(shared, request).await,
        code::CONTROLLER_APPLY_BROKER_ID => brokers::apply_id(shared, request).await,
        unknown => Err(ControllerError::UnknownCode(unknown)),
    }
}

/// The response that says why a request failed. Whoever asked for a master that is there learns which it is.
pub(crate) fn refusal(request: &Command, error: &ControllerError) -> Command {
    let answer = Command::response_to(request, error.code()).with_remark(error.to_string());
    match error {
        ControllerError::Undecided(Undecided::Refused(crate::election::Refused::MasterStillExists(view))) => {
            election::tell_master(answer, view, None)
        }
        _ => answer,
    }
}

/// A success without a header or body.
fn success(request: &Command) -> Command {
    Command::response_to(request, response::SUCCESS)
}

fn needed<T>(value: Option<T>, name: &'static str) -> Result<T, ControllerError> {
    value.ok_or(ControllerError::Missing(name))
}
