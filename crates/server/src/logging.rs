//! What is logged, and how: at start by the environment, later by the setting `logLevel`.

use std::io::IsTerminal;
use std::time::Duration;

use apogee_base::settings::{LogLevel, Value};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// How often is looked whether the setting has changed.
const LOOK: Duration = Duration::from_secs(1);

/// Changes what is logged.
pub struct Logging {
    /// What was asked for at start.
    first: String,
    set: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Logging {
    /// Begins to log to standard error.
    pub fn start() -> Self {
        let first = std::env::var("APOGEE_LOG").ok().filter(|text| EnvFilter::try_new(text).is_ok());
        let first = first.unwrap_or_else(|| "info".to_owned());
        let builder = tracing_subscriber::fmt().with_env_filter(filter(&first)).with_writer(std::io::stderr);
        let set = match std::env::var("APOGEE_LOG_FORMAT").as_deref() {
            Ok("json") => {
                let builder = builder.json().with_filter_reloading();
                let set = setter(builder.reload_handle());
                builder.init();
                set
            }
            _ => {
                let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_target(false);
                let builder = builder.with_filter_reloading();
                let set = setter(builder.reload_handle());
                builder.init();
                set
            }
        };
        Self { first, set }
    }

    /// Follows settings: of several, the one that changed last counts. Runs until it is dropped.
    pub async fn follow(self, levels: impl Fn() -> Vec<LogLevel>) {
        let mut known = vec![LogLevel::AsStarted; levels().len()];
        loop {
            let now = levels();
            let changed = now.iter().zip(&known).find(|(now, known)| now != known);
            if let Some((level, _)) = changed {
                let wanted = match level {
                    LogLevel::AsStarted => self.first.clone(),
                    level => level.print(),
                };
                (self.set)(filter(&wanted));
                tracing::info!(filter = wanted, "what is logged has changed (logLevel)");
            }
            known = now;
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What passes. What the consensus of controllers says to itself is not for operators, unless they name it.
fn filter(wanted: &str) -> EnvFilter {
    EnvFilter::new(format!("openraft=off,{wanted}"))
}

fn setter<S: 'static>(handle: Handle<EnvFilter, S>) -> Box<dyn Fn(EnvFilter) + Send + Sync>
where
    Handle<EnvFilter, S>: Send + Sync,
{
    // Fails only when nothing is logged any more.
    Box::new(move |filter| drop(handle.reload(filter)))
}
