//! `apogee-bench cold`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use crate::server::Which;

const TOPIC: &str = "Cold";
const QUEUES: i32 = 8;

/// What to measure.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Gigabytes of messages that are written first, and read cold later.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    gigabytes: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    size: u64,
    /// Messages a second that are sent while the others are read.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<(), String> {
    let &Options { gigabytes, size, rate, seconds, .. } = options;
    let server = options.which.start()?;
    let writer = options.which.connect(16, 8).await?;
    let reader = options.which.connect(QUEUES as usize, 1).await?;
    for topic in [TOPIC, "Live"] {
        writer.create(topic, 1, QUEUES).await?;
    }
    let took = writer.send(TOPIC, 1, QUEUES, (gigabytes << 30) / size, size as usize).await?;
    println!("{:<44} {:>10.1} s", format!("{gigabytes} GiB written"), took.as_secs_f64());

    let time = Duration::from_secs(seconds);
    let paced = || writer.paced("Live0", QUEUES, rate, time, size as usize);
    println!("{:<44} {}", format!("warming up, {rate} messages/s"), paced().await?);
    println!("{:<44} {}", "nobody reads", paced().await?);
    drop_caches()?;
    let (stop, written) = (Arc::new(AtomicBool::new(false)), format!("{TOPIC}0"));
    let before = server.usage();
    let (sent, read) = tokio::join!(
        async {
            let sent = paced().await;
            stop.store(true, Ordering::Relaxed);
            sent
        },
        reader.read(&written, QUEUES, &stop)
    );
    println!("{:<44} {}", "while cold messages are read", sent?);
    let megabytes = read? / 1_000_000;
    println!("{:<44} {:>10} MB, {} MB/s", "read meanwhile", megabytes, megabytes / seconds);
    println!(
        "{:<44} {:>10.1} s",
        "processor time meanwhile",
        (server.usage().processor - before.processor).as_secs_f64()
    );
    println!("{:<44} {}", "nobody reads any more", paced().await?);
    server.stop().map(drop)
}

/// Nothing of what is on disk is in memory any more. Needs root.
pub fn drop_caches() -> Result<(), String> {
    rustix::fs::sync();
    let control = "/proc/sys/vm/drop_caches";
    fs::write(control, "3").map_err(|error| format!("cannot write {control}: {error}; this needs root"))
}
