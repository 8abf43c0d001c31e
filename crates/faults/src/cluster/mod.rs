//! Clusters of several hosts on one machine, and what breaks them. See `docs/cluster-tests.md`.

mod check;
mod clients;
mod history;
mod host;
mod machine;
mod measure;
mod network;
mod report;
mod run;
mod scenarios;
mod shape;
mod step;
mod taker;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::error::Failure;
use crate::session::note;
use report::Report;
use run::{Run, Setup};
use scenarios::{ALL, Scenario};

/// Flags of the command.
#[derive(Args, Debug, Clone)]
pub struct Cluster {
    /// Print the scenarios
    #[arg(long)]
    list: bool,
    /// Run this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Run all scenarios
    #[arg(long)]
    all: bool,
    /// Measure what waiting for a slave costs, and what a slave that catches up does; use with a release build
    #[arg(long)]
    measure: bool,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds for each scenario, from the first on
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Rounds of each run
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Seconds, about, in which nothing is broken between two faults
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// A setting of the servers, key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The server's program; default: `apogee` beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Folder for what a failed run leaves
    #[arg(long, default_value = "target/cluster")]
    folder: PathBuf,
    /// Keep what all runs leave, with the stores
    #[arg(long)]
    keep: bool,
}

/// Runs what is asked for; whether nothing was found that must not be.
pub fn run(flags: &Cluster) -> Result<bool, Failure> {
    if flags.list {
        print(&report::list(ALL))?;
        return Ok(true);
    }
    let binary = match &flags.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("apogee"),
    };
    let binary = binary.canonicalize().map_err(Failure::at(&binary))?;
    std::fs::create_dir_all(&flags.folder).map_err(Failure::at(&flags.folder))?;
    let folder = flags.folder.canonicalize().map_err(Failure::at(&flags.folder))?;
    if flags.measure {
        print(&measure::run(&binary, &folder, flags.seed, flags.seconds, &flags.settings)?)?;
        return Ok(true);
    }
    let chosen = chosen(flags)?;
    let mut report = Report::default();
    for seed in flags.seed..flags.seed + flags.seeds {
        for scenario in &chosen {
            let own = folder.join(format!("{}-{seed}", scenario.name));
            if own.exists() {
                std::fs::remove_dir_all(&own).map_err(Failure::at(&own))?;
            }
            let setup = Setup {
                shape: scenario.shape,
                settings: flags.settings.clone(),
                disk: scenario.disk,
                binary: binary.clone(),
                folder: own,
                seed,
                calm: Duration::from_secs_f64(flags.seconds.clamp(0.0, 3_600.0)),
                measures: false,
            };
            let is_good = one(scenario, setup, flags, &mut report)?;
            note(&report.last_line());
            if !is_good {
                note(&format!("  to repeat: tests/cluster/run --scenario {} --seed {seed}\n", scenario.name));
            }
        }
    }
    print(&report.tables())?;
    Ok(report.is_good())
}

fn chosen(flags: &Cluster) -> Result<Vec<&'static Scenario>, Failure> {
    if flags.all {
        return Ok(ALL.iter().collect());
    }
    let named = flags.scenario.iter().map(|name| {
        let found = ALL.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| Failure::Tool(format!("there is no scenario {name}; --list tells which there are")))
    });
    let named: Vec<_> = named.collect::<Result<_, _>>()?;
    match named.is_empty() {
        true => {
            Err(Failure::Tool("name a scenario with --scenario, or say --all; --list tells which there are".to_owned()))
        }
        false => Ok(named),
    }
}

/// One scenario with one seed; whether it went as it must.
fn one(scenario: &Scenario, setup: Setup, flags: &Cluster, report: &mut Report) -> Result<bool, Failure> {
    let (seed, folder) = (setup.seed, setup.folder.clone());
    let mut run = match Run::begin(setup) {
        Ok(run) => run,
        // That a cluster does not come up is a finding.
        Err(Failure::Start(why)) => {
            report.add_failed_start(scenario, seed, &why);
            return Ok(false);
        }
        Err(failure) => return Err(failure),
    };
    let mut broken = Ok(());
    for _ in 0..flags.rounds {
        broken = (scenario.round)(&mut run);
        if broken.is_err() {
            break;
        }
    }
    let ended = broken.and_then(|()| run.end());
    let summary = match ended {
        Ok(summary) => summary,
        Err(failure @ (Failure::Start(_) | Failure::Peer(_))) => {
            run.finding(failure.to_string());
            verdict::Summary::default()
        }
        Err(failure) => return Err(failure),
    };
    let is_good = run.findings.is_empty() != scenario.must_find;
    report.add(scenario, &run, summary, is_good);
    if !is_good || flags.keep {
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(Failure::at(&file))
        };
        write("events.txt", run.events.join("\n") + "\n")?;
        write("history.txt", run.history.dump())?;
        note(&format!("  what it leaves is in {}\n", folder.display()));
    } else {
        drop(run);
        std::fs::remove_dir_all(&folder).map_err(Failure::at(&folder))?;
    }
    Ok(is_good)
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
