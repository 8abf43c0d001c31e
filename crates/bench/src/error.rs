//! Why a measurement could not be made.

/// The text for the user: what happened, with whom, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BenchError(String);

impl BenchError {
    /// With this text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What failed, and the system's reason.
    pub(crate) fn system(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}
