//! A run: a server, its store, the ledger, and the count of what went wrong.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::ledger::{Ledger, show};
use crate::load::{Plan, Running, Told};
use crate::target::{Kind, Process, Target};
use crate::verify::{Outcome, Scope, verify};
use apogee_base::rng::Rng;

/// Age at which a consumer offset that Apache's broker has acknowledged must be on disk: it saves them for the
/// first time 10 s after its start, then every `flushConsumerOffsetInterval`. Ours has them on disk when it
/// answers.
const OFFSETS_SAVED_BY_APACHE: Duration = Duration::from_secs(12);
/// Stores of failures that are kept.
const KEPT: usize = 3;
/// Messages sent to Apache's broker after each start, before anything counts.
pub const WARM: u64 = 200;
/// Findings that are printed of one round.
const SHOWN: usize = 12;

/// Flags of every command.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// Rounds to run
    #[arg(long, default_value_t = 5)]
    pub rounds: u64,
    /// Decides sizes and moments; default: by the clock
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of the first round: a failure names the one to repeat from
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Rounds after which a new store is begun, once the old one was read as a whole
    #[arg(long, default_value_t = 50)]
    pub fresh: u64,
    /// Whose server
    #[arg(long, value_enum, default_value = "apogee")]
    pub server: Kind,
    /// The server's program; default: `apogee` beside this one, or tests/oracle/apache
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Folder for stores; those of failures stay there; default: one of its own in the temporary folder
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Connections that send
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Requests in flight on each
    #[arg(long, default_value_t = 8)]
    pub depth: usize,
    /// A setting of the server, key=value; may be repeated
    #[arg(long = "set")]
    pub settings: Vec<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// A run under way.
pub struct Session {
    name: &'static str,
    /// As asked for.
    pub common: Common,
    /// The seed in use.
    pub seed: u64,
    /// The round under way.
    pub round: u64,
    /// Chance of this round.
    pub rng: Rng,
    /// What the load side knows.
    pub ledger: Ledger,
    /// How the server is started.
    pub target: Target,
    /// The server, while it runs.
    pub process: Option<Process>,
    /// Folder of the run.
    pub folder: PathBuf,
    /// Folder of the server's data.
    pub data: PathBuf,
    /// The first round of the store in use.
    store_since: u64,
    /// Settings of the store in use.
    store_settings: Vec<String>,
    /// Settings that the command needs.
    pub own_settings: Vec<String>,
    ids: Arc<AtomicU64>,
    stale: bool,
    /// What came of it.
    pub report: Report,
    began: Instant,
    told_progress: Instant,
    _own_folder: Option<tempfile::TempDir>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Rounds done.
    pub rounds: u64,
    /// Rounds in which something was found that must not be.
    pub failed_rounds: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Sends refused with an error.
    pub refused: u64,
    /// Messages that were stored without an acknowledgement.
    pub unacknowledged: u64,
    /// Acknowledged messages that were gone, or consumers' reads.
    pub lost: u64,
    /// Consumer offsets that went back behind what was acknowledged within the last moments.
    pub offsets_back: u64,
    /// Findings in all.
    pub findings: u64,
    /// Longest start of the server.
    pub longest_start: Duration,
    /// Figures of the command's own.
    pub more: serde_json::Map<String, Value>,
}

impl Session {
    /// Prepares a run.
    pub fn new(name: &'static str, common: &Common) -> Result<Self, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = common.seed.unwrap_or(now.map_or(1, |now| now.as_nanos() as u64 % 1_000_000_000));
        let (folder, own_folder) = match &common.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let own = tempfile::Builder::new().prefix("apogee-faults-").tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        std::fs::create_dir_all(&folder).map_err(Failure::at(&folder))?;
        let folder = folder.canonicalize().map_err(Failure::at(&folder))?;
        let target = Target { kind: common.server, program: program(common)?, settings: vec![], environment: vec![] };
        Ok(Self {
            name,
            common: common.clone(),
            seed,
            round: common.from,
            rng: Rng::of(seed, common.from),
            ledger: Ledger::default(),
            target,
            process: None,
            data: folder.join("data"),
            folder,
            store_since: common.from,
            store_settings: Vec::new(),
            own_settings: Vec::new(),
            ids: Arc::new(AtomicU64::new((seed & 0xFFFF_FFFF) << 32)),
            stale: true,
            report: Report::default(),
            began: Instant::now(),
            told_progress: Instant::now(),
            _own_folder: own_folder,
        })
    }

