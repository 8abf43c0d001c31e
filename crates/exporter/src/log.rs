//! Metrics in the log, for who has nothing else.

use std::sync::Arc;
use std::time::Duration;

use apogee_telemetry::{Metrics, prometheus};
use tokio::task::JoinHandle;

/// Writes until it is dropped.
pub struct Logger {
    task: JoinHandle<()>,
}

impl Logger {
    /// Begins; the first writing is after the first interval. Needs a tokio runtime around it.
    pub fn start(interval: Duration, metrics: Arc<dyn Metrics>) -> Self {
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let metrics = Arc::clone(&metrics);
                // It may read from the disk.
                let written = tokio::task::spawn_blocking(move || {
                    let text = prometheus::write(&metrics.scopes());
                    let series = text.lines().filter(|line| !line.starts_with('#'));
                    series.for_each(|series| tracing::info!(target: "apogee::metrics", "{series}"));
                });
                if written.await.is_err() {
                    tracing::error!("metrics could not be collected by a bug of the broker; please report it");
                    return;
                }
            }
        });
        Self { task }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.task.abort();
    }
}
