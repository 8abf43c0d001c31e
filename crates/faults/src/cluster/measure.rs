//! What copies cost a master: the rate of sends when it waits for its slave beside the rate when it does not, and the
//! rate while a slave catches up beside the rate without one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::run::{Run, Setup};
use super::shape::Shape;
use super::taker::{Cores, Taker};
use crate::error::Failure;
use crate::session::note;

/// Pairs of measurements: their order changes, so that what changes with time falls on both.
const PAIRS: usize = 3;
/// How long one takes at least.
const LEAST: f64 = 5.0;
/// Messages that a slave lacks, of 4 KiB each.
const LACKING: u64 = 100_000;
/// Files of their usual size.
const SETTINGS: [&str; 2] = ["mappedFileSizeCommitLog=1073741824", "mappedFileSizeConsumeQueue=6000000"];

/// Measures, for people. Each measurement takes `seconds`, 5 at least.
pub fn run(binary: &Path, folder: &Path, seed: u64, seconds: f64, settings: &[String]) -> Result<String, Failure> {
    let seconds = seconds.max(LEAST);
    let setup = |shape: Shape, name: &str| Setup {
        shape,
        settings: SETTINGS.iter().map(|setting| (*setting).to_owned()).chain(settings.iter().cloned()).collect(),
        disk: None,
        binary: binary.to_owned(),
        folder: folder.join(format!("measure-{name}")),
        seed,
        calm: Duration::ZERO,
        measures: true,
    };
    let mut rates = [Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        let mut order = [false, true];
        order.rotate_left(pair % 2);
        for is_sync in order {
            let run = begin(setup(Shape::Pair { is_sync }, "pair"), true)?;
            send(&run, &["--seconds", "2"])?;
            let rate = send(&run, &["--seconds", &seconds.to_string()])?;
            note(&format!("{}: {rate:.0} messages a second\n", if is_sync { "SYNC_MASTER" } else { "ASYNC_MASTER" }));
            rates[usize::from(is_sync)].push(rate);
            finish(run)?;
        }
    }
    let [asynchronous, synchronous] = rates.map(median);
    let mut text = format!(
        "sends of 1 KiB, 16 connections with 32 in flight, master and slave, median of {PAIRS}:\n  ASYNC_MASTER \
         {asynchronous:.0} messages a second, SYNC_MASTER with inSyncReplicas=2 {synchronous:.0}: {:.1} % of it\n",
        100.0 * synchronous / asynchronous
    );

    let run = begin(setup(Shape::Pair { is_sync: false }, "catching-up"), false)?;
    let cores = Cores::split()?;
    send(&run, &["--size", "4096", "--messages", &LACKING.to_string(), "--seconds", "0"])?;
    let mut rates = [Vec::new(), Vec::new()];
    let mut taken = Vec::new();
    for pair in 0..PAIRS {
        let mut order = [false, true];
        order.rotate_left(pair % 2);
        for catches_up in order {
            let taker = catches_up.then(|| Taker::start(&run.hosts[0], LACKING << 12, cores.other)).transpose()?;
            let rate = send(&run, &["--seconds", &seconds.to_string()])?;
            rates[usize::from(catches_up)].push(rate);
            match taker {
                None => note(&format!("no slave: {rate:.0} messages a second\n")),
                Some(taker) => {
                    let speed = taker.stop()? / seconds;
                    note(&format!("a slave catches up: {rate:.0} messages a second, {:.0} MB/s copied\n", speed / 1e6));
                    taken.push(speed);
                }
            }
        }
    }
    let [alone, beside] = rates.map(median);
    text.push_str(&format!(
        "a slave that catches up all the time, its own work on a core of its own, median of {PAIRS}:\n  the master takes \
         {alone:.0} messages a second without it, {beside:.0} with it: {:.1} % of it, while it copies {:.0} MB/s\n",
        100.0 * beside / alone,
        median(taken) / 1e6
    ));
    finish(run)?;
    Ok(text)
}

/// A pair whose master takes messages.
fn begin(setup: Setup, with_slave: bool) -> Result<Run, Failure> {
    if setup.folder.exists() {
        std::fs::remove_dir_all(&setup.folder).map_err(Failure::at(&setup.folder))?;
    }
    let mut run = Run::new(setup)?;
    for host in [3, 1, 2] {
        if host != 2 || with_slave {
            run.start(host)?;
        }
    }
    run.make_topics()?;
    if with_slave {
        run.in_step()?;
    }
    match run.findings.first() {
        None => Ok(run),
        Some(finding) => Err(Failure::Start(finding.clone())),
    }
}

fn finish(run: Run) -> Result<(), Failure> {
    let folder = run.setup.folder.clone();
    drop(run);
    std::fs::remove_dir_all(&folder).map_err(Failure::at(&folder))
}

/// Messages a second that `apogee bench send` gets the master to take.
fn send(run: &Run, options: &[&str]) -> Result<f64, Failure> {
    let mut command = Command::new(&run.setup.binary);
    command.args(["bench", "send", "--json", "--connections", "16", "--in-flight", "32"]).args(options);
    let output = command.args(["--broker", &run.hosts[0].broker().to_string()]).output()?;
    let told: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    match told.and_then(|told| told["rate"].as_f64()) {
        Some(rate) if output.status.success() => Ok(rate),
        _ => Err(Failure::Tool(format!("apogee bench: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}
