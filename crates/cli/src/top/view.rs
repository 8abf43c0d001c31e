//! What `apogee top` shows, and what keys change about it.

use crate::cell::{Cell, size};
use crate::report::Report;
use crate::table::Table;
use crate::top::sample::{BrokerSeen, Group, Sampler, Topic};

/// What the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Rows {
    #[default]
    Topics,
    Groups,
}

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Sort {
    /// The busiest first.
    #[default]
    Rate,
    /// Most messages first: there in a topic, or waiting for a group.
    Messages,
    /// By name.
    Name,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Rate => Self::Messages,
            Self::Messages => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Messages => "messages",
            Self::Name => "name",
        }
    }
}

/// What somebody presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

/// What is shown, and how.
#[derive(Debug, Default)]
pub struct View {
    pub rows: Rows,
    pub sort: Sort,
    pub filter: String,
    /// Whether keys are letters of the filter.
    pub typing: bool,
    pub paused: bool,
    /// The first row that is shown.
    first: usize,
}

/// Lines beside those of the rows and of the brokers.
const OTHER_LINES: usize = 6;
/// Most brokers that are shown: the others can be seen by `clusterList`.
const BROKERS: usize = 8;

impl View {
    /// Shows from the first row on.
    pub fn new(rows: Rows, sort: Sort, filter: String) -> Self {
        Self { rows, sort, filter, ..Self::default() }
    }

    /// Does what a key says; false is the end.
    pub fn press(&mut self, key: Key, page: usize) -> bool {
        if key == Key::Interrupt {
            return false;
        }
        if self.typing {
            match key {
                Key::Char(letter) => self.filter.push(letter),
                Key::Backspace => drop(self.filter.pop()),
                Key::Enter => self.typing = false,
                Key::Escape => (self.typing, self.filter) = (false, String::new()),
                _ => {}
            }
            self.first = 0;
            return true;
        }
        match key {
            Key::Char('q') | Key::Escape => return false,
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Tab => {
                self.rows = if self.rows == Rows::Topics { Rows::Groups } else { Rows::Topics };
                self.first = 0;
            }
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first += 1,
            Key::PageUp => self.first = self.first.saturating_sub(page),
            Key::PageDown => self.first += page,
            _ => {}
        }
        true
    }

    /// Rows that a screen of so many lines has room for.
    pub fn room(lines: usize, brokers: usize) -> usize {
        lines.saturating_sub(OTHER_LINES + brokers.min(BROKERS)).max(1)
    }

    /// Names of what is shown, and so looked at first.
    pub fn shown(&mut self, sampler: &Sampler, room: usize) -> Vec<String> {
        match self.rows {
            Rows::Topics => self.topics(sampler, room).into_iter().map(|(name, _)| name.clone()).collect(),
            Rows::Groups => self.groups(sampler, room).into_iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    fn topics<'a>(&mut self, sampler: &'a Sampler, room: usize) -> Vec<(&'a String, &'a Topic)> {
        let of = |topic: &Topic| [topic.rate, topic.messages as f64];
        self.select(sampler.topics.iter().map(|(name, topic)| (name, topic, of(topic))), room)
    }

    fn groups<'a>(&mut self, sampler: &'a Sampler, room: usize) -> Vec<(&'a String, &'a Group)> {
        let of = |group: &Group| [group.rate, group.lag as f64];
        self.select(sampler.groups.iter().map(|(name, group)| (name, group, of(group))), room)
    }

    /// Those whose names have the filter's letters, sorted; as many as there is room for, the last ones at the end.
    fn select<'a, T>(
        &mut self,
        all: impl Iterator<Item = (&'a String, &'a T, [f64; 2])>,
        room: usize,
    ) -> Vec<(&'a String, &'a T)> {
        let mut rows: Vec<_> = all.filter(|(name, ..)| name.contains(&self.filter)).collect();
        let by = match self.sort {
            Sort::Rate => Some(0),
            Sort::Messages => Some(1),
            Sort::Name => None,
        };
        // They come by name, and stay so where they are equal.
        if let Some(by) = by {
            rows.sort_by(|one, other| other.2[by].total_cmp(&one.2[by]));
        }
        self.first = self.first.min(rows.len().saturating_sub(room));
        rows.into_iter().skip(self.first).take(room).map(|(name, row, _)| (name, row)).collect()
    }

    /// Brokers and rows, for a screen or for a file.
    pub fn report(&mut self, sampler: &Sampler, room: usize) -> Report {
        let mut report = Report::new().line(summary(sampler)).table("brokers", brokers(sampler)).line("");
        if let Some(error) = &sampler.error {
            report = report.line(format!("! {error}")).data("error", error.to_string());
        }
        match self.rows {
            Rows::Topics => {
                let mut table = Table::new(&[
                    ("TOPIC", "topic"),
                    ("IN/s", "inPerSecond"),
                    ("MESSAGES", "messages"),
                    ("QUEUES", "queues"),
                ]);
                for (name, topic) in self.topics(sampler, room) {
                    table.row([name.into(), Cell::decimal(topic.rate, 1), topic.messages.into(), topic.queues.into()]);
                }
                report.table("topics", table)
            }
            Rows::Groups => {
                let mut table = Table::new(&[
                    ("GROUP", "group"),
                    ("LAG", "lag"),
                    ("RETRIES", "retries"),
                    ("OUT/s", "outPerSecond"),
                    ("MEMBERS", "members"),
                    ("TOPICS", "topics"),
                ]);
                for (name, group) in self.groups(sampler, room) {
                    table.row([
                        name.into(),
                        group.lag.into(),
                        group.retries.into(),
                        Cell::decimal(group.rate, 1),
                        group.members.into(),
                        group.topics.into(),
                    ]);
                }
                report.table("groups", table)
            }
        }
    }

    /// The last line of a screen.
    pub fn keys(&self) -> String {
        if self.typing {
            return format!("/{}_", self.filter);
        }
        let other = if self.rows == Rows::Topics { "groups" } else { "topics" };
        let filter = if self.filter.is_empty() { String::new() } else { format!(" [{}]", self.filter) };
        let paused = if self.paused { "go on" } else { "pause" };
        format!("q quit  tab {other}  s sort [{}]  / filter{filter}  p {paused}  arrows scroll", self.sort.name())
    }
}

