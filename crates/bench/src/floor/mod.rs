//! `apogee bench floor`: what a server costs that does nothing.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustix::fs::fdatasync;
use serde::Serialize;

use crate::engine::{Clock, SECOND, Tally};
use crate::error::BenchError;
use crate::report::Report;
use crate::run::Measured;
use crate::usage::own_cpu;

mod serve;

/// Answers every request from a constant and stores nothing, a thread for each connection: the price of the
/// sockets, which no broker goes below.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct FloorArgs {
    /// Address to listen on, 127.0.0.1:10911 unless it is given. It serves until it is killed.
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip)]
    listen: Option<String>,
    /// The floor of a sync flush. With --listen: what was read of a connection is appended to this file, and synced
    /// (fdatasync), before it is answered. Without: nothing is served; it writes and syncs in a loop, and removes
    /// the file at the end. The file must not be there before.
    #[arg(long, value_name = "FILE")]
    flush: Option<PathBuf>,
    /// Bytes of each write of the loop.
    #[arg(long, value_name = "BYTES", default_value_t = 1280, requires = "flush", conflicts_with = "listen", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    size: u32,
    /// Writes for so many seconds.
    #[arg(long, value_name = "S", default_value_t = 5, requires = "flush", conflicts_with = "listen", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Writes over so many MiB of zeros that are on disk before, not behind the file's end: then a sync has no
    /// change of the file's size and blocks to write.
    #[arg(long, value_name = "MIB", default_value_t = 0, requires = "flush", conflicts_with = "listen", value_parser = clap::value_parser!(u64).range(0..=10_240))]
    allocated: u64,
    /// Prints one JSON object at the end, for machines.
    #[arg(long, requires = "flush", conflicts_with = "listen")]
    #[serde(skip)]
    pub json: bool,
}

/// Serves until it is killed, or writes and reports.
pub(crate) fn run(options: &FloorArgs) -> Result<Report, BenchError> {
    let Some(path) = &options.flush else {
        return serve::serve(options.listen.as_deref().unwrap_or("127.0.0.1:10911"), None).map(|never| match never {});
    };
    let failed = |error: std::io::Error| BenchError::system(&format!("--flush {}", path.display()), error);
    // Nobody's file is written over.
    let file = OpenOptions::new().append(options.listen.is_some()).write(true).create_new(true).open(path);
    let file = file.map_err(failed)?;
    if let Some(listen) = &options.listen {
        return serve::serve(listen, Some(Arc::new(file))).map(|never| match never {});
    }
    let measured = flush(options, file);
    let removed = std::fs::remove_file(path);
    let measured = measured.map_err(failed)?;
    removed.map_err(failed)?;
    Report::new("floor", options, &measured)
}

fn flush(options: &FloorArgs, mut file: File) -> std::io::Result<Measured> {
    let size = u64::from(options.size);
    let allocated = options.allocated << 20;
    let zeros = vec![0; 1 << 20];
    for _ in 0..options.allocated {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let bytes = vec![b'x'; options.size as usize];
    let (clock, cpu) = (Clock::start(), own_cpu());
    let mut tally = Tally::default();
    let mut at = 0;
    let mut before = clock.now();
    let seconds = loop {
        if allocated > 0 && at + size > allocated {
            file.seek(SeekFrom::Start(0))?;
            at = 0;
        }
        file.write_all(&bytes)?;
        fdatasync(&file)?;
        at += size;
        let now = clock.now();
        tally.latencies.record(now - before);
        tally.messages += 1;
        tally.bytes += size;
        before = now;
        if now > options.seconds * SECOND {
            break now as f64 / SECOND as f64;
        }
    };
    Ok(Measured { tally, seconds, own_cpu: (own_cpu() - cpu).as_secs_f64(), server: None })
}
