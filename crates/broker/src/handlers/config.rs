//! The broker's own settings (upstream `AdminBrokerProcessor`).

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_base::settings::remote::{ChangeRefused, Changed};
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
    let who = Who { peer: conn.peer(), client: broker.producers.client_by(conn.id()) };
    let asked = broker.config.update(&broker.settings, &request.body, broker.now()).inspect_err(|error| {
        tracing::warn!(peer = %who.peer, client = who.client(), %error, "a remote change of settings is refused; nothing changed");
    })?;
    broker.apply_settings();
    for Changed { key, before, after } in &asked.changed {
        tracing::info!(peer = %who.peer, client = who.client(), key, before, after, "a setting is changed by remote request");
    }
    let answer = answer::success(request);
    Ok(Some(match asked.remark() {
        Some(remark) => {
            tracing::warn!(peer = %who.peer, client = who.client(), "a remote change of settings is in part {remark}");
            answer.with_remark(remark)
        }
        None => answer,
    }))
}

/// Who asks for a change.
struct Who {
    peer: SocketAddr,
    client: Option<Arc<str>>,
}

impl Who {
    /// The client's id, where a heartbeat told it.
    fn client(&self) -> &str {
        self.client.as_deref().unwrap_or("unknown")
    }
}

impl From<ConfigError> for BrokerError {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::ChangeRefused(ChangeRefused::Closed(_)) => response::NO_PERMISSION,
            ConfigError::ChangeRefused(_) => response::INVALID_PARAMETER,
            ConfigError::File(_) => response::SYSTEM_ERROR,
        };
        Self::new(code, error.to_string())
    }
}
