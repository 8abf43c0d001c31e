//! Which topics were deleted, so that their messages, which are in the log still, don't come back when
//! queues are made from it; and where light queues ended that are gone, so that no offset of theirs is given twice.
//!
//! ```text
//! <store>/deleted: a line for each deletion: CRC-32 of the rest in hexadecimal, the log's end then, the topic.
//! Behind the log's end of a light queue, and a colon, its own end; with a question mark in place of the colon it was
//! about to be deleted: that may not have happened.
//! ```
//!
//! Of two lines for a topic the later one counts. It is added to, and written anew when many lines are without use. Upstream's broker doesn't
//! know the file.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::disk::{self, Disk, DiskFile};

use crate::queue::{Run, Unit};

/// So many lines without use are left alone.
const IDLE_LINES: usize = 1_000;

pub(crate) struct Deleted {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: Arc<dyn DiskFile>,
    /// End of what is in the file.
    end: u64,
    lines: usize,
    /// Where the log ended when a topic was deleted last.
    topics: HashMap<Arc<str>, i64>,
    /// Where light queues ended that went, and where the log ended then.
    ends: HashMap<Arc<str>, (i64, i64)>,
}

impl Deleted {
    /// What is known in the store in `root`, of a log that begins at `log_start`.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, log_start: i64) -> io::Result<Self> {
        let path = root.join("deleted");
        let text = disk::read_replaced(&*disk, &path)?.unwrap_or_default();
        let is_new = !disk.exists(&path);
        let file = disk.open(&path, true)?;
        if is_new {
            disk.sync_folder(root)?;
        }
        let (topics, ends) = (HashMap::new(), HashMap::new());
        let mut state = State { file, end: text.len() as u64, lines: 0, topics, ends };
        for line in text.split(|byte| *byte == b'\n').filter_map(Line::read) {
            state.add(&line);
        }
        state.forget(log_start);
        let deleted = Self { disk, path, state: Mutex::new(state) };
        // A torn line at the end must not be gone on with.
        let is_torn = text.last().is_some_and(|byte| *byte != b'\n');
        deleted.write_anew(&mut deleted.lock(), if is_torn { None } else { Some(0) })?;
        Ok(deleted)
    }

    /// Notes durably that a topic is deleted now that the log ends at `log_end`; `end`: where it ended, if it is a light queue.
    pub fn note(&self, topic: &str, log_end: i64, end: Option<i64>) -> io::Result<()> {
        self.append([Line { topic, log_end, end, is_done: true }])
    }

    /// Notes durably that light queues with these ends are deleted, or are about to be.
    pub fn note_light(&self, queues: &[(Arc<str>, i64)], log_end: i64, is_done: bool) -> io::Result<()> {
        self.append(queues.iter().map(|(topic, end)| Line { topic, log_end, end: Some(*end), is_done }))
    }

    fn append<'l>(&self, lines: impl IntoIterator<Item = Line<'l>>) -> io::Result<()> {
        let mut state = self.lock();
        let lines: Vec<Line<'_>> = lines.into_iter().collect();
        if lines.is_empty() {
            return Ok(());
        }
        let text: String = lines.iter().map(Line::text).collect();
        state.file.write_at(&mut [IoSlice::new(text.as_bytes())], state.end)?;
        state.file.sync()?;
        state.end += text.len() as u64;
        lines.iter().for_each(|line| state.add(line));
        Ok(())
    }

    /// The log begins at `log_start` now: what was deleted before has nothing in it any more.
    pub fn tidy(&self, log_start: i64) -> io::Result<()> {
        let mut state = self.lock();
        state.forget(log_start);
        self.write_anew(&mut state, Some(IDLE_LINES))
    }

    /// Writes the file anew when it has more lines without use than may be; `None`: in any case.
    fn write_anew(&self, state: &mut State, idle: Option<usize>) -> io::Result<()> {
        let announced = state.ends.keys().filter(|topic| !state.topics.contains_key(*topic));
        let used = state.topics.len() + announced.count();
        if idle.is_some_and(|idle| state.lines <= used + idle) {
            return Ok(());
        }
        let mut text = String::new();
        for (topic, log_end) in &state.topics {
            let end = state.ends.get(topic).map(|(end, _)| *end);
            text.push_str(&Line { topic, log_end: *log_end, end, is_done: true }.text());
        }
        for (topic, (end, log_end)) in state.ends.iter().filter(|(topic, _)| !state.topics.contains_key(*topic)) {
            text.push_str(&Line { topic, log_end: *log_end, end: Some(*end), is_done: false }.text());
        }
        disk::replace(&*self.disk, &self.path, text.as_bytes())?;
        state.file = self.disk.open(&self.path, true)?;
        (state.end, state.lines) = (text.len() as u64, used);
        Ok(())
    }

    /// The log ends at `log_end`: what was behind is lost, and other messages will stand there.
    pub fn limit(&self, log_end: i64) -> io::Result<()> {
        let lines: Vec<(Arc<str>, Option<i64>)> = {
            let state = self.lock();
            let behind = state.topics.iter().filter(|(_, at)| **at > log_end);
            behind.map(|(topic, _)| (Arc::clone(topic), state.ends.get(topic).map(|(end, _)| *end))).collect()
        };
        self.append(lines.iter().map(|(topic, end)| Line { topic, log_end, end: *end, is_done: true }))
    }

    /// Where a light queue of this name ended that is gone; the next one goes on there. 0: nothing is known of one.
    pub fn end_of(&self, topic: &str) -> i64 {
        self.lock().ends.get(topic).map_or(0, |(end, _)| *end)
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

impl State {
    fn add(&mut self, line: &Line<'_>) {
        self.lines += 1;
        if line.is_done {
            self.topics.insert(line.topic.into(), line.log_end);
        }
        if let Some(end) = line.end {
            self.ends.insert(line.topic.into(), (end, line.log_end));
        }
    }

    fn forget(&mut self, log_start: i64) {
        self.topics.retain(|_, at| *at > log_start);
        self.ends.retain(|_, (_, at)| *at > log_start);
    }
}

/// A line of the file.
struct Line<'l> {
    topic: &'l str,
    log_end: i64,
    end: Option<i64>,
    is_done: bool,
}

impl<'l> Line<'l> {
    fn text(&self) -> String {
        let mut rest = self.log_end.to_string();
        if let Some(end) = self.end {
            // Writing to a text cannot fail.
            let _ = write!(rest, "{}{end}", if self.is_done { ':' } else { '?' });
        }
        let _ = write!(rest, " {}", self.topic);
        format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes()))
    }

    /// What a line tells, if it is whole.
    fn read(line: &'l [u8]) -> Option<Self> {
        let (sum, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(rest.as_bytes()) {
            return None;
        }
        let (at, topic) = rest.split_once(' ')?;
        let is_done = !at.contains('?');
        let (log_end, end) = match at.split_once([':', '?']) {
            Some((log_end, end)) => (log_end, Some(end.parse().ok()?)),
            None => (at, None),
        };
        Some(Self { topic, log_end: log_end.parse().ok()?, end, is_done })
    }
}
