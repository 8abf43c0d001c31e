//! What others than clients see of a server: metrics and health.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apogee_broker::settings::{BrokerSettings, MetricsExporterType};
use apogee_exporter::http::{Endpoint, Pages};
use apogee_exporter::log::Logger;
use apogee_exporter::otlp::{Pusher, Target};
use apogee_telemetry::{Health, Metrics};

use crate::run::Failure;

/// Port of metrics that nobody asked for; if it is taken, the broker goes on without.
const DEFAULT_PORT: u16 = 5557;

/// Ports and pushes, until it is dropped or stopped.
#[derive(Default)]
pub struct Outside {
    endpoints: Vec<Endpoint>,
    logger: Option<Logger>,
    pusher: Option<Pusher>,
}

/// A port for health.
pub struct HealthPort<'s> {
    /// 0: none.
    pub port: u16,
    /// The address that the server listens on.
    pub bind: &'s str,
    /// What must be well.
    pub health: Vec<Arc<dyn Health>>,
}

impl Outside {
    /// Lets a broker's metrics out as its settings say. `is_asked_for`: the operator has set the port of metrics
    /// himself.
    pub async fn metrics(
        &mut self,
        settings: &BrokerSettings,
        is_asked_for: bool,
        metrics: Arc<dyn Metrics>,
        health: Arc<dyn Health>,
    ) -> Result<(), Failure> {
        match settings.metrics_exporter_type {
            MetricsExporterType::Disable => {}
            MetricsExporterType::Log => {
                let interval = Duration::from_millis(settings.metric_logging_exporter_interval_in_mills);
                self.logger = Some(Logger::start(interval, metrics));
            }
            MetricsExporterType::OtlpGrpc => self.pusher = Some(Pusher::start(target(settings)?, metrics)?),
            MetricsExporterType::Prom => {
                let host = match &*settings.metrics_prom_exporter_host {
                    "" => &settings.bind_address,
                    host => host,
                };
                let port = settings.metrics_prom_exporter_port;
                let address = address(host, port, "metricsPromExporterHost")?;
                let pages = Pages { metrics: Some(metrics), health: vec![health] };
                match Endpoint::start(address, pages).await {
                    Ok(endpoint) => {
                        tracing::info!("metrics are at http://{}/metrics", endpoint.local_addr());
                        self.endpoints.push(endpoint);
                    }
                    Err(error) if port == DEFAULT_PORT && !is_asked_for => tracing::warn!(
                        "no metrics: cannot listen on {address}: {error}; give another port with \
                         metricsPromExporterPort=PORT, or none with metricsExporterType=DISABLE"
                    ),
                    Err(error) => {
                        return Err(format!(
                            "cannot listen on {address} for metrics: {error}; choose another port with \
                             metricsPromExporterPort"
                        )
                        .into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers about health on a port of its own, where one is set.
    pub async fn health(&mut self, wanted: HealthPort<'_>) -> Result<(), Failure> {
        if wanted.port == 0 {
            return Ok(());
        }
        let address = address(wanted.bind, wanted.port, "bindAddress")?;
        let pages = Pages { metrics: None, health: wanted.health };
        let endpoint = Endpoint::start(address, pages).await.map_err(|error| {
            format!("cannot listen on {address} for questions about health: {error}; choose another healthPort")
        })?;
        tracing::info!("health is at http://{}/health/ready", endpoint.local_addr());
        self.endpoints.push(endpoint);
        Ok(())
    }

    /// Pushes once more, where metrics are pushed, and closes the ports.
    pub async fn stop(self) {
        if let Some(pusher) = self.pusher {
            pusher.stop().await;
        }
    }
}

fn address(host: &str, port: u16, setting: &str) -> Result<SocketAddr, Failure> {
    let ip: IpAddr = host.parse().map_err(|_| format!("{setting}={host} is not an IP address"))?;
    Ok(SocketAddr::new(ip, port))
}

fn target(settings: &BrokerSettings) -> Result<Target, Failure> {
    let address = settings.metrics_grpc_exporter_target.trim().to_owned();
    if address.is_empty() {
        return Err("metricsExporterType=OTLP_GRPC needs metricsGrpcExporterTarget=http://HOST:PORT".into());
    }
    let mut headers = Vec::new();
    for pair in settings.metrics_grpc_exporter_header.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        // The value is not shown: it may be a secret.
        let wrong = "metricsGrpcExporterHeader: each header is name:value, separated by commas";
        let (name, value) = pair.split_once(':').ok_or(wrong)?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(Target {
        address,
        headers,
        timeout: Duration::from_millis(settings.metric_grpc_exporter_time_out_in_mills),
        interval: Duration::from_millis(settings.metric_grpc_exporter_interval_in_mills),
        in_delta: settings.metrics_in_delta,
        most_points: settings.metrics_export_batch_max_data_points,
    })
}
