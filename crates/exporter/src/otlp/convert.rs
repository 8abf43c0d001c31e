//! Families as OTLP's messages; numbers since the start, or since the last push.

use std::collections::HashMap;

use apogee_telemetry::{Family, Kind, Label, Point, Scope, Snapshot, Value};

use super::messages::{
    Any, AnyValue, Data, ExportRequest, Gauge, Histogram, HistogramDataPoint, InstrumentationScope, KeyValue, Metric,
    NumberDataPoint, Resource, ResourceMetrics, ScopeMetrics, Sum, Temporality,
};

/// Makes messages of families.
pub(super) struct Converter {
    /// What was sent last, by series; only where differences are sent.
    last: Option<HashMap<String, Value>>,
    /// When what is counted now began, in nanoseconds since 1970.
    since: u64,
    /// Points of a message at most.
    most_points: usize,
}

impl Converter {
    pub fn new(in_delta: bool, start: u64, most_points: usize) -> Self {
        Self { last: in_delta.then(HashMap::new), since: start, most_points: most_points.max(1) }
    }

    /// The messages that tell all of it, each with so many points at most.
    pub fn requests(&mut self, scopes: Vec<Scope>, now: u64) -> Vec<ExportRequest> {
        let temporality = if self.last.is_some() { Temporality::Delta } else { Temporality::Cumulative };
        let mut next = self.last.as_ref().map(|_| HashMap::new());
        let (mut requests, mut open, mut room) = (Vec::new(), Vec::<ScopeMetrics>::new(), self.most_points);
        for scope in scopes {
            let Scope { name, labels, families } = scope;
            for mut family in families {
                let mut points = std::mem::take(&mut family.points);
                if let (Some(last), Some(next), true) = (&self.last, &mut next, family.kind != Kind::Gauge) {
                    for point in &mut points {
                        let key = key(name, &family, &point.labels);
                        let value = point.value.clone();
                        subtract(&mut point.value, last.get(&key));
                        next.insert(key, value);
                    }
                }
                while !points.is_empty() {
                    if room == 0 {
                        requests.push(request(std::mem::take(&mut open)));
                        room = self.most_points;
                    }
                    let rest = points.split_off(points.len().min(room));
                    room -= points.len();
                    let times = (self.since, now);
                    let metric = metric(&family, &labels, std::mem::replace(&mut points, rest), times, temporality);
                    match open.last_mut().filter(|open| open.scope.as_ref().is_some_and(|scope| scope.name == name)) {
                        Some(open) => open.metrics.push(metric),
                        None => {
                            let scope = InstrumentationScope { name: name.to_owned() };
                            open.push(ScopeMetrics { scope: Some(scope), metrics: vec![metric] });
                        }
                    }
                }
            }
        }
        if !open.is_empty() {
            requests.push(request(open));
        }
        if next.is_some() {
            (self.last, self.since) = (next, now);
        }
        requests
    }
}

fn request(scope_metrics: Vec<ScopeMetrics>) -> ExportRequest {
    let resource = Some(Resource { attributes: Vec::new() });
    ExportRequest { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }
}

fn key(scope: &str, family: &Family, labels: &[Label]) -> String {
    let mut key = format!("{scope}\0{}", family.name);
    for (name, value) in labels {
        key.extend(["\0", *name, "\0", value]);
    }
    key
}

/// Takes off what was sent before. A counter that fell began anew.
fn subtract(value: &mut Value, before: Option<&Value>) {
    match (value, before) {
        (Value::Number(now), Some(Value::Number(before))) if *now >= *before => *now -= before,
        (Value::Histogram(now), Some(Value::Histogram(before))) if is_later(now, before) => {
            now.sum -= before.sum;
            now.counts.iter_mut().zip(&before.counts).for_each(|(now, before)| *now -= before);
        }
        _ => {}
    }
}

fn is_later(now: &Snapshot, before: &Snapshot) -> bool {
    now.bounds == before.bounds && now.counts.iter().zip(&before.counts).all(|(now, before)| now >= before)
}

