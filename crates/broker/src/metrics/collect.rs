//! All metrics together, for a reader.

use std::sync::{Arc, Mutex, PoisonError};

use apogee_net::Pulse;
use apogee_telemetry::{Family, Health, Label, Metrics, Scope};

use super::{broker, clients, events, exporter, lag, own, process, store, topics};
use crate::broker::Broker;
use crate::life::Stage;
use crate::settings::BrokerSettings;

/// The name that stands for all that are not told by name.
pub(super) const OTHER: &str = "__other__";

/// Collects a broker's metrics; says whether it is well.
pub(crate) struct Collector {
    broker: Arc<Broker>,
    /// What an operator wants all series to have.
    own_labels: Vec<Label>,
    pulse: Pulse,
    choice: Mutex<Choice>,
}

/// Which series are told by name.
#[derive(Default)]
pub(super) struct Choice {
    pub topics: topics::Choice,
    pub events: events::Choice,
}

impl Collector {
    /// Fails when the labels that are set are none.
    pub fn new(broker: Arc<Broker>, pulse: Pulse) -> Result<Self, String> {
        let own_labels = own_labels(&broker.settings.load().metrics_label)?;
        Ok(Self { broker, own_labels, pulse, choice: Mutex::default() })
    }

    /// Whose they are.
    pub fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.broker)
    }

    /// Labels of all series.
    fn labels(&self, settings: &BrokerSettings) -> Vec<Label> {
        let mut labels = self.own_labels.clone();
        labels.extend([
            ("cluster", settings.broker_cluster_name.clone().into()),
            ("node_id", settings.broker_name.clone().into()),
            ("node_type", "broker".into()),
        ]);
        if settings.metrics_in_delta {
            labels.push(("aggregation", "delta".into()));
        }
        labels
    }
}

/// Labels as an operator writes them: `name:value`, separated by commas.
fn own_labels(text: &str) -> Result<Vec<Label>, String> {
    /// Names that series have anyway.
    const TAKEN: [&str; 5] = ["aggregation", "cluster", "le", "node_id", "node_type"];
    let mut labels = Vec::<Label>::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once(':').unwrap_or((pair, ""));
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !is_name || value.is_empty() || TAKEN.contains(&name) || labels.iter().any(|(known, _)| *known == name) {
            return Err(format!(
                "metricsLabel: `{pair}` is no label; write name:value, separated by commas, names of letters, digits \
                 and _, each once and none of {}",
                TAKEN.join(", ")
            ));
        }
        // Labels are there as long as the process.
        labels.push((name.to_owned().leak(), value.to_owned().into()));
    }
    Ok(labels)
}

impl Metrics for Collector {
    fn scopes(&self) -> Vec<Scope> {
        let broker = &*self.broker;
        let settings = BrokerSettings::clone(&broker.settings.load());
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let Choice { topics: topics_told, events: events_told } = &mut *choice;
        let (most, counted) = (settings.metrics_otel_cardinality_limit, &broker.counters.events);
        let mut families: Vec<Family> = Vec::new();
        if settings.enable_stats_metrics {
            families.extend(broker::families(broker, &settings));
        }
        if settings.enable_request_metrics {
            families.extend(topics::families(broker, &settings, topics_told));
            families.extend(counted.creations(events_told));
        }
        if settings.enable_connection_metrics {
            families.extend(clients::families(broker));
        }
        if settings.enable_remoting_metrics {
            families.push(broker.counters.requests.latency());
        }
        if settings.enable_message_store_metrics {
            families.extend(store::families(broker));
            if settings.timer_wheel_enable {
                families.extend(counted.timer(broker, most, events_told));
            }
        }
        if settings.enable_pop_metrics {
            families.extend(events::pop(broker));
        }
        if settings.enable_transaction_metrics {
            families.extend(counted.transactions(broker, most, events_told));
        }
        let mut own = own::families(broker, &self.pulse);
        if settings.enable_lag_and_dlq_metrics {
            let (upstream, ours) = lag::families(broker, &settings);
            families.extend(upstream);
            families.push(counted.dead_letters(most, events_told));
            own.extend(ours);
        }
        let labels = self.labels(&settings);
        vec![
            Scope { name: "broker-meter", labels: labels.clone(), families },
            Scope { name: "apogee", labels, families: own },
            Scope { name: "", labels: Vec::new(), families: process::families(broker.started_ms) },
        ]
    }

    fn exporter_scopes(&self) -> Vec<Scope> {
        let settings = BrokerSettings::clone(&self.broker.settings.load());
        // Its series have labels of their own, and no others.
        vec![Scope { name: "", labels: Vec::new(), families: exporter::families(&self.broker, &settings) }]
    }
}

impl Health for Collector {
    fn live(&self) -> Result<(), String> {
        match self.broker.store.failure() {
            Some(reason) => Err(format!("the store takes no messages any more: {reason}; see to the disk and restart")),
            None => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.live()?;
        if self.broker.life.is_at(Stage::Leaving) {
            return Err("the broker stops".to_owned());
        }
        let wants_name_server = !self.broker.settings.load().namesrv_addr.is_empty();
        if wants_name_server && !self.broker.is_registered() {
            return Err("no name server knows the broker: no client finds it; check namesrvAddr".to_owned());
        }
        match self.broker.store.refusal() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_operator_are_checked() {
        let expected: Vec<Label> = vec![("site", "west:1".into()), ("_x", "y".into())];
        assert_eq!(own_labels(" site:west:1 ,, _x:y"), Ok(expected));
        for wrong in ["site", "1a:b", "a b:c", "le:x", "a:b,a:c", "cluster:mine"] {
            assert!(own_labels(wrong).is_err_and(|error| error.contains("metricsLabel")), "{wrong}");
        }
    }
}
