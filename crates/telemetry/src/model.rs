//! What is written out, whatever the format.

use std::borrow::Cow;

/// A name or a value of a label.
pub type Text = Cow<'static, str>;

/// One label of a point.
pub type Label = (&'static str, Text);

/// What the numbers of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows from the start of the process on.
    Counter,
    /// As it is at the moment.
    Gauge,
    /// Counts of values by size, from the start of the process on.
    Histogram,
}

/// Counts of values by size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Upper bounds, each included.
    pub bounds: Vec<f64>,
    /// Values in each bucket alone; the last is above all bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
}

impl Snapshot {
    /// With fewer bounds, each of them one that it has.
    pub fn coarser(&self, bounds: &[f64]) -> Self {
        let mut counts = vec![0; bounds.len() + 1];
        for (bucket, count) in self.counts.iter().enumerate() {
            let above = self.bounds.get(bucket).copied().unwrap_or(f64::INFINITY);
            counts[bounds.partition_point(|bound| *bound < above)] += count;
        }
        Self { bounds: bounds.to_vec(), counts, sum: self.sum }
    }

    /// Adds what another one with the same bounds counted.
    pub fn merge(&mut self, other: &Self) {
        if self.bounds.is_empty() && self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.sum += other.sum;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The value of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Snapshot),
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What tells it from the family's others.
    pub labels: Vec<Label>,
    /// Its value now.
    pub value: Value,
}

/// Series of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The name of the instrument, as OTLP has it; in Prometheus' text the unit comes behind it.
    pub name: Text,
    /// `bytes`, `milliseconds`, `seconds`; empty for numbers of something.
    pub unit: &'static str,
    /// For people.
    pub help: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Its series; a family without any is not written.
    pub points: Vec<Point>,
}

/// Families that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// Name of the scope, as OTLP has it.
    pub name: &'static str,
    /// Labels that all series have.
    pub labels: Vec<Label>,
    /// In any order.
    pub families: Vec<Family>,
}

impl Family {
    fn new(kind: Kind, name: impl Into<Text>, unit: &'static str, help: &'static str) -> Self {
        Self { name: name.into(), unit, help, kind, points: Vec::new() }
    }

    /// A family of counters; the name ends with `_total`.
    pub fn counter(name: impl Into<Text>, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, "", help)
    }

    /// A family of gauges.
    pub fn gauge(name: impl Into<Text>, unit: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, unit, help)
    }

    /// A family of histograms.
    pub fn histogram(name: impl Into<Text>, unit: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Histogram, name, unit, help)
    }

    /// Adds a series of a number.
    pub fn add(&mut self, labels: Vec<Label>, number: f64) {
        self.points.push(Point { labels, value: Value::Number(number) });
    }

    /// Adds a series of a histogram.
    pub fn add_histogram(&mut self, labels: Vec<Label>, snapshot: Snapshot) {
        self.points.push(Point { labels, value: Value::Histogram(snapshot) });
    }

    /// With one series without labels.
    pub fn of(mut self, number: f64) -> Self {
        self.add(Vec::new(), number);
        self
    }

    /// With one histogram without labels.
    pub fn of_histogram(mut self, snapshot: Snapshot) -> Self {
        self.add_histogram(Vec::new(), snapshot);
        self
    }

    /// With a series for each of these.
    pub fn of_all(mut self, all: impl IntoIterator<Item = (Vec<Label>, f64)>) -> Self {
        all.into_iter().for_each(|(labels, number)| self.add(labels, number));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarser_one_counts_the_same_values() {
        let fine = Snapshot { bounds: vec![1.0, 2.0, 3.0], counts: vec![1, 2, 3, 4], sum: 9.0 };
        let coarse = Snapshot { bounds: vec![2.0], counts: vec![3, 7], sum: 9.0 };
        assert_eq!(fine.coarser(&[2.0]), coarse);
        let mut merged = Snapshot::default();
        merged.merge(&coarse);
        merged.merge(&coarse);
        assert_eq!(merged, Snapshot { bounds: vec![2.0], counts: vec![6, 14], sum: 18.0 });
    }
}
