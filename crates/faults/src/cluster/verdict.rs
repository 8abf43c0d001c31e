//! The end of a run: all is mended, and what the machines have is held against what the clients were told.

use std::time::Duration;

use super::check::{Allowance, Log, Verdict, check, check_consumed};
use super::machine;
use super::run::Run;
use crate::error::Failure;

/// How long consumers may take for what is left, while they make progress.
const CONSUMES: Duration = Duration::from_secs(40);
/// After the end of all faults writes must go on within that time.
const MENDED: Duration = Duration::from_secs(40);
/// How long what was promised may take to be shown.
const APPEARS: Duration = Duration::from_secs(15);
/// Violations that are told of each machine.
const SHOWN: usize = 8;

/// What came of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Messages sent.
    pub sent: usize,
    /// Those promised.
    pub acknowledged: usize,
    /// Those that are there without a promise.
    pub unpromised: usize,
    /// Copies beyond the first.
    pub duplicates: usize,
}

impl Run {
    /// Mends everything, ends the clients, and looks.
    pub fn end(&mut self) -> Result<Summary, Failure> {
        self.mend()?;
        for number in 1..=self.hosts.len() {
            let host = self.host(number);
            host.resume();
            host.step_clock(0)?;
            host.free_disk()?;
            if !host.is_up() {
                self.start(number)?;
            }
        }
        self.writes_go_on("the end of all faults", MENDED);
        self.in_step()?;
        self.produce(false);
        let summary = self.look()?;
        self.compare_logs()?;
        Ok(summary)
    }

    /// Holds what each broker shows against the history.
    fn look(&mut self) -> Result<Summary, Failure> {
        let master = self.master();
        let mut summary = Summary { sent: self.history.sends().len(), ..Summary::default() };
        summary.acknowledged = self.history.acknowledged();
        for number in self.setup.shape.brokers() {
            let Some((verdict, log)) = self.look_at(number, Allowance::default()) else { continue };
            if number == master {
                (summary.unpromised, summary.duplicates) = (verdict.unpromised, verdict.duplicates);
                self.wait_for_consumers(&log);
            }
        }
        self.leave();
        Ok(summary)
    }

    /// Holds what a broker shows against the history; nobody may produce meanwhile.
    pub fn look_at(&mut self, number: usize, allowed: Allowance) -> Option<(Verdict, Log)> {
        let (sends, broker) = (self.history.sends(), self.host(number).broker());
        let patience = if allowed.tail_before.is_some() { Duration::from_secs(1) } else { APPEARS };
        let log = match machine::read(broker, &sends, patience) {
            Ok(log) => log,
            Err(failure) => {
                self.finding(format!("host {number} cannot be read: {failure}"));
                return None;
            }
        };
        let verdict = check(&sends, &log, allowed);
        self.event(format!("host {number} shows {} messages", verdict.messages));
        let count = verdict.violations.len();
        for violation in verdict.violations.iter().take(SHOWN) {
            self.finding(format!("host {number}: {violation}"));
        }
        if count > SHOWN {
            self.finding(format!("host {number}: and {} more", count - SHOWN));
        }
        Some((verdict, log))
    }

    /// The group must be given what is there.
    fn wait_for_consumers(&mut self, log: &Log) {
        let sends = self.history.sends();
        let (mut before, mut since) = (usize::MAX, self.history.now());
        loop {
            let (given, strange) = self.history.given();
            let missing = check_consumed(&sends, &given, log);
            if missing.len() < before {
                (before, since) = (missing.len(), self.history.now());
            }
            if missing.is_empty() || self.history.now() - since > CONSUMES {
                for violation in missing.iter().take(SHOWN) {
                    self.finding(violation.to_string());
                }
                if missing.len() > SHOWN {
                    self.finding(format!("and {} more that the consumers were not given", missing.len() - SHOWN));
                }
                for place in strange.iter().take(SHOWN) {
                    self.finding(format!("the consumers were given a body that nobody sent: {place}"));
                }
                let again: u32 = given.values().map(|times| times - 1).sum();
                self.event(format!("the consumers were given {} messages, {again} of them again", given.len()));
                break;
            }
            self.pass(50..51);
        }
    }

    /// Ends all brokers as operators do, and compares their logs byte by byte.
    fn compare_logs(&mut self) -> Result<(), Failure> {
        // The master last: another one would write on.
        let master = self.master();
        for number in (1..=self.hosts.len()).filter(|number| *number != master).chain([master]) {
            if let Err(failure) = self.host(number).stop() {
                self.finding(failure.to_string());
                self.host(number).kill();
            }
        }
        let brokers: Vec<usize> = self.setup.shape.brokers().collect();
        let folder = |run: &mut Self, number| run.host(number).data().join("store/commitlog");
        for pair in brokers.windows(2) {
            let (one, other) = (folder(self, pair[0]), folder(self, pair[1]));
            if let Some(at) = machine::difference(&one, &other)? {
                self.finding(format!("the logs of hosts {} and {} differ at {at}", pair[0], pair[1]));
            }
        }
        self.look_for_panics()
    }

    /// What a server says of itself that it must not.
    fn look_for_panics(&mut self) -> Result<(), Failure> {
        for number in 1..=self.hosts.len() {
            let log = self.host(number).log();
            let text = std::fs::read(&log).map_err(Failure::at(&log))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
                self.finding(format!("host {number} panicked: {line}"));
            }
        }
        Ok(())
    }
}
