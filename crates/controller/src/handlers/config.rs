//! The controller's own settings.

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_base::settings::Settings;
use apogee_wire::Command;

use super::{Answer, success};
use crate::error::ControllerError;
use crate::server::Shared;

pub(super) fn get(shared: &Shared, request: &Command) -> Answer {
    Ok(success(request).with_body(shared.settings.load().lines()))
}

/// Changes settings for now and for later starts. `peer` is who asks.
pub(super) async fn update(shared: &Arc<Shared>, peer: SocketAddr, request: &Command) -> Answer {
    let (shared, lines) = (Arc::clone(shared), request.body.clone());
    let made = tokio::task::spawn_blocking(move || shared.settings.update_for(peer, None, &lines)).await;
    let asked = made.map_err(|_| ControllerError::Bug)??;
    Ok(Command { remark: asked.remark(), ..success(request) })
}