    /// Runs the rounds, one after the other; the first failure of the harness itself ends them.
    pub fn run(&mut self, mut round: impl FnMut(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let end = self.common.from + self.common.rounds;
        for number in self.common.from..end {
            (self.round, self.rng) = (number, Rng::of(self.seed, number));
            if (number - self.store_since) >= self.common.fresh && !self.stale {
                self.verify(&Scope { full: true, ..Scope::default() })?;
                self.stale = true;
            }
            match round(self) {
                Ok(()) => {}
                // That the server doesn't come up, or stops answering, is a finding.
                Err(failure @ (Failure::Start(_) | Failure::Peer(_))) => self.found(vec![failure.to_string()])?,
                Err(failure) => return Err(failure),
            }
            self.report.rounds += 1;
            self.progress();
        }
        if self.process.is_some() && !self.stale {
            self.verify(&Scope { full: true, ..Scope::default() })?;
        }
        self.process = None;
        Ok(())
    }

    /// Whether the round needs a store of its own; it must then call [`Self::renew`].
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// From now on the store is one that the next round does not go on with.
    pub fn discard(&mut self) {
        self.stale = true;
    }

    /// Begins with an empty store; `clear` empties the place where it is.
    pub fn renew(&mut self, clear: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        self.process = None;
        clear(self)?;
        self.ledger = Ledger::default();
        (self.stale, self.store_since) = (false, self.round);
        // Small files, so that their borders are met often.
        let log = *self.rng.pick(&[262_144u64, 1 << 20, 8 << 20]);
        let queue = *self.rng.pick(&[2_000u64, 20_000, 6_000_000]);
        let entries = *self.rng.pick(&[5_000u64, 20_000, 100_000]);
        self.store_settings = vec![
            format!("mappedFileSizeCommitLog={log}"),
            format!("mappedFileSizeConsumeQueue={queue}"),
            format!("maxHashSlotNum={}", entries / 4),
            format!("maxIndexNum={entries}"),
            "defaultTopicQueueNums=4".to_owned(),
            "flushConsumerOffsetInterval=100".to_owned(),
        ];
        crate::target::empty(&self.server_log())
    }

    /// Ends the server as a crash does, or, when `clean`, as an operator does.
    pub fn end(&mut self, clean: bool) -> Result<(), Failure> {
        match self.process.take() {
            Some(process) if clean => process.stop(),
            // Dropped, which kills it.
            _ => Ok(()),
        }
    }

    /// Where the server's own words are.
    pub fn server_log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Removes the data, for [`Self::renew`].
    pub fn clear_data(&mut self) -> Result<(), Failure> {
        match std::fs::remove_dir_all(&self.data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::at(&self.data)(error)),
            _ => Ok(()),
        }
    }

