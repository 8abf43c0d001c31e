//! The server that is measured: a command that prints a line when it is ready.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::load::Load;

/// Which server is measured.
#[derive(Args)]
pub struct Which {
    /// Command that starts the server on a folder of its own and prints a line when it is ready.
    #[arg(long, value_name = "COMMAND")]
    pub server: String,
    /// Address of its broker.
    #[arg(long, default_value = "127.0.0.1:10911", value_name = "HOST:PORT")]
    pub broker: String,
}

impl Which {
    /// Starts it.
    pub fn start(&self) -> Result<Server, String> {
        Server::start(&self.server)
    }

    /// Connects so many times, each connection for so many calls at a time.
    pub async fn connect(&self, connections: usize, in_flight: usize) -> Result<Load, String> {
        Load::connect(&self.broker, connections, in_flight).await
    }
}

/// What a server uses, with all processes that its command started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes of memory, those of mapped files included.
    pub resident: u64,
    /// Bytes of memory of its own.
    pub anonymous: u64,
    /// Open files and sockets.
    pub files: u64,
    /// Mapped parts of its memory.
    pub mappings: u64,
    /// Processor time since it was started.
    pub processor: Duration,
}

/// A running server.
pub struct Server {
    child: Child,
    /// How long it took from the command to the line.
    pub start: Duration,
}

impl Server {
    /// Runs a command of the shell and waits for its first line.
    fn start(command: &str) -> Result<Self, String> {
        let began = Instant::now();
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &format!("exec {command}")]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = shell.spawn().map_err(|error| format!("cannot run `{command}`: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut line).map_err(|error| format!("cannot read from the server: {error}"))?;
        if line.is_empty() {
            return Err(format!("`{command}` ended before it was ready"));
        }
        let start = began.elapsed();
        // Nobody is held up by a full pipe.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self { child, start })
    }

    /// Asks it to end and waits; returns how long that took.
    pub fn stop(mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let all = self.processes();
        signal(self.child.id(), Signal::TERM);
        self.child.wait().map_err(|error| error.to_string())?;
        while all.iter().any(|process| is_running(*process)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(began.elapsed())
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) -> Result<(), String> {
        let all = self.processes();
        all.iter().for_each(|process| signal(*process, Signal::KILL));
        self.child.wait().map_err(|error| error.to_string())?;
        while all.iter().any(|process| is_running(*process)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it uses at this moment.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for process in self.processes() {
            let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
            let status = read("status");
            let kilobytes = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0_u64) * 1024
            };
            sum.resident += kilobytes("VmRSS:");
            sum.anonymous += kilobytes("RssAnon:");
            sum.files += fs::read_dir(format!("/proc/{process}/fd")).map_or(0, |entries| entries.count() as u64);
            sum.mappings += read("maps").lines().count() as u64;
            // The name, in brackets, may contain anything.
            let stat = read("stat");
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
            sum.processor +=
                Duration::from_millis((ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second());
        }
        sum
    }

    /// The process of the command and all below it.
    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let parent = |process: &u32| -> Option<u32> {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
        };
        let parents: Vec<_> = all.iter().filter_map(|process| Some((*process, parent(process)?))).collect();
        let mut tree = HashSet::from([self.child.id()]);
        loop {
            let before = tree.len();
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| tree.contains(parent))
                    .map(|(process, _)| *process)
                    .collect::<Vec<_>>(),
            );
            if tree.len() == before {
                return tree.into_iter().collect();
            }
        }
    }
}

fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}
