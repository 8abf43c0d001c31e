//! How fast a copy comes, and when it will be complete.

/// Milliseconds that a rate is taken over.
const WINDOW_MS: i64 = 5_000;
/// Parts of that time.
const PARTS: usize = 10;

/// Where a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the master's log that the copy has not yet.
    pub behind: i64,
    /// Bytes that come in a second.
    pub rate: i64,
}

impl Progress {
    /// Seconds until the copy is complete if nothing changes: 0 when it is, `None` while nothing comes.
    pub fn seconds_left(&self) -> Option<i64> {
        match (self.behind, self.rate) {
            (..=0, _) => Some(0),
            (_, ..=0) => None,
            (behind, rate) => Some((behind + rate - 1) / rate),
        }
    }
}

/// Counts what comes, and tells how much it was lately.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// Bytes of the parts of the window, by the number of the part since 1970.
    parts: [(i64, i64); PARTS],
}

impl Meter {
    /// So many bytes came at a time, in milliseconds since 1970.
    pub fn add(&mut self, now_ms: i64, bytes: i64) {
        let part = part_of(now_ms);
        let Some((of, sum)) = self.parts.get_mut(part.rem_euclid(PARTS as i64) as usize) else { return };
        if *of != part {
            (*of, *sum) = (part, 0);
        }
        *sum += bytes;
    }

    /// Bytes in a second, over the last seconds.
    pub fn rate(&self, now_ms: i64) -> i64 {
        let now = part_of(now_ms);
        let lately = self.parts.iter().filter(|(part, _)| (now - PARTS as i64 + 1..=now).contains(part));
        lately.map(|(_, sum)| sum).sum::<i64>() * 1_000 / WINDOW_MS
    }
}

fn part_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(WINDOW_MS / PARTS as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        for second in 0..20 {
            meter.add(1_000_000 + second * 1_000, 3_000);
        }
        assert_eq!(meter.rate(1_019_000), 3_000);
        assert_eq!(meter.rate(1_030_000), 0, "what came long ago does not count");
        let left = |behind, rate| Progress { behind, rate }.seconds_left();
        assert_eq!((left(9_001, 3_000), left(0, 0), left(5, 0)), (Some(4), Some(0), None));
    }
}
