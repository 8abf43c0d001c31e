//! Running the phases of a workload, and what is measured about them.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::caller::Caller;
use crate::engine::{Clock, Engine, Phase, Progress, SECOND, Tally, Traffic, connect};
use crate::error::BenchError;
use crate::options::Common;
use crate::usage::{Usage, own_cpu};

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What all parts of a run share.
pub(crate) struct Run {
    pub clock: Clock,
    pub options: Common,
}

/// What was measured of a phase.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub tally: Tally,
    pub seconds: f64,
    /// CPU time of this process, in seconds.
    pub own_cpu: f64,
    /// CPU time of the server in seconds, and what else it uses afterwards.
    pub server: Option<(f64, Usage)>,
}

impl Run {
    /// Begins now.
    pub(crate) fn start(options: Common) -> Self {
        Self { clock: Clock::start(), options }
    }

    /// Makes the connections and spreads them over threads, each with so many slots.
    pub(crate) fn engines<T: Traffic>(
        &self,
        connections: u32,
        slots: impl Fn(usize) -> u32,
        traffic: impl FnMut(u64) -> Result<T, BenchError>,
    ) -> Result<Vec<Engine<T>>, BenchError> {
        self.introduced(connections, slots, |_, _| Ok(()), traffic)
    }

    /// The same; each connection is first used to introduce itself.
    pub(crate) fn introduced<T: Traffic>(
        &self,
        connections: u32,
        slots: impl Fn(usize) -> u32,
        introduce: impl Fn(&mut Caller, usize) -> Result<(), BenchError>,
        mut traffic: impl FnMut(u64) -> Result<T, BenchError>,
    ) -> Result<Vec<Engine<T>>, BenchError> {
        allow_files(u64::from(connections))?;
        let threads = self.options.threads.min(connections) as usize;
        let peer = format!("the broker at {}", self.options.broker);
        let streams = connect(&peer, self.options.address()?, connections as usize)?;
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, stream) in streams.into_iter().enumerate() {
            let mut caller = Caller::over(stream, peer.clone())?;
            introduce(&mut caller, at)?;
            let (stream, read) = caller.into_parts();
            shares[at % threads].push((stream, read, slots(at)));
        }
        let engine = |(thread, share)| Engine::new(share, traffic(thread as u64)?, self.clock);
        shares.into_iter().enumerate().map(engine).collect()
    }

    /// Runs a phase on all engines, each on a thread of its own.
    pub(crate) fn phase<T: Traffic>(
        &self,
        name: &str,
        engines: &mut [Engine<T>],
        phase: impl Fn(u64) -> Phase,
    ) -> Result<Measured, BenchError> {
        let progress = engines.iter().map(Engine::progress).collect();
        let jobs = engines.iter_mut().enumerate().map(|(thread, engine)| {
            let phase = phase(thread as u64);
            move |start| engine.run(&Phase { start, ..phase }).map(|()| std::mem::take(&mut engine.tally))
        });
        self.threads(name, progress, jobs.map(|job| Box::new(job) as Job<'_>).collect())
    }

    /// Runs jobs at the same time, and measures. `progress` is what is shown meanwhile.
    pub(crate) fn threads(
        &self,
        name: &str,
        progress: Vec<Arc<Progress>>,
        jobs: Vec<Job<'_>>,
    ) -> Result<Measured, BenchError> {
        let server_before = Usage::of(&self.options.server_pid)?;
        let cpu_before = own_cpu();
        let began = self.clock.now();
        let done = AtomicBool::new(false);
        let (tallies, ended) = std::thread::scope(|scope| {
            scope.spawn(|| self.watch(name, &progress, &done));
            let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(move || job(began))).collect();
            let tallies = threads.into_iter().map(|thread| match thread.join() {
                Ok(tally) => tally,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            let tallies: Result<Vec<Tally>, BenchError> = tallies.collect();
            done.store(true, Ordering::Relaxed);
            (tallies, self.clock.now())
        });
        let seconds = (ended - began) as f64 / SECOND as f64;
        let own_cpu = (own_cpu() - cpu_before).as_secs_f64();
        let server = Usage::of(&self.options.server_pid)?
            .zip(server_before)
            .map(|(after, before)| (after.cpu.saturating_sub(before.cpu).as_secs_f64(), after));
        let mut tally = Tally::default();
        tallies?.iter().for_each(|other| tally.add(other));
        Ok(Measured { tally, seconds, own_cpu, server })
    }

    /// Shows how far it is, each second.
    fn watch(&self, name: &str, progress: &[Arc<Progress>], done: &AtomicBool) {
        if !self.options.progress && !std::io::stderr().is_terminal() {
            return;
        }
        let mut before = (self.clock.now(), 0);
        let began = before.0;
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            let now = self.clock.now();
            if now - before.0 < SECOND {
                continue;
            }
            let sum = |of: fn(&Progress) -> u64| progress.iter().map(|progress| of(progress)).sum::<u64>();
            let messages = sum(|progress| progress.messages.load(Ordering::Relaxed));
            let errors = sum(|progress| progress.errors.load(Ordering::Relaxed));
            let rate = messages.saturating_sub(before.1) as f64 * SECOND as f64 / (now - before.0) as f64;
            let errors = if errors > 0 { format!(", {errors} errors") } else { String::new() };
            let elapsed = (now - began) / SECOND;
            // Whoever closed it does not want it.
            let _ = writeln!(std::io::stderr(), "{name} {elapsed:>4} s {messages:>12} messages {rate:>10.0}/s{errors}");
            before = (now, messages);
        }
    }
}

/// Sees that so many connections may be open.
fn allow_files(connections: u64) -> Result<(), BenchError> {
    // Our own files, and connections of other parts of the run.
    let wanted = connections + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(BenchError::new(format!(
            "{connections} connections need more files than this process may open: raise the limit (ulimit -n)"
        )));
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    raised.map_err(|error| BenchError::system("cannot raise the limit of open files", error))
}

/// What one thread does from a moment on.
pub(crate) type Job<'a> = Box<dyn FnOnce(u64) -> Result<Tally, BenchError> + Send + 'a>;
