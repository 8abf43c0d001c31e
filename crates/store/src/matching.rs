//! How many messages of a queue a filter lets pass, without handing them out.

use std::ops::Range;

use apogee_message::record::Record;

use crate::integrity::Led;
use crate::reader::{Filter, Verdict};
use crate::store::Store;

/// Units read in one go.
const STEP: usize = 4_096;

/// What may be spent on counting; what is spent is taken from it.
#[derive(Debug, Clone, Copy)]
pub struct Spend {
    /// Units of queues that are looked at.
    pub units: usize,
    /// Records of the log that are looked at, which may wait for the disk.
    pub records: usize,
}

/// How many messages match: no fewer and no more than so many. Both are the same when all were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matching {
    /// These match.
    pub least: u64,
    /// All others do not.
    pub most: u64,
}

impl Matching {
    fn add(&mut self, matches: Option<bool>) {
        self.least += u64::from(matches == Some(true));
        self.most += u64::from(matches != Some(false));
    }
}

impl Store {
    /// Counts the messages at these offsets of a queue that a filter lets pass. `by_records`: units alone do not decide.
    /// Those that there is nothing left to spend on may match or not.
    pub fn count_matching(
        &self,
        topic: &str,
        queue_id: i32,
        offsets: Range<i64>,
        filter: &mut dyn Filter,
        by_records: bool,
        spend: &mut Spend,
    ) -> Matching {
        let mut matching = Matching::default();
        let Ok(Some(queue)) = self.queues.get(topic, queue_id) else { return matching };
        let (first, end) = queue.range();
        let (mut at, end) = (offsets.start.max(first), offsets.end.min(end));
        while at < end {
            let step = STEP.min(spend.units).min((end - at) as usize);
            // A part of the queue that cannot be read now may have messages that match.
            let units = if step > 0 { self.queues.read(&queue, at, step).unwrap_or_default() } else { Vec::new() };
            if units.is_empty() {
                matching.most += (end - at) as u64;
                break;
            }
            spend.units -= units.len();
            for (offset, unit) in (at..).zip(&units) {
                if unit.is_blank() || !filter.by_unit(unit.tag_code) {
                    continue;
                }
                if !by_records {
                    matching.add(Some(true));
                    continue;
                }
                let verdict = spend.records.checked_sub(1).map(|left| {
                    spend.records = left;
                    match self.led_to(&queue, offset, *unit) {
                        Led::Record(bytes, _) => {
                            Record::read(&bytes).map_or(Verdict::Skip, |record| filter.by_record(&record))
                        }
                        Led::Gone | Led::Damaged => Verdict::Skip,
                    }
                });
                matching.add(match verdict {
                    Some(Verdict::Take) => Some(true),
                    Some(Verdict::Skip) => Some(false),
                    Some(Verdict::Stop) => {
                        spend.records = 0;
                        None
                    }
                    None => None,
                });
            }
            at += units.len() as i64;
        }
        matching
    }
}