fn metric(
    family: &Family,
    common: &[Label],
    points: Vec<Point>,
    (start, now): (u64, u64),
    temporality: Temporality,
) -> Metric {
    let number = |point: Point, start: u64| {
        let as_double = if let Value::Number(number) = point.value { Some(number) } else { None };
        let attributes = attributes(common, point.labels);
        NumberDataPoint { start_time_unix_nano: start, time_unix_nano: now, as_double, attributes }
    };
    let data = match family.kind {
        // A gauge is of its moment.
        Kind::Gauge => Data::Gauge(Gauge { data_points: points.into_iter().map(|point| number(point, 0)).collect() }),
        Kind::Counter => Data::Sum(Sum {
            data_points: points.into_iter().map(|point| number(point, start)).collect(),
            aggregation_temporality: temporality.into(),
            is_monotonic: true,
        }),
        Kind::Histogram => {
            let point = |point: Point| {
                let Value::Histogram(snapshot) = point.value else { return None };
                Some(HistogramDataPoint {
                    start_time_unix_nano: start,
                    time_unix_nano: now,
                    count: snapshot.count(),
                    sum: Some(snapshot.sum),
                    bucket_counts: snapshot.counts,
                    explicit_bounds: snapshot.bounds,
                    attributes: attributes(common, point.labels),
                })
            };
            let data_points = points.into_iter().filter_map(point).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: temporality.into() })
        }
    };
    let (name, description, unit) = (family.name.to_string(), family.help.to_owned(), family.unit.to_owned());
    Metric { name, description, unit, data: Some(data) }
}

fn attributes(common: &[Label], own: Vec<Label>) -> Vec<KeyValue> {
    let attribute = |(key, value): Label| {
        let value = match &*value {
            // Upstream's are of this type.
            "true" | "false" if key.starts_with("is_") => Any::Bool(value == "true"),
            _ => Any::Text(value.into_owned()),
        };
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
    };
    common.iter().cloned().chain(own).map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(count: f64, buckets: [u64; 2]) -> Vec<Scope> {
        let snapshot = Snapshot { bounds: vec![1.0], counts: buckets.to_vec(), sum: count };
        let labelled = |number| (vec![("is_system", "true".into()), ("topic", "true".into())], number);
        let families = vec![
            Family::counter("c_total", "C").of_all([labelled(count)]),
            Family::gauge("g", "bytes", "G").of(count),
            Family::histogram("h", "seconds", "H").of_histogram(snapshot),
        ];
        vec![Scope { name: "s", labels: vec![("node", "n".into())], families }]
    }

    fn numbers(request: &ExportRequest) -> Vec<f64> {
        let metrics = request.resource_metrics[0].scope_metrics.iter().flat_map(|scope| &scope.metrics);
        let number = |metric: &Metric| match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => gauge.data_points[0].as_double.unwrap(),
            Data::Sum(sum) => sum.data_points[0].as_double.unwrap(),
            Data::Histogram(histogram) => histogram.data_points[0].count as f64,
        };
        metrics.map(number).collect()
    }

    #[test]
    fn numbers_are_since_the_start_or_since_the_last_push() {
        let mut cumulative = Converter::new(false, 1, 100);
        let mut delta = Converter::new(true, 1, 100);
        for (scopes, all, last) in [
            (scopes(5.0, [1, 2]), [5.0, 5.0, 3.0], [5.0, 5.0, 3.0]),
            (scopes(7.0, [1, 4]), [7.0, 7.0, 5.0], [2.0, 7.0, 2.0]),
            (scopes(1.0, [0, 1]), [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
        ] {
            assert_eq!(numbers(&cumulative.requests(scopes.clone(), 2)[0]), all);
            assert_eq!(numbers(&delta.requests(scopes, 2)[0]), last);
        }
    }

    #[test]
    fn a_message_has_so_many_points_and_no_more() {
        let mut converter = Converter::new(false, 1, 2);
        let requests = converter.requests(scopes(1.0, [0, 1]), 2);
        assert_eq!(requests.iter().map(|request| numbers(request).len()).collect::<Vec<_>>(), [2, 1]);
        let Some(Data::Sum(sum)) = &requests[0].resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
        let texts: Vec<_> = sum.data_points[0].attributes.iter().map(|attribute| format!("{attribute:?}")).collect();
        assert!(
            texts[0].contains("Text(\"n\")") && texts[1].contains("Bool(true)") && texts[2].contains("Text(\"true\")")
        );
    }
}
