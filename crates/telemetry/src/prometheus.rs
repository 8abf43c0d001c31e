//! The text that Prometheus reads (exposition format 0.0.4), with names made as upstream's exporter makes them.

use std::fmt::Write;

use crate::model::{Family, Kind, Label, Scope, Snapshot, Text, Value};

/// The type of the text, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The name of a family: its unit stands behind it, unless the name ends with it already.
pub fn name(family: &Family) -> String {
    let unit = if family.unit == "ms" { "milliseconds" } else { family.unit };
    let (base, total) = match (family.kind, family.name.strip_suffix("_total")) {
        (Kind::Counter, Some(base)) => (base, "_total"),
        (Kind::Counter, None) => (&*family.name, "_total"),
        _ => (&*family.name, ""),
    };
    if unit.is_empty() || base.ends_with(unit) { format!("{base}{total}") } else { format!("{base}_{unit}{total}") }
}

/// Writes scopes, families in the order of their names, series in that of their labels.
pub fn write(scopes: &[Scope]) -> String {
    let mut text = String::new();
    for scope in scopes {
        let mut families: Vec<_> = scope
            .families
            .iter()
            .filter(|family| !family.points.is_empty())
            .map(|family| (name(family), family))
            .collect();
        families.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let scope_name = scope_label(scope);
        for (name, family) in families {
            write_family(&mut text, &name, family, &scope.labels, &scope_name);
        }
    }
    text
}

/// Upstream's series say which scope they are of; where a scope has no name, none does.
fn scope_label(scope: &Scope) -> Vec<Label> {
    if scope.name.is_empty() { Vec::new() } else { vec![("otel_scope_name", Text::Borrowed(scope.name))] }
}

fn write_family(text: &mut String, name: &str, family: &Family, common: &[Label], scope: &[Label]) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n"));
    let _ = writeln!(text, "# TYPE {name} {kind}");
    let mut points: Vec<_> =
        family.points.iter().map(|point| (labels(&[common, scope, &point.labels]), point)).collect();
    points.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (labels, point) in points {
        match &point.value {
            Value::Number(number) => {
                let _ = writeln!(text, "{name}{} {}", braced(&labels, None), float(*number));
            }
            Value::Histogram(snapshot) => write_histogram(text, name, &labels, snapshot),
        }
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &str, snapshot: &Snapshot) {
    let mut below = 0;
    let bounds = snapshot.bounds.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(&snapshot.counts) {
        below += count;
        let _ = writeln!(text, "{name}_bucket{} {below}", braced(labels, Some(bound)));
    }
    let labels = braced(labels, None);
    let _ = writeln!(text, "{name}_sum{labels} {}", float(snapshot.sum));
    let _ = writeln!(text, "{name}_count{labels} {below}");
}

/// Labels in the order of their names, as they stand between braces.
fn labels(parts: &[&[Label]]) -> String {
    let mut all: Vec<&Label> = parts.iter().copied().flatten().collect();
    all.sort_by_key(|(name, _)| *name);
    let mut text = String::new();
    for (name, value) in all {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                letter => text.push(letter),
            }
        }
        text.push('"');
    }
    text
}

fn braced(labels: &str, bound: Option<f64>) -> String {
    let separator = if labels.is_empty() { "" } else { "," };
    match bound {
        Some(bound) => format!("{{{labels}{separator}le=\"{}\"}}", float(bound)),
        None if labels.is_empty() => String::new(),
        None => format!("{{{labels}}}"),
    }
}

fn float(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        number => format!("{number:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_with_their_units() {
        let gauge = |base: &'static str, unit| name(&Family::gauge(base, unit, ""));
        assert_eq!(gauge("rocketmq_storage_size", "bytes"), "rocketmq_storage_size_bytes");
        assert_eq!(gauge("rocketmq_storage_flush_behind_bytes", "bytes"), "rocketmq_storage_flush_behind_bytes");
        assert_eq!(gauge("rocketmq_finish_message_latency", "ms"), "rocketmq_finish_message_latency_milliseconds");
        assert_eq!(name(&Family::counter("apogee_x_total", "")), "apogee_x_total");
    }

    #[test]
    fn text_is_as_prometheus_reads_it() {
        let mut sizes = Family::histogram("sizes", "bytes", "By \\ size");
        let snapshot = Snapshot { bounds: vec![1.5, 10.0], counts: vec![1, 2, 3], sum: 70.0 };
        sizes.add_histogram(vec![("topic", "a\"b\\c\nd".into())], snapshot);
        let empty = Family::gauge("empty", "", "not written");
        let scope = Scope {
            name: "m",
            labels: vec![("node", "n".into())],
            families: vec![sizes, empty, Family::counter("all_total", "All").of(5e16)],
        };
        let nameless = Scope { name: "", labels: Vec::new(), families: vec![Family::gauge("g", "", "G").of(f64::NAN)] };
        let expected = "\
# HELP all_total All
# TYPE all_total counter
all_total{node=\"n\",otel_scope_name=\"m\"} 5e16
# HELP sizes_bytes By \\\\ size
# TYPE sizes_bytes histogram
sizes_bytes_bucket{node=\"n\",otel_scope_name=\"m\",topic=\"a\\\"b\\\\c\\nd\",le=\"1.5\"} 1
sizes_bytes_bucket{node=\"n\",otel_scope_name=\"m\",topic=\"a\\\"b\\\\c\\nd\",le=\"10.0\"} 3
sizes_bytes_bucket{node=\"n\",otel_scope_name=\"m\",topic=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 6
sizes_bytes_sum{node=\"n\",otel_scope_name=\"m\",topic=\"a\\\"b\\\\c\\nd\"} 70.0
sizes_bytes_count{node=\"n\",otel_scope_name=\"m\",topic=\"a\\\"b\\\\c\\nd\"} 6
# HELP g G
# TYPE g gauge
g NaN
";
        assert_eq!(write(&[scope, nameless]), expected);
    }
}