    /// Starts the server on the store.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.process = None;
        let settings = self.store_settings.iter().chain(&self.own_settings).chain(&self.common.settings);
        self.target.settings = settings.cloned().collect();
        let process = self.target.start(&self.data, &self.server_log())?;
        self.report.longest_start = self.report.longest_start.max(process.started_in);
        let broker = process.broker;
        self.process = Some(process);
        if self.common.server == Kind::Apache {
            crate::load::warm(broker, WARM)?;
        }
        Ok(())
    }

    /// Adds to a figure of the command's own.
    pub fn count(&mut self, name: &str, by: u64) {
        let figure = self.report.more.entry(name).or_insert(json!(0));
        *figure = json!(figure.as_u64().unwrap_or(0) + by);
    }

    /// Raises a figure of the command's own to the most seen.
    pub fn most(&mut self, name: &str, value: u64) {
        let figure = self.report.more.entry(name).or_insert(json!(0));
        *figure = json!(figure.as_u64().unwrap_or(0).max(value));
    }

    /// The address of the running server.
    pub fn address(&self) -> Result<std::net::SocketAddr, Failure> {
        let stopped = || Failure::Tool("the harness asks a server that it has not started".to_owned());
        self.process.as_ref().map(|process| process.broker).ok_or_else(stopped)
    }

    /// Starts the load of a round.
    pub fn load(&mut self) -> Result<Running, Failure> {
        self.load_of(false)
    }

    /// Starts a load of large messages if `heavy`.
    pub fn load_of(&mut self, heavy: bool) -> Result<Running, Failure> {
        let mut places = Vec::new();
        // Some topics stay, and now and then one is new.
        for topic in ["Orders", "Payments", "Shipments"] {
            places.extend((0..4).map(|queue| (Arc::from(topic), queue)));
        }
        let young: Arc<str> = Arc::from(format!("Young{}", self.round / 8));
        places.extend((0..2).map(|queue| (Arc::clone(&young), queue)));
        let positions = places.iter().map(|place| self.ledger.position(place)).collect();
        let (connections, depth) = (self.common.connections, self.common.depth);
        let plan = Plan { places, positions, connections, depth, largest: 100_000, heavy };
        Ok(Running::start(self.address()?, &plan, &self.ids, &mut self.rng))
    }

    /// Lets the load work for a moment: a short one, so that many rounds fit in, and now and then one that is
    /// long enough for what is done in the background.
    pub fn wait(&mut self) {
        let range = match self.common.server {
            // Its start takes so long that few rounds are run: each has to show more.
            Kind::Apache => 500..2_000,
            Kind::Apogee if self.rng.chance(5) => 1_200..2_000,
            Kind::Apogee => 20..300,
        };
        std::thread::sleep(Duration::from_millis(self.rng.within(range)));
    }

    /// Takes what a load was told.
    pub fn take(&mut self, told: &Told) -> Result<(), Failure> {
        self.report.acknowledged += told.acknowledged.iter().map(|answer| answer.count).sum::<u64>();
        self.report.refused += told.refused.len() as u64;
        // Such a round shows nothing: the figure says so.
        self.count("roundsWithoutAcknowledgement", u64::from(told.acknowledged.is_empty()));
        let wrong = self.ledger.take(told);
        self.found(wrong)
    }

    /// Looks at the store.
    pub fn verify(&mut self, scope: &Scope) -> Result<Outcome, Failure> {
        let saved_within = match self.common.server {
            Kind::Apogee => Duration::ZERO,
            Kind::Apache => OFFSETS_SAVED_BY_APACHE,
        };
        let mut outcome = verify(self.address()?, &mut self.ledger, scope, saved_within, &mut self.rng)?;
        self.report.unacknowledged += outcome.unacknowledged;
        self.report.lost += outcome.lost;
        self.report.offsets_back += outcome.offsets_back;
        self.found(std::mem::take(&mut outcome.findings))?;
        Ok(outcome)
    }

    /// Something must not be: it is told with what repeats it, and the store is kept.
    pub fn found(&mut self, findings: Vec<String>) -> Result<(), Failure> {
        if findings.is_empty() {
            return Ok(());
        }
        self.report.findings += findings.len() as u64;
        self.report.failed_rounds += 1;
        let mut text = format!("round {} (seed {}):\n", self.round, self.seed);
        for finding in findings.iter().take(SHOWN) {
            text.push_str(&format!("  {finding}\n"));
        }
        if findings.len() > SHOWN {
            text.push_str(&format!("  and {} more\n", findings.len() - SHOWN));
        }
        let settings = self.target.settings.join(" ");
        text.push_str(&format!(
            "  settings: {settings}\n  to repeat: apogee-faults {} --seed {} --from {} --rounds {}\n",
            self.name,
            self.seed,
            self.store_since,
            self.round - self.store_since + 1
        ));
        if self.report.failed_rounds as usize <= KEPT {
            let kept = self.keep()?;
            text.push_str(&format!("  the store is kept in {}\n", kept.display()));
            let queues = self.ledger.queues.iter().map(|(place, queue)| {
                json!({ "queue": show(place), "seen": queue.seen.len(), "last": queue.promised.keys().next_back() })
            });
            let summary = json!({ "findings": findings, "queues": queues.collect::<Vec<_>>() });
            let file = kept.join("findings.json");
            std::fs::write(&file, format!("{summary:#}\n")).map_err(Failure::at(&file))?;
        }
        note(&text);
        self.stale = true;
        Ok(())
    }

    /// Copies the store, so that it can be looked at later.
    fn keep(&mut self) -> Result<PathBuf, Failure> {
        if let Some(own) = self._own_folder.take() {
            // It would go with the run.
            let _ = own.keep();
        }
        let kept = self.folder.join(format!("failed-{}-{}-{}", self.name, self.seed, self.round));
        std::fs::create_dir_all(&kept).map_err(Failure::at(&kept))?;
        for source in [&self.data, &self.server_log()] {
            let arguments = ["-a", "--sparse=always"].map(std::ffi::OsStr::new);
            let arguments = [arguments[0], arguments[1], source.as_os_str(), kept.as_os_str()];
            // A file system that was shut down can't be read: what matters then comes after the mount.
            if let Err(failure) = crate::error::run("cp", &arguments) {
                note(&format!("  {failure}\n"));
            }
        }
        Ok(kept)
    }

    fn progress(&mut self) {
        if self.told_progress.elapsed() < Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 20 }) {
            return;
        }
        self.told_progress = Instant::now();
        note(&format!("{}\n", self.line()));
    }

    fn line(&self) -> String {
        let report = &self.report;
        format!(
            "{}: {} of {} rounds, {} acknowledged, {} lost, {} findings, {:.0} s, seed {}",
            self.name,
            report.rounds,
            self.common.rounds,
            report.acknowledged,
            report.lost,
            report.findings,
            self.began.elapsed().as_secs_f64(),
            self.seed
        )
    }

    /// The summary, for people or programs.
    pub fn summary(&self) -> String {
        let report = &self.report;
        let server = match self.common.server {
            Kind::Apogee => "apogee",
            Kind::Apache => "apache",
        };
        let mut value = json!({
            "command": self.name, "server": server, "seed": self.seed, "rounds": report.rounds,
            "failedRounds": report.failed_rounds, "acknowledged": report.acknowledged, "refused": report.refused,
            "storedWithoutAcknowledgement": report.unacknowledged, "lost": report.lost,
            "recentOffsetsGoneBack": report.offsets_back, "findings": report.findings,
            "longestStartMs": report.longest_start.as_millis() as u64, "seconds": self.began.elapsed().as_secs(),
        });
        if let Some(all) = value.as_object_mut() {
            all.extend(report.more.clone());
        }
        if self.common.json {
            return format!("{value:#}\n");
        }
        let mut text = format!("{}\n", self.line());
        for (name, value) in value.as_object().into_iter().flatten() {
            text.push_str(&format!("  {name}: {value}\n"));
        }
        text
    }
}

/// A line for who watches.
pub fn note(text: &str) {
    // Nobody reads: not a reason to end.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn program(common: &Common) -> Result<PathBuf, Failure> {
    if let Some(binary) = &common.binary {
        return binary.canonicalize().map_err(Failure::at(binary));
    }
    let path = match common.server {
        Kind::Apache => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/apache"),
        Kind::Apogee => std::env::current_exe()?.with_file_name("apogee"),
    };
    path.canonicalize().map_err(|error| {
        Failure::Tool(format!(
            "{}: {error}; build it (cargo build -p apogee-server), or name it with --binary",
            path.display()
        ))
    })
}
