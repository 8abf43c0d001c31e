//! The name server's own settings.

use std::net::SocketAddr;

use apogee_base::settings::remote::Changed;
use apogee_base::settings::{Settings, properties};
use apogee_wire::Command;

use super::{Answer, success};
use crate::server::Shared;
use crate::worker::Changes;

pub(super) fn get(shared: &Shared, request: &Command) -> Answer {
    let mut text = String::new();
    for (key, value) in shared.settings.get().all() {
        text.push_str(&format!("{key}={}\n", properties::escape(&value)));
    }
    Ok(success(request).with_body(text))
}

/// Changes settings for now and for later starts. `peer` is who asks.
pub(super) fn update(changes: &mut Changes, peer: SocketAddr, request: &Command) -> Answer {
    let asked = changes.config.update(&request.body).inspect_err(|error| {
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
