//! The name server's own settings.

use std::net::SocketAddr;

use apogee_base::settings::Settings;
use apogee_wire::Command;

use super::{Answer, success};
use crate::server::Shared;

pub(super) fn get(shared: &Shared, request: &Command) -> Answer {
    Ok(success(request).with_body(shared.settings.load().lines()))
}

/// Changes settings for now and for later starts. `peer` is who asks.
pub(super) fn update(shared: &Shared, peer: SocketAddr, request: &Command) -> Answer {
    let asked = shared.settings.update_for(peer, None, &request.body)?;
    Ok(Command { remark: asked.remark(), ..success(request) })
}
