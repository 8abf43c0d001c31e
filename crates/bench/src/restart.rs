//! `apogee-bench restart`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cold::drop_caches;
use crate::server::{Server, Which};

const QUEUES: i32 = 8;

/// What to measure.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Gigabytes of messages in the log.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    gigabytes: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    size: u64,
    /// Megabytes that are written right before the kill.
    #[arg(long, default_value_t = 100)]
    last_megabytes: u64,
    /// Seconds between the others and those: longer than from one checkpoint to the next.
    #[arg(long, default_value_t = 40)]
    pause: u64,
    /// File or folder to remove before the last start, such as those of queues and index.
    #[arg(long, value_name = "PATH")]
    remove: Vec<PathBuf>,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<(), String> {
    let &Options { gigabytes, size, last_megabytes, .. } = options;
    let server = options.which.start()?;
    let load = options.which.connect(16, 8).await?;
    load.create("Restart", 1, QUEUES).await?;
    let messages = (gigabytes << 30) / size;
    let took = load.send("Restart", 1, QUEUES, messages, size as usize).await?;
    println!("{:<44} {:>10.1} s", format!("{gigabytes} GiB written"), took.as_secs_f64());
    tokio::time::sleep(Duration::from_secs(options.pause)).await;
    let last = (last_megabytes << 20) / size;
    load.send("Restart", 1, QUEUES, last, size as usize).await?;
    drop(load);
    server.kill()?;
    let all = messages + last;
    let server = start(options, &format!("start after kill -9, {last_megabytes} MiB since"), all).await?;
    println!("{:<44} {:>10.2} s", "clean stop", server.stop()?.as_secs_f64());
    let server = start(options, "start after it", all + 1).await?;
    if options.remove.is_empty() {
        return server.stop().map(drop);
    }
    server.kill()?;
    for path in &options.remove {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
    }
    start(options, "start after kill -9 and removed files", all + 2).await?.stop().map(drop)
}

/// Starts the server with nothing of its files in memory, and sends a message. All that were sent before
/// must be in their queues.
async fn start(options: &Options, what: &str, messages: u64) -> Result<Server, String> {
    drop_caches()?;
    let began = Instant::now();
    let server = options.which.start()?;
    let load = options.which.connect(1, 1).await?;
    load.send("Restart", 1, QUEUES, 1, 100).await?;
    let found = load.messages("Restart0", QUEUES).await?;
    println!(
        "{what:<44} {:>10.2} s until it is ready, {:.2} s until a message is answered; {found} messages, {} sent",
        server.start.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        messages + 1
    );
    Ok(server)
}
