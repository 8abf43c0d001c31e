//! The controller's own settings.

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_base::settings::remote::Changed;
use apogee_base::settings::{Settings, properties};
use apogee_wire::Command;

use super::{Answer, success};
use crate::error::ControllerError;
use crate::server::Shared;

pub(super) fn get(shared: &Shared, request: &Command) -> Answer {
    let settings = shared.config.get().all();
    let line = |(key, value): (&str, String)| format!("{key}={}\n", properties::escape(&value));
    Ok(success(request).with_body(settings.into_iter().map(line).collect::<String>()))
}

/// Changes settings for now and for later starts. `peer` is who asks.
pub(super) async fn update(shared: &Arc<Shared>, peer: SocketAddr, request: &Command) -> Answer {
    let (config, lines) = (Arc::clone(shared), request.body.clone());
    let made = tokio::task::spawn_blocking(move || config.config.update(&lines)).await;
    let asked = made.map_err(|_| ControllerError::Bug)?.inspect_err(|error| {
        tracing::warn!(%peer, %error, "a remote change of settings is refused; nothing changed");
    })?;
    for Changed { key, before, after } in &asked.changed {
        tracing::info!(%peer, key, before, after, "a setting is changed by remote request");
    }
    let answer = success(request);
    Ok(match asked.remark() {
        Some(remark) => {
            tracing::warn!(%peer, "a remote change of settings is in part {remark}");
            answer.with_remark(remark)
        }
        None => answer,
    })
}
