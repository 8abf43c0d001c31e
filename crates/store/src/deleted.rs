//! Which topics were deleted, so that their messages, which are in the log still, don't come back when
//! queues are made from it.
//!
//! ```text
//! <store>/deleted: a line for each deletion: CRC-32 of the rest in hexadecimal, the log's end then, the topic
//! ```
//!
//! Of two lines for a topic the later one counts. It is only added to, and written anew at a start that finds lines without use. Upstream's broker doesn't
//! know the file.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::disk::{self, Disk, DiskFile};

use crate::queue::{Run, Unit};

pub(crate) struct Deleted {
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

struct State {
    /// End of what is in the file.
    end: u64,
    /// Where the log ended when a topic was deleted last.
    topics: HashMap<Arc<str>, i64>,
}

impl Deleted {
    /// What is known in the store in `root`, of a log that begins at `log_start`.
    pub fn open(disk: &dyn Disk, root: &Path, log_start: i64) -> io::Result<Self> {
        let path = root.join("deleted");
        let text = disk::read_replaced(disk, &path)?.unwrap_or_default();
        let mut topics = HashMap::<Arc<str>, i64>::new();
        let mut lines = 0;
        for (topic, at) in text.split(|byte| *byte == b'\n').filter_map(deletion) {
            lines += 1;
            topics.insert(topic, at);
        }
        topics.retain(|_, at| *at > log_start);
        let mut end = text.len() as u64;
        // A torn line at the end must not be gone on with.
        if lines > topics.len() || text.last().is_some_and(|byte| *byte != b'\n') {
            let text: String = topics.iter().map(|(topic, at)| line(topic, *at)).collect();
            disk::replace(disk, &path, text.as_bytes())?;
            end = text.len() as u64;
        }
        let is_new = !disk.exists(&path);
        let file = disk.open(&path, true)?;
        if is_new {
            disk.sync_folder(root)?;
        }
        Ok(Self { file, state: Mutex::new(State { end, topics }) })
    }

    /// Notes durably that a topic is deleted now that the log ends at `log_end`.
    pub fn note(&self, topic: &str, log_end: i64) -> io::Result<()> {
        let mut state = self.lock();
        let line = line(topic, log_end);
        self.file.write_at(&mut [IoSlice::new(line.as_bytes())], state.end)?;
        self.file.sync()?;
        state.end += line.len() as u64;
        state.topics.insert(topic.into(), log_end);
        Ok(())
    }

    /// The log ends at `log_end`: what was behind is lost, and other messages will stand there.
    pub fn limit(&self, log_end: i64) -> io::Result<()> {
        let behind = |(topic, at): (&Arc<str>, &i64)| (*at > log_end).then(|| Arc::clone(topic));
        let topics: Vec<_> = self.lock().topics.iter().filter_map(behind).collect();
        topics.iter().try_for_each(|topic| self.note(topic, log_end))
    }

    /// Whether a topic's record at a place of the log is of a time before the topic was deleted.
    pub fn covers(&self, topic: &str, physical_offset: i64) -> bool {
        let state = self.lock();
        !state.topics.is_empty() && state.topics.get(topic).is_some_and(|at| physical_offset < *at)
    }

    /// Takes from kept units of a topic's queues those of a time before it was deleted. Says whether any
    /// are left.
    pub fn forget(&self, topic: &str, queues: &mut HashMap<i32, Run>) -> bool {
        if self.covers(topic, 0) {
            queues.retain(|_, run| {
                let covered = |unit: &Unit| !unit.is_blank() && self.covers(topic, unit.physical_offset);
                let count = run.units.iter().rposition(covered).map_or(0, |last| last + 1);
                run.units.drain(..count);
                run.offset += count as i64;
                !run.units.is_empty()
            });
        }
        !queues.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(topic: &str, at: i64) -> String {
    let rest = format!("{at} {topic}");
    format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes()))
}

/// What a line tells, if it is whole.
fn deletion(line: &[u8]) -> Option<(Arc<str>, i64)> {
    let (sum, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (at, topic) = rest.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(rest.as_bytes());
    is_whole.then_some((topic.into(), at.parse().ok()?))
}
