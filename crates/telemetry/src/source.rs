//! Who is asked.

use crate::Scope;

/// What has metrics. Asked on threads that may wait.
pub trait Metrics: Send + Sync + 'static {
    /// All of them, as they are now.
    fn scopes(&self) -> Vec<Scope>;

    /// The same figures under the names of the separate exporter.
    fn exporter_scopes(&self) -> Vec<Scope>;
}

/// What can be up, and ready for clients. Asked on a thread that serves others, too: it must not wait.
pub trait Health: Send + Sync + 'static {
    /// Says what is wrong when a restart is the only help.
    fn live(&self) -> Result<(), String>;

    /// Says why no client should be sent here at present.
    fn ready(&self) -> Result<(), String>;
}
