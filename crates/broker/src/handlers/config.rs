//! The broker's own settings (upstream `AdminBrokerProcessor`).

use std::sync::Arc;

use apogee_base::settings::{Settings, properties};
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::Body;
use apogee_wire::codes::response;
use apogee_wire::headers::GetBrokerConfigResponseHeader;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::config::ConfigError;
use crate::error::BrokerError;

/// `GET_BROKER_CONFIG`: all settings as `key=value` lines.
pub(crate) fn get(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let mut text = String::new();
    for (key, value) in broker.settings.load().all() {
        text.push_str(&format!("{key}={}\n", properties::escape(&value)));
    }
    let version = broker.config.version().encode();
    let head = GetBrokerConfigResponseHeader { version: &String::from_utf8_lossy(&version) };
    Ok(Some(answer::success(request).with_header(&head).with_body(text)))
}

/// `UPDATE_BROKER_CONFIG`: changes settings for now and for later starts.
pub(crate) fn update(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let changed = broker.config.update(&broker.settings, &request.body, broker.now())?;
    tracing::info!(peer = %conn.peer(), ?changed, "settings are changed by remote request");
    answer::done(request)
}

impl From<ConfigError> for BrokerError {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::Closed(_) => response::NO_PERMISSION,
            ConfigError::AtStart(_) | ConfigError::NoText | ConfigError::Setting(_) => response::INVALID_PARAMETER,
            ConfigError::File(_) => response::SYSTEM_ERROR,
        };
        Self::new(code, error.to_string())
    }
}
