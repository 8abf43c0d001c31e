//! How long sends and pulls took since the start, in the spans that upstream's tools know.

use apogee_telemetry::Snapshot;

use crate::broker::Broker;

/// A span of time: its name among the exporter's metrics and in `brokerStatus`, and its end in milliseconds.
const SPANS: [(&str, &str, f64); 13] = [
    ("0ms", "<=0ms", 1.0),
    ("0to10ms", "0~10ms", 10.0),
    ("10to50ms", "10~50ms", 50.0),
    ("50to100ms", "50~100ms", 100.0),
    ("100to200ms", "100~200ms", 200.0),
    ("200to500ms", "200~500ms", 500.0),
    ("500to1s", "500ms~1s", 1e3),
    ("1to2s", "1~2s", 2e3),
    ("2to3s", "2~3s", 3e3),
    ("3to4s", "3~4s", 4e3),
    ("4to5s", "4~5s", 5e3),
    ("5to10s", "5~10s", 10e3),
    ("10stomore", "10s~", f64::INFINITY),
];

/// How long requests of one kind took.
pub(crate) struct Times(Snapshot);

impl Times {
    /// Sends that were stored.
    pub fn of_sends(broker: &Broker) -> Self {
        Self(broker.counters.requests.sends_ms())
    }

    /// Pulls that were answered with messages at once.
    pub fn of_pulls(broker: &Broker) -> Self {
        Self(broker.counters.requests.pulls_ms())
    }

    /// How many took so long, by the exporter's names.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SPANS.iter().map(|(name, ..)| *name).zip(self.counts())
    }

    /// The same as `brokerStatus` has it.
    pub fn text(&self) -> String {
        SPANS.iter().zip(self.counts()).map(|((_, name, _), count)| format!("[{name}]:{count} ")).collect()
    }

    fn counts(&self) -> Vec<u64> {
        let ends: Vec<f64> = SPANS.iter().map(|(.., end)| *end).filter(|end| end.is_finite()).collect();
        self.0.coarser(&ends).counts
    }

    /// Milliseconds that so large a part of them did not exceed, at most 1.7 times too many; 0 when there are none.
    pub fn quantile(&self, part: f64) -> f64 {
        let (wanted, mut below) = ((self.0.count() as f64 * part).ceil() as u64, 0);
        if wanted == 0 {
            return 0.0;
        }
        for (bound, count) in self.0.bounds.iter().zip(&self.0.counts) {
            below += count;
            if below >= wanted {
                return *bound;
            }
        }
        self.0.bounds.last().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_quantiles_are_those_of_what_was_counted() {
        let mut counts = vec![0; 5];
        counts[1] = 98;
        counts[3] = 2;
        let times = Times(Snapshot { bounds: vec![0.5, 1.0, 10.0, 20.0], counts, sum: 0.0 });
        assert_eq!((times.quantile(0.5), times.quantile(0.99), times.quantile(1.0)), (1.0, 20.0, 20.0));
        assert!(times.text().starts_with("[<=0ms]:98 [0~10ms]:0 [10~50ms]:2 [50~100ms]:0 "), "{}", times.text());
        assert_eq!(times.spans().map(|(_, count)| count).sum::<u64>(), 100);
        assert_eq!(Times(Snapshot { bounds: vec![1.0], counts: vec![0, 0], sum: 0.0 }).quantile(0.99), 0.0);
    }
}