fn summary(sampler: &Sampler) -> String {
    let sum = |rates: fn(&apogee_client::admin::BrokerState) -> f64| -> f64 {
        sampler.brokers.iter().filter_map(|broker| broker.state.as_ref()).map(rates).sum()
    };
    let of = |seen: usize, all: usize| if seen == all { all.to_string() } else { format!("{all} ({seen} looked at)") };
    format!(
        "in {:.1}/s  out {:.1}/s  topics {}  groups {}",
        sum(|state| state.puts_per_second[0]),
        sum(|state| state.gets_per_second[0]),
        of(sampler.topics_seen(), sampler.topics.len()),
        of(sampler.groups_seen(), sampler.groups.len()),
    )
}

fn brokers(sampler: &Sampler) -> Table {
    let mut table = Table::new(&[
        ("BROKER", "broker"),
        ("ID", "id"),
        ("ADDRESS", "address"),
        ("VERSION", "version"),
        ("IN/s", "inPerSecond"),
        ("OUT/s", "outPerSecond"),
        ("DISK", "diskUsage"),
        ("BEHIND", "behind"),
        ("STATE", "state"),
    ]);
    for seen in sampler.brokers.iter().take(BROKERS) {
        let state = seen.state.as_ref();
        let rate = |rate: Option<f64>| rate.map_or(Cell::None, |rate| Cell::decimal(rate, 1));
        let word = match state {
            Some(_) if !seen.broker.is_master() => "slave",
            Some(state) if state.active => "up",
            Some(_) => "takes nothing",
            None => "no answer",
        };
        let behind = behind(sampler, seen).map_or(Cell::None, |bytes| Cell::both(size(bytes), bytes));
        let usage = state.map(|state| state.log_disk_usage);
        table.row([
            (&seen.broker.name).into(),
            seen.broker.id.into(),
            (&seen.broker.address).into(),
            state.map(|state| state.version.clone()).into(),
            rate(state.map(|state| state.puts_per_second[0])),
            rate(state.map(|state| state.gets_per_second[0])),
            usage.map_or(Cell::None, |usage| Cell::both(format!("{:.0}%", usage * 100.0), usage)),
            behind,
            word.into(),
        ]);
    }
    table
}

/// Bytes of its master's log that a slave lacks; `None` for a master, and where one of the two does not answer.
fn behind(sampler: &Sampler, slave: &BrokerSeen) -> Option<i64> {
    let is_master = |seen: &&BrokerSeen| {
        let (one, other) = (&seen.broker, &slave.broker);
        one.is_master() && (&one.cluster, &one.name) == (&other.cluster, &other.name)
    };
    if slave.broker.is_master() {
        return None;
    }
    let master = sampler.brokers.iter().find(is_master)?.state.as_ref()?;
    Some((master.log_end - slave.state.as_ref()?.log_end).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_what_is_shown() {
        let mut view = View::default();
        assert!(view.press(Key::Tab, 10) && view.rows == Rows::Groups);
        assert!(view.press(Key::Char('s'), 10) && view.sort == Sort::Messages);
        for key in [Key::Char('/'), Key::Char('q'), Key::Char('s'), Key::Backspace, Key::Enter] {
            assert!(view.press(key, 10));
        }
        assert_eq!((view.filter.as_str(), view.typing, view.sort), ("q", false, Sort::Messages));
        assert!(view.keys().contains("[q]"), "{}", view.keys());
        assert!(!view.press(Key::Char('q'), 10));
    }

    #[test]
    fn rows_are_filtered_sorted_and_scrolled_to_the_end_at_most() {
        let names = ["a1", "a2", "b1", "a3"].map(str::to_owned);
        let rates = [1.0, 3.0, 9.0, 2.0];
        let mut view = View { filter: "a".to_owned(), ..View::default() };
        let all = || names.iter().zip(&rates).map(|(name, rate)| (name, rate, [*rate, -*rate]));
        let select = |view: &mut View| -> Vec<String> {
            view.select(all(), 2).into_iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(select(&mut view), ["a2", "a3"]);
        view.first = 100;
        assert_eq!(select(&mut view), ["a3", "a1"]);
        view.sort = Sort::Messages;
        assert_eq!(select(&mut view), ["a3", "a2"]);
    }
}
