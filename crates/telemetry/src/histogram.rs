//! A histogram that many threads write to at once.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::model::Snapshot;

/// Bounds of latencies, in nanoseconds from 10 µs to 60 s: each at most 1.7 times the one before, so that a
/// quantile read from them is off by no more.
pub const LATENCY_NS: &[u64] = &[
    10_000,
    15_000,
    20_000,
    30_000,
    50_000,
    70_000,
    100_000,
    150_000,
    200_000,
    300_000,
    500_000,
    700_000,
    1_000_000,
    1_500_000,
    2_000_000,
    3_000_000,
    5_000_000,
    7_000_000,
    10_000_000,
    15_000_000,
    20_000_000,
    30_000_000,
    50_000_000,
    70_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    300_000_000,
    500_000_000,
    700_000_000,
    1_000_000_000,
    1_500_000_000,
    2_000_000_000,
    3_000_000_000,
    4_000_000_000,
    5_000_000_000,
    7_000_000_000,
    10_000_000_000,
    15_000_000_000,
    20_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// What a histogram of nanoseconds is multiplied by when it is shown in seconds.
pub const SECONDS_PER_NS: f64 = 1e-9;

/// Numbers in a line of the cache; two lines, as processors fetch them in pairs.
const LINE: usize = 16;

/// Parts of a histogram: as many as threads that may write at once, but not more than there is memory for.
static PARTS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().next_power_of_two().min(16)));

/// Counts of values by size. Writers share no memory unless there are more threads than processors.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// From one part to the next.
    stride: usize,
    /// Each part: the sum, then a count for each bound and one for what is above all.
    cells: Box<[AtomicU64]>,
}

impl Histogram {
    /// With these bounds, each included in its bucket, in ascending order.
    pub fn new(bounds: &'static [u64]) -> Self {
        let stride = (bounds.len() + 2).next_multiple_of(LINE);
        Self { bounds, stride, cells: (0..stride * *PARTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts the same value so many times.
    pub fn record_many(&self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let part = part() * self.stride;
        for (cell, added) in [(part, value.saturating_mul(times)), (part + 1 + bucket, times)] {
            if let Some(cell) = self.cells.get(cell) {
                cell.fetch_add(added, Ordering::Relaxed);
            }
        }
    }

    /// What was counted so far; each number is multiplied by `scale`.
    pub fn snapshot(&self, scale: f64) -> Snapshot {
        let mut counts = vec![0; self.bounds.len() + 1];
        let mut sum = 0u64;
        for part in self.cells.chunks(self.stride) {
            sum = sum.wrapping_add(part[0].load(Ordering::Relaxed));
            for (count, cell) in counts.iter_mut().zip(&part[1..]) {
                *count += cell.load(Ordering::Relaxed);
            }
        }
        // Divided where that is exact, so that bounds are written as people write them.
        let scaled =
            |number: u64| if scale < 1.0 { number as f64 / (1.0 / scale).round() } else { number as f64 * scale };
        let bounds = self.bounds.iter().map(|bound| scaled(*bound)).collect();
        Snapshot { bounds, counts, sum: scaled(sum) }
    }
}

/// The part that this thread writes to.
fn part() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static PART: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    match PART.get() {
        UNKNOWN => {
            let part = THREADS.fetch_add(1, Ordering::Relaxed) % *PARTS;
            PART.set(part);
            part
        }
        part => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_in_their_buckets_from_all_threads() {
        let histogram = Histogram::new(&[10, 20]);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| [1, 10, 11, 20, 21].into_iter().for_each(|value| histogram.record(value)));
            }
        });
        histogram.record_many(5, 3);
        let snapshot = histogram.snapshot(1.0);
        assert_eq!(snapshot.counts, [43, 40, 20]);
        assert_eq!((snapshot.count(), snapshot.sum), (103, 20.0 * 63.0 + 15.0));
    }

    #[test]
    fn seconds_are_written_without_a_trail_of_digits() {
        let snapshot = Histogram::new(LATENCY_NS).snapshot(SECONDS_PER_NS);
        assert_eq!(&snapshot.bounds[..3], &[0.00001, 0.000015, 0.00002]);
        assert_eq!(snapshot.bounds.last(), Some(&60.0));
        assert!(LATENCY_NS.windows(2).all(|pair| pair[1] > pair[0] && pair[1] * 10 <= pair[0] * 20));
    }
}
