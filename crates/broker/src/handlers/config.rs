//! The broker's own settings (upstream `AdminBrokerProcessor`).

use std::sync::Arc;

use apogee_base::settings::remote::ChangeRefused;
use apogee_base::settings::{ChangeError, Settings};
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::Body;
use apogee_wire::codes::response;
use apogee_wire::headers::GetBrokerConfigResponseHeader;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// `GET_BROKER_CONFIG`: all settings as `key=value` lines.
pub(crate) fn get(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let text = broker.settings.load().lines();
    let version = broker.settings.version().encode();
    let head = GetBrokerConfigResponseHeader { version: &String::from_utf8_lossy(&version) };
    Ok(Some(answer::success(request).with_header(&head).with_body(text)))
}

/// `UPDATE_BROKER_CONFIG`: changes settings for now and for later starts.
pub(crate) fn update(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let client = broker.producers.client_by(conn.id());
    // The client's id, where a heartbeat told it.
    let client = client.as_deref().unwrap_or("unknown");
    let asked = broker.settings.update_for(conn.peer(), client, &request.body, broker.now())?;
    broker.apply_settings();
    Ok(Some(Command { remark: asked.remark(), ..answer::success(request) }))
}

impl From<ChangeError> for BrokerError {
    fn from(error: ChangeError) -> Self {
        let code = match error {
            ChangeError::Refused(ChangeRefused::Closed(_)) => response::NO_PERMISSION,
            ChangeError::Refused(_) => response::INVALID_PARAMETER,
            ChangeError::File { .. } => response::SYSTEM_ERROR,
        };
        Self::new(code, error.to_string())
    }
}
