//! The server under test: ours, or Apache RocketMQ for comparison.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Failure;

/// How long a server may take to end when it is asked to.
const END: Duration = Duration::from_secs(60);

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ours.
    Apogee,
    /// Apache RocketMQ, by `tests/oracle/apache`.
    Apache,
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose.
    pub kind: Kind,
    /// The binary, or the script.
    pub program: PathBuf,
    /// `key=value` of `broker.conf`.
    pub settings: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A running server with all its children; killed when dropped.
pub struct Process {
    child: Child,
    /// Where clients reach it.
    pub broker: SocketAddr,
    /// How long it took until it said that it was ready.
    pub started_in: Duration,
}

impl Target {
    /// Starts on a folder; what it logs is added to `log`.
    pub fn start(&self, data: &Path, log: &Path) -> Result<Process, Failure> {
        let began = Instant::now();
        let log_file = OpenOptions::new().create(true).append(true).open(log).map_err(Failure::at(log))?;
        let mut command = Command::new(&self.program);
        command.arg("server").arg("--data").arg(data).env("APOGEE_LOG", "info");
        match self.kind {
            Kind::Apogee => {
                command.args(["--host", "127.0.0.1", "--bind", "127.0.0.1"]);
                command.args(["--namesrv-port", "0", "--broker-port", "0"]);
                for setting in &self.settings {
                    command.args(["--set", setting]);
                }
            }
            Kind::Apache => {
                let base = free_ports()?;
                command.args(["--namesrv-port", &base.to_string(), "--broker-port", &(base + 4).to_string()]);
                command.args(&self.settings);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own, so that all of it can be killed at once.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        let mut child =
            command.spawn().map_err(|error| Failure::Start(format!("{}: {error}", self.program.display())))?;
        let mut ready = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut ready)?;
        }
        let broker = ready.split("broker ").nth(1).and_then(|rest| rest.split([',', ' ', '\n']).next());
        match broker.and_then(|address| address.parse().ok()) {
            Some(broker) => Ok(Process { child, broker, started_in: began.elapsed() }),
            None => {
                let mut process = Process { child, broker: ([127, 0, 0, 1], 0).into(), started_in: began.elapsed() };
                process.kill();
                Err(Failure::Start(format!("it said {ready:?}; its log ends with: {}", tail(log))))
            }
        }
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// The first of eight ports that nobody listens on.
fn free_ports() -> Result<u16, Failure> {
    let mut base = 20_000 + (std::process::id() % 900) as u16 * 10;
    for _ in 0..500 {
        if (base..base + 8).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(base);
        }
        base = if base > 31_000 { 20_000 } else { base + 10 };
    }
    Err(Failure::Tool("no free ports".to_owned()))
}

impl Process {
    /// Ends it as a crash does, with all its children.
    pub fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        // Its children may hold files a moment longer.
        let deadline = Instant::now() + END;
        while has_live_members(self.child.id()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + END;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(Failure::Tool(format!("the server did not stop within {} s", END.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process group has a process that has not ended; one that only nobody has waited for has, once its
/// last thread is gone.
fn has_live_members(group: u32) -> bool {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()).any(|process| {
        let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return false };
        // pid (name) state parent group …; the name may have anything in it.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, group_of) = (fields.next(), fields.nth(1));
        let threads = || std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
        group_of.and_then(|id| id.parse().ok()) == Some(group) && (!matches!(state, Some("Z" | "X")) || threads() > 1)
    })
}

/// Empties or creates a file.
pub fn empty(path: &Path) -> Result<(), Failure> {
    File::create(path).map_err(Failure::at(path)).map(drop)
}
