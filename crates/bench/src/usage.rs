//! What processes use: the server's, and our own.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// What a server uses, with all processes that it started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Bytes of memory, those of mapped files included.
    pub resident: u64,
    /// Bytes of memory of its own.
    pub anonymous: u64,
    /// Open files and sockets.
    pub files: u64,
    /// Mapped parts of its memory.
    pub mappings: u64,
    /// CPU time since it was started.
    pub cpu: Duration,
}

impl Usage {
    /// What these processes and those below them use at this moment; `None` without any.
    pub(crate) fn of(roots: &[u32]) -> Result<Option<Self>, BenchError> {
        if roots.is_empty() {
            return Ok(None);
        }
        for root in roots {
            if fs::metadata(format!("/proc/{root}")).is_err() {
                return Err(BenchError::new(format!("--server-pid {root}: there is no such process on this machine")));
            }
        }
        let mut sum = Self::default();
        for process in tree(roots) {
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
            sum.cpu += Duration::from_millis((ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second());
        }
        Ok(Some(sum))
    }
}

/// These processes and all below them.
fn tree(roots: &[u32]) -> HashSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |process: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let parents: Vec<_> = all.filter_map(|process| Some((process, parent(process)?))).collect();
    let mut tree: HashSet<u32> = roots.iter().copied().collect();
    loop {
        let before = tree.len();
        for (process, parent) in &parents {
            if tree.contains(parent) {
                tree.insert(*process);
            }
        }
        if tree.len() == before {
            return tree;
        }
    }
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
