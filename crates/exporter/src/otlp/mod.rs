//! Pushes to a collector by OTLP over gRPC.

mod convert;
mod messages;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_telemetry::Metrics;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use convert::Converter;
use messages::{ExportRequest, ExportResponse};

/// The method that takes metrics.
const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Where metrics go, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://host:port` or `https://host:port`; without a scheme it is https.
    pub address: String,
    /// Sent with each push.
    pub headers: Vec<(String, String)>,
    /// A push that takes longer has failed.
    pub timeout: Duration,
    /// From one push to the next.
    pub interval: Duration,
    /// Tell what was counted since the last push, not since the start.
    pub in_delta: bool,
    /// Points of one message at most.
    pub most_points: usize,
}

/// Why nothing can be pushed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No address of a collector.
    #[error("metricsGrpcExporterTarget={address} is no address of a collector: {reason}")]
    Address {
        /// As set.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// A header that cannot be sent.
    #[error("metricsGrpcExporterHeader: `{name}` cannot be sent as a header: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Pushes until it is stopped.
pub struct Pusher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Pusher {
    /// Begins; the first push is after the first interval. Needs a tokio runtime around it.
    pub fn start(target: Target, metrics: Arc<dyn Metrics>) -> Result<Self, TargetError> {
        let push = Push::new(&target)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(push_all(target, push, metrics, stopped));
        Ok(Self { stop, task })
    }

    /// Pushes once more and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A task that panicked said so.
        let _ = self.task.await;
    }
}

struct Push {
    channel: Channel,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
    timeout: Duration,
}

impl Push {
    fn new(target: &Target) -> Result<Self, TargetError> {
        let address = match target.address.starts_with("http") {
            true => target.address.clone(),
            false => format!("https://{}", target.address),
        };
        let wrong = |error: &dyn std::fmt::Display| TargetError::Address {
            address: target.address.clone(),
            reason: error.to_string(),
        };
        let mut endpoint = Endpoint::from_shared(address.clone()).map_err(|error| wrong(&error))?;
        if address.starts_with("https") {
            endpoint =
                endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(|error| wrong(&error))?;
        }
        let endpoint = endpoint.connect_timeout(target.timeout).timeout(target.timeout);
        let header = |(name, value): &(String, String)| {
            let wrong = |reason: String| TargetError::Header { name: name.clone(), reason };
            let key = AsciiMetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes());
            let key = key.map_err(|error| wrong(error.to_string()))?;
            let value = AsciiMetadataValue::try_from(value.trim()).map_err(|error| wrong(error.to_string()))?;
            Ok((key, value))
        };
        let headers = target.headers.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Self { channel: endpoint.connect_lazy(), headers, timeout: target.timeout })
    }

    async fn send(&self, message: ExportRequest) -> Result<(), String> {
        let sending = async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.map_err(|error| error.to_string())?;
            let mut request = tonic::Request::new(message);
            for (key, value) in &self.headers {
                request.metadata_mut().insert(key.clone(), value.clone());
            }
            let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
            let answer = client.unary(request, PathAndQuery::from_static(METHOD), codec).await;
            let answer = answer.map_err(|status| format!("{}: {}", status.code(), status.message()))?.into_inner();
            match answer.partial_success.filter(|partial| partial.rejected_data_points > 0) {
                Some(partial) => {
                    Err(format!("{} points refused: {}", partial.rejected_data_points, partial.error_message))
                }
                None => Ok(()),
            }
        };
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

async fn push_all(target: Target, push: Push, metrics: Arc<dyn Metrics>, mut stopped: watch::Receiver<bool>) {
    let mut converter = Converter::new(target.in_delta, unix_nanos(), target.most_points);
    let mut was_well = true;
    loop {
        let ends = tokio::time::timeout(target.interval, stopped.wait_for(|stopped| *stopped)).await.is_ok();
        let metrics = Arc::clone(&metrics);
        // It may read from the disk.
        let Ok(scopes) = tokio::task::spawn_blocking(move || metrics.scopes()).await else {
            tracing::error!("metrics could not be collected by a bug of the broker; please report it");
            return;
        };
        let mut outcome = Ok(());
        for request in converter.requests(scopes, unix_nanos()) {
            outcome = push.send(request).await;
            if outcome.is_err() {
                break;
            }
        }
        match &outcome {
            Ok(()) if !was_well => tracing::info!(target = target.address, "the collector takes metrics again"),
            Err(reason) if was_well => {
                tracing::warn!(
                    target = target.address,
                    reason,
                    "metrics cannot be pushed, trying again each interval; check the collector and \
                     metricsGrpcExporterTarget"
                );
            }
            _ => {}
        }
        was_well = outcome.is_ok();
        if ends {
            return;
        }
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
