//! The name server's own settings.

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

pub(super) fn update(changes: &mut Changes, request: &Command) -> Answer {
    let later = changes.config.update(&request.body)?;
    let answer = success(request);
    Ok(match later.is_empty() {
        true => answer,
        false => answer.with_remark(format!("kept; takes effect at the next start: {}", later.join(", "))),
    })
}
